"""How likely each cell finds given texts: the held-out rows' answers and the probes' references."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.core.errors import IikataError
from iikata.core.records import NOTHING, Arm, Cell, Example, Score
from iikata.metrics import get
from iikata.metrics.choice import with_chance
from iikata.pipeline.context import RunContext
from iikata.pipeline.evaluating import Halving, likelihoods
from iikata.pipeline.events import Progress, Stage, Warned
from iikata.pipeline.executor.messages import Halved, Job, Order, Scored
from iikata.pipeline.gates import reopen
from iikata.pipeline.sharing import shares
from iikata.pipeline.signature import digest
from iikata.pipeline.stages.train import COMPILE_FROM, arm_signature, stopped
from iikata.pipeline.time_left import TimeLeft
from iikata.run_folder import read_object, write_json
from iikata.templates import Shots, Template

if TYPE_CHECKING:
    from iikata.pipeline.executor.crew import Crew
    from iikata.score.choice import Chosen
    from iikata.score.nll import HeldOut, Laid, LaidAs

KEPT_SECONDS = 10
"""Of a killed process's scores at most so much work is lost, and that of one arm."""
Found = dict[str, dict[str, list[Score]]]
"""Metric -> cell -> scores."""

Read = Callable[[RunContext, Cell, "Texts", int], "list[HeldOut] | list[Chosen]"]


@dataclass(frozen=True)
class Texts:
    """Texts whose likelihood is asked for in every cell, and where the scores go."""

    fields: Mapping[str, str]
    """Metric -> its field in score.nll.HeldOut."""
    rows: list[Example]
    clusters: Mapping[str, str]
    """Row -> cluster; a row that is not there is its own."""
    content: str
    """A hash of the rows."""
    sources: Path
    """What each cell's scores follow from."""
    what: str
    name: str
    """As a worker is asked for them."""
    last: bool = False
    """Whether of a conversation the last answer alone counts."""
    choices: bool = False
    """Whether the texts are choices, of which the likeliest is asked for."""
    laid: "dict[LaidAs, Laid]" = field(default_factory=dict)
    """The rows as every cell of a template reads them."""
    encoded: dict[str, Any] = field(default_factory=dict)
    """Template -> the choices as tokens, made when first asked for."""
    packed: dict[tuple[str, int, bool], Any] = field(default_factory=dict)
    """(template, tokens a buffer, whether for the base) -> the choices in buffers, which every arm reads."""


def held_out(ctx: RunContext) -> Texts:
    """Return the held-out rows; the probe is the row's id, and so is the cluster of a row on its own."""
    from iikata.tokenize import writes

    fields = {"nll": "nll", "nll_end": "nll_end"}
    if any(writes(template, ctx.tokenizer) for template in ctx.templates.values()):
        fields["nll_template"] = "nll_template"
    rows, content, where = ctx.data.validation, ctx.signature["data"]["validation"], ctx.store.scored_from
    return Texts(fields, rows, ctx.data.clusters, content, where, "cells' held-out rows", "held_out")


def references(ctx: RunContext) -> Texts:
    """Return every probe with its first reference as the answer; without one the row is empty and scores NaN."""
    rows = [Example(p.id, p.instruction, p.input, "".join(p.references[:1]), before=p.before) for p in ctx.probes]
    clusters = {probe.id: probe.cluster or probe.id for probe in ctx.probes}
    said = ([asdict(row.before)] if row.before != NOTHING else [] for row in rows)
    keyed = ([row.id, *row.texts[:3], clusters[row.id], *of] for row, of in zip(rows, said, strict=True))
    content = digest(list(keyed))
    where, what = ctx.store.references_from, "cells' probe references"
    return Texts({"nll_reference": "nll"}, rows, clusters, content, where, what, "references", last=True)


def choices(ctx: RunContext) -> Texts:
    """Return every probe with its choices as one text; which of them is the likeliest is asked for."""
    rows = [Example(p.id, p.instruction, p.input, "\n".join(p.choices), before=p.before) for p in ctx.probes]
    clusters = {probe.id: probe.cluster or probe.id for probe in ctx.probes}
    content = digest([ctx.signature["probes"], clusters])
    fields = {"choice": "choice", "choice_norm": "choice_norm"}
    return Texts(fields, rows, clusters, content, ctx.store.choices_from, "cells' choices", "choices", choices=True)


def score_likelihood(ctx: RunContext, texts: Texts) -> int:
    """Score the texts in every cell and return how many rows were; cells that follow from the same are kept."""
    arms = [arm for arm in (*ctx.experiment.arms(), *ctx.experiment.bases()) if not stopped(ctx, arm)]
    sources = {cell.name: _source(ctx, cell, texts) for arm in arms for cell in ctx.cells_of(arm)}
    before = read_object(texts.sources)
    kept = {name for name, source in sources.items() if before.get(name) == source}
    have: Found = {name: _by_cell(_kept_scores(ctx, name), kept, texts) for name in texts.fields}
    whole = set.intersection(*(set(found) for found in have.values()))
    # The untuned model's first: cells of every kind are among them, and so the time that is left is soon known.
    arms.sort(key=lambda arm: arm.variant is not None)
    todo = [cell for arm in arms for cell in ctx.cells_of(arm) if cell.name not in whole]
    ctx.emit(Stage("score", len(todo), texts.what))
    done, left, kept_at, time_left = 0, Counter(cell.arm for cell in todo), time.monotonic(), TimeLeft(todo)
    for cell, found in _scored_away(ctx, ctx.crew, texts, todo) if ctx.crew else score_cells(ctx, texts, todo):
        for name, scores in found.items():
            have[name][cell.name] = scores
        done += 1
        left[cell.arm] -= 1
        ctx.emit(Progress("score", done, len(todo), cell.name, left=time_left.after(cell)))
        # The whole file is written each time: after every arm that would go by the square of their number.
        if not left[cell.arm] and time.monotonic() - kept_at > KEPT_SECONDS:
            _keep(ctx, texts, have, sources)
            kept_at = time.monotonic()
    if done:
        _keep(ctx, texts, have, sources)
    return done * len(texts.rows)


def score_cells(ctx: RunContext, texts: Texts, cells: Sequence[Cell]) -> Iterator[tuple[Cell, dict[str, list[Score]]]]:
    """Score the texts in these cells here, by metric; a cell whose arm is not live is left out."""
    if cells:
        size = sum(len(row.instruction) + len(row.input) + len(row.output) for row in texts.rows) * len(cells)
        ctx.base.run_layers(compiled=size >= 4 * COMPILE_FROM)  # some four characters a token
    buffers = Halving(ctx, "score")
    read: Read = _chosen if texts.choices else _rows
    for arm, own in groupby(cells, lambda cell: cell.arm):
        if _speaks(ctx, arm):
            for cell in own:
                yield cell, _scores(ctx, cell, texts, buffers.fitted(partial(read, ctx, cell, texts)))
    ctx.copies.drop()
    ctx.base.graphs.clear()


def _scored_away(
    ctx: RunContext, crew: "Crew", texts: Texts, todo: Sequence[Cell]
) -> Iterator[tuple[Cell, Mapping[str, list[Score]]]]:
    """Let workers do so, each as much."""
    done: set[Cell] = set()

    def order(share: Sequence[Cell]) -> Order:
        left = tuple(cell for cell in share if cell not in done)
        arms = tuple(dict.fromkeys(cell.arm for cell in left))
        return Order(texts.name, arms, ctx.store.read_files(arms), cells=left)

    work = {cell: _length(texts, ctx.prompts.of(cell)) for cell in todo}
    jobs = [Job(f"{len(share)} cells", partial(order, share)) for share in shares(work, crew.size)]
    for _, _, message in crew.work(jobs):
        if isinstance(message, Halved):
            ctx.halved(message.stage, message.to, message.unit)
        elif isinstance(message, Scored):
            done.add(message.cell)
            yield message.cell, message.scores


def _length(texts: Texts, template: Template) -> int:
    """Return about how many characters a cell reads: the rows, and before each its template's examples."""
    examples = template.turns if isinstance(template, Shots) else ()
    shown = sum(len(text) for turn in examples for text in turn)
    return sum(len(row.instruction) + len(row.input) + len(row.output) + shown for row in texts.rows)


def _kept_scores(ctx: RunContext, metric: str) -> list[Score]:
    """Return the scores that are there; of a damaged file none, so that they are made again."""
    try:
        return ctx.store.read_scores(metric)
    except IikataError as error:
        ctx.emit(Warned(f"{error} Scored again."))
        return []


def _speaks(ctx: RunContext, arm: Arm) -> bool:
    return arm.variant is None or reopen(ctx, arm)


def _keep(ctx: RunContext, texts: Texts, have: Found, sources: Mapping[str, str]) -> None:
    # The sources go last: a kill in between makes cells be scored again, never taken for what they are not.
    for name, found in have.items():
        ctx.store.write_scores(name, ctx.told(score for cell in sources for score in found.get(cell, [])))
    write_json(texts.sources, {cell: sources[cell] for cell in sources if all(cell in f for f in have.values())})


def _rows(ctx: RunContext, cell: Cell, texts: Texts, tokens: int) -> "list[HeldOut]":
    return likelihoods(ctx, cell, texts.rows, texts.laid, tokens, texts.last)


def _chosen(ctx: RunContext, cell: Cell, texts: Texts, tokens: int) -> "list[Chosen]":
    from iikata.score import choice

    template = ctx.prompts.of(cell)
    examples = ctx.prompts.prefixes_of(cell) if isinstance(template, Shots) else []
    cutoff = ctx.experiment.train.cutoff_len + max(map(len, examples), default=0)
    # Every cell of a template reads the same tokens; examples are one cell's alone.
    kept = {} if isinstance(template, Shots) else texts.encoded
    if template.hash not in kept:
        kept[template.hash] = list(choice.encode_choices(ctx.probes, template, ctx.tokenizer, cutoff))
    base, arm = ctx.speaker(cell.arm)
    rows, key = kept[template.hash], (template.hash, tokens, base is ctx.base)
    if key not in texts.packed:
        if isinstance(template, Shots) or any(size != tokens for _, size, _ in texts.packed):
            texts.packed.clear()  # halved buffers are not read again
        texts.packed[key] = choice.laid(base, rows, tokens, examples)
    return list(choice.chosen(base, arm, rows, texts.packed[key]))


def _scores(ctx: RunContext, cell: Cell, texts: Texts, rows: "list[HeldOut] | list[Chosen]") -> dict[str, list[Score]]:
    who = (cell.arm.variant, cell.arm.seed, cell.prompted_with)
    scored: dict[str, list[Score]] = {name: [] for name in texts.fields}
    found = {row.id: row for row in rows}
    signatures = {name: get(name).signature for name in texts.fields}
    if texts.choices:
        signatures = {name: with_chance(one, ctx.probes) for name, one in signatures.items()}
    for row in texts.rows:
        where = (*who, row.id, texts.clusters.get(row.id, row.id), 0)
        for name, measured in texts.fields.items():
            value = getattr(found[row.id], measured) if row.id in found else math.nan
            scored[name].append(Score(*where, name, value, signatures[name]))
    return scored


def _by_cell(scores: list[Score], kept: set[str], texts: Texts) -> dict[str, list[Score]]:
    """Return the scores of the cells that are kept and have every row once."""
    found: dict[str, list[Score]] = {}
    for one in scores:
        name = Cell(Arm(one.trained_on, one.seed), one.prompted_with).name
        if name in kept:
            found.setdefault(name, []).append(one)
    rows = [row.id for row in texts.rows]
    return {name: own for name, own in found.items() if [one.probe for one in own] == rows}


def _source(ctx: RunContext, cell: Cell, texts: Texts) -> str:
    return digest([arm_signature(ctx, cell.arm), ctx.prompts.of(cell).hash, texts.content])
