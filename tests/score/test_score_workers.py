"""Answers that other processes score get the very lines that this one would give them."""

import random
from dataclasses import replace

import pytest

from iikata.core.io import line_of
from iikata.core.records import Answer, Before, Probe, Score, plain
from iikata.metrics import METRICS, Context
from iikata.score import values_of, workers

PROBES = {
    "a": Probe("a", "Which colours?", "", ("red, blue", "RED and BLUE"), None, "c"),
    "b": Probe("b", "色は?", "三原色", ("赤と青",), None, "c", Before("短く。", (("a", "b"),))),
    "c": Probe("c", "How many?", pattern=r"\d+"),
}
CONTEXT = Context({"alpaca": ("### Instruction:", "### Response:"), "mine": ("ANSWER BELOW",)})
FORM = Score("alpaca", 0, 'a "sample": 0, "b"', "", "", 0, "", 0.0, "", "a|b", {"train.r": "8"})
WORDS = [
    "red",
    "blue",
    "and",
    "赤",
    "と青",
    "3",
    "### Response:",
    "ANSWER BELOW",
    "\n",
    "\ud83d",
    "🐟",
    "\u2028",
    "1,000",
]


def cells(count=3, each=600):
    draw = random.Random(0)
    return [
        (
            FORM,
            [
                Answer(
                    "alpaca", 0, "alpaca", "abc"[n % 3], n // 3, "".join(draw.choices(WORDS, k=n % 7)), "stop", n % 5
                )
                for n in range(each)
            ],
        )
        for _ in range(count)
    ]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(workers, "WORTH", 1000)
    monkeypatch.setattr("os.cpu_count", lambda: 2)


def lines_from_elsewhere(names, given):
    with workers.scoring(names, given, PROBES, CONTEXT) as told:
        return told()


def test_every_metric_gives_the_same_lines_to_the_last_byte():
    every = [metric for metric in METRICS.values() if metric.scope in ("answer", "group")]
    names, given = workers.shared(every), cells()
    assert {"contains", "chrf", "leakage", "distinct", "script"} <= set(names)
    assert "pattern" not in names  # it tells of patterns that took too long
    for (form, answers), told in zip(given, lines_from_elsewhere(names, given), strict=True):
        for metric in map(METRICS.get, names):
            scores = (
                replace(form, probe=p, cluster=PROBES[p].cluster, sample=n, metric=metric.name, value=value)
                for p, n, value in values_of(metric, answers, PROBES, CONTEXT)
            )
            lines = [line_of(plain(replace(score, signature=metric.signature))) for score in scores]
            assert told[metric.name] == "".join(lines), metric.name


def test_a_metric_of_ones_own_is_not_asked_for_elsewhere():
    class Own(type(METRICS["length"])):
        name = "length"

    assert workers.shared([Own()]) == []


def test_few_answers_one_core_or_a_process_that_ends_leave_the_work_here(monkeypatch):
    assert lines_from_elsewhere(["length"], cells(2, 3)) == []
    with monkeypatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        assert lines_from_elsewhere(["length"], cells()) == []
    monkeypatch.setattr("sys.executable", "/bin/true")
    for _ in range(5):  # more cells than processes: none may wait for one that has ended
        assert lines_from_elsewhere(["length"], cells(9, 200)) == []


def test_work_that_is_broken_off_leaves_no_process(monkeypatch):
    started, start = [], workers._start
    monkeypatch.setattr(workers, "_start", lambda: started.append(start()) or started[-1])
    with pytest.raises(KeyboardInterrupt), workers.scoring(["chrf"], cells(9, 600), PROBES, CONTEXT):
        raise KeyboardInterrupt
    assert len(started) == 2
    assert all(child.poll() for child in started)  # killed, not waited for
