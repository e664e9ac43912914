"""What training would take on this machine, in seconds and bytes; reads the model's configuration, not its weights."""

import math
from typing import TYPE_CHECKING, Any

from iikata.pipeline.context import RunContext
from iikata.pipeline.shapes import CPU_BUFFER_TOKENS, MIXED_ARMS, most_buffer_tokens

if TYPE_CHECKING:
    import torch

PROCESS_BYTES = 600_000_000
"""What Python and torch take on CPU before any model."""


def estimate(ctx: RunContext) -> dict[str, Any]:
    """Return the buffer, the peak memory and the time of training, each arm's real tokens once an epoch."""
    from iikata.model import base, memory, speed
    from iikata.model.files import code

    device = base.choose_device()
    dtype = base.choose_dtype(ctx.experiment.model.dtype, device)
    config = code.configuration(ctx.model_folder, ctx.trusted)
    lora = ctx.experiment.train.lora
    arms = len(ctx.experiment.arms())
    need = memory.need(config, dtype, arms, lora.r, lora.target_modules)
    count = memory.parameters(config)
    weights = _weight_bytes(ctx, dtype)
    step = math.ceil(max(map(ctx.step_tokens, ctx.encoded), default=0))
    tokens, checkpointed = min(CPU_BUFFER_TOKENS, step), False
    if device.type == "cuda":
        most = most_buffer_tokens(count)
        tokens, checkpointed = need.fit(memory.free_bytes(device) - weights, most)
        tokens = min(tokens, step * (min(arms, MIXED_ARMS) if step < tokens / 2 else 1))
    text = config.get_text_config()
    a_token = speed.seconds_a_token(
        count, text.hidden_size, text.intermediate_size, need.kept, text.num_hidden_layers, tokens, dtype, device
    )
    work = sum(ctx.computed_tokens(name) for name in ctx.encoded)
    seeds, epochs = len(ctx.experiment.train.seeds), ctx.experiment.train.epochs
    return {
        "device": device.type,
        "buffer_tokens": tokens,
        "checkpointed": checkpointed,
        "train_bytes": weights + need.peak(tokens, checkpointed) + (PROCESS_BYTES if device.type == "cpu" else 0),
        "train_seconds": round(work * seeds * epochs * a_token * (4 / 3 if checkpointed else 1), 1),
    }


def _weight_bytes(ctx: RunContext, dtype: "torch.dtype") -> int:
    """Return the bytes of the model's weights as they are loaded."""
    from safetensors import safe_open

    total = 0
    for path in sorted(ctx.model_folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                total += math.prod(file.get_slice(name).get_shape())
    return total * dtype.itemsize
