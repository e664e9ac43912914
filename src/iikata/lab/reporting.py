"""Stage report: everything the run holds to one page and its Markdown twin; needs no model."""

import shlex
import time
from collections.abc import Mapping
from typing import Any

from iikata.errors import IikataError
from iikata.experiment import template_name
from iikata.lab.comparing import declared, known_cells, score_names
from iikata.lab.events import Stage
from iikata.lab.materials import Materials
from iikata.lab.rating import summed
from iikata.lab.whole import (
    ANEW,
    gates,
    object_of,
    read_comparisons,
    same_experiment,
    same_probes,
    whole_answers,
    whole_scores,
    whole_steps,
)
from iikata.metrics import Context
from iikata.records import Answer, plain
from iikata.report import Material, TemplateCard, write
from iikata.store import read_json, read_lines


def report(lab: Materials) -> dict[str, int]:
    """Write report/index.html and its Markdown twins."""
    lab.tell(Stage("report", 3, "pages"))
    write(material(lab), lab.store.report)
    return {}


def material(lab: Materials) -> Material:
    """Gather what the report shows. Raises IikataError where nothing has been compared yet."""
    store, experiment = lab.store, lab.experiment
    same_experiment(lab)
    same_probes(lab)
    comparisons = read_comparisons(lab)
    if comparisons is None:
        raise IikataError(f"{store.path}: nothing has been compared yet. First: iikata run EXP.")
    names = score_names(lab)
    if gone := {one["metric"] for one in comparisons["comparisons"]} - set(names):
        raise IikataError(
            f"{store.path}: no scores of {', '.join(sorted(gone))} any more. To make them again: iikata run."
        )
    proved, scores = gates(lab), {name: store.read_scores(name) for name in names}
    for name, own in scores.items():
        whole_scores(lab, name, known_cells(lab, own), proved)
    if not store.findings.exists():
        raise IikataError(f"{store.findings}: no such file, so what the template doctor found is lost. {ANEW}")
    answers = whole_answers(lab, proved)
    steps = {arm.name: whole_steps(lab, arm) for arm in experiment.arms()}
    counts = object_of(store.counts, {"data": dict, "templates": dict})
    tokens = {
        "encode": sum(one["tokens"] for one in counts["templates"].values()),
        "train": sum(step.tokens for own in steps.values() for step in own),
        "generate": sum(answer.tokens for answer in answers),
    }
    return Material(
        name=experiment.name,
        experiment=store.experiment.read_text(encoding="utf-8"),
        signature={key: value for key, value in lab.signature.items() if key not in ("declared", "scored")},
        declared=_declared(lab),
        comparisons=comparisons,
        scores=scores,
        metrics={name: declared(lab, name) for name in names},
        probes=lab.probes,
        answers=answers,
        templates=_cards(lab),
        steps=steps,
        findings=store.read_findings(),
        gates=proved,
        costs=costs(lab, tokens),
        counts=counts,
        ratings=_ratings(lab, answers),
        halvings=list(read_lines(store.halvings)),
        command=shlex.join(["iikata", "run", str(store.experiment), "--out", f"{store.path}-again"]),
    )


def costs(lab: Materials, tokens: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return one line a stage: all processes' seconds, the tokens that lie there, the highest peak memory."""
    notes: dict[tuple[str, Any], dict[str, Any]] = {}
    for number, line in enumerate(read_lines(lab.store.timing), 1):
        if not isinstance(line.get("stage"), str) or not all(map(_is_number, map(line.get, ("seconds", "peak_bytes")))):
            raise IikataError(f"{lab.store.timing}:{number}: no time of a stage. Delete the line; it is only shown.")
        notes[line["stage"], str(line.get("begun", number))] = line  # a later one holds the earlier ones' seconds
    return [
        {
            "stage": stage,
            "seconds": round(sum(line["seconds"] for line in own), 2),
            "tokens": tokens.get(stage) or None,
            "peak_bytes": max(line["peak_bytes"] for line in own),
        }
        for stage in dict.fromkeys(stage for stage, _ in notes)
        for own in [[line for (of, _), line in notes.items() if of == stage]]
    ]


def _declared(lab: Materials) -> dict[str, Any] | None:
    first = next(iter(lab.signature.get("declared", ())), None)
    if first is None:  # a run of an earlier version, not compared since
        return None
    begun = next((line["begun"] for line in read_lines(lab.store.timing) if _is_number(line.get("begun"))), None)
    at = "" if begun is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begun))
    return {"at": first.get("at", at), "after_scores": first["after_scores"]}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _ratings(lab: Materials, answers: list[Answer]) -> dict[str, Any] | None:
    """Return what the blind ratings say together; the templates' marks come from the run, which needs no tokenizer."""
    if not lab.store.ratings.is_file():
        return None
    cards = read_json(lab.store.templates, {})
    found = summed(lab, answers, Context(markers={name: tuple(card["markers"]) for name, card in cards.items()}))
    return plain(found) if found else None


def _cards(lab: Materials) -> dict[str, TemplateCard]:
    # In the experiment's order, from which colours follow; the file's is the alphabet's.
    trained = [template_name(spec) for spec in lab.experiment.templates]
    names = [*trained, *(template_name(spec) for spec in lab.experiment.prompt_only)]
    stored, cards = object_of(lab.store.templates, dict.fromkeys(names, dict)), {}
    for name in names:
        card = stored[name]
        if not {"prompt", "hash", "newline", "markers", "stops"} <= card.keys():
            raise IikataError(f"{lab.store.templates}: template {name} is not whole. Delete the file; {ANEW}")
        painted = _painted(lab, name) if name in trained else []
        known = [card[key] for key in ("newline", "markers", "stops")]
        cards[name] = TemplateCard(card["prompt"], card["hash"], painted, *known)
    return cards


def _painted(lab: Materials, template: str) -> list[tuple[str, bool]]:
    path = lab.store.encoded(template)
    first = next(read_lines(path), {})
    pieces = first.get("pieces")
    if not isinstance(pieces, list) or not pieces or not all(isinstance(one, list) and len(one) == 2 for one in pieces):
        raise IikataError(f"{path}: no encoded row to show. Delete the file; {ANEW}")
    return [(str(text), bool(counted)) for text, counted in pieces]
