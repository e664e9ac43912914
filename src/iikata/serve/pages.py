"""Make a page of a template: escaped, bilingual, in the language that its reader chose."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from iikata.core.text import escape
from iikata.report.markup import shortened
from iikata.serve.guard import csrf

LANGUAGES = ("en", "ja")
COOKIE = "iikata_language"
"""Read here and written by the page's script; not tied to a port, so that the next start remembers."""
FOLDERS = ("iikata.serve", "iikata.report")
"""The report lends its style sheet and its loss curves."""


def page(request: Request, name: str, status: int = 200, **given: Any) -> HTMLResponse:
    """Return the page (or the part of one) that the template `name` makes of what is given."""
    return HTMLResponse(rendered(request, name, **given), status)


def rendered(request: Request, name: str, **given: Any) -> Markup:
    """Return its text; everything in it is escaped."""
    state = request.app.state
    known = {
        "runs": state.runs,
        "csrf": csrf(state.token),
        "language": language(request),
        "path": request.url.path,
        "run": None,
        "number": None,
    }
    return Markup(_shelf().get_template(name).render(**{**known, **given}))


def language(request: Request) -> str:
    """Return the language that the address asks for, else the one chosen before, else the browser's."""
    chosen = (
        request.query_params.get("lang")
        or request.cookies.get(COOKIE)
        or request.headers.get("accept-language", "")[:2]
    )
    return chosen if chosen in LANGUAGES else LANGUAGES[0]


@cache
def words() -> Mapping[str, Sequence[str]]:
    """Return the page's words: key -> (English, Japanese)."""
    return json.loads(resource("words.json"))  # type: ignore[no-any-return]


def resource(name: str) -> str:
    """Return a file that lies beside this one, or beside the report's."""
    found = [files(folder) / name for folder in FOLDERS]
    return next(file for file in found if file.is_file()).read_text("utf-8")


def _word(key: str) -> Markup:
    """Return both languages of a word, of which the style sheet shows one."""
    english, japanese = words()[key]
    return Markup('<span lang="en">{}</span><span lang="ja">{}</span>').format(english, japanese)


@cache
def _shelf() -> jinja2.Environment:
    shelf = jinja2.Environment(
        loader=jinja2.FunctionLoader(resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shelf.filters |= {"visible": escape, "shortened": shortened}
    shelf.globals |= {"w": _word, "known": words()}
    return shelf
