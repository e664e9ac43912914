"""Stage score: answers, held-out rows and probe references to numbers."""

from iikata.core.records import Answer, Cell, Score
from iikata.metrics import Context, get
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Warned
from iikata.pipeline.integrity import asked_for
from iikata.pipeline.judge import judge
from iikata.pipeline.likelihood import Texts, choices, held_out, references, score_likelihood
from iikata.pipeline.rating import score_ratings
from iikata.pipeline.signing import declare
from iikata.score.workers import CellFile, scoring, unpacked


def score(ctx: RunContext) -> dict[str, int]:
    """Write one score file a metric."""
    declare(ctx, scored=True)
    probes = {probe.id: probe for probe in ctx.probes}
    cells = {cell.prompted_with: cell for cell in ctx.experiment.cells()}
    about = Context(template_literals={name: ctx.prompts.of(cell).template_literals() for name, cell in cells.items()})
    metrics = [metric for metric in map(get, ctx.experiment.score.metrics) if metric.scope in ("answer", "group")]
    files = [_file(ctx, cell) for cell in ctx.experiment.cells()]
    count = sum(len(_answers(ctx, cell)) for cell in ctx.experiment.cells())  # a damaged file is told before any work
    with scoring(metrics, files, count, probes, about) as told:
        rows = sum(score_likelihood(ctx, asked) for asked in _asked(ctx) if asked.rows)
        done = list(told())
    for metric in metrics:
        ctx.store.write_score_lines(metric.name, (unpacked(cell[metric.name]) for cell in done))
        for remark in metric.remarks():
            ctx.emit(Warned(f"{remark}. Such answers count as not scored; simplify the pattern for another run."))
    # A judge and raters look at answers beside others; without them a million need not be in memory.
    beside = ctx.experiment.score.judge or ctx.store.ratings.is_file()
    every = [answer for cell in ctx.experiment.cells() for answer in _answers(ctx, cell)] if beside else []
    judge(ctx, every, probes, about)
    score_ratings(ctx, every, about)
    return {"answers": count, "rows": rows}


def _file(ctx: RunContext, cell: Cell) -> CellFile:
    (form,) = ctx.told([Score(cell.arm.variant, cell.arm.seed, cell.prompted_with, "", "", 0, "", 0.0, "")])
    return CellFile(form, ctx.store.answers(cell).absolute(), ctx.experiment.generate.samples)


def _asked(ctx: RunContext) -> list[Texts]:
    """Return the texts that the model must read: the held-out rows, the probes' references, or both."""
    metrics = [metric for metric in map(get, ctx.experiment.score.metrics) if metric.needs_model]
    asked = [held_out(ctx)] if any(metric.on_rows for metric in metrics) else []
    asked += [references(ctx)] if any(metric.scope == "text" and not metric.on_rows for metric in metrics) else []
    return asked + ([choices(ctx)] if any(metric.scope == "choice" for metric in metrics) else [])


def _answers(ctx: RunContext, cell: Cell) -> list[Answer]:
    return asked_for(ctx, ctx.store.read_answers(ctx.store.answers(cell)))
