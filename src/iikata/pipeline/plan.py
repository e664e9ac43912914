"""What an experiment will do and what it could find, before anything is trained; loads no weights."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.metrics import get
from iikata.pipeline.context import RunContext
from iikata.pipeline.estimate import estimate
from iikata.pipeline.estimate_answers import answering
from iikata.pipeline.foreseeing import (
    THINGS_JA,
    designs,
    factor_design,
    foresee,
    refuse_undecided,
    tested,
)  # fmt: skip
from iikata.pipeline.stages.check import look_up
from iikata.pipeline.unanswered import unanswered
from iikata.run_folder import RunFolder, read_lines
from iikata.stats import Components, power, variance_components
from iikata.stats.phrases import UNITS_JA, factor_named
from iikata.stats.replicates import NAMES

ASSUMED = {
    "likelihood": Components(seed_template=0.01, probe_template=0.10, sample=0.0, residual=0.03),
    "content": Components(seed_template=0.05, probe_template=0.15, sample=0.40),
    "form": Components(seed_template=0.05, probe_template=0.15, sample=0.40),
}
"""Standard deviations by kind of metric where none are stated: in bits per byte, and in shares of answers.

Of the size seen on small models (seed noise of held-out likelihood near 1% of a bit per byte, of rates near 5 points);
a pilot run on one's own data is the better source.
"""
ASSUMED_FROM = "what small models showed on other data (docs/statistics.md); a finished run of yours says better"
TRAIN_SHARE = 0.5
"""Part of the compute that training takes, where no pilot says it."""


def plan(
    ctx: RunContext, stated: Mapping[str, float], pilot: Path | None = None, price: float | None = None
) -> dict[str, Any]:
    """Return counts, and for the primary metric what these seeds, probes and samples can detect with 80% power.

    `stated` are standard deviations by their names in `Components`; they go before the pilot's, those before the
    assumed ones. `price` is that of an hour of this machine.
    """
    look_up(ctx)
    refuse_undecided(ctx)
    if (fault := next(foresee(ctx), None)) and fault.severity == "error":
        told = fault.told(ctx.language)
        raise IikataError(f"{told['message']}. {told['cure']}")
    work = _work(ctx)
    primary = get(name := ctx.experiment.score.primary)
    components, source = _components(ctx, stated, pilot)
    seeds, probes, levels = tested(ctx)
    samples = 1 if primary.category == "likelihood" else ctx.experiment.generate.samples
    rate, compare = _rates(pilot) if pilot else {}, ctx.experiment.compare
    alpha, share = compare.alpha / compare.looks, _train_share(work, rate)
    found = power(components, seeds, max(1, probes), samples, templates=levels, alpha=alpha, train_share=share)
    guess = estimate(ctx)
    guess |= answering(ctx, guess)
    seconds = {stage: round(work[count] / rate[stage]) for stage, count in _COUNTED.items() if stage in rate}
    hours = sum(seconds.get(part, guess[f"{part}_seconds"]) for part in PARTS) / 3600
    return {
        **work,
        "primary": name,
        "levels": factor_named(factor_design(ctx).factor, "en")[1],
        "unit": primary.unit,
        "span": _finite(primary.span),
        "margin": ctx.experiment.margins.get(name),
        "components": asdict(components),
        "components_from": source,
        "assumed_from": ASSUMED_FROM if source.startswith("assumed") else None,
        "questions": [{**asdict(one), "said": f"{one.asked} {one.said}"} for one in designs(ctx)],
        "unanswered": [one.en for one in unanswered(ctx)],
        "power": {name: _finite(value) for name, value in asdict(found).items()},
        "seconds": seconds,
        "estimate": guess,
        "hours": hours,
        "cost": None if price is None else round(price * hours, 2),
    }


def in_japanese(ctx: RunContext) -> dict[str, Any]:
    """Return what of a plan is words, under the plan's own keys; the plan itself is English, as its JSON is."""
    unit = get(ctx.experiment.score.primary).unit
    return {
        "levels": factor_named(factor_design(ctx).factor, "ja")[1],
        "unit": UNITS_JA.get(unit, unit).strip(),
        "questions": [
            {"said": one.said_ja, "things": THINGS_JA[one.things], "several": NAMES[one.several]["ja"][1]}
            for one in designs(ctx)
        ],
        "unanswered": [one.ja for one in unanswered(ctx)],
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


PARTS = {one: (one,) for one in ("train", "generate", "score")} | {"other": ("check", "encode", "compare", "report")}
"""What a plan tells the seconds of -> the stages that these are spent in."""
_COUNTED = {"train": "train_tokens", "generate": "answers", "score": "held_out_rows"}
"""Stage -> the count that its time follows."""


def _work(ctx: RunContext) -> dict[str, int]:
    """Return how much there is to do."""
    steps, tokens = 0, 0
    for recipe, rows, arms in ctx.rows_of_arms():
        train = recipe.train
        steps += arms * math.ceil(train.epochs * math.ceil(len(rows) / train.batch_size))
        tokens += arms * train.epochs * sum(len(row.input_ids) for row in rows)
    cells = len(ctx.experiment.cells())
    return {
        "variants": len(ctx.experiment.recipes),
        "arms": len(ctx.experiment.arms()),
        "cells": cells,
        "steps": steps,
        "train_tokens": tokens,
        "answers": cells * len(ctx.sampled) * ctx.experiment.generate.samples,
        "held_out_rows": cells * len(ctx.data.validation),
    }


def _components(ctx: RunContext, stated: Mapping[str, float], pilot: Path | None) -> tuple[Components, str]:
    primary = get(ctx.experiment.score.primary)
    if pilot is None:
        found, source = ASSUMED[primary.category], "assumed"
    else:
        scores = RunFolder(pilot).read_scores(primary.name)
        if not scores:
            raise IikataError(f"{pilot}: no scores of {primary.name}, so it cannot be the pilot. Give a finished run.")
        found, source = variance_components(scores, primary.name), f"pilot {pilot}"
    if not all(0 <= value < math.inf for value in stated.values()):
        raise IikataError(f"a standard deviation is a number of 0 or more, saw {dict(stated)}.")
    most = (primary.span or math.inf) / 2
    if primary.bounds and any(value > most for value in stated.values()):
        raise IikataError(
            f"{primary.name} lies between {primary.bounds[0]:g} and {primary.bounds[1]:g}, where no standard deviation "
            f"exceeds {most:g}, saw {dict(stated)}. Shares are fractions of 1: 5 points are 0.05."
        )
    if stated:
        source += f"; stated: {', '.join(stated)}"
    return Components(**{**asdict(found), **stated}), source


def _rates(pilot: Path) -> dict[str, float]:
    """Return tokens, answers or rows a second of the pilot's stages, on the machine it ran on."""
    counted = {"train": "tokens", "generate": "answers", "score": "rows"}
    done: dict[str, list[tuple[float, float]]] = {}
    for line in read_lines(RunFolder(pilot).timing):
        stage, seconds = str(line.get("stage")), line.get("seconds")
        count = line.get(counted.get(stage, ""), 0)
        if isinstance(count, int) and isinstance(seconds, int | float) and count:
            done.setdefault(stage, []).append((count, seconds))
    sums = {stage: [sum(column) for column in zip(*own, strict=True)] for stage, own in done.items()}
    return {stage: count / seconds for stage, (count, seconds) in sums.items() if seconds}


def _train_share(work: Mapping[str, int], rate: Mapping[str, float]) -> float:
    training, answering = (work[_COUNTED[stage]] / rate.get(stage, math.inf) for stage in ("train", "generate"))
    known = {"train", "generate"} <= rate.keys() and training + answering
    return min(0.99, training / (training + answering)) if known else TRAIN_SHARE
