"""Stage compare: score files and gates to comparisons and a verdict; needs no model."""

from typing import Any

from iikata.compare import MetricInfo, Result
from iikata.compare import compare as compared
from iikata.errors import IikataError
from iikata.lab.events import Stage, Warned
from iikata.lab.judging import judge_of
from iikata.lab.materials import Materials
from iikata.metrics import get
from iikata.metrics.judge import Judge
from iikata.records import Score
from iikata.store import write_json


def compare(lab: Materials) -> dict[str, int]:
    """Write comparisons.json."""
    result = comparisons(lab)
    lab.tell(Stage("compare", len(result.comparisons), "comparisons"))
    for warning in result.warnings:
        lab.tell(Warned(warning))
    write_json(lab.store.comparisons, result.to_json())
    return {"comparisons": len(result.comparisons)}


def comparisons(lab: Materials) -> Result:
    """Return all comparisons of the run's scores. Raises IikataError where there are no scores yet."""
    settings = lab.experiment
    scores = [score for name in score_names(lab) for score in lab.store.read_scores(name)]
    if not scores:
        raise IikataError(f"{lab.store.path}: no scores yet. First: iikata run EXP --to score.")
    return compared(
        _known_cells(lab, scores),
        {name: metric_info(lab, name) for name in score_names(lab)},
        settings.score.primary,
        settings.margins,
        settings.compare.alpha,
        lab.store.read_gates(),
    )


def score_names(lab: Materials) -> list[str]:
    """Return the metrics that the run has scores of, the primary first."""
    asked = dict.fromkeys((lab.experiment.score.primary, *lab.experiment.score.metrics))
    names = [get(name).name for name in asked] + ([Judge.name] if lab.experiment.score.judge else [])
    with_end = [extra for name in names for extra in ((name, "nll_end") if name == "nll" else (name,))]
    there = [name for name in with_end if lab.store.scores(name).is_file()]
    if there and names[0] not in there:
        raise IikataError(
            f"{lab.store.scores(names[0])}: no such file, and it holds the primary metric. "
            f"To make it again: iikata score {lab.store.path}"
        )
    return there


def declared(lab: Materials, name: str) -> Any:
    """Return the metric's declaration; the judge, which is made of the run's settings, is not on the shelf."""
    return judge_of(lab) if name == Judge.name else get(name)


def metric_info(lab: Materials, name: str) -> MetricInfo:
    metric = declared(lab, name)
    alike = metric.name == Judge.name  # its score is against the base under the same template
    return MetricInfo(metric.name, metric.better, metric.bounds, metric.unit, metric.kind, within_template=alike)


def _known_cells(lab: Materials, scores: list[Score]) -> list[Score]:
    # A run folder may hold more than this experiment asks for: seeds or templates of an earlier, larger one.
    cells = {(c.arm.template, c.arm.seed, c.prompted_with) for c in lab.experiment.cells()}
    return [s for s in scores if (s.trained_on, s.seed, s.prompted_with) in cells]
