"""Browse: the runs while they grow, and their finished reports."""

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from iikata.core.errors import IikataError
from iikata.core.lock import refuse_links
from iikata.core.text import redact
from iikata.serve.pages import page, rendered
from iikata.serve.run import Run

REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A report is a file of the run folder, which may come from anywhere: it gets an origin of its own and no requests.

Its own policy, by the hash of its script, holds beside this one.
"""


def browse(request: Request) -> Response:
    """Show every run; one that cannot be read hides no other."""
    runs = enumerate(request.app.state.runs, 1)
    return page(request, "browse.html.jinja", parts=[_part(request, number, run) for number, run in runs])


def one(request: Request) -> Response:
    """Return one run's part of the page, which asks for it again while the run goes on."""
    return HTMLResponse(_part(request, *_named(request)))


def _part(request: Request, number: int, run: Run) -> Markup:
    try:
        refuse_links(run.folder)
        return rendered(request, "run.html.jinja", run=run, number=number)
    except IikataError as error:
        return rendered(request, "broken.html.jinja", folder=run.folder.name, number=number, error=redact(str(error)))


def report(request: Request) -> Response:
    """Send the finished report as it is."""
    _, run = chosen(request)
    if run.page is None:
        raise HTTPException(404, "There is no report yet.")
    return FileResponse(run.page, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def chosen(request: Request) -> tuple[int, Run]:
    """Return the run that the address names; a link in its folder that leads out of it is refused, not followed."""
    number, run = _named(request)
    refuse_links(run.folder)
    return number, run


def _named(request: Request) -> tuple[int, Run]:
    runs = {str(number): (number, run) for number, run in enumerate(request.app.state.runs, 1)}
    found: tuple[int, Run] | None = runs.get(request.path_params["run"])
    if found is None:
        raise HTTPException(404, "There is no such run.")
    return found
