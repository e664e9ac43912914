"""Turn a row into an example: its columns, its text, its id."""

import hashlib
import json
import math
from datetime import date, time
from decimal import Decimal
from typing import Any

from iikata.config import Columns
from iikata.core.errors import IikataError
from iikata.core.records import Example
from iikata.data.columns import CONVERSATION, is_conversation, missing
from iikata.data.rows import Row, kind_of

NULLS = ("nan", "none", "null", "<na>", "nat", "noinput", "<noinput>", "n/a")
"""What programs write for nothing, when they write it as text."""
ALONE = "none"
"""As data.columns.cluster: no rows belong together."""


def content_id(instruction: str, input: str, output: str) -> str:
    """Return the first 16 hex digits of the sha256 of the content, the same on every machine."""
    return _hash(json.dumps([instruction, input, output], ensure_ascii=False, separators=(",", ":")))


def example(row: Row, columns: Columns) -> Example | None:
    """Return the row as an example, or None where its text cannot be encoded (a lone surrogate).

    Null and NaN are "", numbers and dates are text; a row without the column `input` has no input. Raises IikataError
    where another column is missing (with the `columns:` line to write) or holds a list.
    """
    source, fields = row
    absent = [name for name in (columns.instruction, columns.output) if name not in fields]
    if columns.input not in fields and columns.input != "input":
        absent.append(columns.input)
    if absent:
        raise IikataError(missing(source, absent, fields, columns))
    instruction, input, output = (
        text(fields.get(name), f"{source}: {name}") for name in (columns.instruction, columns.input, columns.output)
    )
    try:
        cluster = _cluster(row, columns, input)
        return Example(content_id(instruction, input, output), instruction, input, output, source, cluster)
    except UnicodeEncodeError:
        return None


def _cluster(row: Row, columns: Columns, input: str) -> str:
    """Return what tells the row's document from others, "" where it is on its own."""
    if columns.cluster is None:
        return "" if input.strip().lower() in ("", *NULLS) else _hash(input)
    if columns.cluster == ALONE:
        return ""
    source, fields = row
    if columns.cluster not in fields:
        raise IikataError(missing(source, [columns.cluster], fields, columns))
    name = text(fields[columns.cluster], f"{source}: {columns.cluster}")
    return _hash(name) if name.strip() else ""


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def text(value: Any, what: str) -> str:
    """Return the value as text; raises IikataError, calling it `what`, where it is not text, a number or a date."""
    if value is None or value != value:
        return ""
    if is_conversation(value):
        raise IikataError(f"{what}: a conversation of {len(value)} turns was seen; {CONVERSATION}")
    plain = isinstance(value, str | int | float | Decimal | date | time) and not isinstance(value, bool)
    if not plain or value in (math.inf, -math.inf):
        raise IikataError(f"{what}: {kind_of(value)} was seen; text or a number is allowed. Write it as text.")
    return value if isinstance(value, str) else str(value)
