"""Says an error in Japanese, by each room's errors.ja.json.

A key is a message or a part of one as the source has it, its values as {1}, {2}, ...; what a value says is looked up
too. So a message is written once, in English; tests/core/test_japanese.py reads the source for what has no Japanese.
Beside them libraries.ja.json has what libraries and the machine say most often; other words of theirs stay English.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

Phrase = tuple[tuple[str, ...], str]
"""The texts between a message's values, and its Japanese."""

FILES = ("errors.ja.json", "libraries.ja.json")
HOLE, WRITTEN = re.compile(r"\{(\d+)\}"), re.compile("[ぁ-ヿ一-龥（）「」]")
PLACED = re.compile(rf"((?<={WRITTEN.pattern}) )?\{{(\d+)\}}( (?={WRITTEN.pattern}))?")
"""A value with its blanks among Japanese letters, which stay out where it is of such letters too."""
BETWEEN = re.compile(r"(?<=[.?!。]) (?=\S)")
LISTS = (r"(, |; )", r"( (?=\())")
TORN = re.compile(r"[^(]*\).*\(")
"""Between the parts of a list, or before its hint; and a value that is torn from one, as `x), 2 hold y (z`."""
MOST, DEEPEST, LONGEST = 12, 4, 4000
"""Sentences that are looked up together; values in values; letters of a line beyond which it stays as it is."""


def japanese(message: str) -> str:
    """Return an error's text in Japanese, as far as it is known."""
    return _told(message, 0)


def _told(text: str, depth: int) -> str:
    if len(text) > LONGEST or depth > DEEPEST:
        return text
    return _known(text, depth)[1] or "\n".join(_sentences(line, depth) for line in text.split("\n"))


@cache
def phrases() -> tuple[Phrase, ...]:
    """Return what all rooms know; what says most first."""
    told: dict[str, str] = {}
    package = files("iikata")
    for room in (package, *package.iterdir()):
        for name in FILES if room.is_dir() else ():
            if (known := room.joinpath(name)).is_file():
                told |= json.loads(known.read_text(encoding="utf-8"))
    return ordered(told)


def ordered(told: Mapping[str, str]) -> tuple[Phrase, ...]:
    made = [(tuple(HOLE.split(english.strip())[::2]), said) for english, said in told.items()]
    return tuple(sorted(made, key=lambda phrase: -sum(map(len, phrase[0]))))


def _known(text: str, depth: int) -> tuple[int, str]:
    """Return how much of a text a phrase says, a full stop more or less, and its Japanese; nothing where none fits."""
    text = text.strip()
    other = (text[:-1], "。") if text.endswith(".") else (f"{text}.", "")
    for given, stop in ((text, None), other):
        for between, said in phrases():
            if (values := _values(given, between)) is not None:
                made = _filled(said, values, depth)
                return sum(map(len, between)), made if stop is None else made.removesuffix("。") + stop
    return 0, ""


def _filled(said: str, values: list[str], depth: int) -> str:
    def value(hole: re.Match[str]) -> str:
        told = _told(english := values[int(hole[2]) - 1], depth + 1)
        ends = [told != english and WRITTEN.match(letter) for letter in (told[:1], told[-1:])]
        return (hole[1] or "") * (not ends[0]) + told + (hole[3] or "") * (not ends[1])

    return PLACED.sub(value, said)


def _values(text: str, between: tuple[str, ...]) -> list[str] | None:
    """Return what stands between these texts, each at its first place, the last at the end, or None."""
    if len(between) == 1 or not (text.startswith(between[0]) and text.endswith(between[-1])):
        return [] if (text,) == between else None
    first, *middle = between[:-1]
    values, at, end = [], len(first), len(text) - len(between[-1])
    for part in middle:
        found = text.find(part, at, end)
        if (part, *between[-2:]) == (".", ".", ""):  # a sentence's end, not within a number or a name
            found = text.find(". ", at, end) if ". " in text[at:end] else text.rfind(part, at, end)
        if found < 0:
            return None
        values.append(text[at:found])
        at = found + len(part)
    values.append(text[at:end])
    several = any("\n" in value for value in values) and not any("\n" in part for part in between)
    beyond = not (between[-1] or re.search("[.:] ?$", between[-2])) and re.search(r"\.( |$)", values[-1])
    torn = beyond or any(TORN.match(value) for value in values)
    return values if at <= end and not (several or torn) else None


def _sentences(line: str, depth: int) -> str:
    """Return a line whose sentences are said as far as they are known, the longest runs of them first."""
    made, given = "", BETWEEN.split(line)
    while given:
        runs = ((count, _placed(" ".join(given[:count]), depth)) for count in range(min(MOST, len(given)), 0, -1))
        count, said = next((run for run in runs if run[1]), (1, _listed(given[0], depth) + " " * (len(given) > 1)))
        made, given = made + said, given[count:]
    return made


def _listed(text: str, depth: int, by: tuple[str, ...] = LISTS) -> str:
    """Return a list's parts (`a changed; b changed`), those in Japanese that are known."""
    said = (_known(one, depth)[1] or (_listed(one, depth, by[1:]) if by[1:] else one) for one in re.split(by[0], text))
    return re.sub("(?<=）)[,;] ", "、", "".join(said)).replace(" （", "（")


def _placed(text: str, depth: int) -> str:
    """Return a text's Japanese; a place before it (`file:3: `) is left where as much is known of what follows it."""
    starts = [0, *(found.end() for found in re.finditer(": ", text))]
    (size, said), at = max(((_known(text[at:], depth), at) for at in starts), key=lambda one: (one[0][0], one[1]))
    return text[:at] + said if size else ""
