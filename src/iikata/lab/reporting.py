"""Stage report: everything the run holds to one page and its Markdown twin; needs no model."""

import shlex
from typing import Any

from iikata.errors import IikataError
from iikata.experiment import template_name
from iikata.lab.comparing import declared, score_names
from iikata.lab.events import Stage
from iikata.lab.materials import Materials
from iikata.lab.rating import summed
from iikata.metrics import Context
from iikata.records import Answer, plain
from iikata.report import Material, TemplateCard, write
from iikata.report.characters import whole
from iikata.store import read_json, read_lines


def report(lab: Materials) -> dict[str, int]:
    """Write report/index.html and its Markdown twins."""
    lab.tell(Stage("report", 3, "pages"))
    write(material(lab), lab.store.report)
    return {}


def material(lab: Materials) -> Material:
    """Gather what the report shows. Raises IikataError where nothing has been compared yet."""
    store, experiment = lab.store, lab.experiment
    comparisons = read_json(store.comparisons)
    if comparisons is None:
        raise IikataError(f"{store.path}: nothing has been compared yet. First: iikata run EXP.")
    names = score_names(lab)
    if gone := {one["metric"] for one in comparisons["comparisons"]} - set(names):
        raise IikataError(
            f"{store.path}: no scores of {', '.join(sorted(gone))} any more. To make them again: iikata run."
        )
    answers = [a for cell in experiment.cells() for a in store.read_answers(store.answers(cell))]
    return Material(
        name=experiment.name,
        experiment=store.experiment.read_text(encoding="utf-8"),
        signature=lab.signature,
        comparisons=comparisons,
        scores={name: store.read_scores(name) for name in names},
        metrics={name: declared(lab, name) for name in names},
        probes=lab.probes,
        answers=answers,
        templates=_cards(lab),
        steps={arm.name: store.read_steps(arm) for arm in experiment.arms()},
        findings=store.read_findings(),
        gates=store.read_gates(),
        costs=costs(lab),
        counts=read_json(store.counts, {}),
        ratings=_ratings(lab, answers),
        halvings=list(read_lines(store.halvings)),
        command=shlex.join(["iikata", "run", str(store.experiment), "--out", f"{store.path}-again"]),
    )


def costs(lab: Materials) -> list[dict[str, Any]]:
    """Return one line a stage: seconds and tokens of all calls together, the highest peak memory."""
    found: dict[str, dict[str, Any]] = {}
    for line in read_lines(lab.store.timing):
        one = found.setdefault(line["stage"], {"stage": line["stage"], "seconds": 0.0, "tokens": 0, "peak_bytes": 0})
        one["seconds"] = round(one["seconds"] + line["seconds"], 2)
        one["tokens"] += line.get("tokens", 0)
        one["peak_bytes"] = max(one["peak_bytes"], line["peak_bytes"])
    return [{**one, "tokens": one["tokens"] or None} for one in found.values()]


def _ratings(lab: Materials, answers: list[Answer]) -> dict[str, Any] | None:
    """Return what the blind ratings say together; the templates' marks come from the run, which needs no tokenizer."""
    if not lab.store.ratings.is_file():
        return None
    cards = read_json(lab.store.templates, {})
    found = summed(lab, answers, Context(markers={name: tuple(card["markers"]) for name, card in cards.items()}))
    return plain(found) if found else None


def _cards(lab: Materials) -> dict[str, TemplateCard]:
    stored, cards = read_json(lab.store.templates, {}), {}
    # In the experiment's order, from which colours follow; the file's is the alphabet's.
    names = [template_name(spec) for spec in (*lab.experiment.templates, *lab.experiment.prompt_only)]
    for name, card in ((name, stored[name]) for name in names if name in stored):
        first = next(read_lines(lab.store.encoded(name)), None)
        painted = list(whole(zip(first["tokens"], first["completion_mask"], strict=True))) if first else []
        cards[name] = TemplateCard(card["prompt"], card["hash"], painted, card["newline"], card["markers"])
    return cards
