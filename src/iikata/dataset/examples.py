"""Turn a row into an example: its columns, its text, its id."""

import difflib
import hashlib
import json
import math
from typing import Any

from iikata.dataset.rows import Row, kind_of
from iikata.errors import IikataError
from iikata.experiment import Columns
from iikata.records import Example
from iikata.registry import did_you_mean

ALSO_CALLED = {
    "instruction": ("question", "prompt", "query", "input_text", "text"),
    "input": ("context",),
    "output": ("response", "answer", "answers", "completion", "output_text", "target"),
}
"""What other data sets call the columns; used only to suggest a `columns:` line."""


def content_id(instruction: str, input: str, output: str) -> str:
    """Return the first 16 hex digits of the sha256 of the content, the same on every machine."""
    content = json.dumps([instruction, input, output], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def example(row: Row, columns: Columns) -> Example | None:
    """Return the row as an example, or None where its text cannot be encoded (a lone surrogate).

    Null and NaN are "", numbers are text; a row without the column `input` has no input. Raises IikataError
    where another column is missing (with the `columns:` line to write) or holds a list.
    """
    place, fields = row
    missing = [name for name in (columns.instruction, columns.output) if name not in fields]
    if columns.input not in fields and columns.input != "input":
        missing.append(columns.input)
    if missing:
        raise IikataError(_missing(place, missing, fields, columns))
    instruction, input, output = (
        text(fields.get(name), f"{place}: {name}") for name in (columns.instruction, columns.input, columns.output)
    )
    try:
        return Example(content_id(instruction, input, output), instruction, input, output, source=place)
    except UnicodeEncodeError:
        return None


def text(value: Any, what: str) -> str:
    """Return the value as text; raises IikataError, calling it `what`, where it is neither text nor a number."""
    if value is None or value != value:
        return ""
    if isinstance(value, list | dict | bytes | bool) or value in (math.inf, -math.inf):
        raise IikataError(f"{what}: {kind_of(value)} was seen; text or a number is allowed. Write it as text.")
    return value if isinstance(value, str) else str(value)


def _missing(place: str, missing: list[str], fields: dict[str, Any], columns: Columns) -> str:
    absent = ", ".join(f'"{name}"{did_you_mean(name, fields)}' for name in missing)
    return (
        f"{place}: no column {absent}; found: {', '.join(fields):.300}. "
        f"Say what the columns are called, under data: columns: {{{_guess(fields, columns)}}}"
    )


def _guess(fields: dict[str, Any], columns: Columns) -> str:
    """Return the `columns:` that seem to be meant, with … where none does."""
    free, guesses = list(fields), []
    for key, name in columns:
        near = difflib.get_close_matches(name, free, n=1)
        found = [other for other in (name, *ALSO_CALLED[key], *near) if other in free]
        guess = found[0] if found else "input" if key == "input" else "…"
        free = [other for other in free if other != guess]
        guesses.append(f"{key}: {guess}")
    return ", ".join(guesses)
