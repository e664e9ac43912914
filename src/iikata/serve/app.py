"""The page's addresses, all by name, behind their guards; no address ever becomes a path of a file."""

from collections.abc import Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from iikata.core.errors import IikataError
from iikata.core.text import safe_text
from iikata.report.bilingual import resource
from iikata.serve import asking, browsing, rating
from iikata.serve.guard import Guard, with_headers
from iikata.serve.pages import in_words
from iikata.serve.question_queue import QuestionQueue
from iikata.serve.run import ServedRun

HOSTS = ["127.0.0.1", "localhost"]
"""A name of somebody else that was made to point here is refused."""
MOST_BYTES = 1 << 18
"""Of a request's body: a question and its input of 8,000 characters each take nine bytes a kana."""
FILES = {
    "report.css": ("iikata.report", "page.css", "text/css"),
    "serve.css": ("iikata.serve", "serve.css", "text/css"),
    "serve.js": ("iikata.serve", "serve.js", "text/javascript"),
    "htmx.js": ("iikata.serve", "htmx.min.js", "text/javascript"),
}
"""Address -> the package and name of the file, and its type."""


def app(runs: Sequence[ServedRun], queue: QuestionQueue, token: str) -> ASGIApp:
    """Return the page of these runs, which are addressed by their number from 1."""
    made = Starlette(
        routes=[
            Route("/", browsing.browse),
            Route("/browse/{run}", browsing.one),
            Route("/report/{run}", browsing.report),
            Route("/ratings/{run}", browsing.ratings),
            Route("/rate/{run}", rating.rate),
            Route("/rate/{run}", rating.rated, methods=["POST"]),
            Route("/rate/{run}/undo", rating.undo, methods=["POST"]),
            Route("/ask/{run}", asking.ask),
            Route("/ask/{run}", asking.answers, methods=["POST"]),
            *(Route(f"/{name}", partial(_file, *about)) for name, about in FILES.items()),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(Guard, token=token)],
        exception_handlers={IikataError: _error, HTTPException: _refused},
        max_body_size=MOST_BYTES,
    )
    made.router.redirect_slashes = False  # an address is right or there is none: nothing redirects to what was sent
    made.state.runs, made.state.queue, made.state.token = runs, queue, token
    return with_headers(made)


def _file(package: str, name: str, kind: str, request: Request) -> Response:
    return Response(resource(package, name), media_type=kind)


def _error(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{safe_text(in_words(request, str(error)))}\n", status_code=500)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(in_words(request, error.detail), status_code=error.status_code, headers=error.headers)
