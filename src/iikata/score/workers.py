"""Score many answers on every core: processes that know the built-in metrics, a cell at a time, as lines of JSON.

A process of its own, not a fork: the parent may have a GPU open. The numbers are the same to the last bit.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from iikata.core.io import line_of
from iikata.core.records import Answer, Probe, plain
from iikata.core.system import GROUP
from iikata.metrics import METRICS, Context, Metric
from iikata.score import Value, values_of

Values = list[Value]
"""Of one metric in one cell."""
WORTH = 4000
"""Answers from which on starting processes pays."""
MOST = 16


def shared(metrics: Iterable[Metric]) -> list[str]:
    """Return the names of the metrics that other processes can compute: built in, and without anything to remark."""
    return [m.name for m in metrics if METRICS.get(m.name) is m and type(m).remarks is Metric.remarks]


def score_cells(
    names: Sequence[str], cells: Sequence[Sequence[Answer]], probes: Mapping[str, Probe], context: Context
) -> list[dict[str, Values]]:
    """Return {metric: values} of each cell; nothing where the answers are too few, or the cores, to share them out.

    Nothing too where a process ends, as where memory is short: then they are scored here.
    """
    count = min(MOST, os.cpu_count() or 1, len(cells))
    if not names or count < 2 or sum(map(len, cells)) < WORTH:
        return []
    head = {"metrics": list(names), "probes": list(map(plain, probes.values())), "literals": context.template_literals}
    children: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
    started: list[subprocess.Popen[str]] = []
    pool = ThreadPoolExecutor(count)
    try:
        started += [_start(json.dumps(head)) for _ in range(count)]
        for child in started:
            children.put(child)
        return list(pool.map(lambda answers: _asked(children, answers), cells))
    except (OSError, ValueError):
        return []
    finally:
        for child in started:
            child.kill()  # so that after Ctrl-C no thread waits for an answer
        pool.shutdown(cancel_futures=True)
        for child in started:
            with suppress(OSError):  # of what was still to be written
                child.communicate()


def _start(head: str) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-m", "iikata.score.workers"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **GROUP,
    )
    assert child.stdin
    child.stdin.write(head + "\n")
    return child


def _asked(children: "SimpleQueue[subprocess.Popen[str]]", answers: Sequence[Answer]) -> dict[str, Values]:
    child = children.get()
    try:
        assert child.stdin
        assert child.stdout
        child.stdin.write(json.dumps([plain(answer) for answer in answers]) + "\n")
        child.stdin.flush()
        told: dict[str, list[list[Any]]] = json.loads(child.stdout.readline())
    finally:  # also one that has ended: others wait for it, and will be told so too
        children.put(child)
    return {name: [(p, s, float("nan") if v is None else v) for p, s, v in values] for name, values in told.items()}


def serve() -> None:
    """Answer each line of standard input, a cell's answers, with the values of every metric."""
    from pydantic import TypeAdapter

    head = json.loads(sys.stdin.readline())
    probes = {probe.id: probe for probe in TypeAdapter(list[Probe]).validate_python(head["probes"])}
    context = Context({name: tuple(lines) for name, lines in head["literals"].items()})
    for line in sys.stdin:
        answers = [Answer(**one) for one in json.loads(line)]
        told = {name: list(_finite(values_of(METRICS[name], answers, probes, context))) for name in head["metrics"]}
        print(line_of(told), end="", flush=True)


def _finite(values: Iterable[Value]) -> Iterator[tuple[str, int, float | None]]:
    for probe, sample, value in values:
        yield probe, sample, value if value == value else None


if __name__ == "__main__":
    serve()
