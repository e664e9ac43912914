"""Stage score: answers and held-out rows to numbers."""

from iikata.lab.events import Progress, Stage
from iikata.lab.gating import reopen
from iikata.lab.materials import Materials
from iikata.lab.signature import digest
from iikata.lab.training import arm_signature, stopped
from iikata.metrics import Context, get
from iikata.records import Answer, Arm, Cell, Score
from iikata.score import score_answers
from iikata.store import read_json, write_json

LIKELIHOOD = ("nll", "nll_end")


def score(lab: Materials) -> dict[str, int]:
    """Write one score file a metric."""
    answers = _answers(lab)
    probes = {probe.id: probe for probe in lab.probes}
    about = Context(markers={name: template.markers() for name, template in lab.templates.items()})
    rows = 0
    if "nll" in lab.experiment.score.metrics and lab.data.validation:
        rows = _score_held_out(lab)
    for name in lab.experiment.score.metrics:
        metric = get(name)
        if not getattr(metric, "likelihood", False):
            scores = (s for cell, given in answers.items() for s in score_answers(metric, cell, given, probes, about))
            lab.store.write_scores(metric.name, scores)
    return {"answers": sum(map(len, answers.values())), "rows": rows}


def _answers(lab: Materials) -> dict[Cell, list[Answer]]:
    wanted = lab.experiment.generate.samples
    return {
        cell: [a for a in lab.store.read_answers(lab.store.answers(cell)) if a.sample < wanted]
        for cell in lab.experiment.cells()
    }


def _who(cell: Cell) -> tuple[str | None, int | None, str]:
    return cell.arm.template, cell.arm.seed, cell.prompted_with


def _score_held_out(lab: Materials) -> int:
    """Score the held-out rows in every cell; cells whose weights, template and rows are as before are kept."""
    arms = [arm for arm in (*lab.experiment.arms(), Arm()) if not stopped(lab, arm)]
    sources = {cell.name: _source(lab, cell) for arm in arms for cell in lab.cells_of(arm)}
    before = read_json(lab.store.scored_from, {})
    kept = {name for name, source in sources.items() if before.get(name) == source}
    have = {name: _by_cell(lab.store.read_scores(name), kept) for name in LIKELIHOOD}
    todo = [cell for arm in arms for cell in lab.cells_of(arm) if cell.name not in have["nll"].keys() & have["nll_end"]]
    lab.tell(Stage("score", len(todo), "cells' held-out rows"))
    done = 0
    for arm in arms:
        cells = [cell for cell in todo if cell.arm == arm]
        if not cells or not _speaks(lab, arm):
            continue
        for cell in cells:
            have["nll"][cell.name], have["nll_end"][cell.name] = _held_out(lab, cell)
            done += 1
            lab.tell(Progress("score", done, len(todo), cell.name))
        _keep(lab, have, sources)
    return done * len(lab.data.validation)


def _speaks(lab: Materials, arm: Arm) -> bool:
    return arm.template is None or reopen(lab, arm)


def _keep(lab: Materials, have: dict[str, dict[str, list[Score]]], sources: dict[str, str]) -> None:
    # The sources go last: a kill in between makes cells be scored again, never taken for what they are not.
    for name in LIKELIHOOD:
        lab.store.write_scores(name, (s for cell in sources if cell in have[name] for s in have[name][cell]))
    write_json(lab.store.scored_from, {cell: sources[cell] for cell in sources if cell in have["nll"]})


def _held_out(lab: Materials, cell: Cell) -> tuple[list[Score], list[Score]]:
    from iikata.score.nll import held_out_nll

    scored: tuple[list[Score], list[Score]] = ([], [])
    rows = held_out_nll(
        lab.base,
        cell.arm.name if cell.arm.template else None,
        lab.data.validation,
        lab.templates[cell.prompted_with],
        lab.tokenizer,
        lab.prefixes[cell.prompted_with],
        lab.experiment.train.cutoff_len,
        lab.shapes["buffer_tokens"],
    )
    for row in rows:
        for scores, name, value in zip(scored, LIKELIHOOD, (row.nll, row.nll_end), strict=True):
            scores.append(Score(*_who(cell), row.id, row.id, 0, name, value, get(name).signature))
    return scored


def _by_cell(scores: list[Score], kept: set[str]) -> dict[str, list[Score]]:
    found: dict[str, list[Score]] = {}
    for one in scores:
        name = Cell(Arm(one.trained_on, one.seed), one.prompted_with).name
        if name in kept:
            found.setdefault(name, []).append(one)
    return found


def _source(lab: Materials, cell: Cell) -> str:
    prompted = lab.templates[cell.prompted_with].hash
    return digest([arm_signature(lab, cell.arm), prompted, lab.signature["data"]["validation"]])
