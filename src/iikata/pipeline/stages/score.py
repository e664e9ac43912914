"""Stage score: answers, held-out rows and probe references to numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.records import Answer, Cell, Probe, Score
from iikata.metrics import Context, Metric, get
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Warned
from iikata.pipeline.integrity import asked_for
from iikata.pipeline.judge import judge
from iikata.pipeline.likelihood import Texts, choices, held_out, references, score_likelihood
from iikata.pipeline.rating import score_ratings
from iikata.pipeline.signing import declare
from iikata.score import lines_of, values_of
from iikata.score.workers import scoring, shared


def score(ctx: RunContext) -> dict[str, int]:
    """Write one score file a metric."""
    declare(ctx, scored=True)
    answers = _answers(ctx)
    probes = {probe.id: probe for probe in ctx.probes}
    cells = {cell.prompted_with: cell for cell in ctx.experiment.cells()}
    about = Context(template_literals={name: ctx.prompts.of(cell).template_literals() for name, cell in cells.items()})
    forms = {cell: _form(ctx, cell) for cell in answers}
    metrics = [metric for metric in map(get, ctx.experiment.score.metrics) if metric.scope in ("answer", "group")]
    with scoring(shared(metrics), [(forms[cell], given) for cell, given in answers.items()], probes, about) as told:
        rows = sum(score_likelihood(ctx, asked) for asked in _asked(ctx) if asked.rows)
        done = told()
    for metric in metrics:
        if done and metric.name in done[0]:
            lines: Iterable[str] = (cell[metric.name] for cell in done)
        else:
            lines = (
                line
                for cell, given in answers.items()
                for line in lines_of(metric, forms[cell], values_of(_Checked(metric), given, probes, about), probes)
            )
        ctx.store.write_score_lines(metric.name, lines)
        for remark in metric.remarks():
            ctx.emit(Warned(f"{remark}. Such answers count as not scored; simplify the pattern for another run."))
    every = [answer for given in answers.values() for answer in given]
    judge(ctx, every, probes, about)
    score_ratings(ctx, every, about)
    return {"answers": sum(map(len, answers.values())), "rows": rows}


class _Checked(Metric):
    """A metric, perhaps somebody else's, whose values must be numbers."""

    def __init__(self, metric: Metric) -> None:
        self.metric, self.scope = metric, metric.scope

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        return self._number(self.metric(answer, probe, context), probe)

    def score_group(self, answers: Sequence[Answer], probe: Probe, context: Context) -> float:
        return self._number(self.metric.score_group(answers, probe, context), probe)

    def _number(self, value: Any, probe: Probe) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            whose = f"{type(self.metric).__name__} of {type(self.metric).__module__}"
            raise IikataError(
                f'metric "{self.metric.name}" ({whose}) gave {value!r:.100} for an answer to the probe "{probe.id}". '
                "It must give a number; NaN where the answer cannot be scored."
            ) from None


def _form(ctx: RunContext, cell: Cell) -> Score:
    """Return a score of the cell that says nothing yet."""
    (form,) = ctx.told([Score(cell.arm.variant, cell.arm.seed, cell.prompted_with, "", "", 0, "", 0.0, "")])
    return form


def _asked(ctx: RunContext) -> list[Texts]:
    """Return the texts that the model must read: the held-out rows, the probes' references, or both."""
    metrics = [metric for metric in map(get, ctx.experiment.score.metrics) if metric.needs_model]
    asked = [held_out(ctx)] if any(metric.on_rows for metric in metrics) else []
    asked += [references(ctx)] if any(metric.scope == "text" and not metric.on_rows for metric in metrics) else []
    return asked + ([choices(ctx)] if any(metric.scope == "choice" for metric in metrics) else [])


def _answers(ctx: RunContext) -> dict[Cell, list[Answer]]:
    return {cell: asked_for(ctx, ctx.store.read_answers(ctx.store.answers(cell))) for cell in ctx.experiment.cells()}
