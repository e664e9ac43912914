"""The page's addresses, all by name, behind their guards; no address ever becomes a path of a file."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from iikata.core.errors import IikataError
from iikata.core.text import safe_text
from iikata.serve import asking, browsing, rating
from iikata.serve.guard import Forbidding, Guard
from iikata.serve.pages import resource
from iikata.serve.question_queue import QuestionQueue
from iikata.serve.run import Run

HOSTS = ["127.0.0.1", "localhost"]
"""A name of somebody else that was made to point here is refused."""
MOST_BYTES = 1 << 18
"""Of a request's body: a question and its input of 8,000 characters each take nine bytes a kana."""
FILES = {
    "report.css": ("page.css", "text/css"),
    "serve.css": ("serve.css", "text/css"),
    "serve.js": ("serve.js", "text/javascript"),
    "htmx.js": ("htmx.min.js", "text/javascript"),
}
"""Address -> the file that lies beside the code, and what it is."""


def app(runs: Sequence[Run], queue: QuestionQueue, token: str) -> ASGIApp:
    """Return the page of these runs, which are addressed by their number from 1."""
    made = Starlette(
        routes=[
            Route("/", browsing.browse),
            Route("/browse/{run}", browsing.one),
            Route("/report/{run}", browsing.report),
            Route("/rate/{run}", rating.rate),
            Route("/rate/{run}", rating.rated, methods=["POST"]),
            Route("/rate/{run}/undo", rating.undo, methods=["POST"]),
            Route("/ratings/{run}", rating.ratings),
            Route("/ask/{run}", asking.ask),
            Route("/ask/{run}", asking.answers, methods=["POST"]),
            *(Route(f"/{name}", _file(*about)) for name, about in FILES.items()),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(Guard, token=token)],
        exception_handlers={IikataError: _told},
        max_body_size=MOST_BYTES,
    )
    made.router.redirect_slashes = False  # an address is right or there is none: nothing redirects to what was sent
    made.state.runs, made.state.queue, made.state.token = runs, queue, token
    return Forbidding(made)


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    def send(request: Request) -> Response:
        return Response(resource(name), media_type=kind)

    return send


def _told(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{safe_text(str(error))}\n", status_code=500)
