"""Access to the console: a token that is exchanged for a cookie, and the checks that keep other sites and hosts out."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "alacena_console"
COOKIE_S: Final = 12 * 3600
"""How long somebody stays signed in."""

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

_OPERATOR: Final = "operator"
_SAFE: Final = frozenset({"GET", "HEAD"})
_OPEN: Final = frozenset({"/", "/session"})
_LONGEST_TOKEN: Final = 1_000


class Authentication:
    """Knows callers by the token, or by the login of the application that the console is mounted in.

    Args:
        token: The secret that opens the console; ``None``: only ``signed_in`` does.
        signed_in: Returns the name of the sender of a request, ``None`` for a stranger; ``None``: only the token counts.
        hosts: Names by which the page may be asked for, without port. Another name is refused: a stranger's name may
            point to this machine (DNS rebinding). Empty: any, for an application that checks them itself.
    """

    def __init__(
        self,
        token: str | None,
        signed_in: Callable[[HTTPConnection], str | None] | None = None,
        hosts: Collection[str] = (),
    ) -> None:
        self._token = token
        self._signed_in = signed_in
        self._hosts = frozenset(host.lower() for host in hosts)
        # What the cookie holds ends with this process, and the token cannot be worked out from it.
        self._cookie = "" if token is None else _digest(secrets.token_bytes(32), token)

    def exchange(self, token: str) -> str | None:
        """Returns the content of the cookie, for the right token; ``None`` for another one."""
        given = token[:_LONGEST_TOKEN].encode()
        return self._cookie if self._token is not None and hmac.compare_digest(given, self._token.encode()) else None

    def name(self, request: HTTPConnection) -> str | None:
        """Returns the name of the caller for the log; ``None`` for a stranger."""
        # Without a token the expected cookie is empty, and a stranger's is, too: the two must not be compared.
        if self._token is not None:
            cookie = request.cookies.get(COOKIE, "").encode()
            if hmac.compare_digest(cookie, self._cookie.encode()) or self._has_bearer(request):
                return _OPERATOR
        return None if self._signed_in is None else self._signed_in(request)

    def refuse(self, request: HTTPConnection) -> JSONResponse | None:
        """Returns the answer to a request that may not pass; ``None`` for one that may."""
        # The host first: a name that is not ours gets no other answer, not even the page to sign in on.
        host = request.headers.get("host", "")
        if self._hosts and _hostname(host) not in self._hosts:
            return refusal(
                421, "host", f"the console does not answer to the name {host[:100]!r}: allow it with --host-name"
            )
        # Another site cannot make a browser send the bearer's token: such a request needs no origin.
        if request.scope["method"] not in _SAFE and not (_is_same_origin(request) or self._has_bearer(request)):
            return refusal(403, "origin", "this request was sent by another site: nothing was done")
        path = request.scope["path"].removeprefix(request.scope.get("root_path", "")) or "/"
        if path in _OPEN or path.startswith("/static/") or self.name(request) is not None:
            return None
        return refusal(401, "token", "sign in with the token that `alacena console` has printed")

    def _has_bearer(self, request: HTTPConnection) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self.exchange(token.strip()) is not None


class AuthenticationMiddleware:
    """Lets a request pass that may, and gives every answer its headers."""

    def __init__(self, app: ASGIApp, access: Authentication) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request, or passes it on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = Headers(raw=message["headers"])
                # A header of the answer's own stays: the files of the page may be kept for a while.
                more = [(name.encode(), text.encode()) for name, text in HEADERS.items() if name not in there]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._access.refuse(HTTPConnection(scope))
        await (refused or self._app)(scope, receive, send_with_headers)


def refusal(status: int, reason: str, words: str, **more: Any) -> JSONResponse:
    """Returns the answer that says why nothing was done."""
    return JSONResponse({"error": words, "reason": reason, **more}, status)


async def read_body(request: Request, most: int) -> bytes | None:
    """Returns the body of a request; ``None`` if it has more than ``most`` bytes, of which no more are read."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            return None
    return bytes(body)


def _is_same_origin(request: HTTPConnection) -> bool:
    # Browsers send Sec-Fetch-Site over HTTPS and to loopback only: elsewhere the origin is compared with the host.
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _digest(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
