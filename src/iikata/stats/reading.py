"""Read score lines from any tool, telling every bad line by its number."""

import codecs
import json
import math
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from iikata.core.errors import IikataError
from iikata.core.files import size
from iikata.core.registry import did_you_mean
from iikata.stats.table import ASKED, SCORED, ScoreTable, TableWriter

LONGEST = 1 << 20
"""Bytes of a line; some two hundred are usual."""
LARGEST = 1e100
"""Of a value; beyond it sums of squares overflow."""
SHOWN = 10
CURE = (
    "Nothing of this file was used. Correct these lines, or write the file again as plain text in UTF-8; a line is one "
    'score, as {"trained_on": "alpaca", "seed": 0, "prompted_with": "alpaca", "probe": "p1", "metric": "contains", '
    '"value": 1.0}. One document of JSON becomes lines with: jq -c \'if type == "array" then .[] else . end\' FILE.'
)
TORN = " The last line has no line break: whatever wrote the file was stopped in the middle of it."

Name = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Levels = Annotated[dict[str, str | int | float | bool], AfterValidator(lambda levels: tuple(sorted(levels.items())))]


class ScoreLine(BaseModel):
    """One line; a field's description is what may stand there."""

    model_config = ConfigDict(extra="forbid", strict=True)

    trained_on: Name | None = Field(description="a text, or null for the untuned base")
    seed: Whole | None = Field(description="a whole number from 0 on, or null for the untuned base")
    prompted_with: Name = Field(description="a text that is not empty")
    probe: Name | int = Field(description="a text or a whole number")
    metric: Name = Field(description="a text that is not empty")
    value: float | bool | None = Field(
        description=f"a number up to {LARGEST:g}, true, false, or null where the answer could not be scored"
    )
    cluster: str | int | None = Field(None, description="a text, a whole number, or null: each probe is its own")
    sample: Whole = Field(0, description="a whole number from 0 on")
    signature: str | None = Field(None, description="a text or null")
    template: Name | None = Field(None, description="a text: the template it was trained on")
    levels: Levels | None = Field(None, description='an object of settings, as {"train.learning_rate": "3e-4"}')


_scored, _asked = attrgetter(*SCORED), attrgetter(*ASKED)


def read_table(path: str | Path) -> ScoreTable:
    """Read a file of score lines, one JSON object a line, as columns.

    `value` null or NaN means "could not be scored"; `cluster` may be left out (each probe is its own), and so may
    `sample` (0) and `signature`. Raises IikataError that tells all bad lines as `file:line`.
    """
    path = Path(path)
    size(path, fix="--scores takes files; those of a run lie in RUN/score/.")
    writer, faults = TableWriter(), []
    for number, line in _lines(path):
        try:
            _add(writer, line, number)
        except (ValidationError, IikataError) as error:
            faults.append(f"{path}:{number}: {_told(error, line) if isinstance(error, ValidationError) else error}")
    if faults:
        more = [f"{len(faults)} bad lines in all."] if len(faults) > SHOWN else []
        raise IikataError("\n".join([*faults[:SHOWN], *more, CURE]))
    return writer.table(str(path))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise IikataError(f"{path}:{number}: this line is longer than {LONGEST:,} bytes. {CURE}")
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.isspace() and line:
                yield number, line


def _add(writer: TableWriter, line: bytes, number: int) -> None:
    score = ScoreLine.model_validate_json(line)
    value = math.nan if score.value is None else score.value
    if abs(value) > LARGEST:
        raise IikataError(_wrong("value", value))
    if line.count(b'":') != len(score.__pydantic_fields_set__):  # a field is written twice, or a level among them
        json.loads(line, object_pairs_hook=_refuse_twice)
    writer.add(_scored(score), _asked(score), score.sample, value, number)


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise IikataError(f"a field is written twice: {', '.join(_shown(name) for name, _ in pairs[:SHOWN])}.")


def _told(error: ValidationError, line: bytes) -> str:
    """Return the one fault of a line that explains the others."""
    order = {"json_invalid": 0, "extra_forbidden": 1, "missing": 2}
    fault = min(error.errors(include_url=False), key=lambda one: order.get(one["type"], 3))
    fields = ScoreLine.model_fields
    name = str(fault["loc"][0]) if fault["loc"] else ""
    if fault["type"] == "json_invalid":
        return _no_json(fault["ctx"]["error"], line)
    if fault["type"] == "extra_forbidden":
        return f"field {_shown(name)} is unknown{did_you_mean(name, fields)}. Allowed: {', '.join(fields)}."
    if fault["type"] == "missing":
        required = ", ".join(name for name, field in fields.items() if field.is_required())
        return f'field "{name}" is missing. Required: {required}.'
    return _wrong(name, fault["input"]) if name else f"expected a JSON object, saw {_seen(line)}."


def _no_json(why: str, line: bytes) -> str:
    torn = "" if line.endswith(b"\n") else TORN
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 ({error.reason} at byte {error.start + 1} of the line).{torn}"
    why = why.replace("at line 1 column", "at column").replace("at line 2 column 0", "at its end")
    return f"not JSON ({why}), begins {_seen(line)}.{torn}"


def _wrong(name: str, value: object) -> str:
    return f"{name} must be {ScoreLine.model_fields[name].description}, saw {_shown(value)}."


def _seen(line: bytes) -> str:
    return _shown(line.strip()[:40].decode(errors="replace"))


def _shown(value: object) -> str:
    """Return a value as it may stand in a message: short, without control characters."""
    try:
        text = f'"{value}"' if isinstance(value, str) and value.isprintable() else ascii(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:80]}..."
