"""Who may talk to the page: those who have this start's token, from the page itself; what every answer forbids."""

import hashlib
import secrets

from starlette.datastructures import MutableHeaders
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


def with_headers(app: ASGIApp) -> ASGIApp:
    """Return `app` with HEADERS on every answer, a refusal's and an error's too."""

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await app(scope, receive, send_with_headers)

    return page


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
        # Cookies do not tell ports apart: two pages at once must not take each other's.
        cookie = f"iikata_token_{request.scope['server'][1]}"
        if request.method == "GET" and request.url.path == "/" and "token" in request.query_params:
            if not _same(request.query_params["token"], self._token):
                return _refused("This token is not of this start. Open the address that iikata serve printed last.")
            # Out of the address bar, into a cookie that no script can read.
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(cookie, self._token, httponly=True, samesite="strict")
            return answer
        if not _same(request.cookies.get(cookie, ""), self._token):
            return _refused("Open the address that iikata serve printed: it holds this start's token.")
        if request.method not in ("GET", "HEAD") and not self._from_the_page(request):
            return _refused("This request does not come from the page.")
        return None

    def _from_the_page(self, request: Request) -> bool:
        # SameSite does not tell ports apart either: another local server's page sends the cookie along.
        origin = f"http://{request.headers.get('host', '')}"
        given = request.headers.get("x-csrf-token", "")
        return request.headers.get("origin") == origin and _same(given, csrf(self._token))


def csrf(token: str) -> str:
    """Return what a page's own requests carry; the token cannot be told from it."""
    return hashlib.sha256(b"csrf " + token.encode()).hexdigest()


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())


def _refused(why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status_code=403)
