"""Read the probes: held-out prompts that every cell answers."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.io import shown
from iikata.core.records import Before, Probe
from iikata.core.registry import did_you_mean
from iikata.data.columns import ALSO_CALLED, text
from iikata.data.lm_eval_task import read_task
from iikata.data.rows import Row, read_rows
from iikata.data.turns import open_conversation, pairs, with_system

FIELDS = (
    *("id", "instruction", "input", "references", "pattern", "cluster", "system", "history"),
    *("choices", "answer", "sampled"),
)
TURNS = ("messages", "conversations")
"""Fields that hold a whole conversation, which ends with the question."""
MEANT = {
    "input": ALSO_CALLED["input"],  # before the instruction, which 入力 is only where there is no other
    "instruction": ALSO_CALLED["instruction"],
    "references": ("output", "reference", *ALSO_CALLED["output"]),
}
MOST_NAME = 200
MOST_PATTERN = 10_000
MOST_COUNTED = 100_000
"""The library `regex` writes a{9} out as nine a: a few characters can ask for all of the memory."""


def read_probes(path: Path, system: str | None = None) -> list[Probe]:
    """Return the probes of a json or jsonl file, in file order.

    A probe without an id is called p001, p002, ... by its position; without a cluster, its own id is its
    cluster. `system` is data.system: with "drop" system messages are left out, with "refuse" an error. Raises
    IikataError at `file:line` for an unknown field, a probe without an instruction, an id that is there twice and a
    pattern that is no regular expression.
    """
    if path.suffix.lower() not in (".json", ".jsonl"):
        raise IikataError(f"{path}: probes are read from json and jsonl files; write it as one of them.")
    nothing = f'{path}: no probe in it. Write one a line, as in {{"instruction": "..."}}.'
    return _probes(read_rows(path, str(path)), system, nothing)


def read_task_probes(name: str, most: int | None, system: str | None = None) -> list[Probe]:
    """Return the documents of an lm-eval task as probes, at most `most`; raises as read_task does."""
    return _probes(read_task(name, most), system, f"probes: the task {name} has no document.")


def _probes(rows: Iterable[Row], system: str | None, nothing: str) -> list[Probe]:
    probes: dict[str, Probe] = {}
    for number, row in enumerate(rows, start=1):
        probe = _probe(row, f"p{number:03d}", system)
        if probe.id in probes:
            raise IikataError(
                f'{row[0]}: the id "{probe.id}" is there twice; give each probe its own '
                "(one without is called by its position)."
            )
        probes[probe.id] = probe
    if not probes:
        raise IikataError(nothing)
    return list(probes.values())


def _probe(row: Row, default_id: str, system: str | None) -> Probe:
    source, fields = row
    unknown = ", ".join(f'"{name:.60}"{_meant(name)}' for name in fields if name not in (*FIELDS, *TURNS))
    if unknown:
        raise IikataError(f"{source}: unknown field {unknown:.500}; allowed: {', '.join((*FIELDS, *TURNS))}.")
    lists = ("references", "history", "choices", "answer", "sampled")
    words = {name: text(fields.get(name), f"{source}: {name}") for name in FIELDS if name not in lists}
    before = Before(words.pop("system"), tuple(pairs(fields.get("history"), f"{source}: history")))
    if held := next((name for name in TURNS if name in fields), None):
        if beside := [name for name in ("instruction", "input", "system", "history") if fields.get(name)]:
            raise IikataError(
                f'{source}: "{held}" is the whole conversation, and "{beside[0]}" is there too; take one of them out.'
            )
        before, words["instruction"] = open_conversation(fields[held], f"{source}: {held}")
    if held and not words["instruction"].strip():
        raise IikataError(f"{source}: {held}: the last message is empty; it is the question to answer.")
    if not words["instruction"].strip():
        raise IikataError(f'{source}: a probe needs an "instruction", the text to answer.')
    words["id"] = _name(words["id"], f"{source}: id") or default_id
    words["cluster"] = _name(words["cluster"], f"{source}: cluster") or words["id"]
    choices = _choices(fields.get("choices"), source)
    probe = Probe(
        pattern=_pattern(words.pop("pattern"), source),
        **words,
        references=_references(fields.get("references"), source),
        before=with_system(before, system, source),
        choices=choices,
        answer=_answer(fields.get("answer"), choices, source),
        sampled=_sampled(fields.get("sampled", True), choices, source),
    )
    try:
        "".join((*words.values(), *probe.references, *choices, probe.question)).encode()
    except UnicodeEncodeError:
        raise IikataError(f"{source}: the text holds a lone surrogate, which UTF-8 cannot. Remove it.") from None
    return probe


def _meant(name: str) -> str:
    field = next((field for field, names in MEANT.items() if name in names), None)
    return f' (here it is called "{field}")' if field else did_you_mean(name, FIELDS)


def _name(name: str, what: str) -> str:
    if not name:
        return name
    if not name.strip() or len(name) > MOST_NAME or re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", name):
        allowed = f"a name on one line, of at most {MOST_NAME} characters and without control characters, is allowed"
        raise IikataError(f"{what}: {name[:60]!r} was seen; {allowed}.")
    return name


def _pattern(pattern: str, source: str) -> str | None:
    """Return the pattern as it is, once the library that will search with it has compiled it."""
    import regex

    counted = math.prod(max(1, int(least[:9])) for least in re.findall(r"\{(\d+)", pattern))
    if len(pattern) > MOST_PATTERN or counted > MOST_COUNTED:
        raise IikataError(
            f"{source}: the pattern is too large: {MOST_PATTERN:,} characters are allowed, and counts as in a{{n}} "
            f"that make at most {MOST_COUNTED:,} together; {len(pattern):,} and {counted:,} were seen."
        )
    try:
        regex.compile(pattern)
    except (regex.error, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        fix = "Put a backslash before a bracket, dot, star or question mark that is meant as text."
        raise IikataError(f"{source}: pattern {pattern[:60]!r} is no regular expression: {error}. {fix}") from None
    return pattern or None


def _references(references: Any, source: str) -> tuple[str, ...]:
    several = references if isinstance(references, list) else [] if references is None else [references]
    texts = tuple(text(reference, f"{source}: references") for reference in several)
    if not all(reference.strip() for reference in texts):
        # An empty reference is contained in every answer.
        raise IikataError(f"{source}: a reference is empty; leave it out.")
    return texts


def _choices(given: Any, source: str) -> tuple[str, ...]:
    if given is None:
        return ()
    texts = tuple(text(one, f"{source}: choices") for one in given) if isinstance(given, list) else ()
    if len(texts) < 2 or not all(one.strip() for one in texts) or len(set(texts)) < len(texts):
        allowed = "a list of two or more different answers, none of them empty, is allowed"
        raise IikataError(f"{source}: choices: {allowed}.")
    return texts


def _answer(given: Any, choices: tuple[str, ...], source: str) -> int | None:
    """Return which choice is right: given by its text, or by its number from 0."""
    if given is None and not choices:
        return None
    if not choices:
        raise IikataError(
            f'{source}: an "answer" says which of the "choices" is right, and there are none. Other right'
            ' answers are "references".'
        )
    if isinstance(given, str) and given in choices:
        return choices.index(given)
    if type(given) is int and 0 <= given < len(choices):
        return given
    allowed = f"one of the choices, or its number from 0 to {len(choices) - 1}, is allowed"
    raise IikataError(f"{source}: answer: {shown(given)} was seen; {allowed}.")


def _sampled(given: Any, choices: tuple[str, ...], source: str) -> bool:
    """Return whether the probe is answered in words; without choices nothing else could be done with it."""
    if type(given) is not bool:
        raise IikataError(f"{source}: sampled: {shown(given)} was seen; true or false is allowed.")
    if not given and not choices:
        raise IikataError(
            f'{source}: "sampled" is false, and there are no "choices" to read instead. Add them, or take it out.'
        )
    return given
