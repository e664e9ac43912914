"""Stage score: answers, held-out rows and probe references to numbers."""

from iikata.core.records import Answer, Cell
from iikata.metrics import Context, get
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Warned
from iikata.pipeline.integrity import asked_for
from iikata.pipeline.judge import judge
from iikata.pipeline.likelihood import Asked, choices, held_out, references, score_likelihood
from iikata.pipeline.rating import score_ratings
from iikata.pipeline.signing import declare
from iikata.score import score_answers


def score(ctx: RunContext) -> dict[str, int]:
    """Write one score file a metric."""
    declare(ctx, scored=True)
    answers = _answers(ctx)
    probes = {probe.id: probe for probe in ctx.probes}
    cells = {cell.prompted_with: cell for cell in ctx.experiment.cells()}
    about = Context(template_literals={name: ctx.prompts.of(cell).template_literals() for name, cell in cells.items()})
    rows = sum(score_likelihood(ctx, asked) for asked in _asked(ctx) if asked.rows)
    for name in ctx.experiment.score.metrics:
        metric = get(name)
        if metric.scope in ("answer", "group"):
            scores = (s for cell, given in answers.items() for s in score_answers(metric, cell, given, probes, about))
            ctx.store.write_scores(metric.name, ctx.told(scores))
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
