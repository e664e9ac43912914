"""Who may talk to the page: whoever was given this start's token, from this page itself; what every answer forbids."""

import hashlib
import secrets

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Every response's, unless it says otherwise itself."""


class Forbidding:
    """Adds HEADERS to every answer, a refusal's and a fault's too: it stands before everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, _with_headers(send))


class Guard:
    """Lets through what carries the token's cookie; a POST must also name this origin and the CSRF token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._app
        if scope["type"] == "http":
            answer = self._instead(Request(scope)) or self._app
        await answer(scope, receive, send)

    def _instead(self, request: Request) -> Response | None:
        """Return what to answer instead of the page, None where the page may answer."""
        if request.method == "GET" and request.url.path == "/" and "token" in request.query_params:
            return self._exchanged(request)
        if not _same(request.cookies.get(_cookie(request), ""), self._token):
            return _refused("Open the address that iikata serve printed: it holds this start's token.")
        if request.method not in ("GET", "HEAD") and not self._from_the_page(request):
            return _refused("This request does not come from the page.")
        return None

    def _exchanged(self, request: Request) -> Response:
        """Take the token out of the address bar, into a cookie that no script can read."""
        if not _same(request.query_params["token"], self._token):
            return _refused("This token is not of this start. Open the address that iikata serve printed last.")
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(_cookie(request), self._token, httponly=True, samesite="strict")
        return answer

    def _from_the_page(self, request: Request) -> bool:
        # SameSite does not tell ports apart: another local server's page sends the cookie along.
        origin = f"http://{request.headers.get('host', '')}"
        given = request.headers.get("x-csrf-token", "")
        return request.headers.get("origin") == origin and _same(given, csrf(self._token))


def csrf(token: str) -> str:
    """Return what a page's own requests carry; the token cannot be told from it."""
    return hashlib.sha256(b"csrf " + token.encode()).hexdigest()


def _cookie(request: Request) -> str:
    # Cookies do not tell ports apart either: two pages at once must not take each other's.
    return f"iikata_token_{request.scope['server'][1]}"


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())


def _refused(why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status_code=403)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            said = {name.lower() for name, _ in message["headers"]}
            more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message["headers"] = [*message["headers"], *((name, value) for name, value in more if name not in said)]
        await send(message)

    return sent
