"""How decoder layers are run on a GPU: compiled once for all of them, and checkpointed where memory asks for it."""

import os
import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from iikata.model.attention.static_cache import StaticKVCache
from iikata.model.attention.varlen import Varlen
from iikata.model.buffers import Buffer

GRAPHS = 64
"""Graphs that one layer class may have; torch gives up at 8."""
WIDE = {"triton.multi_kernel": 1}
"""Lets a norm over more than 1,024 columns be one pass: at 3.6B it took half the time."""


def decoder_of(model: Any) -> Any:
    """Return the part that turns tokens into last hidden states: of a composite model, the language model's."""
    from transformers import PreTrainedModel

    kind = type(model.config.get_text_config())
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel) and part is not model]
    return next((part for part in parts if type(part.config) is kind), model.base_model)


def decoder_layers(model: Any) -> list[nn.Module]:
    """Return the decoder's blocks: its list of as many modules as the configuration says, else its longest."""
    lists = [list(part) for part in decoder_of(model).modules() if isinstance(part, nn.ModuleList) and len(part)]
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    return next((one for one in lists if len(one) == count), max(lists, key=len))


class Runner:
    """Stands in for a decoder layer's forward. Flash buffers and slots go through it; others as they were."""

    def __init__(self, layer: nn.Module, index: int, options: dict[str, Any] | None) -> None:
        self.index, self.options = index, options
        self.plain = layer.forward
        self.compile = False
        self.checkpoint = False

    @cached_property
    def compiled(self) -> Callable[..., Any]:
        """The layer for the compiler, which is imported here: small runs compile no layer."""
        # One graph serves all layers of a class: their weights are its inputs.
        return torch.compile(self.plain, fullgraph=True, options=self.options)

    def __call__(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        layout = kwargs.get("layout")
        if not isinstance(layout, Varlen | StaticKVCache):
            return self.plain(hidden, *args, **kwargs)
        tokens = (hidden, kwargs.get("position_ids"), *kwargs.get("position_embeddings", ()))
        if isinstance(layout, StaticKVCache):
            kwargs["layout"] = layout.layers[self.index]  # tensors alone, so that one graph serves all layers
        run = self.plain
        if self.compile:
            run = self._compiled
            slots = isinstance(layout, StaticKVCache)
            _mark(torch._dynamo.mark_static if slots else torch._dynamo.maybe_mark_dynamic, tokens, 1)
        if self.checkpoint and torch.is_grad_enabled():
            return checkpoint(run, hidden, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
        return run(hidden, *args, **kwargs)

    def _compiled(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.compiled(*args, **kwargs)
        except (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit) as error:
            # Without a C compiler, for instance. The layers as they are give the same numbers, only slower.
            self.compile = False
            warnings.warn(f"a layer could not be compiled and runs as it is: {error}"[:500], stacklevel=2)
            return self.plain(*args, **kwargs)


def run_layers(model: Any) -> list[Runner]:
    """Let every decoder layer of `model` run through a Runner, which compiles and checkpoints when told to."""
    # With and without shared keys, gradients, an adapter: each makes its own graph, and one process may see them all.
    torch._dynamo.config.recompile_limit = max(GRAPHS, torch._dynamo.config.recompile_limit)
    options = WIDE if model.config.get_text_config().hidden_size > 1024 else None
    # torch 2.11 asks a kernel that comes from the cache of an earlier process for a key that it left out there.
    os.environ.setdefault("TORCHINDUCTOR_DISABLE_MULTI_KERNEL_CACHE", "1")
    runners = []
    for index, layer in enumerate(decoder_layers(model)):
        runner = Runner(layer, index, options)
        layer.forward = runner
        runners.append(runner)
    return runners


def vary(buffer: Buffer) -> None:
    """Tell the compiler that this buffer's lengths are not every buffer's."""
    assert isinstance(buffer.layout, Varlen)
    vary_layout(buffer.layout)
    _mark(torch._dynamo.maybe_mark_dynamic, (buffer.buckets, buffer.noise), 0)


def vary_layout(layout: Varlen) -> None:
    """Tell the compiler that this layout's lengths are not every buffer's."""
    _mark(torch._dynamo.maybe_mark_dynamic, layout.tensors, 0)


def _mark(mark: Callable[[Tensor, int], None], tensors: Iterable[Tensor | None], dimension: int) -> None:
    for tensor in tensors:
        if tensor is not None:
            mark(tensor, dimension)


def compilations() -> int:
    """Return how many graphs have been compiled so far in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])
