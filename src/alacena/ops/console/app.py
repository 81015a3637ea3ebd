"""The console as an ASGI application, for a port of its own or behind an application's login."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alacena.engine import SettingsError
from alacena.ops.console.actions import Actions
from alacena.ops.console.activity_log import ActivityLog
from alacena.ops.console.authentication import (
    COOKIE,
    COOKIE_S,
    Authentication,
    AuthenticationMiddleware,
    read_body,
    refusal,
)
from alacena.ops.console.views import Views, make_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from importlib.resources.abc import Traversable

    from starlette.requests import HTTPConnection, Request

    from alacena.engine import Cache

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""The names that a console on this machine answers to."""

_KINDS: Final = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg+xml"}
_LONGEST_TOKEN_BODY: Final = 10_000
_VIEWS: Final = (
    "health", "fleet", "overview", "tenants", "explain", "queues", "dead", "locks", "tokens", "log"
)  # fmt: skip


def console_app(
    cache: Cache,
    *,
    token: str | None = None,
    signed_in: Callable[[HTTPConnection], str | None] | None = None,
    allow_actions: bool = False,
    hosts: Collection[str] = LOOPBACK,
    activity: ActivityLog | None = None,
) -> Starlette:
    """Returns the console of an open cache, to be served or mounted.

    ::

        app.mount("/cache", console_app(cache, signed_in=lambda request: request.session.get("user"), hosts=()))

    Args:
        cache: The cache, open on the loop that serves the application.
        token: A secret that opens the console; ``None``: only ``signed_in`` does.
        signed_in: Returns the name of the sender of a request, ``None`` for a stranger; it must be quick.
        allow_actions: Whether dead letters may be replayed and discarded, and entries be invalidated. Each action is
            asked for twice, and logged with the operator's name.
        hosts: The names that it answers to, without port; empty: any, for an application that checks them itself.
        activity: The cache's observer, which feeds the log; ``None``: only actions are shown.

    Raises:
        SettingsError: Neither a token nor ``signed_in`` names the readers.
    """
    if not token and signed_in is None:
        raise SettingsError("a console that anybody may open is refused: give token= or signed_in=")
    activity = ActivityLog() if activity is None else activity
    access = Authentication(token or None, signed_in, hosts)
    views, actions = Views(cache, activity), Actions(cache, activity, access, allowed=allow_actions)

    async def about(request: Request) -> dict[str, Any]:
        facts = {"namespace": cache.settings.namespace, "version": version("alacena"), "actions": actions.allowed}
        return {**facts, "operator": access.name(request), "sign_out": token is not None}

    routes = [
        Route("/", _page),
        Route("/static/{path:path}", _static),
        Route("/session", _session(access), methods=["POST", "DELETE"]),
        Route("/api/about", make_endpoint(about)),
        *(Route(f"/api/{name}", make_endpoint(getattr(views, name))) for name in _VIEWS),
        Route("/api/do/{action}", actions.act, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(AuthenticationMiddleware, access=access)])


async def _page(request: Request) -> Response:
    # The page asks by relative paths: mounted at /cache it must be /cache/, or they would go to the parent.
    if not request.scope["path"].endswith("/"):
        return RedirectResponse(request.url.replace(path=f"{request.url.path}/"))
    return Response(_read("index.html"), media_type="text/html")


async def _static(request: Request) -> Response:
    path = request.path_params["path"]
    kind = _KINDS.get(path.rpartition(".")[2])
    # Only names that were found in the folder: a path that was made of what is asked for can lead out of it.
    if kind is None or path not in _names():
        return refusal(404, "path", "there is no such file")
    return Response(_read(path), media_type=kind, headers={"cache-control": "private, max-age=300"})


def _folder() -> Traversable:
    return files("alacena.ops.console").joinpath("static")


@cache
def _names() -> frozenset[str]:
    """Returns the names of the page's files, relative to their folder."""

    def names_in(folder: Traversable, head: str) -> Iterator[str]:
        for one in folder.iterdir():
            if one.is_dir():
                yield from names_in(one, f"{head}{one.name}/")
            else:
                yield f"{head}{one.name}"

    return frozenset(names_in(_folder(), ""))


def _read(path: str) -> bytes:
    return _folder().joinpath(path).read_bytes()


def _session(access: Authentication) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        """Signs in with a token, or out."""
        where = request.scope.get("root_path", "") or "/"
        signed = Response(status_code=204)
        if request.method == "DELETE":
            # A cookie is removed only under the path for which it was set.
            signed.delete_cookie(COOKIE, path=where)
            return signed
        body = await read_body(request, _LONGEST_TOKEN_BODY)
        try:
            given = json.loads(body or b"")["token"]
            found = access.exchange(given) if isinstance(given, str) else None
        except (ValueError, KeyError, TypeError):
            found = None
        if found is None:
            return refusal(401, "token", "this is not the token")
        is_secure = request.url.scheme == "https"
        signed.set_cookie(COOKIE, found, COOKIE_S, path=where, httponly=True, samesite="strict", secure=is_secure)
        return signed

    return answer
