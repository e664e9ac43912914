"""Render the report: one HTML file that makes no request, its Markdown twin and the plots beside that."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from iikata.core.text import escape
from iikata.metrics import HELD_OUT
from iikata.report import effects, figures, markup
from iikata.report.context import context
from iikata.report.data import ReportData


def pages(material: ReportData) -> dict[str, str]:
    """Return file name -> content of index.html, its Markdown twins and the SVG plots that those show.

    report.md is for GitHub and Qiita, English first; report.zenn.md folds as Zenn does, Japanese first.
    """
    shelf, given = _environment(), context(material, words())
    figure: Any = shelf.get_template("figure.svg.jinja").module
    script = _resource("differing.js") + _resource("page.js")
    # A hash, not a nonce: the same run makes the same bytes.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = shelf.get_template("page.html.jinja").render(
        style=Markup(_resource("page.css")), script=Markup(script), digest=digest, **given
    )
    found = {"index.html": html}
    for name, zenn in (("report.md", False), ("report.zenn.md", True)):
        found[name] = shelf.get_template("report.md.jinja").render(zenn=zenn, first=int(zenn), **given)
    primary = given["primary"]
    if primary in given["forests"]:
        found["plots/forest.svg"] = figure.forest(given["forests"][primary], material.metrics[primary])
    if given["losses"]:
        found["plots/loss.svg"] = figure.losses(given["losses"], given["colours"])
    return {name: f"{text.strip()}\n" for name, text in found.items()}


@cache
def words() -> Mapping[str, Sequence[str]]:
    """Return the interface's words: key -> (English, Japanese)."""
    return json.loads(_resource("words.json"))


def _word(key: str) -> Markup:
    """Return both languages of a word, of which the style sheet shows one."""
    english, japanese = words()[key]
    return Markup('<span lang="en">{}</span><span lang="ja">{}</span>').format(english, japanese)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=lambda name: name is None or not name.endswith(".md.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = escape  # Jinja has a filter `escape` of its own
    for filter_ in ("spaced", "shortened", "markdown", "code", "slot", "fenced"):
        environment.filters[filter_] = getattr(markup, filter_)
    environment.globals |= {
        "w": _word,
        "known": words(),
        "n": figures,
        "target": effects.target,
        "cell_of": effects.cell,
        "side": effects.side,
        "scope": effects.scope,
        "held_out": HELD_OUT,
    }
    return environment


def _resource(name: str) -> str:
    return (files("iikata.report") / name).read_text("utf-8")
