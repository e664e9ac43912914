"""Browse: the runs while they grow, and their finished reports."""

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from iikata.errors import IikataError
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
    return HTMLResponse(_part(request, *chosen(request)))


def _part(request: Request, number: int, run: Run) -> Markup:
    try:
        return rendered(request, "run.html.jinja", run=run, number=number)
    except IikataError as error:
        return rendered(request, "broken.html.jinja", folder=run.folder.name, number=number, error=str(error))


def report(request: Request) -> Response:
    """Send the finished report as it is."""
    _, run = chosen(request)
    if run.page is None:
        raise HTTPException(404, "There is no report yet.")
    return FileResponse(run.page, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def chosen(request: Request) -> tuple[int, Run]:
    """Return the run that the address names by its number, from 1."""
    number, runs = request.path_params["run"], request.app.state.runs
    if not 1 <= number <= len(runs):
        raise HTTPException(404, f"There is no run {number}.")
    return number, runs[number - 1]
