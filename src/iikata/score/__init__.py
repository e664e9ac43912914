"""Answers to numbers: one metric over one cell's answers. Of given texts: score.nll."""

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.io import line_of
from iikata.core.records import Answer, Probe, Score, plain
from iikata.metrics import Context, Metric

Value = tuple[str, int, float]
"""A probe's id, a sample, a number."""


def of_probes(answers: Iterable[Answer], probes: Container[str], samples: int) -> list[Answer]:
    """Return the answers to these probes, of each so many samples; the file of a larger run may hold more."""
    return [answer for answer in answers if answer.probe in probes and answer.sample < samples]


def lines_of(metric: Metric, form: Score, values: Iterable[Value], probes: Mapping[str, Probe]) -> Iterator[str]:
    """Yield the values of one cell as lines of its score file; `form` is any score of the cell.

    A probe's lines differ in two numbers only, so its JSON is made once.
    """
    form = replace(form, metric=metric.name, signature=metric.signature, sample=0, value=0.0)
    parts: dict[str, tuple[str, str, str]] = {}
    for probe, sample, value in values:
        if probe not in parts:
            line = line_of(plain(replace(form, probe=probe, cluster=probes[probe].cluster)))
            head, _, rest = line.partition(', "sample": 0, ')  # in a text these quotes have a backslash before them
            middle, _, tail = rest.partition('"value": 0.0, ')
            parts[probe] = f'{head}, "sample": ', f', {middle}"value": ', f", {tail}"
        head, middle, tail = parts[probe]
        yield f"{head}{sample}{middle}{value if math.isfinite(value) else 'null'}{tail}"


def values_of(
    metric: Metric, answers: Sequence[Answer], probes: Mapping[str, Probe], context: Context
) -> Iterator[Value]:
    """Yield a value an answer, or one a probe (sample 0) where the metric looks at the group of all samples.

    Raises IikataError where a metric, perhaps somebody else's, gives no number.
    """
    if metric.scope == "answer":
        for answer in answers:
            yield (
                answer.probe,
                answer.sample,
                _number(metric, metric(answer, probes[answer.probe], context), answer.probe),
            )
        return
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.probe, []).append(answer)
    for name, samples in groups.items():
        yield name, 0, _number(metric, metric.score_group(samples, probes[name], context), name)


def _number(metric: Metric, value: Any, probe: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        whose = f"{type(metric).__name__} of {type(metric).__module__}"
        raise IikataError(
            f'metric "{metric.name}" ({whose}) gave {value!r:.100} for an answer to the probe "{probe}". '
            "It must give a number; NaN where the answer cannot be scored."
        ) from None
