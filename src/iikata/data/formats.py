"""The shapes that rows come in, and how each becomes what was said before, an instruction, an input and an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from iikata.config import Columns
from iikata.core.errors import IikataError
from iikata.core.records import Before
from iikata.data.columns import missing, text
from iikata.data.rows import Row, kind_of
from iikata.data.turns import (
    COLUMNS,
    UnreadError,
    UntrainableError,
    content,
    is_conversation,
    is_turn,
    joined,
    marked,
    pairs,
    read_turns,
    split,
    unanswered,
)

ANSWERS = ("chosen", "preferred_output", "completion", "response", "answer", "output")
HALVES = (*ANSWERS, "prompt", "input", "rejected", "non_preferred_output")
"""Columns that hold a part of a conversation, or one of two to choose from."""
QUESTION_ANSWER = (
    *(("question", "answer"), ("question", "response"), ("query", "response"), ("input", "output")),
    ("質問", "回答"),
)
SYSTEMS = ("system_prompt", "systemInstruction", "system_instruction", "meta_instruction")
"""What else a column of system messages is called."""


@dataclass(frozen=True)
class Said:
    """One row as a conversation."""

    before: Before
    instruction: str
    input: str
    output: str
    unanswered: bool = False
    """Whether a question at its end has no answer and was left out."""
    marked: tuple[int, ...] = ()
    """Which answers, counted from 0, are marked as not to be trained; those at its end were left out."""
    systems: int = 0
    """How many system messages its one is joined of."""


@dataclass(frozen=True)
class Format:
    """One shape of rows."""

    shown: str
    """What it is called to people: "read as ShareGPT conversations"."""
    columns: Callable[[Mapping[str, Any], Columns], tuple[str, ...] | None]
    """The columns that it reads in a row, None where the row is of another shape."""
    read: Callable[[Row, Columns], Said]
    """A row as a conversation; raises UntrainableError where it is none, UnreadError where it is more than text."""


def _alpaca_columns(fields: Mapping[str, Any], columns: Columns) -> tuple[str, ...] | None:
    names = (columns.instruction, columns.input, columns.output, _system_column(fields, columns), columns.history)
    named = (columns.instruction, columns.output) != ("instruction", "output")
    return names if named or (columns.instruction in fields and columns.output in fields) else None


def _alpaca(row: Row, columns: Columns) -> Said:
    source, fields = row
    needed = (columns.instruction, columns.output, *([columns.input] if columns.input != "input" else []))
    if absent := [name for name in needed if name not in fields]:
        raise IikataError(missing(source, absent, fields, columns))
    if _in_turns(row, needed[:2]) and not fields.get(columns.input):
        return _joined(row, needed[:2], columns)
    instruction, input, output = (text(fields.get(name), f"{source}: {name}") for _, name in columns.texts)
    return Said(_before(row, columns), instruction, input, output)


def _system_column(fields: Mapping[str, Any], columns: Columns) -> str:
    return next((name for name in (columns.system, *SYSTEMS) if name in fields), columns.system)


def _system(row: Row, columns: Columns) -> str:
    source, fields = row
    name = _system_column(fields, columns)
    value = fields.get(name)
    read = content if isinstance(value, list | dict) else text
    return read(value, f"{source}: {name}")


def _before(row: Row, columns: Columns) -> Before:
    source, fields = row
    return Before(_system(row, columns), tuple(pairs(fields.get(columns.history), f"{source}: {columns.history}")))


def _conversation(fields: Mapping[str, Any], columns: Columns) -> str | None:
    """Return the column that holds the row's turns."""
    if columns.messages is not None:
        return columns.messages
    known = [name for name in (*COLUMNS, *fields) if name not in HALVES and is_conversation(fields.get(name), name)]
    empty = [name for name in COLUMNS if name in fields and fields[name] in (None, [])]
    return next(iter([*known, *empty]), None)


def as_the_first(columns: Columns, first: Mapping[str, Any], fields: Mapping[str, Any]) -> Columns:
    """Return the columns for a row whose own turns do not say in which they are, as empty ones: those of the first."""
    name = None if _conversation(fields, columns) else _conversation(first, columns)
    return columns.model_copy(update={"messages": name}) if name in fields else columns


def _turns_columns(keys: tuple[str, ...]) -> Callable[[Mapping[str, Any], Columns], tuple[str, ...] | None]:
    def found(fields: Mapping[str, Any], columns: Columns) -> tuple[str, ...] | None:
        name = _conversation(fields, columns)
        turns = fields.get(name) if name else None
        if not (isinstance(turns, list) and turns):
            return None
        like = not keys or (is_turn(turns[0]) and any(key in turns[0] for key in keys))
        return (str(name), _system_column(fields, columns)) if like else None

    return found


def _turns(row: Row, columns: Columns) -> Said:
    source, fields = row
    name = _conversation(fields, columns) or "messages"
    if name not in fields:
        raise IikataError(
            f'{source}: no column "{name}" with a list of turns; found: {", ".join(fields):.300}. '
            "Say which it is: data: {columns: {messages: NAME}}."
        )
    value = [] if fields[name] in (None, "", "[]") else fields[name]
    if not isinstance(value, list):
        raise IikataError(
            f'{source}: {name}: {kind_of(value)} was seen; a list of turns is read, as [{{"role": "user", "content": '
            '"..."}, {"role": "assistant", ...}]. Write it so, or take the row out.'
        )
    beside = next((other for other in ANSWERS if fields.get(other)), None)
    if beside and unanswered(read_turns(value, f"{source}: {name}")):
        raise IikataError(
            f'{source}: {name} ends with a question, whose answer may be in "{beside}". To train on that: '
            f"data: {{columns: {{instruction: {name}, output: {beside}}}}}"
        )
    return _said(value, f"{source}: {name}", _system(row, columns))


def _said(value: list[Any], what: str, system: str) -> Said:
    turns, marks = read_turns(value, what), marked(value)
    own, said = split(turns)
    systems = list(dict.fromkeys(text for text in (system, *own) if text.strip()))
    while said and len(said) - 1 in marks:
        said.pop()
    if not said:
        raise UntrainableError("every answer is marked as not to be trained")
    before = Before(joined(systems), tuple(said[:-1]))
    return Said(before, said[-1][0], "", said[-1][1], unanswered(turns), marks, len(systems))


def _in_turns(row: Row, pair: tuple[str, ...]) -> bool:
    """Return whether a question or its answer is not a text but messages."""
    return any(is_turn(one) or is_conversation(one) for one in map(row[1].get, pair))


def _joined(row: Row, pair: tuple[str, ...], columns: Columns) -> Said:
    source, fields = row
    turns: list[Any] = []
    for name, who in zip(pair, ("user", "assistant"), strict=True):
        value = fields[name]
        turns += value if isinstance(value, list) else [value if is_turn(value) else {"role": who, "content": value}]
    return _said(turns, f"{source}: {pair[0]}", _system(row, columns))


def _two(shown: str, *names: tuple[str, str]) -> Format:
    """Return the shape of a question and its answer in two columns, which are called as one of `names`."""

    def found(fields: Mapping[str, Any]) -> tuple[str, str] | None:
        return next((pair for pair in names if set(pair) <= fields.keys()), None)

    def used(fields: Mapping[str, Any], columns: Columns) -> tuple[str, ...] | None:
        pair = found(fields)
        return (*pair, _system_column(fields, columns), columns.history) if pair else None

    def read(row: Row, columns: Columns) -> Said:
        source, fields = row
        pair = found(fields)
        if pair is None:
            absent = [name for name in names[0] if name not in fields]
            raise IikataError(missing(source, absent, fields, columns))
        if _in_turns(row, pair):
            return _joined(row, pair, columns)
        question, answer = (text(fields[name], f"{source}: {name}") for name in pair)
        return Said(_before(row, columns), question, "", answer)

    return Format(shown, used, read)


FORMATS: dict[str, Format] = {
    "alpaca": Format("instructions with answers", _alpaca_columns, _alpaca),
    "messages": Format("messages", _turns_columns(("role", "content")), _turns),
    "sharegpt": Format("ShareGPT conversations", _turns_columns(("from", "value")), _turns),
    "turns": Format("conversations", _turns_columns(()), _turns),
    "prompt_completion": _two("prompts with completions", ("prompt", "completion"), ("prompt", "response")),
    "question_answer": _two("questions with answers", *QUESTION_ANSWER),
}
"""In the order in which they are tried; `data.format` names one."""


MEDIA = ("images", "videos", "audios", "image", "video", "audio")


def refuse_more(fields: Mapping[str, Any], columns: Columns) -> None:
    """Raise UnreadError for a row that comes with pictures and the like, or whose answer is marked as a bad one."""
    if media := next((name for name in MEDIA if fields.get(name)), None):
        raise UnreadError(f'{media.rstrip("s")}s beside their text ("{media}")')
    labels = ("kto_tag",) if columns.instruction in fields else ("kto_tag", "label")
    if bad := next((name for name in labels if fields.get(name) is False), None):
        fix = "Training would teach them. Take these rows out; or the column, where it means something else."
        raise UnreadError(f"an answer that is marked as a bad one ({bad}: false)", fix)


def format_of(name: str, fields: Mapping[str, Any], columns: Columns) -> Format:
    """Return the format called `name`; for "auto" the first whose columns the row has, Alpaca's where there is none."""
    if name != "auto":
        return FORMATS[name]
    return next((one for one in FORMATS.values() if one.columns(fields, columns)), FORMATS["alpaca"])
