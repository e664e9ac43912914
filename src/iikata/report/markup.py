"""Keep a text inert in Markdown, and draw what of it counts.

A model may answer with anything: control characters, marks that turn the writing direction, markup. The
HTML side escapes through Jinja and textContent; invisible characters get a visible stand-in on both.
"""

import re

from iikata.core.text import escape

_SPACES = {" ": "·", "\n": "↵\n", "\t": "→\t", "\u3000": "□"}
_MARKDOWN = re.compile(r"[\\`*_\[\]<>#~&$@!]|:(?=//)|^[-+=]")


def spaced(text: str) -> str:
    """Return `visible(text)` with spaces, tabs and line breaks drawn as well, for texts where they count."""
    return "".join(_SPACES.get(character, character) for character in escape(text))


def shortened(text: str, limit: int) -> str:
    """Return the first `limit` characters and say how many were left out."""
    return text if len(text) <= limit else f"{text[:limit]} … (+{len(text) - limit:,})"


def markdown(text: str) -> str:
    """Return `text` as one line of Markdown in which nothing is markup."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", " ".join(escape(text).split()))
    return re.sub(r"^(\d{1,9})([.)])", r"\1\\\2", escaped)  # an item of a numbered list


def code(text: str) -> str:
    """Return `text` as a code span of one line."""
    line = escape(text).replace("\n", "↵").replace("\t", " ")
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line or ' '}`"


def slot(text: str) -> str:
    """Return `text` as a code span for a cell of a table, where even code must not hold a bare `|`."""
    return code(text).replace("|", "\\|")


def fenced(text: str) -> str:
    """Return `text` as a code block whose fence is longer than any run of backticks in it."""
    shown = escape(text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence}text\n{shown}\n{fence}"
