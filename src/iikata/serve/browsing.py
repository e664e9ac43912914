"""Browse: the runs while they grow, their finished reports, and what all ratings say."""

import shlex

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from iikata.core.errors import IikataError
from iikata.core.lock import refuse_links
from iikata.core.text import redact
from iikata.pipeline.rating import summed
from iikata.serve.pages import chosen, in_words, named, page, rendered
from iikata.serve.run import ServedRun

REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A report is a file of the run folder, which may come from anywhere: it gets its own origin and no requests.

Its own policy, by the hash of its script, holds beside this one.
"""


def browse(request: Request) -> Response:
    """Show every run; one that cannot be read hides no other."""
    parts = [_part(request, number, run) for number, run in enumerate(request.app.state.runs, 1)]
    return page(request, "browse.html.jinja", parts=parts)


def one(request: Request) -> Response:
    """Return one run's part of the page, which asks for it again while the run goes on."""
    return HTMLResponse(_part(request, *named(request)))


def _part(request: Request, number: int, run: ServedRun) -> Markup:
    try:
        refuse_links(run.folder)
        return rendered(request, "run.html.jinja", run=run, number=number)
    except IikataError as error:
        return rendered(
            request,
            "broken.html.jinja",
            folder=run.folder.name,
            number=number,
            error=in_words(request, redact(str(error))),
        )


def report(request: Request) -> Response:
    """Send the finished report as it is."""
    _, run = chosen(request)
    if run.page is None:
        raise HTTPException(404, "There is no report yet.")
    return FileResponse(run.page, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def ratings(request: Request) -> Response:
    """Show what all ratings say together; never on the page that is blind."""
    number, run = chosen(request)
    found = summed(run.ctx, run.answers())
    command = shlex.join(["iikata", "run", str(run.folder)])
    return page(request, "ratings.html.jinja", run=run, number=number, summary=found, command=command)
