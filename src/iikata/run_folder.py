"""The run folder: which record lies where, and who may write there."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from iikata.core import io
from iikata.core.errors import IikataError
from iikata.core.evaluation import Evaluation
from iikata.core.io import is_torn, line_of, write_bytes, write_text
from iikata.core.lock import hold, refuse_links
from iikata.core.records import Answer, Arm, Cell, Finding, Gate, Score, TrainStep, plain

AGAIN = "Delete the file; iikata run makes it again."


class RunFolder:
    """The only place that knows paths. Every file has one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.experiment = path / "experiment.yaml"
        self.signature = path / "signature.json"
        self.shapes = path / "shapes.json"
        self.timing = path / "timing.jsonl"
        self.devices = path / "devices.jsonl"
        """Which device made what, where there were several; outside the promise of equal bytes, as times are."""
        self.findings = path / "check" / "findings.json"
        self.gates = path / "check" / "gates.json"
        self.proofs = path / "check" / "proofs.json"
        self.counts = path / "encode" / "counts.json"
        self.scored_from = path / "score" / "held_out_from.json"
        """What each cell's scores follow from; the next two of its nll_reference, and of its choices."""
        self.references_from = path / "score" / "references_from.json"
        self.choices_from = path / "score" / "choices_from.json"
        self.judge_cache = path / "score" / "judge_cache.jsonl"
        self.judge = path / "score" / "judge.json"
        """How far the judge is to be believed."""
        self.templates = path / "encode" / "templates.json"
        self.comparisons = path / "compare" / "comparisons.json"
        self.report = path / "report"
        self.ratings = path / "rate" / "ratings.jsonl"
        self.halvings = path / "halved.jsonl"
        """Where memory ran out."""
        self._read: dict[str, tuple[tuple[int, ...], list[Score]]] = {}

    def encoded(self, template: str) -> Path:
        return self.path / "encode" / f"{template}.jsonl"

    def arm(self, arm: Arm) -> Path:
        return self.path / "train" / arm.name

    def arms_of(self, template: str) -> list[Path]:
        """Return the folders of this template's arms, under whatever seeds."""
        return [path for path in self.path.glob("train/*.s*") if path.name.rpartition(".s")[0] == template]

    def steps(self, arm: Arm) -> Path:
        return self.arm(arm) / "steps.jsonl"

    def evaluations(self, arm: Arm) -> Path:
        """Return what the arm came to on held-out rows while it was trained."""
        return self.arm(arm) / "eval.jsonl"

    def state(self, arm: Arm) -> Path:
        return self.arm(arm) / "state"

    def answers(self, cell: Cell) -> Path:
        return self.path / "generate" / f"{cell.name}.jsonl"

    def all_answers(self) -> list[Path]:
        return sorted((self.path / "generate").glob("*.jsonl"))

    def unfinished_answers(self, cell: Cell) -> Path:
        """Answers in the order they came; replaced by `answers` once all are there."""
        return self.path / "generate" / f"{cell.name}.partial.jsonl"

    def scores(self, metric: str) -> Path:
        return self.path / "score" / f"{metric.replace(':', '.')}.jsonl"

    def read_files(self, arms: Iterable[Arm], states: bool = False) -> dict[str, bytes]:
        """Return what a worker needs of the run, by its path here: shapes, signature, gates, the arms' files."""
        files = [self.signature, self.shapes, self.gates]
        for arm in arms:
            files += [path for path in self.arm(arm).glob("*") if path.is_file()]
            files += self.state(arm).glob("*") if states else ()
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in files if path.is_file()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the folder from other processes, and clear what a killed one left half done.

        Raises IikataError naming who holds it, and where a link leads out of it. A dead process holds nothing.
        """
        with hold(self.path):
            refuse_links(self.path)
            for temporary in self.path.rglob(".*.tmp"):
                temporary.unlink()
            yield

    def put_aside(self) -> Path | None:
        """Copy the answers and all that was made of them to old/TIME; None where there are no answers yet."""
        if not any(self.path.glob("generate/*.jsonl")):
            return None
        folder = self.path / "old" / time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
        parts = [self.path / name for name in ("generate", "score", "compare", "report")]
        files = [self.experiment, self.signature, *(file for part in parts for file in part.rglob("*"))]
        for file in files:
            if file.is_file():
                write_bytes(folder / file.relative_to(self.path), file.read_bytes())
        return folder

    def read_answers(self, path: Path) -> list[Answer]:
        return list(io.read_jsonl(path, Answer, AGAIN))

    def read_steps(self, arm: Arm) -> list[TrainStep]:
        return list(io.read_jsonl(self.steps(arm), TrainStep, AGAIN))

    def read_evaluations(self, arm: Arm) -> list[Evaluation]:
        return list(io.read_jsonl(self.evaluations(arm), Evaluation, AGAIN))

    def read_scores(self, metric: str) -> list[Score]:
        path = self.scores(metric)
        if is_torn(path):  # score files are replaced whole: no kill of ours leaves one like this
            raise IikataError(f"{path}: its last line is torn, so scores are missing. Delete it and run iikata score.")
        return list(io.read_jsonl(path, Score, AGAIN))

    def scores_once(self, metric: str) -> list[Score]:
        """Return a metric's scores, read once while the file stays as it is: compare and report read millions."""
        file = self.scores(metric).stat()
        if self._read.get(metric, ((), []))[0] != (stamp := (file.st_mtime_ns, file.st_size)):
            self._read[metric] = stamp, self.read_scores(metric)
        return self._read[metric][1]

    def write_scores(self, metric: str, scores: Iterable[Score]) -> None:
        write_lines(self.scores(metric), map(plain, scores))

    def write_score_lines(self, metric: str, lines: Iterable[bytes]) -> None:
        write_bytes(self.scores(metric), lines)

    def read_findings(self) -> list[Finding]:
        return io.read_json(self.findings, list[Finding], AGAIN) if self.findings.exists() else []

    def read_gates(self) -> list[Gate]:
        return io.read_json(self.gates, list[Gate], AGAIN) if self.gates.exists() else []


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; {} where there is none, or none that can be read: then its work is done again."""
    with suppress(IikataError):
        return io.read_json(path, dict[str, Any], AGAIN)
    return {}


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(line_of(line) for line in lines))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a JSONL file's records; none where there is no file, no torn last line. Raises IikataError (file:line)."""
    return io.read_jsonl(path, dict[str, Any], AGAIN)


def read_json(path: Path, default: Any = None) -> Any:
    """Return a JSON file's value, `default` where there is no file. Raises IikataError naming the file."""
    return io.read_json(path, object, AGAIN) if path.exists() else default
