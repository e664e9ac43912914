"""Score many answers on every core: processes that know the built-in metrics, a cell at a time, as lines of JSON.

A process of its own, not a fork: the parent may have a GPU open. The lines are the same to the last byte.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue

from iikata.core.records import Answer, Probe, Score, plain
from iikata.core.system import GROUP
from iikata.metrics import METRICS, Context, Metric
from iikata.score import lines_of, values_of

WORTH = 4000
"""Answers from which on starting processes pays."""
MOST = 16


def shared(metrics: Iterable[Metric]) -> list[str]:
    """Return the names of the metrics that other processes can compute: built in, and without anything to remark."""
    return [m.name for m in metrics if METRICS.get(m.name) is m and type(m).remarks is Metric.remarks]


Lines = dict[str, str]
"""Metric -> its score lines in one cell."""
Children = SimpleQueue[tuple["subprocess.Popen[str]", str]]
"""Processes that wait, each with what it must be told first."""
Scored = Callable[[], list[Lines]]


@contextmanager
def scoring(
    names: Sequence[str], cells: Sequence[tuple[Score, Sequence[Answer]]], probes: Mapping[str, Probe], context: Context
) -> Iterator[Scored]:
    """Score cells, each with any score of it, while the block goes on, and give what returns the lines of each.

    That is nothing where the answers are too few, or the cores, to share them out, and where a process ends, as where
    memory is short: then they are scored here.
    """
    count = min(MOST, os.cpu_count() or 1, len(cells))
    if not names or count < 2 or sum(len(answers) for _, answers in cells) < WORTH:
        yield list
        return
    head = {"metrics": list(names), "probes": list(map(plain, probes.values())), "literals": context.template_literals}
    children = Children()
    started: list[subprocess.Popen[str]] = []
    pool = ThreadPoolExecutor(count)
    try:
        with suppress(OSError):
            for _ in range(count):
                started.append(_start())
                children.put((started[-1], json.dumps(head) + "\n"))
        yield partial(_told, [pool.submit(_asked, children, *cell) for cell in cells if started])
    finally:
        for child in started:
            child.kill()  # so that after Ctrl-C no thread waits for an answer
        pool.shutdown(cancel_futures=True)
        for child in started:
            with suppress(OSError):  # of what was still to be written
                child.communicate()


def _told(asked: Sequence[Future[Lines]]) -> list[Lines]:
    try:
        return [one.result() for one in asked]
    except (OSError, ValueError):
        return []


def _start() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "iikata.score.workers"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **GROUP,
    )


def _asked(children: Children, form: Score, answers: Sequence[Answer]) -> Lines:
    child, head = children.get()
    try:
        assert child.stdin
        assert child.stdout
        child.stdin.write(head + json.dumps([plain(form), [plain(answer) for answer in answers]]) + "\n")
        child.stdin.flush()
        return dict(json.loads(child.stdout.readline()))
    finally:  # also one that has ended: others wait for it, and will be told so too
        children.put((child, ""))


def serve() -> None:
    """Answer each line of standard input, a cell's answers, with the score lines of every metric."""
    from pydantic import TypeAdapter

    head = json.loads(sys.stdin.readline())
    probes = {probe.id: probe for probe in TypeAdapter(list[Probe]).validate_python(head["probes"])}
    context = Context({name: tuple(lines) for name, lines in head["literals"].items()})
    for line in sys.stdin:
        form, given = json.loads(line)
        told = cell_lines(head["metrics"], Score(**form), [Answer(**one) for one in given], probes, context)
        print(json.dumps(told), flush=True)


def cell_lines(
    names: Sequence[str], form: Score, answers: Sequence[Answer], probes: Mapping[str, Probe], context: Context
) -> Lines:
    """Return the score lines of one cell."""
    metrics = [METRICS[name] for name in names]
    return {m.name: "".join(lines_of(m, form, values_of(m, answers, probes, context), probes)) for m in metrics}


if __name__ == "__main__":
    serve()
