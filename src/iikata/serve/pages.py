"""What every page needs: the run that its address names, a form's fields, its reader's language, its template."""

from typing import Any
from urllib.parse import parse_qsl

from markupsafe import Markup
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse

from iikata.core.japanese import japanese
from iikata.core.lock import refuse_links
from iikata.report.bilingual import environment
from iikata.serve.guard import csrf
from iikata.serve.run import ServedRun
from iikata.stats.short_phrases import LANGUAGES

COOKIE = "iikata_language"
"""Read here and written by the page's script; not tied to a port, so that the next start remembers."""


def named(request: Request) -> tuple[int, ServedRun]:
    """Return the number in the address and its run."""
    for number, run in enumerate(request.app.state.runs, 1):
        if request.path_params["run"] == str(number):
            return number, run
    raise HTTPException(404, "There is no such run.")


def chosen(request: Request) -> tuple[int, ServedRun]:
    """Return the run that the address names; a link in its folder that leads out of it is refused, not followed."""
    number, run = named(request)
    refuse_links(run.folder)
    return number, run


async def fields(request: Request) -> ImmutableMultiDict[str, str]:
    """Return a form's fields."""
    try:
        body = (await request.body()).decode("ascii")
        return ImmutableMultiDict(parse_qsl(body, keep_blank_values=True, errors="strict", max_num_fields=1000))
    except (ValueError, ClientDisconnect):
        raise HTTPException(400, "This is not a form.") from None


def page(request: Request, name: str, **given: Any) -> HTMLResponse:
    """Return the page (or the part of one) that the template `name` makes of what is given."""
    return HTMLResponse(rendered(request, name, **given))


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
    # The report lends its loss curves.
    template = environment("iikata.serve", "iikata.report").get_template(name)
    return Markup(template.render({**known, **given}))


def language(request: Request) -> str:
    """Return the language that the address asks for, else the one chosen before, else the browser's."""
    asked, before = request.query_params.get("lang"), request.cookies.get(COOKIE)
    wanted = asked or before or request.headers.get("accept-language", "")[:2]
    return wanted if wanted in LANGUAGES else LANGUAGES[0]


def in_words(request: Request, error: str) -> str:
    """Return an error's text in the language of the page."""
    return japanese(error) if language(request) == "ja" else error
