"""The run folder: which record lies where, and who may write there."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from iikata.disk import is_torn, line_of, parse_json, write_text
from iikata.errors import IikataError
from iikata.records import Answer, Arm, Cell, Finding, Gate, Score, TrainStep, plain


class RunFolder:
    """The only place that knows paths. Every file has one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.experiment = path / "experiment.yaml"
        self.signature = path / "signature.json"
        self.shapes = path / "shapes.json"
        self.timing = path / "timing.jsonl"
        self.findings = path / "check" / "findings.json"
        self.gates = path / "check" / "gates.json"
        self.counts = path / "encode" / "counts.json"
        self.scored_from = path / "score" / "held_out_from.json"
        """What each cell's held-out scores follow from."""
        self.references_from = path / "score" / "references_from.json"
        """What each cell's nll_reference follows from."""
        self.judge_cache = path / "score" / "judge_cache.jsonl"
        self.judge = path / "score" / "judge.json"
        """How far the judge is to be believed."""
        self.templates = path / "encode" / "templates.json"
        self.comparisons = path / "compare" / "comparisons.json"
        self.report = path / "report"
        self.ratings = path / "rate" / "ratings.jsonl"

    def encoded(self, template: str) -> Path:
        return self.path / "encode" / f"{template}.jsonl"

    def arm(self, arm: Arm) -> Path:
        return self.path / "train" / arm.name

    def steps(self, arm: Arm) -> Path:
        return self.arm(arm) / "steps.jsonl"

    def state(self, arm: Arm) -> Path:
        return self.arm(arm) / "state"

    def answers(self, cell: Cell) -> Path:
        return self.path / "generate" / f"{cell.name}.jsonl"

    def unfinished_answers(self, cell: Cell) -> Path:
        """Answers in the order they came; replaced by `answers` once all are there."""
        return self.path / "generate" / f"{cell.name}.partial.jsonl"

    def scores(self, metric: str) -> Path:
        return self.path / "score" / f"{metric.replace(':', '.')}.jsonl"

    def read_answers(self, path: Path) -> list[Answer]:
        return [Answer(**line) for line in read_lines(path)]

    def read_steps(self, arm: Arm) -> list[TrainStep]:
        lines = read_lines(self.steps(arm))
        return [TrainStep(**{**line, **{key: _number(line[key]) for key in ("loss", "grad_norm")}}) for line in lines]

    def read_scores(self, metric: str) -> list[Score]:
        path = self.scores(metric)
        if is_torn(path):  # score files are replaced whole: no kill of ours leaves one like this
            raise IikataError(f"{path}: its last line is torn, so scores are missing. Delete it and run iikata score.")
        lines = read_lines(path)
        return [Score(**{**line, "value": _number(line["value"])}) for line in lines]

    def write_scores(self, metric: str, scores: Iterable[Score]) -> None:
        write_lines(self.scores(metric), map(plain, scores))

    def read_findings(self) -> list[Finding]:
        return [Finding(**item) for item in read_json(self.findings, [])]

    def read_gates(self) -> list[Gate]:
        return [Gate(**item) for item in read_json(self.gates, [])]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(line_of(line) for line in lines))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a JSONL file's records; none where there is no file, no torn last line. Raises IikataError (file:line)."""
    if not path.is_file():
        return
    with path.open("rb") as file:  # a kill may tear a character, not only a line
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield _record(line, f"{path}:{number}")


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise IikataError(f"{where}: not JSON ({error}). Delete the file and run again to make it anew.") from None
    if not isinstance(record, dict):
        raise IikataError(f"{where}: expected an object, saw {type(record).__name__}.")
    return record


def read_json(path: Path, default: Any = None) -> Any:
    """Return a JSON file's value, `default` where there is no file. Raises IikataError naming the file."""
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise IikataError(f"{path}: not readable as JSON ({error}).") from None
