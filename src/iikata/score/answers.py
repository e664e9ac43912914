"""Answers to numbers: one metric over one cell's answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iikata.core.records import Answer, Cell, Probe, Score
from iikata.metrics import Context


def score_answers(
    metric: Any, cell: Cell, answers: Sequence[Answer], probes: Mapping[str, Probe], context: Context
) -> Iterator[Score]:
    """Yield a score an answer, or one a probe where the metric looks at all samples together (`score_group`)."""
    arm = cell.arm
    for answer, sample, value in _values(metric, answers, probes, context):
        yield Score(
            trained_on=arm.template,
            seed=arm.seed,
            prompted_with=cell.prompted_with,
            probe=answer.probe,
            cluster=probes[answer.probe].cluster,
            sample=sample,
            metric=metric.name,
            value=float(value),
            signature=metric.signature,
        )


def _values(
    metric: Any, answers: Sequence[Answer], probes: Mapping[str, Probe], context: Context
) -> Iterator[tuple[Answer, int, float]]:
    if not hasattr(metric, "score_group"):
        for answer in answers:
            yield answer, answer.sample, metric(answer, probes[answer.probe], context)
        return
    together: dict[str, list[Answer]] = {}
    for answer in answers:
        together.setdefault(answer.probe, []).append(answer)
    for probe, samples in together.items():
        yield samples[0], 0, metric.score_group(samples, probes[probe], context)
