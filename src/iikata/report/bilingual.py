"""Jinja over a room's templates, in which every word comes in English and Japanese and every text is escaped."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import jinja2
from markupsafe import Markup

from iikata.core.text import escape
from iikata.report import figures, markup


def resource(package: str, name: str) -> str:
    """Return the text of a file beside the code of `package`."""
    return (files(package) / name).read_text("utf-8")


@cache
def words(package: str = "iikata.report") -> Mapping[str, Sequence[str]]:
    """Return the words of a room's pages: key -> (English, Japanese)."""
    return json.loads(resource(package, "words.json"))  # type: ignore[no-any-return]


@cache
def environment(*packages: str) -> jinja2.Environment:
    """Return Jinja over the templates and words of `packages`, the first's first; only Markdown escapes by itself."""
    known = {key: said for package in reversed(packages) for key, said in words(package).items()}

    def both(english: str, japanese: str) -> Markup:
        """Return a text in both languages, of which the style sheet shows one."""
        return Markup('<span lang="en">{}</span><span lang="ja">{}</span>').format(english, japanese)

    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package, ".") for package in packages]),
        autoescape=lambda name: name is None or not name.endswith(".md.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["visible"] = escape  # Jinja has another filter `escape`
    for name in ("spaced", "shortened", "markdown", "code", "slot", "fenced"):
        made.filters[name] = getattr(markup, name)
    made.globals |= {"both": both, "w": lambda key: both(*known[key]), "known": known, "n": figures}
    return made
