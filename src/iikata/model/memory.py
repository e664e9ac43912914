"""What training and decoding need of a GPU's memory, counted beforehand, and the shapes that fit what is free."""

import gc
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from iikata.core.encoded import Encoded
from iikata.model.adapters.lora import refuse_no_linears
from iikata.model.attention.limits import Limits
from iikata.model.attention.registry import NAME, register
from iikata.model.base import Base
from iikata.model.buffers import ROUND, Part, pack
from iikata.model.context_length import refuse_short
from iikata.model.files.code import made_by_own_code, refusal, refuse_other_heads, unsupported
from iikata.model.fit import carries
from iikata.model.layers import decoder_layers
from iikata.model.loss import CHUNK

COUNTED = 13 * ROUND
"""Tokens of the stand-in sample; a number that is no model's width, so that it tells activations from weights."""
SPARE = 0.94
"""Share of the free memory that is planned with; the rest is for kernels' own space and what lies between blocks."""
LEAST = 2048
"""With fewer tokens a buffer, products are too small for a GPU: then the layers are computed twice instead."""
ARM_BYTES = 16
"""Bytes a parameter of an adapter takes: itself, its gradient and two moments, in float32."""

SCORES = 20
"""Bytes a row and token of the vocabulary takes: logits in 16 bits, and four times in 32 on the way to a token."""
PROMPT = 4
"""Activations as wide as the feed-forward layer that a token of a prompt has at most at once."""

PROMPTS = 192
"""Prompts of a buffer whose next tokens' scores are held at once."""
T = TypeVar("T")


@dataclass(frozen=True)
class Need:
    """Bytes that training takes beside the loaded model."""

    arms: int
    """Of all arms' weights, gradients and moments."""
    head: int
    """Of a chunk of logits and their gradient."""
    kept: int
    """A token, from the forward pass to its backward."""
    checkpoint: int
    """A token where only the layers' inputs are kept, and one layer is computed."""

    def peak(self, tokens: int, checkpointed: bool = False) -> int:
        """Return the most that training takes at once with buffers of `tokens` tokens."""
        return self.arms + self.head + tokens * (self.checkpoint if checkpointed else self.kept)

    def fit(self, free: int, most: int) -> tuple[int, bool]:
        """Return the tokens of a buffer, at most `most`, and whether the layers are checkpointed."""
        room = SPARE * free - self.arms - self.head
        for checkpointed, a_token in ((False, self.kept), (True, self.checkpoint)):
            tokens = min(most, int(room / a_token) // ROUND * ROUND)
            if tokens >= min(LEAST, most):
                return tokens, checkpointed
        return max(ROUND, tokens), True

    def stage_tokens(self, free: int, share: float, held: int) -> int:
        """Return the tokens of a buffer of which a stage with this share of the layers can keep `held`."""
        return int((SPARE * free - share * self.arms - self.head) / (share * self.kept * held))


@dataclass(frozen=True)
class DecodingNeed:
    """Bytes that decoding takes beside the loaded model."""

    row: int
    """Of a row in flight: its slot, and its scores on their way to a token."""
    prefill: int
    """Of a buffer of prompts."""

    def peak(self, rows: int) -> int:
        """Return the most that decoding `rows` rows takes at once."""
        return self.prefill + rows * self.row

    def fit(self, free: int) -> int:
        """Return the rows that fit."""
        return max(0, int(SPARE * free - self.prefill) // self.row)


def decoding(base: Base, length: int, prefill_tokens: int) -> DecodingNeed:
    """Count it for slots of `length` tokens and buffers of so many tokens of prompts."""
    config = base.config.get_text_config()
    row = length * base.kv_bytes_a_token + config.vocab_size * SCORES
    inner = max(config.intermediate_size, 4 * config.hidden_size)
    token = base.kv_bytes_a_token + PROMPT * inner * base.dtype.itemsize
    return DecodingNeed(row, prefill_tokens * token + PROMPTS * config.vocab_size * SCORES)


def parameters(config: Any) -> int:
    """Return how many weights a model of this configuration has in its layers and its head."""
    model = without_weights(config)
    blocks = sum(p.numel() for layer in decoder_layers(model) for p in layer.parameters())
    return blocks + int(model.get_output_embeddings().weight.numel())


def need(config: Any, dtype: torch.dtype, arms: int, r: int, targets: str | Iterable[str]) -> Need:
    """Count it on a model without weights: what autograd keeps of one sample, each storage once."""
    model = without_weights(config, dtype)
    base = Base(model, Path(), torch.device("meta"), dtype)
    adapters = base.adapt(r, 2 * r, 0.0, targets)
    adapters.initialise("counted", 0)
    kept = _kept(base) // COUNTED
    text = config.get_text_config()
    layers = len(decoder_layers(model))
    return Need(
        arms=arms * ARM_BYTES * sum(weight.numel() for weight in adapters.weights("counted").values()),
        head=CHUNK * text.vocab_size * 2 * dtype.itemsize,
        kept=kept,
        # While a layer is computed again, its gradients are held beside what it keeps.
        checkpoint=layers * text.hidden_size * dtype.itemsize + 3 * kept // layers,
    )


def refuse_unfit(config: Any) -> None:
    """Raise IikataError for an architecture that cannot be trained over, as far as its class tells."""
    model = without_weights(config)
    folder = Path(config.name_or_path)
    refuse_other_heads(folder, config)
    if state := carries(model):
        raise unsupported(folder, config, state)
    refuse_no_linears(model)
    refuse_short(folder, model)


def without_weights(config: Any, dtype: torch.dtype = torch.float32) -> Any:
    """Return the model that a configuration describes, on the meta device."""
    from transformers import AutoModelForCausalLM

    register()
    own = made_by_own_code(config)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                config, dtype=dtype, attn_implementation=NAME, trust_remote_code=own
            )
    except Exception as error:  # values that no model can be made of
        raise refusal(Path(config.name_or_path), error, config) from None
    return model.to("meta").eval().requires_grad_(False)


def _kept(base: Base) -> int:
    found: dict[Any, int] = {}

    def keep(x: Tensor) -> Tensor:
        if COUNTED in x.shape:
            # Compiled layers make again what norms keep in float32.
            storage, width = x.untyped_storage(), min(1.0, base.dtype.itemsize / x.itemsize)
            found[storage._cdata] = int(storage.nbytes() * width)
        return x

    sample = Encoded("", "", "", tuple(range(COUNTED)), (True,) * COUNTED)
    buffer = pack([Part([sample], ())], base.device, Limits.over(COUNTED, COUNTED, 1))
    base.set_adapter("counted")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        base.hidden(buffer.input_ids, buffer.positions, buffer.layout)
    return sum(found.values())


def free_bytes(device: torch.device) -> int:
    """Return what this process may still allocate on a GPU."""
    index = torch.cuda.current_device() if device.index is None else device.index
    free, total = torch.cuda.mem_get_info(index)
    fraction = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)  # not in every torch
    allowed = int(fraction(index) * total)
    return min(free + torch.cuda.memory_reserved(index), allowed) - torch.cuda.memory_allocated(index)


def least_free(base: Base) -> int:
    """Return what may still be allocated on the fullest of a base's GPUs."""
    return min(free_bytes(device) for device in base.devices)


def fit_stages(base: Base, need: Need, most: int) -> int:
    """Return the tokens of a buffer, at most `most`, of which every stage can hold two, or the last one can hold one.

    What it has no room to keep beyond these, a stage computes again.
    """
    assert base.laid_over is not None
    found = most
    for stage in base.laid_over.stages:
        share = (stage.stop - stage.start) / stage.count
        found = min(found, need.stage_tokens(free_bytes(stage.device), share, 1 if stage.last else 2))
    return max(ROUND, found // ROUND * ROUND)


def allocated_bytes(device: torch.device) -> int:
    """Return what tensors of this process take on a GPU now; 0 on CPU, where nobody counts it."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def room_bytes(device: torch.device) -> int:
    """Return what may be planned with of a GPU's free memory."""
    return int(free_bytes(device) - (1 - SPARE) * torch.cuda.get_device_properties(device).total_memory)


def is_oom(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on CPU."""
    said = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's, on CPU
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)


def retry_smaller(attempt: Callable[[], T], halve: Callable[[], bool]) -> T:
    """Return what `attempt` returns; whenever memory runs out, `halve` what it needs and try again.

    `halve` returns False where nothing is left to halve; then the error is raised.
    """
    while True:
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not is_oom(error):
                raise
            ran_out = error
        traceback.clear_frames(ran_out.__traceback__)  # what the attempt held
        free_memory()
        if not halve():
            raise ran_out


def free_memory() -> None:
    """Let go of what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
