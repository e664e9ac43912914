"""Stage report: everything the run holds to one page and its Markdown twin; needs no model."""

import shlex
import time
from collections.abc import Mapping
from typing import Any

from iikata.config import shown_name, template_name
from iikata.core.errors import IikataError
from iikata.core.records import plain
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Stage, Told
from iikata.pipeline.export import export_command
from iikata.pipeline.integrity import (
    AGAIN,
    gates,
    object_of,
    read_comparisons,
    same_experiment,
    same_probes,
    whole_answers,
    whole_scores,
    whole_steps,
)
from iikata.pipeline.rating import summed
from iikata.pipeline.stages.compare import known_cells, metric_of, score_names
from iikata.report import ReportData, TemplateCard, write
from iikata.run_folder import read_lines


def report(ctx: RunContext) -> dict[str, int]:
    data = report_data(ctx)
    ctx.emit(Stage("report", 3, "pages"))
    write(data, ctx.store.report, lambda text: ctx.emit(Told(text)))
    return {}


def report_data(ctx: RunContext) -> ReportData:
    """Gather what the report shows. Raises IikataError where nothing has been compared yet."""
    store, experiment = ctx.store, ctx.experiment
    same_experiment(ctx)
    same_probes(ctx)
    comparisons = read_comparisons(ctx)
    if comparisons is None:
        raise IikataError(f"{store.path}: nothing has been compared yet. First: iikata run EXP.")
    names = score_names(ctx)
    if gone := {one["metric"] for one in comparisons["comparisons"]} - set(names):
        raise IikataError(
            f"{store.path}: no scores of {', '.join(sorted(gone))} any more. iikata run makes them again."
        )
    proved, scores = gates(ctx), {name: store.scores_once(name) for name in names}
    for name, own in scores.items():
        whole_scores(ctx, name, known_cells(ctx, own), proved)
    if not store.findings.exists():
        raise IikataError(f"{store.findings}: no such file, so what the template doctor found is lost. {AGAIN}")
    trained = [recipe.data for recipe in experiment.recipes.values() if not recipe.adapters]
    answers = whole_answers(ctx, proved)
    steps = {arm.name: whole_steps(ctx, arm) for arm in experiment.arms()}
    counts = object_of(store.counts, {"data": dict, "templates": dict})
    tokens = {
        "encode": sum(one["tokens"] for one in counts["templates"].values()),
        "train": sum(step.tokens for own in steps.values() for step in own),
        "generate": sum(answer.tokens for answer in answers),
    }
    return ReportData(
        name=experiment.name,
        model=shown_name(experiment.model.base, experiment.folder, "model"),
        data=list(dict.fromkeys(shown_name(spec, experiment.folder, "data") for specs in trained for spec in specs)),
        settings=experiment.resolved(),
        experiment=store.experiment.read_text(encoding="utf-8"),
        signature={key: value for key, value in ctx.signature.items() if key not in ("declared", "scored")},
        declared=_declared(ctx),
        comparisons=comparisons,
        scores=scores,
        metrics={name: metric_of(ctx, name) for name in names},
        probes=ctx.sampled,
        answers=answers,
        templates=_cards(ctx),
        steps=steps,
        findings=store.read_findings(),
        gates=proved,
        costs=costs(ctx, tokens),
        counts=counts,
        ratings=plain(ratings) if (ratings := summed(ctx, answers)) else None,
        halvings=list(read_lines(store.halvings)),
        devices=_devices(ctx),
        evaluations={arm.name: store.read_evaluations(arm) for arm in experiment.arms()},
        variants={name: recipe.variant for name, recipe in experiment.recipes.items()},
        export=export_command(ctx, comparisons["verdict"]),
        command=shlex.join(["iikata", "run", str(store.experiment), "--out", f"{store.path}-again"]),
    )


def costs(ctx: RunContext, tokens: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return one line a stage: all processes' seconds, the tokens that lie there, the highest peak memory."""
    notes: dict[tuple[str, Any], dict[str, Any]] = {}
    for number, line in enumerate(read_lines(ctx.store.timing), 1):
        if not isinstance(line.get("stage"), str) or not all(map(_is_number, map(line.get, ("seconds", "peak_bytes")))):
            raise IikataError(f"{ctx.store.timing}:{number}: no time of a stage. Delete the line; it is only shown.")
        notes[line["stage"], str(line.get("begun", number))] = line  # a later one holds the earlier ones' seconds
    return [
        {
            "stage": stage,
            "seconds": round(sum(line["seconds"] for line in own), 2),
            "tokens": tokens.get(stage) or None,
            "peak_bytes": max(line["peak_bytes"] for line in own) or None,
        }
        for stage in dict.fromkeys(stage for stage, _ in notes)
        for own in [[line for (of, _), line in notes.items() if of == stage]]
    ]


def _devices(ctx: RunContext) -> dict[str, list[str]]:
    """Return which device trained which arms; an arm that went on elsewhere stands at both."""
    found: dict[str, list[str]] = {}
    for line in read_lines(ctx.store.devices):
        if line.get("stage") == "train":
            own = found.setdefault(f"{line.get('place')} ({line.get('device')})", [])
            own += [name for name in line.get("arms", ()) if name not in own]
    return found


def _declared(ctx: RunContext) -> dict[str, Any]:
    first = ctx.signature["declared"][0]
    begun = next((line["begun"] for line in read_lines(ctx.store.timing) if _is_number(line.get("begun"))), None)
    at = "" if begun is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begun))
    return {"at": first.get("at", at), "after_scores": first["after_scores"]}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _cards(ctx: RunContext) -> dict[str, TemplateCard]:
    # In the experiment's order, from which colours follow; the file's is the alphabet's.
    trained = [template_name(spec) for spec in ctx.experiment.trained_templates]
    stored, cards = object_of(ctx.store.templates, dict.fromkeys(ctx.specs, dict)), {}
    for name in ctx.specs:
        card = stored[name]
        if not {"prompt", "hash", "newline", "markers", "stops"} <= card.keys():
            raise IikataError(f"{ctx.store.templates}: template {name} is not whole. Delete the file; {AGAIN}")
        shown = ctx.experiment.trains or ctx.experiment.holds_out
        painted = _painted(ctx, name) if shown and name in trained else []
        known = [card[key] for key in ("newline", "markers", "stops")]
        cards[name] = TemplateCard(card["prompt"], card["hash"], painted, *known)
    return cards


def _painted(ctx: RunContext, template: str) -> list[tuple[str, bool]]:
    path = ctx.store.encoded(template)
    first = next(read_lines(path), {})
    pieces = first.get("pieces")
    if not isinstance(pieces, list) or not pieces or not all(isinstance(one, list) and len(one) == 2 for one in pieces):
        raise IikataError(f"{path}: no encoded row to show. Delete the file; {AGAIN}")
    return [(str(text), bool(counted)) for text, counted in pieces]
