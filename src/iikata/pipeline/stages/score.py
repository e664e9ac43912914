"""Stage score: answers, held-out rows and probe references to numbers."""

from collections.abc import Iterable

from iikata.core.records import Answer, Cell
from iikata.metrics import Context, get
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Warned
from iikata.pipeline.integrity import asked_for
from iikata.pipeline.judge import judge
from iikata.pipeline.likelihood import Asked, choices, held_out, references, score_likelihood
from iikata.pipeline.rating import score_ratings
from iikata.pipeline.signing import declare
from iikata.score import Value, scores_of, values_of
from iikata.score.workers import score_cells, shared


def score(ctx: RunContext) -> dict[str, int]:
    """Write one score file a metric."""
    declare(ctx, scored=True)
    answers = _answers(ctx)
    probes = {probe.id: probe for probe in ctx.probes}
    cells = {cell.prompted_with: cell for cell in ctx.experiment.cells()}
    about = Context(template_literals={name: ctx.prompts.of(cell).template_literals() for name, cell in cells.items()})
    rows = sum(score_likelihood(ctx, asked) for asked in _asked(ctx) if asked.rows)
    metrics = [metric for metric in map(get, ctx.experiment.score.metrics) if metric.scope in ("answer", "group")]
    done = score_cells(shared(metrics), list(answers.values()), probes, about)
    made: Iterable[tuple[Cell, Iterable[Value]]]
    for metric in metrics:
        if done and metric.name in done[0]:
            made = zip(answers, (of[metric.name] for of in done), strict=True)
        else:
            made = ((cell, values_of(metric, given, probes, about)) for cell, given in answers.items())
        ctx.store.write_scores(
            metric.name, ctx.told(s for cell, values in made for s in scores_of(metric, cell, values, probes))
        )
        for remark in metric.remarks():
            ctx.emit(Warned(f"{remark}. Such answers count as not scored; simplify the pattern for another run."))
    every = [answer for given in answers.values() for answer in given]
    judge(ctx, every, probes, about)
    score_ratings(ctx, every, about)
    return {"answers": sum(map(len, answers.values())), "rows": rows}


def _asked(ctx: RunContext) -> list[Asked]:
    """Return the texts that the model must read: the held-out rows, the probes' references, or both."""
    metrics = [metric for metric in map(get, ctx.experiment.score.metrics) if metric.needs_model]
    asked = [held_out(ctx)] if any(metric.on_rows for metric in metrics) else []
    asked += [references(ctx)] if any(metric.scope == "text" and not metric.on_rows for metric in metrics) else []
    return asked + ([choices(ctx)] if any(metric.scope == "choice" for metric in metrics) else [])


def _answers(ctx: RunContext) -> dict[Cell, list[Answer]]:
    return {cell: asked_for(ctx, ctx.store.read_answers(ctx.store.answers(cell))) for cell in ctx.experiment.cells()}
