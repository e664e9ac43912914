"""Lay out the card of the verdict, a picture to share: both questions with their answers, numbers and size."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iikata.report.effects import EffectGroup, groups

WIDTH, HEIGHT = 1200, 630
"""What sites cut a preview to (Open Graph)."""
COLUMN, ROOM = 510, 216
"""The width and height that an answer may fill."""
SIZES = (32, 30, 28, 26, 24, 22, 20, 18)
_CJK = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef"
_PIECE = re.compile(rf"[「『（(]*(?:[ァ-ヺー]+|[{_CJK}]|[^\s{_CJK}]+)[。、」』）)：:〜ーぁぃぅぇぉっゃゅょ…]*\s*")
"""What no line is cut within: a word, a word in katakana, another Japanese character; none begins with what closes."""


@dataclass(frozen=True)
class CardPart:
    """One question of the card."""

    question: str
    lines: Sequence[str]
    """Its answer, cut to the column's width."""
    verdict: str
    shown: EffectGroup | None
    """The one comparison that it rests on, on an axis of its own."""


def card(given: Mapping[str, Any], language: int) -> dict[str, Any]:
    """Return the variables of the card's template; `given` are the page's, `language` 0 is English, 1 Japanese."""
    verdict, primary, margins = given["m"].comparisons["verdict"], given["primary"], given["margins"]
    asked = [both[language] for both in given["first_answers"]]
    rest_on = (
        (asked[0], verdict["factor_matters"], given["about_template"]),
        (asked[-1], verdict["lora_needed"], given["about_lora"]),
    )
    size, texts = fitted([answer for (_, answer), *_ in rest_on], COLUMN, ROOM)
    parts = []
    for ((question, _), found, record), lines in zip(rest_on, texts, strict=True):
        shown = groups([record], primary, margins[primary], given["v"])[0] if record else None
        parts.append(CardPart(question, lines, found, shown))
    alt = " ".join(f"{question} {answer}" for (question, answer), *_ in rest_on)
    return {
        **given,
        "parts": parts,
        "size": size,
        "l": language,
        "alt": alt,
        "cut": cut,
        "width": WIDTH,
        "height": HEIGHT,
    }


def cut(text: str, width: float) -> str:
    """Return what of `text` fits into `width` em."""
    lines = list(wrapped(text, width))
    return lines[0] if len(lines) == 1 else f"{next(iter(wrapped(text, width - 1)), '')}…" if lines else ""


def fitted(texts: Sequence[str], width: float, height: float) -> tuple[int, list[list[str]]]:
    """Return the largest size of letters at which no text is higher than the room, and each text's lines."""
    for size in SIZES:
        found = [list(wrapped(text, width / size)) for text in texts]
        most = int(height / (size * 1.35))
        if all(len(lines) <= most for lines in found):
            break
    return size, [[*lines[: most - 1], f"{lines[most - 1][:-1]}…"] if len(lines) > most else lines for lines in found]


def wrapped(text: str, width: float) -> Iterator[str]:
    """Yield lines of at most `width` em: cut between words, or between Japanese characters as the language does."""
    line = ""
    for piece in _PIECE.findall(text):
        if line and ems((line + piece).rstrip()) > width:
            yield line.rstrip()
            line = ""
        while ems((line + piece).rstrip()) > width:  # a name without a blank
            cut = next(n for n in range(len(piece), 0, -1) if n == 1 or ems(piece[:n]) <= width)
            yield piece[:cut]
            piece = piece[cut:]
        line += piece
    if line:
        yield line.rstrip()


def ems(text: str) -> float:
    """Return about how wide a text is, in widths of a Japanese character; Latin letters as in bold, wide fonts."""
    return sum(1.0 if unicodedata.east_asian_width(one) in "WFA" else 0.62 for one in text)
