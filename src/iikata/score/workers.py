"""Score the answers of many cells: on every core, in processes that know the built-in metrics, and the rest here.

A process of its own, not a fork: the parent may have a GPU open. The lines are the same to the last byte. Answers are
read a cell at a time, and score lines lie in memory compressed, some 16 bytes each: a run may have a million answers.
"""

import json
import os
import subprocess
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from iikata.core.io import read_jsonl
from iikata.core.records import Answer, Probe, Score, plain
from iikata.core.system import GROUP
from iikata.metrics import METRICS, Context, Metric
from iikata.score import lines_of, of_probes, values_of

WORTH = 4000
"""Answers from which on starting processes pays."""
MOST = 16


def shared(metrics: Iterable[Metric]) -> list[str]:
    """Return the names of the metrics that other processes can compute: built in, and without anything to remark."""
    return [m.name for m in metrics if METRICS.get(m.name) is m and type(m).remarks is Metric.remarks]


@dataclass(frozen=True)
class CellFile:
    """A cell's answers as they lie on disk."""

    form: Score
    """Any score of the cell."""
    path: Path
    samples: int
    """A larger run's file may hold more of them, as it may hold answers to other probes; those are not scored."""

    def read(self, probes: Mapping[str, Probe]) -> list[Answer]:
        """Return the answers to these probes."""
        return of_probes(read_jsonl(self.path, Answer, ""), probes, self.samples)


Lines = dict[str, str]
"""Metric -> its score lines in one cell, as `packed` gives them."""
Children = SimpleQueue[tuple["subprocess.Popen[str]", str]]
"""Processes that wait, each with what it must be told first."""
Scored = Callable[[], Iterator[Lines]]


def packed(lines: Iterable[str]) -> str:
    return b64encode(zlib.compress("".join(lines).encode(), 1)).decode()


def unpacked(lines: str) -> bytes:
    return zlib.decompress(b64decode(lines))


@contextmanager
def scoring(
    metrics: Sequence[Metric], cells: Sequence[CellFile], answers: int, probes: Mapping[str, Probe], context: Context
) -> Iterator[Scored]:
    """Score cells, which hold so many `answers`, while the block goes on, and give what yields the lines of each.

    What other processes cannot score is scored here when it is asked for: metrics that are not `shared`, and all of
    them where answers or cores are too few to share them out, or where a process ends, as where memory is short.
    """
    names, count = shared(metrics), min(MOST, os.cpu_count() or 1, len(cells))
    here = partial(_scored, metrics, cells, probes, context)
    if not names or count < 2 or answers < WORTH:
        yield partial(here, ())
        return
    head = {"metrics": names, "probes": list(map(plain, probes.values())), "literals": context.template_literals}
    children = Children()
    started: list[subprocess.Popen[str]] = []
    pool = ThreadPoolExecutor(count)
    try:
        with suppress(OSError):
            for _ in range(count):
                started.append(_start())
                children.put((started[-1], json.dumps(head) + "\n"))
        asked = [pool.submit(_asked, children, cell) for cell in cells if started]
        yield lambda: here(_told(asked))
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


def _scored(
    metrics: Sequence[Metric], cells: Sequence[CellFile], probes: Mapping[str, Probe], context: Context,
    told: Sequence[Lines],
) -> Iterator[Lines]:  # fmt: skip
    """Yield each cell's lines of all metrics: those that were told, the others made here."""
    for number, cell in enumerate(cells):
        known = told[number] if told else {}
        yield {**known, **cell_lines([m for m in metrics if m.name not in known], cell, probes, context)}


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


def _asked(children: Children, cell: CellFile) -> Lines:
    child, head = children.get()
    try:
        assert child.stdin
        assert child.stdout
        child.stdin.write(head + json.dumps([plain(cell.form), str(cell.path), cell.samples]) + "\n")
        child.stdin.flush()
        return dict(json.loads(child.stdout.readline()))
    finally:  # also one that has ended: others wait for it, and will be told so too
        children.put((child, ""))


def serve() -> None:
    """Answer each line of standard input, a cell's file, with the score lines of every metric."""
    from pydantic import TypeAdapter

    head = json.loads(sys.stdin.readline())
    probes = {probe.id: probe for probe in TypeAdapter(list[Probe]).validate_python(head["probes"])}
    context = Context({name: tuple(lines) for name, lines in head["literals"].items()})
    metrics = [METRICS[name] for name in head["metrics"]]
    for line in sys.stdin:
        form, path, samples = json.loads(line)
        print(
            json.dumps(cell_lines(metrics, CellFile(Score(**form), Path(path), samples), probes, context)), flush=True
        )


def cell_lines(metrics: Sequence[Metric], cell: CellFile, probes: Mapping[str, Probe], context: Context) -> Lines:
    """Return the packed score lines of one cell."""
    answers = cell.read(probes) if metrics else []
    return {m.name: packed(lines_of(m, cell.form, values_of(m, answers, probes, context), probes)) for m in metrics}


if __name__ == "__main__":
    serve()
