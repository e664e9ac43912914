"""What answering and scoring would take on this machine, in seconds, beside training; reads no weights."""

import math

import torch

from iikata.model import memory
from iikata.model.files import code
from iikata.model.load import choose_dtype
from iikata.pipeline.buffer_plan import CPU_ROWS, GPU_ROWS, SMALL, SMALL_GPU_ROWS
from iikata.pipeline.context import RunContext
from iikata.pipeline.estimate import LAUNCH, bandwidth, products

FORWARD = 0.5
"""Of a training token's time, what one takes that is only read: two products a weight of four."""


def answering(ctx: RunContext, a_token: float, device: torch.device) -> dict[str, float]:
    """Return the seconds of generation and scoring, `a_token` being the seconds of a token in training.

    Every answer is taken to have all of generate.max_new_tokens, so generation may take less.
    """
    cells, settings = ctx.experiment.cells(), ctx.experiment.generate
    answers = len(cells) * len(ctx.sampled) * settings.samples
    prompts = sum(len(ctx.prompts.ids(cell, probe)) for cell in cells for probe in ctx.sampled)
    rows, a_step = _step(ctx, answers, device)
    steps = math.ceil(answers / rows) * settings.max_new_tokens
    trained = [len(row.input_ids) for _, own, _ in ctx.rows_of_arms() for row in own]
    kept = trained or [len(ctx.tokenizer.ids("\n".join(row.texts[:3]))) for row in ctx.data.validation]
    held_out = len(cells) * len(ctx.data.validation) * sum(kept) / max(1, len(kept))
    return {
        "generate_seconds": round(steps * a_step + prompts * a_token * FORWARD, 3),
        "score_seconds": round(held_out * a_token * FORWARD, 3),
    }


def _step(ctx: RunContext, answers: int, device: torch.device) -> tuple[int, float]:
    """Return the rows that are decoded at once, and a step's time: each weight read, and multiplied with each row."""
    dtype = choose_dtype(ctx.experiment.model.dtype, device)
    config = code.configuration(ctx.model_folder, ctx.trusted)
    text, count = config.get_text_config(), memory.parameters(config)
    most = CPU_ROWS if device.type == "cpu" else SMALL_GPU_ROWS if count < SMALL else GPU_ROWS
    rows = max(1, min(answers, most))
    rate = products(rows, text.hidden_size, text.intermediate_size, dtype, device)
    busy = max(2 * count * rows / rate, count * torch.finfo(dtype).bits / 8 / bandwidth(device))
    # A decoding step asks for a third of the kernels of a training step, and a GPU's CUDA graph for all at once.
    return rows, busy if device.type == "cpu" else max(busy, LAUNCH["cuda"] / 20 * text.num_hidden_layers)
