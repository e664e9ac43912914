"""Says an error in Japanese, by each room's errors.ja.json.

A key is a message or a part of one, its values as {1}, {2}, ... in the order of the source; what a value says is looked up,
too. So a message is written once, in English; tests/cli/test_japanese.py reads the source and names what has no Japanese.
A sentence that is not known (a library's word) stays English.
"""

import json
import re
from functools import cache
from importlib.resources import files

FILE = "errors.ja.json"
HOLE = re.compile(r"\{(\d+)\}")
BETWEEN = re.compile(r"(?<=[.?!]) (?=\S)")
MOST, DEEPEST, LONGEST = 12, 4, 4000
"""Sentences that are looked up together; values in values; letters of a line beyond which it stays as it is."""


def japanese(message: str) -> str:
    """Return an error's text in Japanese, as far as it is known."""
    return _known(message)[1] or "\n".join(map(_sentences, message.split("\n")))


@cache
def phrases() -> tuple[tuple[tuple[str, ...], str], ...]:
    """Return (the texts between the values, the Japanese) of each phrase; what says most first."""
    made, package = [], files("iikata")
    for room in (package, *package.iterdir()):
        if room.is_dir() and (known := room.joinpath(FILE)).is_file():
            told = json.loads(known.read_text(encoding="utf-8"))
            made += [(tuple(HOLE.split(english.strip())[::2]), said) for english, said in told.items()]
    return tuple(sorted(made, key=_size))


def _size(phrase: tuple[tuple[str, ...], str]) -> int:
    return -sum(map(len, phrase[0]))


def _known(text: str, depth: int = 0) -> tuple[int, str]:
    """Return how much of a text a phrase says, and its Japanese; nothing where none fits."""
    if len(text) > LONGEST or depth > DEEPEST:
        return 0, ""
    for phrase in phrases():
        if (values := _values(text.strip(), phrase[0])) is not None:
            told = [_known(value, depth + 1)[1] or value for value in values]
            return -_size(phrase), HOLE.sub(lambda hole, told=told: told[int(hole[1]) - 1], phrase[1])  # type: ignore[misc]
    return 0, ""


def _values(text: str, between: tuple[str, ...]) -> list[str] | None:
    """Return what stands between these texts, each at its first place and the last at the end; None where they do not fit."""
    first, *middle = between[:-1] or (text,)
    if len(between) == 1:
        return [] if text == between[0] else None
    if not text.startswith(first) or not text.endswith(between[-1]):
        return None
    values, at, end = [], len(first), len(text) - len(between[-1])
    for part in middle:
        if (found := text.find(part, at, end)) < 0:
            return None
        values.append(text[at:found])
        at = found + len(part)
    return [*values, text[at:end]] if at <= end else None


def _sentences(line: str) -> str:
    """Return a line whose sentences are said as far as they are known, the longest runs of them first."""
    made, given = "", BETWEEN.split(line) if len(line) <= LONGEST else [line]
    while given:
        runs = ((count, _placed(" ".join(given[:count]))) for count in range(min(MOST, len(given)), 0, -1))
        count, said = next((run for run in runs if run[1]), (1, given[0] + " "))
        made, given = made + said, given[count:]
    return made.rstrip(" ")


def _placed(text: str) -> str:
    """Return a text's Japanese; a place before it (`file:3: `) is left where more is known of what follows it."""
    starts = [0, *(found.end() for found in re.finditer(": ", text))]
    *_, at, (size, said) = max(
        ((_known(text[at:])[0], at, _known(text[at:])) for at in starts), key=lambda one: one[:2]
    )
    return text[:at] + said if size else ""
