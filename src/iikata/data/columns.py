"""What a file's columns hold: numbers and dates as they were meant, text that nothing uses, names that are missing."""

import difflib
import math
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from iikata.config import Columns
from iikata.core.errors import IikataError
from iikata.core.registry import did_you_mean
from iikata.data.rows import Row, kind_of
from iikata.data.turns import is_conversation, is_turn

ALSO_CALLED = {
    "instruction": (
        *("question", "prompt", "query", "input_text", "user", "human"),
        *("inputs", "instruct", "text", "message_1", "質問", "指示", "問題", "設問", "問い", "プロンプト", "入力"),
    ),
    "input": ("context", "passage", "document", "article", "knowledge", "入力", "文脈", "コンテキスト"),
    "output": (
        *("response", "answer", "answers", "completion", "output_text", "target", "targets", "assistant"),
        *("reply", "chosen", "solution", "summary", "message_2"),
        *("回答", "応答", "出力", "解答", "答え", "返答"),
    ),
}
"""What other data sets call the columns, the likeliest first; used only to suggest a `columns:` line."""
TRANSCRIPT = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[INST\]|<(human|bot)>:"
    r"|(^|\n|### *)(human|user|assistant|ユーザー|システム) *[:：]",
    re.IGNORECASE,
)
"""What stands in a text that is a conversation under some template."""
EXACT = 2**53
"""Whole numbers beyond are not exact as floats."""


@dataclass(frozen=True)
class Unused:
    """A column whose text reaches no prompt and no answer."""

    column: str
    rows: int
    example: str
    """The beginning of its first text."""
    source: str
    turns: bool
    """Whether it holds a conversation, or what was said before."""


def settle(rows: Sequence[Row], columns: Columns) -> None:
    """Turn floats of a column that holds whole numbers only into those, and times that are all midnight into dates.

    A column of whole numbers with nulls is one of floats to pandas, which writes 1942 as 1942.0.
    """
    for _, name in columns.texts:
        known = [fields for _, fields in rows if isinstance(fields.get(name), float | datetime)]
        known = [fields for fields in known if fields[name] == fields[name]]  # neither NaN nor NaT
        numbers = [fields for fields in known if isinstance(fields[name], float)]
        if all(fields[name].is_integer() and abs(fields[name]) < EXACT for fields in numbers):
            for fields in numbers:
                fields[name] = int(fields[name])
        times = [fields for fields in known if isinstance(fields[name], datetime)]
        if all(fields[name].time() == time.min for fields in times):
            for fields in times:
                fields[name] = fields[name].date()


def unused(rows: Sequence[Row], used: Container[str]) -> Iterator[Unused]:
    """Yield the columns that are not used and hold text in some row."""
    found: dict[str, Unused] = {}
    for source, fields in rows:
        for name, value in fields.items():
            if name in used or not (text := _text_in(value)):
                continue
            if name in found:
                found[name] = replace(found[name], rows=found[name].rows + 1)
            else:
                # A list of pairs, question and answer, is LLaMA-Factory's `history`.
                pairs = isinstance(value, list) and isinstance(value[0], list) and len(value[0]) == 2
                turns = is_conversation(value, name) or pairs
                found[name] = Unused(name, 1, f"{' '.join(text.split()):.60}", source, turns)
    yield from found.values()


def _text_in(value: Any, depth: int = 4) -> str:
    """Return the first text with a letter in it, also from within lists and objects."""
    if isinstance(value, str):
        return value if re.search(r"[^\W\d_]", value) else ""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((text for item in inner if depth and (text := _text_in(item, depth - 1))), "")


def missing(source: str, names: Sequence[str], fields: Mapping[str, Any], columns: Columns) -> str:
    """Return the sentence that says which columns a row lacks, and what to do."""
    if is_turn(fields) and "role" in fields:
        fix = 'Write all turns of a conversation into one row: {"messages": [{"role": "user", "content": ...}, ...]}.'
        return f"{source}: the row is one turn of a conversation ({', '.join(fields):.300}). {fix}"
    if whole := next((name for name, value in fields.items() if TRANSCRIPT.search(str(value))), None):
        fix = 'iikata writes it under each template itself: give its turns, {"messages": [{"role", "content"}, ...]}.'
        return f'{source}: "{whole}" seems to hold a whole conversation, under a template already. {fix}'
    absent = ", ".join(f'"{name}"{did_you_mean(name, fields)}' for name in names)
    found = [name if _is_text(value) else f"{name} ({kind_of(value)})" for name, value in fields.items()]
    seen = f"{source}: no column {absent}; found: {', '.join(found):.300}."
    within = [name for name, value in fields.items() if _holds(value, names, columns)]
    if within:
        return f'{seen} It is within "{within[0]}": write each of its items as its own row.'
    guess = _guess(fields, columns)
    if all(guess.values()):
        line = ", ".join(f"{key}: {name}" for key, name in guess.items())
        return f"{seen} Say what the columns are called, under data: columns: {{{line}}}"
    lacking = ["the question"] * (not guess["instruction"]) + ["the answer"] * (not guess["output"])
    unclear = "the question and the answer" if len(lacking) > 1 else lacking[0]
    turns = ' A conversation is a list of turns: {"messages": [{"role": "user", "content": ...}, ...]}.'
    deep = turns if any(isinstance(value, list | dict) for value in fields.values()) else ""
    names_of = ", ".join(f"{key}: {guess[key] or 'NAME'}" for key in ("instruction", "output"))
    fix = f"A row needs both as text; say which they are, under data: columns: {{{names_of}}}"
    return f"{seen} None with text is known to be {unclear}. {fix}.{deep}"


def _holds(value: Any, names: Sequence[str], columns: Columns) -> bool:
    """Return whether a list or an object holds one of the columns `names`, under whatever name."""
    first = value[0] if isinstance(value, list) and value else value
    also = {other for key, name in columns.texts if name in names for other in (name, *ALSO_CALLED[key][:5])}
    return isinstance(first, dict) and bool(also & first.keys())


def text(value: Any, what: str) -> str:
    """Return the value as text; raises IikataError, calling it `what`, where it is not text, a number or a date."""
    if value is None or value != value:
        return ""
    plain = isinstance(value, str | int | float | Decimal | date | time) and not isinstance(value, bool)
    if not plain or value in (math.inf, -math.inf):
        turns = " Turns are read from a column of their own: data: {format: messages}." * is_conversation(value)
        raise IikataError(f"{what}: {kind_of(value)} was seen; text or a number is allowed. Write it as text.{turns}")
    return value if isinstance(value, str) else str(value)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _guess(fields: Mapping[str, Any], columns: Columns) -> dict[str, str]:
    """Return the `columns:` that seem to be meant; "" where none does."""
    free = [name for name, value in fields.items() if _is_text(value) or is_conversation(value) or is_turn(value)]
    guesses = {}
    for key, name in columns.texts:
        near = difflib.get_close_matches(name, free, n=1)
        names = {other.lower(): other for other in free}
        found = [names[other] for other in (name, *ALSO_CALLED[key], *map(str.lower, near)) if other in names]
        guesses[key] = found[0] if found else "input" if key == "input" else ""
        free = [other for other in free if other != guesses[key]]
    return guesses
