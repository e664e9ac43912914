"""The shapes of a run's buffers and slots: what fills this device and fits its memory, stored once chosen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iikata.model.base import Base

CPU_BUFFER_TOKENS = 2048
SMALLEST_FULL, LARGEST_FULL = 32_768, 131_072
FULL_WORK = 8e13
"""Floating-point operations of a buffer that hide what launching its kernels costs; between so many tokens."""
MIXED_ARMS = 32
"""Arms that share a buffer where one's step leaves half of it empty: its kernels take as long to ask for with one."""
CPU_ROWS, GPU_ROWS, SMALL_GPU_ROWS = 160, 1024, 4096
"""Rows that decode at once; a small model's kernels are too short for a GPU with fewer."""
SMALL = 1e9
"""Parameters of a model that is small in this sense."""
CPU_PREFILL, GPU_PREFILL = 256, 8192
PREFILL_SHARE = 0.1
"""Of a GPU's free memory, for a buffer of prompts: the rest is for rows."""
JOINED_COLUMNS = {"cpu": 128, "cuda": 256}
"""Arms decode together while they have at most so many columns: each token is multiplied with every arm's A."""
KV_BYTES = 1 << 30
"""What the keys and values of the rows in flight may take on CPU."""
ROWS_OF = 8
LENGTHS = 16
"""A slot's length is a multiple of this, so that a slightly longer probe changes no shape."""


def most_buffer_tokens(parameters: int) -> int:
    """Return the tokens of a buffer that fills a GPU with a model of so many parameters; a power of two."""
    return 1 << int(math.log2(min(max(FULL_WORK / (4 * parameters), SMALLEST_FULL), LARGEST_FULL)))


@dataclass(frozen=True)
class Work:
    """What is to be trained and answered, as far as shapes follow from it."""

    arms: int
    step_tokens: float
    """Of the largest mean step of an arm."""
    answers: int
    """Of one seed's arms and the base: more seeds are added to a run without making its answers again."""
    longest_answer: int
    """Tokens of the longest probe with its answer."""
    lengths: Mapping[str, int] = field(default_factory=dict)
    """Tokens of the longest texts, by what they are."""


def choose(base: "Base", work: Work, stored: Mapping[str, int]) -> dict[str, int]:
    """Return the run's shapes; those stored stay, except that slots grow with the longest probe.

    Raises IikataError for a text that is longer than the model is exact for.
    """
    for what, length in work.lengths.items():
        base.refuse_beyond(length, what)
    training = {"buffer_tokens": CPU_BUFFER_TOKENS, "checkpoint": 0, "mixed_arms": 1}
    if "buffer_tokens" not in stored and base.device.type == "cuda":
        training = gpu_buffers(base, work)
    length = LENGTHS * math.ceil(work.longest_answer / LENGTHS)
    chosen = {**training, "kv_length": length, "prefill_tokens": prefill_tokens(base)}
    chosen = {key: stored.get(key, value) for key, value in chosen.items()}
    chosen["kv_length"] = max(chosen["kv_length"], length)
    # As many groups of rows as devices decode one behind the other.
    answers = math.ceil(work.answers / len(base.devices))
    rows = min(answers, most_rows(base), rows_that_fit(base, chosen))
    chosen["decode_rows"] = stored.get("decode_rows", 0) or whole_rows(rows)
    return chosen


def gpu_buffers(base: "Base", work: Work) -> dict[str, int]:
    """Choose buffers that fill this GPU and fit its free memory; follows from one arm's steps, not from others'."""
    from iikata.model import memory

    adapters = base.adapters
    assert adapters is not None
    r = max(shape.r for shape in adapters.shapes.values())
    need = memory.need(base.config, base.dtype, work.arms, r, adapters.shape.target_modules)
    if base.laid_over:
        most = most_buffer_tokens(memory.parameters(base.config))
        return {"buffer_tokens": memory.fit_stages(base, need, most), "checkpoint": 0, "mixed_arms": 1}
    tokens, checkpoint = need.fit(memory.free_bytes(base.device), most_buffer_tokens(memory.parameters(base.config)))
    mixed = mixed_arms(work.step_tokens, tokens) if base.runners else 1
    return {"buffer_tokens": tokens, "checkpoint": int(checkpoint), "mixed_arms": mixed}


def mixed_arms(step_tokens: float, buffer_tokens: int) -> int:
    return MIXED_ARMS if step_tokens < buffer_tokens / 2 else 1


def joined_arms(device: str, r: int) -> int:
    from iikata.model.adapters.multi_lora import width

    return max(1, JOINED_COLUMNS[device] // width(r))


def whole_rows(rows: int) -> int:
    """Return a number of rows that can decode at once: a multiple of ROWS_OF, at most `rows` or the least."""
    return max(ROWS_OF, ROWS_OF * (rows // ROWS_OF))


def prefill_tokens(base: "Base") -> int:
    """Return the tokens of a buffer of prompts: as many as fill the device, on a GPU within a part of its memory."""
    from iikata.model import memory

    if base.device.type == "cpu":
        return CPU_PREFILL
    a_token = memory.decoding(base, 0, 1024).prefill / 1024
    fit = int(memory.least_free(base) * PREFILL_SHARE / a_token) // 1024
    return 1024 * max(1, min(GPU_PREFILL // 1024, fit))


def most_rows(base: "Base") -> int:
    """Return how many rows fill this device."""
    if base.device.type == "cpu":
        return CPU_ROWS
    return SMALL_GPU_ROWS if sum(p.numel() for p in base.model.parameters()) < SMALL else GPU_ROWS


def rows_that_fit(base: "Base", shapes: Mapping[str, int]) -> int:
    """Return how many rows' keys, values and logits fit what memory is free now."""
    from iikata.model import memory

    if base.device.type == "cpu":
        return KV_BYTES // (base.kv_bytes_a_token * shapes["kv_length"])
    need = memory.decoding(base, shapes["kv_length"], shapes["prefill_tokens"])
    # Of each of n groups of rows, a device has the keys and values of an nth of the layers.
    return need.fit(memory.least_free(base))
