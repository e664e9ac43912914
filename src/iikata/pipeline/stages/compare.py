"""Stage compare: score files and gates to comparisons and a verdict; needs no model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.records import Gate, Score
from iikata.metrics import HELD_OUT, RATED, Metric, get
from iikata.metrics.judge import Judge
from iikata.pipeline import declaring, looks
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Stage, Warned
from iikata.pipeline.integrity import CELL, gates, missing_scores, nothing_to_score, same_experiment, whole_scores
from iikata.pipeline.judge import judge_of
from iikata.pipeline.rating import averaged
from iikata.pipeline.signing import declare
from iikata.run_folder import read_object, write_json
from iikata.stats import Result


def compare(ctx: RunContext) -> dict[str, int]:
    """Write comparisons.json."""
    result = comparisons(ctx)
    ctx.emit(Stage("compare", len(result.comparisons), "comparisons"))
    for warning in result.warnings:
        ctx.emit(Warned(warning))
    write_json(ctx.store.comparisons, result.to_json())
    return {"comparisons": len(result.comparisons), "look": result.verdict["looks"]["this"]}


def comparisons(ctx: RunContext) -> Result:
    """Return all comparisons of the run's scores. Raises IikataError where there are no scores yet."""
    same_experiment(ctx)
    names, history, scores = score_names(ctx), declare(ctx), _Scores(ctx)
    first, now = history[0], declaring.declaration(ctx.experiment, ctx.signature)
    result = scores.compared(names, now)
    if first["after_scores"]:
        result = declaring.late(result)
    if changed := list(declaring.changes(first, now)):
        result = declaring.shown(result, _first(scores, names, first, changed), history[-1]["at"], changed)
    return looks.counted(result, looks.look(ctx, scores.of(names[0])[0]), now["looks"])


def _first(
    scores: "_Scores", names: list[str], first: Mapping[str, Any], changed: Sequence[Mapping[str, str]]
) -> Mapping[str, Any] | None:
    """Return the result under the first declaration: from the scores, or as stored where those are others now."""
    ctx = scores.ctx
    if declaring.recomputable(changed) and ctx.store.scores(first["primary"]).is_file():
        return scores.compared(list(dict.fromkeys((first["primary"], *names))), first).to_json()
    stored = read_object(ctx.store.comparisons)
    if not isinstance(stored.get("verdict"), dict):
        return None
    if "changed" not in stored["verdict"]:
        return stored
    before = [{**one, "verdict": one["detail"].get("first_verdict")} for one in stored["comparisons"]]
    kept = stored["verdict"].get("first")
    return kept and {"verdict": kept, "comparisons": before}


class _Scores:
    """The run's scores and gates, each file read once."""

    def __init__(self, ctx: RunContext) -> None:
        self.ctx = ctx
        self._of: dict[str, tuple[list[Score], str | None]] = {}

    @cached_property
    def gates(self) -> list[Gate]:
        return gates(self.ctx)

    def of(self, name: str) -> tuple[list[Score], str | None]:
        """Return a metric's scores as they may be compared, and what is to be said of them."""
        if name not in self._of:
            found = known_cells(self.ctx, self.ctx.store.scores_once(name))
            whole_scores(self.ctx, name, found, self.gates)
            self._of[name] = averaged(found) if name in RATED else (found, None)
        return self._of[name]

    def compared(self, names: list[str], declared: Mapping[str, Any]) -> Result:
        """Return the comparisons of these metrics under what was declared."""
        scores = [score for name in names for score in self.of(name)[0]]
        if not scores:
            raise IikataError(f"{self.ctx.store.path}: no scores yet. First: iikata run EXP --to score.")
        metrics = {name: metric_of(self.ctx, name) for name in names}
        result = declaring.compared(declared, scores, names, metrics, self.gates, self.ctx.experiment.score.content)
        return replace(result, warnings=[*result.warnings, *(note for name in names if (note := self.of(name)[1]))])


def score_names(ctx: RunContext) -> list[str]:
    """Return the metrics that the run has scores of, the primary first."""
    asked = dict.fromkeys((ctx.experiment.score.primary, *ctx.experiment.score.metrics))
    names = [get(name).name for name in asked] + ([Judge.name] if ctx.experiment.score.judge else [])
    every = [one for name in names for one in ((name, *HELD_OUT) if name in HELD_OUT else (name,))]
    there = [name for name in dict.fromkeys((*every, *RATED)) if ctx.store.scores(name).is_file()]
    if there and names[0] in RATED and names[0] not in there:
        raise IikataError(
            f"{ctx.store.ratings}: no ratings that make a score, and {names[0]} is the primary metric. "
            f"Rate answers first: iikata serve {ctx.store.path}; then: iikata score {ctx.store.path}"
        )
    gone = names[0] if names[0] not in there else missing_scores(ctx, there)
    if there and gone:
        why = "it holds the primary metric" if gone == names[0] else f"the experiment asks for {gone}"
        on = "data.validation" if gone in HELD_OUT else "probes"
        how = f"To have it scored: iikata score EXP --out {ctx.store.path}, with the EXP that asks for it."
        how = f"There is nothing to score {gone} on: {on} is none." if nothing_to_score(ctx, gone) else how
        raise IikataError(f"{ctx.store.scores(gone)}: no such file, and {why}. {how}")
    return there


def metric_of(ctx: RunContext, name: str) -> Metric:
    """Return the metric's declaration; the judge and a metric of one's own are known by the run's settings alone."""
    if name == Judge.name and (judge := judge_of(ctx)):
        return judge
    asked = map(get, (ctx.experiment.score.primary, *ctx.experiment.score.metrics))
    return next((metric for metric in asked if metric.name == name), None) or get(name)


def known_cells(ctx: RunContext, scores: list[Score]) -> list[Score]:
    """Return the scores of the experiment's own cells."""
    # A run folder may hold more than this experiment asks for: seeds or templates of an earlier, larger one.
    cells = {(c.arm.variant, c.arm.seed, c.prompted_with) for c in ctx.experiment.cells()}
    others = set(map(CELL, scores)) - cells
    return list(ctx.told([s for s in scores if CELL(s) not in others] if others else scores))
