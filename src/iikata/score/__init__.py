"""Answers to numbers: one metric over one cell's answers. Of given texts: score.nll."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from iikata.core.records import Answer, Cell, Probe, Score
from iikata.metrics import Context, Metric

Value = tuple[str, int, float]
"""A probe's id, a sample, a number."""


def scores_of(metric: Metric, cell: Cell, values: Iterable[Value], probes: Mapping[str, Probe]) -> Iterator[Score]:
    """Yield the values of one cell as scores."""
    who = (cell.arm.variant, cell.arm.seed, cell.prompted_with)
    for probe, sample, value in values:
        yield Score(*who, probe, probes[probe].cluster, sample, metric.name, value, metric.signature)


def values_of(
    metric: Metric, answers: Sequence[Answer], probes: Mapping[str, Probe], context: Context
) -> Iterator[Value]:
    """Yield a value an answer, or one a probe (sample 0) where the metric looks at the group of all samples."""
    if metric.scope == "answer":
        for answer in answers:
            yield answer.probe, answer.sample, float(metric(answer, probes[answer.probe], context))
        return
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.probe, []).append(answer)
    for name, samples in groups.items():
        yield name, 0, float(metric.score_group(samples, probes[name], context))
