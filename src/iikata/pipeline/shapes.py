"""The shapes of a run's buffers and slots: what fills this device and fits its memory, stored once chosen."""

import math
from typing import TYPE_CHECKING

from iikata.core.errors import IikataError
from iikata.run_folder import read_json, write_json

if TYPE_CHECKING:
    from iikata.model.base import Base
    from iikata.pipeline.context import RunContext

CPU_BUFFER_TOKENS = 2048
SMALLEST_FULL, LARGEST_FULL = 32_768, 131_072
FULL_WORK = 7e13
"""Floating-point operations of a buffer that hide what launching its kernels costs; between so many tokens."""
MIXED_ARMS = 8
"""Arms that share a buffer where one's step leaves half of it empty."""
CPU_ROWS, GPU_ROWS, SMALL_GPU_ROWS = 160, 1024, 2048
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


def choose(ctx: "RunContext") -> dict[str, int]:
    """Return the run's shapes; those stored stay, except that slots grow with the longest probe."""
    stored: dict[str, int] = read_json(ctx.store.shapes, {})
    if not isinstance(stored, dict) or any(type(value) is not int or value < 0 for value in stored.values()):
        raise IikataError(
            f"{ctx.store.shapes}: not the shapes that iikata stored there. Delete the file to have them chosen anew; "
            "on another machine, or a GPU, what is made from then on may round otherwise."
        )
    device = ctx.base.device.type
    training = {"buffer_tokens": CPU_BUFFER_TOKENS, "checkpoint": 0, "mixed_arms": 1}
    if "buffer_tokens" not in stored and device == "cuda":
        training = gpu_buffers(ctx)
    length = LENGTHS * math.ceil((ctx.longest_prompt + ctx.experiment.generate.max_new_tokens) / LENGTHS)
    decoding = {
        "kv_length": length,
        "prefill_tokens": prefill_tokens(ctx.base),
    }
    _refuse_too_long(ctx)
    wanted = {key: stored.get(key, value) for key, value in {**training, **decoding}.items()}
    wanted["kv_length"] = max(wanted["kv_length"], length)
    wanted["decode_rows"] = stored.get("decode_rows", 0) or _rows(ctx, wanted)
    if wanted != stored:
        write_json(ctx.store.shapes, wanted)
    return wanted


def _refuse_too_long(ctx: "RunContext") -> None:
    """Raise IikataError, before anything is trained, for a row or an answer that the model is not exact for."""
    for name, rows in ctx.encoded.items():
        longest = max((len(row.input_ids) for row in rows if not row.truncated), default=0)
        ctx.base.refuse_beyond(longest, f"template {name}: the longest row")
    answer = ctx.longest_prompt + ctx.experiment.generate.max_new_tokens
    ctx.base.refuse_beyond(answer, "the longest probe with its answer")


def joined_arms(device: str, r: int) -> int:
    """Return how many arms decode together at most."""
    from iikata.model.adapters.multi_lora import width

    return max(1, JOINED_COLUMNS[device] // width(r))


def gpu_buffers(ctx: "RunContext") -> dict[str, int]:
    """Choose buffers that fill this GPU and fit its free memory; follows from one arm's steps, not from others'."""
    from iikata.model import memory

    config, lora = ctx.base.config, ctx.experiment.train.lora
    most = most_buffer_tokens(memory.parameters(config))
    need = memory.need(config, ctx.base.dtype, len(ctx.experiment.arms()), lora.r, lora.target_modules)
    tokens, checkpoint = need.fit(memory.free_bytes(ctx.base.device), most)
    mixed = MIXED_ARMS if ctx.base.runners and max(map(ctx.step_tokens, ctx.encoded)) < tokens / 2 else 1
    return {"buffer_tokens": tokens, "checkpoint": int(checkpoint), "mixed_arms": mixed}


def _rows(ctx: "RunContext", shapes: dict[str, int]) -> int:
    """Return how many rows decode at once: as many as there are together, as fill the device and fit its memory."""
    an_arm = len(ctx.templates) * len(ctx.probes) * ctx.experiment.generate.samples
    # Of one seed and the base: more seeds are added to a run without making its answers anew.
    answers = an_arm * (len(ctx.experiment.templates) + 1)
    rows = min(answers, most_rows(ctx.base), rows_that_fit(ctx, shapes))
    return max(ROWS_OF, ROWS_OF * (rows // ROWS_OF))


def prefill_tokens(base: "Base") -> int:
    """Return the tokens of a buffer of prompts: as many as fill the device, on a GPU within a part of its memory."""
    from iikata.model import memory

    if base.device.type == "cpu":
        return CPU_PREFILL
    a_token = memory.decoding(base, 0, 1024).prefill / 1024
    fit = int(memory.free_bytes(base.device) * PREFILL_SHARE / a_token) // 1024
    return 1024 * max(1, min(GPU_PREFILL // 1024, fit))


def most_rows(base: "Base") -> int:
    """Return how many rows fill this device."""
    if base.device.type == "cpu":
        return CPU_ROWS
    return SMALL_GPU_ROWS if sum(p.numel() for p in base.model.parameters()) < SMALL else GPU_ROWS


def rows_that_fit(ctx: "RunContext", shapes: dict[str, int]) -> int:
    """Return how many rows' keys, values and logits fit what memory is free now."""
    from iikata.model import memory

    if ctx.base.device.type == "cpu":
        return KV_BYTES // (ctx.base.kv_bytes_a_token * shapes["kv_length"])
    need = memory.decoding(ctx.base, shapes["kv_length"], shapes["prefill_tokens"])
    return need.fit(memory.free_bytes(ctx.base.device))
