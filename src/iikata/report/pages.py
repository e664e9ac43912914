"""Render the report: one HTML file that makes no request, its Markdown twin and the plots beside that."""

import base64
import hashlib
from typing import Any

import jinja2
from markupsafe import Markup

from iikata.core import VERSION
from iikata.core.text import HIDDEN_IN_SCRIPT
from iikata.metrics import HELD_OUT
from iikata.report import effects
from iikata.report.bilingual import environment, resource, words
from iikata.report.context import context
from iikata.report.data import ReportData
from iikata.report.glossary import explained
from iikata.report.picture import FAMILIES
from iikata.report.share import card
from iikata.report.variants import setting
from iikata.stats.short_phrases import LANGUAGES


def pages(data: ReportData) -> dict[str, str]:
    """Return file name -> content of index.html, its Markdown twins and the SVG plots that those show.

    report.md is for GitHub and Qiita, English first; report.zenn.md folds as Zenn does, Japanese first.
    """
    made, given = shelf(), context(data, words())
    figure: Any = made.get_template("figure.svg.jinja").module
    cards = [card(given, place) for place in range(len(LANGUAGES))]
    inside = styled("language.js", "differing.js", "page.js")
    found = {"index.html": made.get_template("page.html.jinja").render(share=cards[0], **inside, **given)}
    for name, zenn in (("report.md", False), ("report.zenn.md", True)):
        found[name] = made.get_template("report.md.jinja").render(zenn=zenn, first=int(zenn), **given)
    for language, variables in zip(LANGUAGES, cards, strict=True):
        found[f"card_{language}.svg"] = made.get_template("share.svg.jinja").render(
            variables, families=FAMILIES, version=VERSION
        )
    primary = given["primary"]
    if primary in given["forests"]:
        found["plots/forest.svg"] = figure.forest(given["forests"][primary], data.metrics[primary])
    if given["losses"]:
        found["plots/loss.svg"] = figure.plots(given["losses"], given["v"])
    if given["held_out_panels"]:
        found["plots/held_out.svg"] = figure.plots(given["held_out_panels"], given["v"])
    return {name: f"{text.strip()}\n" for name, text in found.items()}


def styled(*scripts: str) -> dict[str, str]:
    """Return the style sheet of a page, its scripts as one, and that one's hash."""
    script = "".join(resource("iikata.report", name) for name in scripts).replace("HIDDEN_IN_SCRIPT", HIDDEN_IN_SCRIPT)
    # A hash, not a nonce: the same run makes the same bytes.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"style": Markup(resource("iikata.report", "page.css")), "script": Markup(script), "digest": digest}


def shelf() -> jinja2.Environment:
    """Return Jinja over the report's templates."""
    made = environment("iikata.report")
    made.filters["setting"] = setting
    made.globals |= {
        "cell_of": effects.cell,
        "target": effects.target,
        "explained": explained,
        "scope": effects.scope,
        "held_out": HELD_OUT,
        "home": "",
    }
    return made
