"""The commands and blocks that README and docs show."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "README.ja.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", text_of(page), re.DOTALL)


def shell_lines(page):
    """The lines that begin with a command in indented and fenced blocks, as words."""
    lines = re.findall(r"^(?:    |\$ )((?:iikata|make) .*)$", text_of(page), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def inline_commands(page):
    """What stands as `iikata VERB ARGUMENT ...` in the text, as words."""
    return [
        shlex.split(code.replace("[", "").replace("]", "")) for code in re.findall(r"`(iikata \w[^`]*)`", text_of(page))
    ]
