"""Turn a row into an example: what it says, the document it is of, its id."""

import hashlib
import json
from typing import Any

from iikata.config import Columns
from iikata.core.errors import IikataError
from iikata.core.records import NOTHING, Before, Example
from iikata.data.columns import missing, text
from iikata.data.formats import Said
from iikata.data.rows import Row

NULLS = ("nan", "none", "null", "<na>", "nat", "noinput", "<noinput>", "n/a")
"""What programs write for nothing, when they write it as text."""
ALONE = "none"
"""As data.columns.cluster: no rows belong together."""


def content_id(instruction: str, input: str, output: str, before: Before = NOTHING) -> str:
    """Return the first 16 hex digits of the sha256 of the content, the same on every machine."""
    content: list[Any] = [instruction, input, output]
    content += [before.system, before.turns] if before != NOTHING else []
    return _hash(json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def example(row: Row, said: Said, columns: Columns) -> Example | None:
    """Return what a row says as an example, or None where its text cannot be encoded (a lone surrogate)."""
    texts = (said.instruction, said.input, said.output)
    try:
        id = content_id(*texts, said.before)
        marked = tuple(n for n in said.marked if n < len(said.before.turns))
        return Example(id, *texts, row[0], _cluster(row, columns, said.input), said.before, marked)
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
