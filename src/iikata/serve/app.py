"""The page's addresses, all by name, behind their guards; no address ever becomes a path of a file."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from iikata.errors import IikataError
from iikata.report.visible import visible
from iikata.serve import asking, browsing, rating
from iikata.serve.desk import Desk
from iikata.serve.guard import Guard
from iikata.serve.pages import resource
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


def app(runs: Sequence[Run], desk: Desk, token: str) -> Starlette:
    """Return the page of these runs, which are addressed by their number from 1."""
    made = Starlette(
        routes=[
            Route("/", browsing.browse),
            Route("/browse/{run:int}", browsing.one),
            Route("/report/{run:int}", browsing.report),
            Route("/rate/{run:int}", rating.rate),
            Route("/rate/{run:int}", rating.rated, methods=["POST"]),
            Route("/rate/{run:int}/undo", rating.undo, methods=["POST"]),
            Route("/ratings/{run:int}", rating.ratings),
            Route("/ask/{run:int}", asking.ask),
            Route("/ask/{run:int}", asking.answers, methods=["POST"]),
            *(Route(f"/{name}", _file(*about)) for name, about in FILES.items()),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(Guard, token=token)],
        exception_handlers={IikataError: _told},
        max_body_size=MOST_BYTES,
    )
    made.state.runs, made.state.desk, made.state.token = runs, desk, token
    return made


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    def send(request: Request) -> Response:
        return Response(resource(name), media_type=kind)

    return send


def _told(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{visible(str(error))}\n", status_code=500)
