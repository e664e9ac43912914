"""Answers that other processes score get the very numbers that this one would give them."""

import math
import random

import pytest

from iikata.core.records import Answer, Before, Probe
from iikata.metrics import METRICS, Context
from iikata.score import values_of, workers

PROBES = {
    "a": Probe("a", "Which colours?", "", ("red, blue", "RED and BLUE"), None, "c"),
    "b": Probe("b", "色は?", "三原色", ("赤と青",), None, "c", Before("短く。", (("a", "b"),))),
    "c": Probe("c", "How many?", pattern=r"\d+"),
}
CONTEXT = Context({"alpaca": ("### Instruction:", "### Response:")})
WORDS = ["red", "blue", "and", "赤", "と青", "3", "### Response:", "\n", "\ud83d", "🐟", "\u2028", "1,000"]


def cells(count=3, each=600):
    draw = random.Random(0)
    return [
        [
            Answer("alpaca", 0, "alpaca", "abc"[n % 3], n // 3, "".join(draw.choices(WORDS, k=n % 7)), "stop", n % 5)
            for n in range(each)
        ]
        for _ in range(count)
    ]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(workers, "WORTH", 1000)
    monkeypatch.setattr("os.cpu_count", lambda: 2)


def same(one, other):
    return len(one) == len(other) and all(
        a[:2] == b[:2] and (a[2] == b[2] or (math.isnan(a[2]) and math.isnan(b[2])))
        for a, b in zip(one, other, strict=True)
    )


def test_every_metric_gives_the_same_numbers_to_the_last_bit():
    every = [metric for metric in METRICS.values() if metric.scope in ("answer", "group")]
    names, given = workers.shared(every), cells()
    assert {"contains", "chrf", "leakage", "distinct", "script"} <= set(names)
    assert "pattern" not in names  # it tells of patterns that took too long
    for answers, told in zip(given, workers.score_cells(names, given, PROBES, CONTEXT), strict=True):
        for name in names:
            assert same(told[name], list(values_of(METRICS[name], answers, PROBES, CONTEXT))), name


def test_a_metric_of_ones_own_is_not_asked_for_elsewhere():
    class Own(type(METRICS["length"])):
        name = "length"

    assert workers.shared([Own()]) == []


def test_few_answers_one_core_or_a_process_that_ends_leave_the_work_here(monkeypatch):
    assert workers.score_cells(["length"], cells(2, 3), PROBES, CONTEXT) == []
    with monkeypatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        assert workers.score_cells(["length"], cells(), PROBES, CONTEXT) == []
    monkeypatch.setattr("sys.executable", "/bin/true")
    for _ in range(5):  # more cells than processes: none may wait for one that has ended
        assert workers.score_cells(["length"], cells(9, 200), PROBES, CONTEXT) == []
