"""The frozen base model: loaded once, never changed, read by every arm."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iikata.core.errors import IikataError
from iikata.model.adapters.flat import LoraShape
from iikata.model.adapters.lora import Adapters, resolve_targets
from iikata.model.attention.limits import Limits, Room
from iikata.model.attention.registry import Layout, laid_out
from iikata.model.buffers import Buffer, Part, pack
from iikata.model.graphs import Graphs
from iikata.model.layers import Runner, decoder_of, vary
from iikata.model.loss import Head, head_of, token_losses
from iikata.model.stages import LaidOver

MOST_WEIGHTS = 1_000_000_000
"""Beyond so many, kernels take longer than asking for them."""
NEAR = 1024
"""Tokens of a sliding window up to which samples share their first tokens also where it ends inside them: layers that
have it copy the shared keys within its reach for every sample."""


@dataclass
class Base:
    """A frozen model on its device. B batch, T tokens, D width, V vocabulary."""

    model: Any
    folder: Path
    device: torch.device
    """Where tokens are given and last hidden states come out; of a base on several devices, the last one."""
    dtype: torch.dtype
    adapters: Adapters | None = None
    runners: list[Runner] = field(default_factory=list)
    """What runs the decoder layers where flash kernels do the attention; empty elsewhere."""
    rounding: float = 0.0
    """Share by which products in 8 bits changed the logits of a stand-in text."""
    laid_over: LaidOver | None = None
    """The stages of a base that lies on several devices."""
    longest: int | None = None
    """Tokens of the longest sample whose logits are transformers'; None for no end."""
    _untuned: dict[tuple[tuple[int, ...], ...], Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def decoder(self) -> Any:
        """What turns tokens into last hidden states."""
        return decoder_of(self.model)

    @property
    def devices(self) -> list[torch.device]:
        """Where its layers lie."""
        return [stage.device for stage in self.laid_over.stages] if self.laid_over else [self.device]

    @property
    def asking_bound(self) -> bool:
        """Whether asking for this base's kernels takes longer than they do, and graphs can save it."""
        alone = self.device.type == "cuda" and bool(self.runners) and self.laid_over is None
        return alone and sum(weight.numel() for weight in self.model.parameters()) <= MOST_WEIGHTS

    @cached_property
    def graphs(self) -> Graphs:
        """What scores texts."""
        return Graphs(self.device, "scoring")

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def kv_bytes_a_token(self) -> int:
        """Bytes that one token's keys and values take over all layers."""
        layers = layer_configs(self.config)
        heads = (getattr(one, "num_key_value_heads", None) or one.num_attention_heads for one in layers)
        return 2 * self.dtype.itemsize * sum(n * head_width(one) for n, one in zip(heads, layers, strict=True))

    def hidden(self, input_ids: Tensor, positions: Tensor, layout: Layout | None = None) -> Tensor:
        """Run the decoder: ids and positions [B, T] -> last hidden states [B, T, D]; no layout is plain causal."""
        # Compiled layers must find the layout among their inputs.
        given = {"layout": layout} if self.runners else {}
        with laid_out(layout):
            out = self.decoder(input_ids=input_ids, position_ids=positions, use_cache=False, **given)
        return out.last_hidden_state

    def last_hidden(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Return the hidden states of the prompts' last tokens [n, D], of the arm that is set.

        They run side by side, filled up behind their ends, which no token of theirs sees.
        """
        longest = max(map(len, prompts))
        tokens = torch.tensor([[*ids, *[ids[-1]] * (longest - len(ids))] for ids in prompts], device=self.device)
        positions = torch.arange(longest, device=self.device).expand(len(prompts), -1)
        last = torch.tensor([len(ids) - 1 for ids in prompts], device=self.device)
        return self.hidden(tokens, positions)[torch.arange(len(prompts), device=self.device), last]

    def untuned_next(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Return the untuned model's logits of the next tokens, [n, V]; kept, since they never change."""
        if (key := tuple(map(tuple, prompts))) not in self._untuned:
            self.set_adapter(None)
            self._untuned[key] = self.logits(self.last_hidden(prompts))
        return self._untuned[key]

    def window_within(self, tokens: int) -> int:
        """Return the sliding window that ends inside so many tokens; 0 where none does."""
        window = getattr(self.config.get_text_config(), "sliding_window", None) or 0
        return window if window < tokens else 0

    def shares(self, limits: Limits) -> bool:
        """Return whether samples in one buffer share their first tokens."""
        return not self.runners or self.window_within(limits.longest) <= NEAR

    def carry(self, x: Tensor, device: torch.device) -> Tensor:
        """Return `x` on another of the base's devices."""
        return self.laid_over.links.send(x, device).take() if self.laid_over else x

    def refuse_beyond(self, tokens: int, what: str) -> None:
        """Raise IikataError for more tokens than this model is computed exactly for."""
        if self.longest is not None and tokens > self.longest:
            raise IikataError(
                f"{what} has {tokens:,} tokens. Beyond {self.longest:,}, {self.config.model_type} as config.json "
                "describes it attends in another way (a window, a chunk, rotary frequencies that follow the length) "
                "or has learned no positions, which is not supported. Use shorter ones: train.cutoff_len, "
                "generate.max_new_tokens."
            )

    def pack(
        self, parts: Sequence[Part], limits: Limits, bucketed: bool = False, device: torch.device | None = None,
        room: Room | None = None,
    ) -> Buffer:  # fmt: skip
        """Pack the parts into one buffer, on one of the base's devices, laid out for the attention that it has."""
        device = device or self.device
        self.refuse_beyond(max((len(s.input_ids) for part in parts for s in part.samples), default=0), "a row")
        if not self.runners:
            return pack(parts, device, bucketed=bucketed)
        if not self.shares(limits):
            parts = [replace(part, prefixes=()) for part in parts]
        buffer = pack(parts, device, limits, bucketed, room, self.window_within(limits.longest))
        vary(buffer)  # whether it is compiled or not: another thread may pack what the layers compute once compiled
        return buffer

    @property
    def head(self) -> Head:
        return head_of(self.model)

    def logits(self, hidden: Tensor) -> Tensor:
        """Run the frozen head: [..., D] -> [..., V] in float32 (float64 for a float64 model)."""
        return self.head.logits(hidden)

    def losses(self, buffer: Buffer) -> Tensor:
        """Return the loss in nats of each of the buffer's targets, [L]."""
        return self.losses_of(self.hidden(buffer.input_ids, buffer.positions, buffer.layout), buffer)

    def losses_as(self, arm: str | None, buffer: Buffer) -> Tensor:
        """Return the same under an arm, None for the untuned base, without gradients; it holds until the next call."""
        if self.adapters is None or not self.asking_bound:
            self.set_adapter(arm)
            return self.losses(buffer)
        adapters = self.adapters

        def work(given: tuple[Buffer, Tensor | None]) -> Tensor:
            buffer, vector = given
            if arm is None or vector is None:
                adapters.set_adapter(None)
            else:
                adapters.set_vector(arm, vector)
            return self.losses(buffer)

        own = (None, None) if arm is None else (adapters.vector(arm), adapters.shape_of(arm))
        return self.graphs(work, (buffer, own[0]), own[1])

    def losses_of(self, hidden: Tensor, buffer: Buffer) -> Tensor:
        """Return the same from the buffer's last hidden states [1, T, D]."""
        return token_losses(hidden.squeeze(0).index_select(0, buffer.loss_positions), buffer.targets, self.head)

    def run_layers(self, compiled: bool, checkpointed: bool = False) -> None:
        """Say how packed buffers run through the layers; without flash kernels this changes nothing."""
        for runner in self.runners:
            # Stages compute again what they do not keep, by themselves and with the right arm's adapter.
            runner.compile, runner.checkpoint = compiled, checkpointed and self.laid_over is None

    @contextmanager
    def layers_as_they_are(self) -> Iterator[None]:
        """Run the layers uncompiled for as long as this lasts: for a few buffers compiling would not pay."""
        before = [runner.compile for runner in self.runners]
        for runner in self.runners:
            runner.compile = False
        try:
            yield
        finally:
            for runner, compiled in zip(self.runners, before, strict=True):
                runner.compile = compiled

    def lora_shape(self, target_modules: str | Iterable[str], **shape: Any) -> LoraShape:
        """Return the shape that the settings of `train.lora` ask for, its modules by name."""
        return LoraShape(target_modules=resolve_targets(target_modules, self.model), **shape)

    def adapt(
        self,
        r: int,
        alpha: float,
        dropout: float,
        target_modules: str | Iterable[str],
        others: Iterable[LoraShape] = (),
    ) -> Adapters:
        """Put empty adapter slots on the model; `target_modules` as in the experiment.

        `others`: shapes that arms may have instead, their modules by name.
        """
        own = resolve_targets(target_modules, self.model)
        every = dict.fromkeys([*own, *(name for shape in others for name in shape.target_modules)])
        self.adapters = Adapters(self.model, LoraShape(r, alpha, dropout, tuple(every)), self.laid_over)
        return self.adapters

    def set_adapter(self, arm: str | None) -> None:
        """Answer as `arm` from now on, without dropout; None is the untuned base."""
        if self.adapters is not None:
            self.adapters.set_adapter(arm)
        elif arm is not None:
            raise KeyError(arm)


def layer_configs(config: Any) -> list[Any]:
    """Return what each layer's attention follows from; Gemma 4's have heads of two widths."""
    text = config.get_text_config()
    found = getattr(text, "per_layer_config", None) or [text] * text.num_hidden_layers
    return list(found.values() if isinstance(found, dict) else found)


def head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
