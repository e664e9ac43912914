"""The study's tables as one Markdown page; it says nothing that results.json does not hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

PAGES = Path(__file__).resolve().parent / "pages"


def page(found: Mapping[str, Any]) -> str:
    """Return all tables of one model."""
    known = {"n": _n, "p": _p, "span": _span, "yes": _yes, "pct": "{:.1%}".format, "columns": _columns}
    return environment(known).get_template("tables.md.jinja").render(found=found)


def environment(known: Mapping[str, Any]) -> jinja2.Environment:
    """Return Jinja over the study's pages, in which these functions are known."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals |= known
    return made


def _columns(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(prompt for row in rows.values() for prompt in row))


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}".replace("-", "−")


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _span(ends: Sequence[float | None] | None) -> str:
    return "-" if ends is None else f"{_n(ends[0])} to {_n(ends[1])}"


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"
