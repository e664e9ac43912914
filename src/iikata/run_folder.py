"""The run folder: which record lies where, and who may write there."""

import json
import math
import time
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

from iikata.core.errors import IikataError
from iikata.core.io import is_torn, line_of, parse_json, write_bytes, write_text
from iikata.core.lock import hold, refuse_links
from iikata.core.records import Answer, Arm, Cell, Finding, Gate, Score, TrainStep, plain

Record = TypeVar("Record")
ANEW = "Delete the file and run again (iikata run) to make it anew."


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
        self.halvings = path / "halved.jsonl"
        """Where memory ran out."""

    def encoded(self, template: str) -> Path:
        return self.path / "encode" / f"{template}.jsonl"

    def arm(self, arm: Arm) -> Path:
        return self.path / "train" / arm.name

    def arms_of(self, template: str) -> list[Path]:
        """Return the folders of this template's arms, under whatever seeds."""
        return [path for path in self.path.glob("train/*.s*") if path.name.rpartition(".s")[0] == template]

    def steps(self, arm: Arm) -> Path:
        return self.arm(arm) / "steps.jsonl"

    def state(self, arm: Arm) -> Path:
        return self.arm(arm) / "state"

    def answers(self, cell: Cell) -> Path:
        return self.path / "generate" / f"{cell.name}.jsonl"

    def all_answers(self) -> list[Path]:
        """Return the files of all cells' answers."""
        return sorted((self.path / "generate").glob("*.jsonl"))

    def unfinished_answers(self, cell: Cell) -> Path:
        """Answers in the order they came; replaced by `answers` once all are there."""
        return self.path / "generate" / f"{cell.name}.partial.jsonl"

    def scores(self, metric: str) -> Path:
        return self.path / "score" / f"{metric.replace(':', '.')}.jsonl"

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
        return list(read_records(path, Answer))

    def read_steps(self, arm: Arm) -> list[TrainStep]:
        return list(read_records(self.steps(arm), TrainStep, ("loss", "grad_norm")))

    def read_scores(self, metric: str) -> list[Score]:
        path = self.scores(metric)
        if is_torn(path):  # score files are replaced whole: no kill of ours leaves one like this
            raise IikataError(f"{path}: its last line is torn, so scores are missing. Delete it and run iikata score.")
        return list(read_records(path, Score, ("value",)))

    def write_scores(self, metric: str, scores: Iterable[Score]) -> None:
        write_lines(self.scores(metric), map(plain, scores))

    def read_findings(self) -> list[Finding]:
        return _listed(self.findings, Finding)

    def read_gates(self) -> list[Gate]:
        return _listed(self.gates, Gate)


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; {} where there is none, or none that can be read: then its work is done again."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(line_of(line) for line in lines))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a JSONL file's records; none where there is no file, no torn last line. Raises IikataError (file:line)."""
    return (record for _, record in _numbered(path))


def read_records(path: Path, kind: type[Record], numbers: tuple[str, ...] = ()) -> Iterator[Record]:
    """Yield a JSONL file's lines as records of `kind`; null is NaN in the fields `numbers`. Raises as read_lines."""
    for where, line in _numbered(path):
        yield _made(kind, {**line, **{key: math.nan for key in numbers if line.get(key, 0) is None}}, where)


def _numbered(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.exists():
        return
    if path.is_dir():
        raise IikataError(f"{path}: a folder where a file belongs. Delete it and run again (iikata run).")
    with path.open("rb") as file:  # a kill may tear a character, not only a line
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield f"{path}:{number}", _record(line, f"{path}:{number}")


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise IikataError(f"{where}: not JSON ({error}). {ANEW}") from None
    if not isinstance(record, dict):
        raise IikataError(f"{where}: expected an object, saw {type(record).__name__}. {ANEW}")
    return record


def _listed(path: Path, kind: type[Record]) -> list[Record]:
    found = read_json(path, [])
    if not isinstance(found, list):
        raise IikataError(f"{path}: expected a list, saw {type(found).__name__}. {ANEW}")
    return [_made(kind, item, f"{path}: item {number}") for number, item in enumerate(found, 1)]


def _made(kind: type[Record], value: Any, where: str) -> Record:
    if not isinstance(value, dict):
        raise IikataError(f"{where}: expected an object, saw {type(value).__name__}. {ANEW}")
    known = _types(cast(Hashable, kind))
    for name, item in value.items():
        if type(item) not in known.get(name, (type(item),)):
            raise IikataError(f"{where}: {name} cannot be {json.dumps(item)[:60]}. {ANEW}")
    try:
        return kind(**value)
    except TypeError as error:  # a field that is missing, or not known
        raise IikataError(f"{where}: no {kind.__name__.lower()} ({error}). {ANEW}") from None


@cache
def _types(kind: Hashable) -> dict[str, tuple[type, ...]]:
    """Return the types that each field of a record class may have; a whole number is a number too."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        own = get_args(hint) or (hint,)
        found[name] = (*own, int) if float in own else own
    return found


def read_json(path: Path, default: Any = None) -> Any:
    """Return a JSON file's value, `default` where there is no file. Raises IikataError naming the file."""
    try:
        return parse_json(path.read_bytes().decode())
    except FileNotFoundError:
        return default
    except IsADirectoryError:
        raise IikataError(f"{path}: a folder where a file belongs. Delete it and run again (iikata run).") from None
    except ValueError as error:
        raise IikataError(f"{path}: not readable as JSON ({error}). {ANEW}") from None
