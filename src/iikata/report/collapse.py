"""Collapse a cell's equal answers into one line with a count, for lists that need no JavaScript."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iikata.core.records import Answer, Probe
from iikata.report.matrix import Key


@dataclass(frozen=True)
class Heap:
    """The distinct answers of one cell to one probe, the commonest first."""

    cell: Key
    answers: Sequence[tuple[str, bool, int]]
    """(text, whether it was cut off, how often)."""

    @property
    def total(self) -> int:
        return sum(count for _, _, count in self.answers)


def answer_groups(probes: Iterable[Probe], answers: Iterable[Answer]) -> list[tuple[Probe, list[Heap]]]:
    """Return each probe with its cells; cells come in the order met."""
    found: dict[str, dict[Key, Counter[tuple[str, bool]]]] = {probe.id: {} for probe in probes}
    for answer in answers:
        if answer.probe in found:
            cell = found[answer.probe].setdefault((answer.trained_on, answer.prompted_with), Counter())
            cell[answer.text, answer.finish != "stop"] += 1
    return [(probe, [_heap(key, cell) for key, cell in found[probe.id].items()]) for probe in probes]


def _heap(key: Key, counted: Counter[tuple[str, bool]]) -> Heap:
    return Heap(key, [(text, cut, count) for (text, cut), count in counted.most_common()])
