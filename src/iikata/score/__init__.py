"""Answers to numbers: one metric over one cell's answers. Of given texts: score.nll."""

from collections.abc import Iterator, Mapping, Sequence

from iikata.core.records import Answer, Cell, Probe, Score
from iikata.metrics import Context, Metric


def score_answers(
    metric: Metric, cell: Cell, answers: Sequence[Answer], probes: Mapping[str, Probe], context: Context
) -> Iterator[Score]:
    """Yield a score an answer, or one a probe where the metric looks at the group of all samples."""
    who = (cell.arm.variant, cell.arm.seed, cell.prompted_with)
    for probe, sample, value in _values(metric, answers, probes, context):
        yield Score(*who, probe.id, probe.cluster, sample, metric.name, float(value), metric.signature)


def _values(
    metric: Metric, answers: Sequence[Answer], probes: Mapping[str, Probe], context: Context
) -> Iterator[tuple[Probe, int, float]]:
    if metric.scope == "answer":
        for answer in answers:
            probe = probes[answer.probe]
            yield probe, answer.sample, metric(answer, probe, context)
        return
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.probe, []).append(answer)
    for name, samples in groups.items():
        yield probes[name], 0, metric.score_group(samples, probes[name], context)
