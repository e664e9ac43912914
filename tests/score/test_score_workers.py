"""Answers that other processes score get the very lines that this one would give them."""

import random
import tracemalloc
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
WORDS = ["red", "blue", "and", "赤", "と青", "3", "### Response:", "ANSWER BELOW", "\n", "🐟", "\u2028", "1,000"]


def answers(each=600):
    draw = random.Random(0)
    texts = ["".join(draw.choices(WORDS, k=n % 7)) for n in range(each)]
    return [Answer("alpaca", 0, "alpaca", "abc"[n % 3], n // 3, text, "stop", n % 5) for n, text in enumerate(texts)]


@pytest.fixture
def cells(tmp_path):
    """Cells' files, which also hold what is not asked for: a fourth probe, and samples beyond those."""

    def written(count=3, each=600):
        own = answers(each)
        more = [replace(own[0], probe="d"), replace(own[0], sample=each)]
        (tmp_path / "cell.jsonl").write_text("".join(line_of(plain(one)) for one in [*own, *more]), encoding="utf-8")
        return [workers.CellFile(FORM, tmp_path / "cell.jsonl", each) for _ in range(count)]

    return written


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """The processes that were started; a thousand answers are worth it here."""
    found, start = [], workers._start
    monkeypatch.setattr(workers, "_start", lambda: found.append(start()) or found[-1])
    monkeypatch.setattr(workers, "WORTH", 1000)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    return found


def scored(metrics, files, each=600):
    with workers.scoring(metrics, files, each * len(files), PROBES, CONTEXT) as told:
        return [{name: workers.unpacked(lines).decode() for name, lines in cell.items()} for cell in told()]


def expected(metric, own):
    scores = (
        replace(FORM, probe=p, cluster=PROBES[p].cluster, sample=n, metric=metric.name, value=value)
        for p, n, value in values_of(metric, own, PROBES, CONTEXT)
    )
    return "".join(line_of(plain(replace(score, signature=metric.signature))) for score in scores)


def test_every_metric_gives_the_same_lines_to_the_last_byte_wherever_it_is_scored(cells, started):
    every = [metric for metric in METRICS.values() if metric.scope in ("answer", "group")]
    names = workers.shared(every)
    assert {"contains", "chrf", "leakage", "distinct", "script"} <= set(names)
    assert "pattern" not in names  # it tells of patterns that took too long, so it is scored here
    wanted = {metric.name: expected(metric, answers()) for metric in every}
    for cell in scored(every, cells()):
        assert cell == wanted
    assert len(started) == 2


def test_a_metric_of_ones_own_is_not_asked_for_elsewhere():
    class Own(type(METRICS["length"])):
        name = "length"

    assert workers.shared([Own()]) == []


def test_few_answers_one_core_or_a_process_that_ends_leave_the_work_here(cells, started, monkeypatch):
    length = METRICS["length"]
    assert scored([length], cells(2, 3), 3) == [{"length": expected(length, answers(3))}] * 2
    with monkeypatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        assert scored([length], cells()) == [{"length": expected(length, answers())}] * 3
    assert not started
    monkeypatch.setattr("sys.executable", "/bin/true")
    for _ in range(5):  # more cells than processes: none may wait for one that has ended
        assert scored([length], cells(9, 200), 200) == [{"length": expected(length, answers(200))}] * 9
    assert len(started) == 10


def test_work_that_is_broken_off_leaves_no_process(cells, started):
    with pytest.raises(KeyboardInterrupt), workers.scoring([METRICS["chrf"]], cells(9), 5400, PROBES, CONTEXT):
        raise KeyboardInterrupt
    assert len(started) == 2
    assert all(child.poll() for child in started)  # killed, not waited for


def test_a_million_answers_need_not_be_in_memory(cells):
    """Score lines are held in a sixth of their bytes or less, and answers a cell at a time."""
    files = cells(40)
    tracemalloc.start()
    with workers.scoring([METRICS["length"], METRICS["contains"]], files, 0, PROBES, CONTEXT) as told:
        lines = list(told())
        held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = sum(len(workers.unpacked(own)) for cell in lines for own in cell.values())
    assert size > 9_000_000
    assert held < size / 6
    assert peak - held < 4_000_000
