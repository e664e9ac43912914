"""What a finished run must hold before anything is concluded from it or shown: no part of it may be missing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.records import Answer, Arm, Comparison, Gate, Score, TrainStep
from iikata.metrics import HELD_OUT, RATED, get
from iikata.metrics.judge import Judge
from iikata.pipeline.context import RunContext
from iikata.pipeline.signature import FREE, probe_hashes, settled
from iikata.run_folder import read_json
from iikata.score import of_probes
from iikata.stats.short import SAID

CELL = attrgetter("trained_on", "seed", "prompted_with")
AGAIN = "iikata run makes it again."
CURES = {
    "train": "Put back the experiment's file and give that",
    "generate": "To have the answers made again under these settings, or under others",
}


def same_experiment(ctx: RunContext) -> None:
    """Raise IikataError where the run was trained or answered under other settings than experiment.yaml says."""
    now, stored = ctx.experiment.resolved(), ctx.signature
    for part in FREE:
        if settled(part, now[part]) != stored.get(part):
            raise IikataError(
                f"{ctx.store.experiment}: {part} is not what the run was made with, as {ctx.store.signature} tells "
                f"(damaged or edited). {CURES[part]}: iikata run EXP --out {ctx.store.path}"
            )


def gates(ctx: RunContext) -> list[Gate]:
    """Return the run's gates. Raises IikataError where an arm has none: without them a dead one would be believed."""
    found = ctx.store.read_gates()
    looked_at = {gate.subject for gate in found if gate.name == "sound_training"}
    for arm in ctx.experiment.arms():
        if arm.name not in looked_at:
            raise IikataError(f"{ctx.store.gates}: no gates of arm {arm.name}, so it cannot be believed. {AGAIN}")
    return found


def whole_scores(ctx: RunContext, metric: str, scores: Sequence[Score], found: Sequence[Gate]) -> None:
    """Raise IikataError where a cell has fewer scores than another, or none though its arm is sound."""
    if metric in RATED or metric == Judge.name or (not scores and nothing_to_score(ctx, metric)):
        return
    counts = Counter(map(CELL, scores))
    failed = {gate.subject for gate in found if not gate.passed}
    most = max(counts.values(), default=0)
    for cell in ctx.experiment.cells():
        seen = counts[cell.arm.variant, cell.arm.seed, cell.prompted_with]
        if seen < max(most, 1) and (seen or cell.arm.name not in failed):
            raise IikataError(
                f"{ctx.store.scores(metric)}: {seen} scores of {cell.name}, where other cells have {most}. "
                "Delete the file; iikata run makes it again."
            )


def missing_scores(ctx: RunContext, there: Sequence[str]) -> str:
    """Return the first metric of the experiment whose file is not there though it has something to score."""
    asked = (get(name).name for name in ctx.experiment.score.metrics)
    return next((name for name in asked if name not in (*there, *RATED) and not nothing_to_score(ctx, name)), "")


def nothing_to_score(ctx: RunContext, metric: str) -> bool:
    return not ctx.experiment.holds_out if metric in HELD_OUT else ctx.experiment.probes is None


def whole_answers(ctx: RunContext, found: Sequence[Gate]) -> list[Answer]:
    """Return all answers of the run. Raises IikataError where a cell of a sound arm lacks one."""
    failed = {gate.subject for gate in found if not gate.passed}
    wanted = len(ctx.sampled) * ctx.experiment.generate.samples
    every = []
    for cell in ctx.experiment.cells():
        path = ctx.store.answers(cell)
        answers = asked_for(ctx, ctx.store.read_answers(path))
        have = len({(answer.probe, answer.sample) for answer in answers})
        if have < wanted and (have or cell.arm.name not in failed):
            raise IikataError(f"{path}: {have} of {wanted} answers. iikata run makes the others.")
        every += answers
    return every


def asked_for(ctx: RunContext, answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers that the experiment asks for."""
    return of_probes(answers, {probe.id for probe in ctx.probes}, ctx.experiment.generate.samples)


def same_probes(ctx: RunContext) -> None:
    """Raise IikataError where the probes are not those that were answered."""
    stored, now = ctx.signature["probes"], probe_hashes(ctx.probes)
    if changed := [id for id in dict.fromkeys((*stored, *now)) if stored.get(id) != now.get(id)]:
        names = ", ".join(changed[:8])
        raise IikataError(
            f"{ctx.experiment.probes}: other probes than the run answered ({names}). "
            f"To have them answered: iikata run EXP --out {ctx.store.path}"
        )


def whole_steps(ctx: RunContext, arm: Arm) -> list[TrainStep]:
    """Return the arm's steps. Raises IikataError where there are not as many as were made."""
    path = ctx.store.arm(arm) / "DONE"
    done = read_json(path)
    if not isinstance(done, dict) or type(done.get("steps")) is not int:
        raise IikataError(f"{path}: this does not say how the arm ended. {AGAIN}")
    steps = ctx.store.read_steps(arm)
    if len(steps) != done["steps"]:
        raise IikataError(
            f"{ctx.store.steps(arm)}: {len(steps)} steps, where {done['steps']} were made. "
            f"Delete {ctx.store.arm(arm)}; iikata run trains the arm again."
        )
    return steps


def read_comparisons(ctx: RunContext) -> dict[str, Any] | None:
    """Return comparisons.json, None where nothing has been compared. Raises IikataError where a part is missing."""
    path = ctx.store.comparisons
    if not path.exists():
        return None
    found = object_of(path, {"comparisons": list, "verdict": dict, "left_out": dict, "warnings": list, "cells": list})
    names = {field.name for field in fields(Comparison)}
    odd = [n for n, one in enumerate(found["comparisons"], 1) if not isinstance(one, dict) or set(one) != names]
    if odd or not found["verdict"].keys() >= SAID:
        what = f"comparison {odd[0]}" if odd else "the verdict"
        raise IikataError(f"{path}: {what} is not whole. iikata compare makes it again.")
    return found


def object_of(path: Path, wanted: dict[str, type]) -> dict[str, Any]:
    """Return a JSON object that has these keys of these types."""
    found = read_json(path)
    for key, kind in wanted.items():
        if not isinstance(found, dict) or not isinstance(found.get(key), kind):
            raise IikataError(f'{path}: no "{key}" that could be used. Delete the file; {AGAIN}')
    return dict(found)
