"""Conversations that a table's cell, or a text in JSON, holds as text."""

import ast
import json
from collections.abc import Sequence

from iikata.config import Columns
from iikata.core.errors import IikataError
from iikata.data.rows import Row
from iikata.data.turns import COLUMNS, is_turn


def unfold(rows: Sequence[Row], columns: Columns) -> None:
    """Turn texts that are lists, of turns or of pairs, into these; raises IikataError where one cannot be read."""
    names = {*COLUMNS, columns.messages or "", columns.history}
    for source, fields in rows:
        for name in names & fields.keys():
            value = fields[name]
            if isinstance(value, str) and value.lstrip()[:2] in ("[{", "[["):
                fields[name] = _list(value, f"{source}: {name}")


def _list(text: str, what: str) -> object:
    """Return the list that a text is, as JSON or as Python prints one; the text where it is no conversation."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            fix = "Write it with json.dumps, or the file as jsonl."
            raise IikataError(
                f"{what}: {text[:40]!r} begins as a list, and is neither JSON nor Python's. {fix}"
            ) from None
    listed = isinstance(found, list) and all(is_turn(one) or isinstance(one, list | tuple) for one in found)
    return found if listed else text
