"""Run folders that were never run: an experiment's file, and as much of training and answers as a test wants."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any
from zlib import crc32

from starlette.testclient import TestClient

from iikata.config import dump
from iikata.core.io import write_text
from iikata.core.records import Answer, Arm, Cell, TrainStep, plain
from iikata.pipeline.ask import OnAnswer
from iikata.run_folder import RunFolder, write_json, write_lines
from iikata.serve.app import app
from iikata.serve.guard import csrf
from iikata.serve.question_queue import Question, QuestionQueue
from iikata.serve.run import ServedRun
from tiny_experiment import experiment

TOKEN = "the-token-of-this-start"
ADDRESS = "http://127.0.0.1:8000"
MARKER = "### Response:"
HOSTILE = (
    "<script>window.owned = 1; alert(1)</script><img src=x onerror='window.owned = 1'>",
    "</textarea></script><svg onload=window.owned=1>",
    "\u202egnorw\u200b\u0007\u001b[31m\u0000 {{ 7 * 7 }}",
    "A" * 10_000,
)


def written(folder: Path, said: Callable[[Cell, str, int], str] | None = None, **changes: Any) -> Path:
    """Write a run of 2 templates, 2 seeds and 3 probes that has answered everything; return its folder."""
    made = experiment(folder, folder / "no model is loaded", **changes)
    run = RunFolder(folder / "run")
    write_text(run.experiment, dump(made))
    counts = {
        name: {"rows": 12, "over_length": 0, "tokens": 90, "loss_tokens": 30} for name in ("alpaca_short", "plain")
    }
    write_json(run.counts, {"templates": counts})
    write_json(run.templates, {name: {"markers": [MARKER]} for name in counts})
    for arm in made.arms():
        write_lines(run.steps(arm), map(plain, steps(arm, 6)))
        write_json(run.arm(arm) / "DONE", {"steps": 6, "stopped": ""})
    for cell in made.cells():
        lines = [answer(cell, f"p{p}", s, (said or spoken)(cell, f"p{p}", s)) for p in range(3) for s in range(2)]
        write_lines(run.answers(cell), map(plain, lines))
    return run.path


def steps(arm: Arm, count: int) -> list[TrainStep]:
    return [TrainStep(arm.name, step + 1, 3.0 / (step + 1), 0.01, 1.0, 100, 30) for step in range(count)]


def answer(cell: Cell, probe: str, sample: int, text: str) -> Answer:
    who = (cell.arm.variant, cell.arm.seed, cell.prompted_with)
    return Answer(*who, probe, sample, text, "stop", 5, "signature")


def spoken(cell: Cell, probe: str, sample: int) -> str:
    """Return a text that differs from cell to cell and names none."""
    return f"said {crc32(f'{cell.name} {probe} {sample}'.encode())} {MARKER}"


def opened(*runs: Path) -> TestClient:
    """Return a client that holds the token of the page of these runs."""
    return entered(TestClient(app([ServedRun(run) for run in runs], QuestionQueue(), TOKEN), base_url=ADDRESS))


def entered(client: TestClient) -> TestClient:
    client.get("/", params={"token": TOKEN})
    return client


def posting(**more: str) -> dict[str, str]:
    """Return the headers that the page's own requests carry."""
    return {"origin": ADDRESS, "x-csrf-token": csrf(TOKEN), **more}


@dataclass(frozen=True)
class StandIn:
    """A model whose words are known: each row is told piece by piece."""

    pieces: Sequence[str]
    pause: float = 0.0

    def ask(self, cells: Sequence[str], samples: int, emit: OnAnswer) -> None:
        rows = [(cell, sample) for cell in cells for sample in range(samples)]
        for end in range(1, len(self.pieces) + 1):
            for row in rows:
                emit(row, "".join(self.pieces[:end]), "stop" if end == len(self.pieces) else "")
            sleep(self.pause)


class StandInQueue(QuestionQueue):
    """A queue in which `model` answers, or fails with what it is."""

    def __init__(self, model: StandIn | Exception) -> None:
        super().__init__()
        self.model = model
        self.asked: list[Question] = []

    def _ask(self, question: Question) -> None:
        self.asked.append(question)
        if isinstance(self.model, Exception):
            raise self.model
        cells = [f"{arm}@{name}" for arm in question.arms for name in question.templates]
        self.model.ask(cells, question.samples, question.emit)
