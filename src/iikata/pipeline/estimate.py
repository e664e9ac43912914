"""What training would take on this machine, in seconds and bytes; reads the model's configuration, not its weights."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from timeit import repeat
from typing import Any

import torch

from iikata.config import Recipe
from iikata.core.encoded import Encoded
from iikata.model import memory
from iikata.model.files import code
from iikata.model.load import choose_device, choose_dtype
from iikata.pipeline.buffer_plan import CPU_BUFFER_TOKENS, mixed_arms, most_buffer_tokens
from iikata.pipeline.context import RunContext
from iikata.pipeline.opening import weight_bytes

PROCESS_BYTES = 600_000_000
"""What Python and torch take on CPU before any model."""
PASSES = {"cpu": 40.0, "cuda": 14.0}
"""How often what a token keeps is read or written in a step beside its products: fitted to the runs in
docs/performance.md, where CPU layers are not compiled."""
LAUNCH = {"cpu": 3e-3, "cuda": 5e-3}
"""Seconds that asking for one layer's kernels takes, forward and backward: a CPU's own time (SmolLM2's on one core);
a GPU waits for it in small buffers only."""
FORWARD = 0.5
"""Of a training token's time, what one takes that is only read: two products a weight of four."""
PIPELINED = 0.7
"""Share of its stages' rate that a base on several GPUs is trained at (docs/scaling.md)."""
DEVICES = (1, 2, 4, 8)
"""How many devices a plan speaks of."""


def estimate(ctx: RunContext) -> dict[str, Any]:
    """Return the buffer, the peak memory and the time of training, each arm's real tokens once an epoch."""
    device = torch.device("cpu") if ctx.experiment.devices == "cpu" else choose_device()
    dtype = choose_dtype(ctx.experiment.model.dtype, device)
    config = code.configuration(ctx.model_folder, ctx.trusted)
    lora = max((one.train.lora for one in ctx.experiment.recipes.values()), key=lambda lora: lora.r)
    arms = len(ctx.experiment.arms())
    need = memory.need(config, dtype, arms, lora.r, lora.target_modules)
    count = memory.parameters(config)
    weights = weight_bytes(ctx.model_folder, dtype)
    step = math.ceil(max(map(ctx.step_tokens, ctx.encoded), default=0)) or CPU_BUFFER_TOKENS  # where nothing is trained
    tokens, checkpointed = min(CPU_BUFFER_TOKENS, step), False
    stages = len(ctx.devices)
    if device.type == "cuda" and stages > 1:
        free = memory.free_bytes(ctx.devices[0]) - weights // stages
        tokens = max(1, min(need.stage_tokens(free, 1 / stages, 2), most_buffer_tokens(count), step))
    elif device.type == "cuda":
        tokens, checkpointed = need.fit(memory.free_bytes(device) - weights, most_buffer_tokens(count))
        tokens = min(tokens, step * min(arms, mixed_arms(step, tokens)))
    a_token = seconds_a_token(config.get_text_config(), count, need.kept, tokens, dtype, device)
    works = [
        one.train.epochs * ctx.computed(rows, one) + FORWARD * evaluated_tokens(ctx, one, rows)
        for one, rows, arms in ctx.rows_of_arms()
        for _ in range(arms)
    ]
    a_token *= 4 / 3 if checkpointed else 1
    a_token /= stages * PIPELINED if device.type == "cuda" and stages > 1 else 1
    return {
        "device": device.type,
        "stages": stages,
        "buffer_tokens": tokens,
        "checkpointed": checkpointed,
        # Of n stages the first holds n buffers, the last one.
        "train_bytes": weights
        + need.peak(tokens * (stages + 1) // 2, checkpointed)
        + (PROCESS_BYTES if device.type == "cpu" else 0),
        "merged_arms": len(ctx.merged),
        "copy_bytes": weight_bytes(ctx.model_folder, torch.float32) if ctx.merged else 0,
        "token_seconds": a_token,
        "train_seconds": round(sum(works) * a_token, 1),
        "train_seconds_on": {str(count): round(longest_share(works, count) * a_token, 1) for count in DEVICES},
    }


def evaluated_tokens(ctx: RunContext, recipe: Recipe, rows: Sequence[Encoded]) -> float:
    """Return the held-out tokens that an arm reads while it is trained, rows there being as long as those here."""
    train, held_out = recipe.train, len(ctx.data.validation)
    steps = train.epochs * math.ceil(len(rows) / train.batch_size)
    every = steps / train.epochs if train.eval_steps == "epoch" else int(train.eval_steps)
    times = 1 + math.ceil(steps / every) if every else 0
    return times * min(train.eval_rows or held_out, held_out) * row_tokens(ctx, recipe, rows)


def row_tokens(ctx: RunContext, recipe: Recipe, rows: Sequence[Encoded]) -> float:
    """Return the tokens of a mean row less those that rows share."""
    return ctx.computed(rows, recipe) / max(1, len(rows))


def longest_share(works: Sequence[float], devices: int) -> float:
    """Return the work of the device that has most, where each takes the next arm when it is free."""
    shares = [0.0] * devices
    for work in works:
        shares[shares.index(min(shares))] += work
    return max(shares)


def seconds_a_token(
    config: Any, parameters: int, kept: int, tokens: int, dtype: torch.dtype, device: torch.device
) -> float:
    """Return the time of one computed token: two products a weight forward and two backward, and its activations.

    `kept` is the bytes that a token keeps for its backward pass, `tokens` are those of a buffer.
    """
    rate = products(min(tokens, 8192), config.hidden_size, config.intermediate_size, dtype, device)
    busy = 4 * parameters / rate + PASSES[device.type] * kept / bandwidth(device)
    launched = LAUNCH[device.type] * config.num_hidden_layers / tokens
    return busy + launched if device.type == "cpu" else max(busy, launched)


def products(tokens: int, width: int, inner: int, dtype: torch.dtype, device: torch.device) -> float:
    """Return floating-point operations a second of the feed-forward product, measured in a moment."""
    x, w = (torch.randn(shape, dtype=dtype, device=device) for shape in ((tokens, width), (inner, width)))
    return 2.0 * tokens * width * inner / _time(lambda: torch.nn.functional.linear(x, w), device)


@cache
def bandwidth(device: torch.device) -> float:
    """Return bytes a second of a copy, read and written, measured once."""
    x = torch.randn(2**24 if device.type == "cpu" else 2**28, device=device)
    y = torch.empty_like(x)
    return 2.0 * x.numel() * x.itemsize / _time(lambda: y.copy_(x), device)


def _time(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the fastest of a few runs, each long enough for the clock."""

    def run() -> None:
        for _ in range(5):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return min(repeat(run, number=1)) / 5
