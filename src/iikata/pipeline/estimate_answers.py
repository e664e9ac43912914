"""What answering and scoring would take on this machine, in seconds, beside training; reads no weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from iikata.metrics import CHOICE
from iikata.model import memory
from iikata.model.files import code
from iikata.model.load import choose_dtype
from iikata.pipeline.buffer_plan import CPU_ROWS, GPU_ROWS, SMALL, SMALL_GPU_ROWS
from iikata.pipeline.context import RunContext
from iikata.pipeline.estimate import FORWARD, LAUNCH, bandwidth, products, row_tokens
from iikata.pipeline.opening import weight_bytes

GATE_READS = 10
"""How often a prompt is read to prove an adapter live."""
OTHER = {"cpu": 6.0, "cuda": 40.0}
"""Seconds of Python's start, check, encoding, comparing and report in a small run; a GPU's kernels are compiled too."""
LOADED = 1e9
"""Bytes of weights a second, as a disk gives them."""


def answering(ctx: RunContext, guess: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of generation, scoring and all else but training; `guess` is what `estimate` returns.

    Every answer is taken to have all of generate.max_new_tokens, so generation may take less.
    """
    device, read = torch.device(guess["device"]), guess["token_seconds"] * FORWARD
    cells, settings = ctx.experiment.cells(), ctx.experiment.generate
    answers = len(cells) * len(ctx.sampled) * settings.samples
    prompts = sum(len(ctx.prompts.ids(cell, probe)) for cell in cells for probe in ctx.sampled)
    rows, a_step, a_call = _step(ctx, answers, device)
    steps = math.ceil(answers / rows) * settings.max_new_tokens
    proofs = len(ctx.experiment.arms()) * GATE_READS * (ctx.longest_prompt * read + a_call)
    dtype = choose_dtype(ctx.experiment.model.dtype, device)
    return {
        "generate_seconds": round(steps * a_step + prompts * read + proofs, 3),
        "score_seconds": round((_held_out(ctx) + _of_probes(ctx)) * read, 3),
        "other_seconds": round(OTHER[device.type] + weight_bytes(ctx.model_folder, dtype) / LOADED, 3),
    }


def _held_out(ctx: RunContext) -> float:
    """Return the tokens of all cells' held-out rows, taken to be as long as those that are trained on."""
    trained = [row_tokens(ctx, recipe, own) for recipe, own, _ in ctx.rows_of_arms()]
    kept = trained or [len(ctx.tokenizer.ids("\n".join(row.texts[:3]))) for row in ctx.data.validation]
    return len(ctx.experiment.cells()) * len(ctx.data.validation) * sum(kept) / max(1, len(kept))


def _of_probes(ctx: RunContext) -> float:
    """Return the tokens of choices and references that are read in all cells, each behind its prompt."""
    names, ids = ctx.experiment.score.names, ctx.tokenizer.ids
    choosing, referring = bool({*CHOICE} & {*names}), "nll_reference" in names
    read = {one: [*one.choices * choosing, *one.references[:1] * referring] for one in ctx.probes}
    asked = [(probe, sum(len(ids(text)) for text in texts)) for probe, texts in read.items() if texts]
    return sum(len(ctx.prompts.ids(cell, probe)) + more for cell in ctx.experiment.cells() for probe, more in asked)


def _step(ctx: RunContext, answers: int, device: torch.device) -> tuple[int, float, float]:
    """Return the rows that are decoded at once, a step's time, and that of asking for its kernels alone.

    In a step each weight is read, and multiplied with each row.
    """
    dtype = choose_dtype(ctx.experiment.model.dtype, device)
    config = code.configuration(ctx.model_folder, ctx.trusted)
    text, count = config.get_text_config(), memory.parameters(config)
    most = CPU_ROWS if device.type == "cpu" else SMALL_GPU_ROWS if count < SMALL else GPU_ROWS
    rows = max(1, min(answers, most))
    rate = products(rows, text.hidden_size, text.intermediate_size, dtype, device)
    busy = max(2 * count * rows / rate, count * torch.finfo(dtype).bits / 8 / bandwidth(device))
    # Reading asks for half of the kernels of a training step; a GPU's CUDA graph asks for a decoding step's at once.
    asking = LAUNCH[device.type] / 2 * text.num_hidden_layers
    return rows, busy + asking if device.type == "cpu" else max(busy, asking / 10), asking
