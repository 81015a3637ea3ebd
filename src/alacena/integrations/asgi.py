"""Web services: the tenant of each request and connection, and a cache that lives as long as the application.

Nothing but ASGI is used, so it serves Starlette, FastAPI, Litestar and the rest.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote

from alacena import CacheManager, MissingTenantError, SettingsError, configure
from alacena.engine.base.arguments import check_callable, list_of
from alacena.engine.base.errors import show
from alacena.engine.base.scope import identifier
from alacena.integrations.caller import Caller, Serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ASGIScope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[ASGIScope, Receive, Send], Awaitable[None]]
Who: TypeAlias = Callable[[ASGIScope], object]
"""Says for whom a request is: a `Caller`, a tenant's id, a mapping of a caller's fields, or ``None``; async or not."""

_STATUSES: Final = (400, 401, 403, 404)
_REFUSAL: Final = "this request names no tenant"


def from_header(name: str = "X-Tenant-ID") -> Who:
    """Returns a function that reads the tenant from a header, which only a gateway may set.

    A header is no authentication: use it behind a gateway that removes it from the requests of strangers. A header that is there
    twice, or that does not decode, names no tenant.

    Args:
        name: The header; its value may be percent-encoded.
    """
    if not isinstance(name, str) or not name.isascii() or not name.strip():
        raise SettingsError(f"a header's name is ASCII text, such as 'X-Tenant-ID', not {show(name)}")
    wanted = name.lower().encode("latin-1")

    def read(scope: ASGIScope) -> str | None:
        found = [value for header, value in scope["headers"] if header.lower() == wanted]
        if len(found) != 1:
            return None
        try:
            return unquote(found[0].decode("ascii"), errors="strict").strip()
        except UnicodeDecodeError:
            return None

    return read


def from_path(template: str) -> Who:
    """Returns a function that reads the tenant from the beginning of the path.

    A path is no authentication either: check that the caller may work for this tenant.

    Args:
        template: Such as ``"/tenants/{tenant_id}"``; other parts in braces match one segment each.

    Raises:
        SettingsError: The template has no ``{tenant_id}``.
    """
    parts = re.split(r"\{(\w+)\}", template.rstrip("/")) if isinstance(template, str) else []
    if parts[1::2].count("tenant_id") != 1:
        raise SettingsError(
            f"the template {show(template)} must hold {{tenant_id}} once, as in '/tenants/{{tenant_id}}'"
        )
    pattern = "".join(
        re.escape(part) if index % 2 == 0 else ("(?P<tenant_id>[^/]+)" if part == "tenant_id" else "[^/]+")
        for index, part in enumerate(parts)
    )
    matcher = re.compile(f"{pattern}(?:/|$)")

    def read(scope: ASGIScope) -> str | None:
        found = matcher.match(_path(scope))
        return None if found is None else found["tenant_id"]

    return read


def _path(scope: ASGIScope) -> str:
    """Returns the path below the place where the application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


class TenantMiddleware:
    """Pure ASGI middleware that runs each request and each websocket connection for its tenant.

    The tenant is ambient in everything that the request runs: endpoints, dependencies, streams, background tasks. It
    ends with the request. A request without a tenant is refused and reaches nothing behind.

    ::

        app.add_middleware(TenantMiddleware, who=from_header("X-Tenant-ID"), public=("/health",))

    Args:
        app: The application.
        who: Names the tenant of a request, by its ASGI scope: `from_header`, `from_path`, or a function of your own that
            reads, say, the claims of a token. It is called on the event loop, so a function that waits must be async.
        on_missing: The status of the answer to a request without a tenant: 401, 400, 403 or 404. A websocket connection
            is closed with 4000 more, 4401.
        public: Paths that need no tenant; one that ends in ``/`` stands for all below it, ``"/"`` for itself alone. No tenant
            is ambient there, so verbs that need one refuse.

    Raises:
        SettingsError: ``on_missing`` is none of these.
    """

    def __init__(self, app: ASGIApp, who: Who, *, on_missing: int = 401, public: Collection[str] = ()) -> None:
        if on_missing not in _STATUSES:
            raise SettingsError(f"on_missing must be one of {', '.join(map(str, _STATUSES))}, not {show(on_missing)}")
        if isinstance(public, str):
            raise SettingsError(f"public is a collection of paths: write public=({show(public)},)")
        public = [identifier("a public path", path) for path in list_of(public, "public", "paths")]
        check_callable(who, "who", 'from_header("X-Tenant-ID")')
        self.app = app
        self._who = who
        self._on_missing = on_missing
        self._public = frozenset(public)
        self._public_roots = tuple(path for path in public if path.endswith("/") and path != "/")

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Runs a request or a connection for its tenant, or refuses it."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        caller = await self._caller(scope)
        if caller is None and not self._is_public(scope):
            await self._refuse(scope, receive, send)
            return
        with Serving(caller or {}):
            await self.app(scope, receive, send)

    async def _caller(self, scope: ASGIScope) -> Caller | None:
        if self._is_public(scope):
            return None
        # Not asked on a public path: `who` may raise for a request without a token, such as a health check.
        named = self._who(scope)
        if inspect.isawaitable(named):
            named = await named
        try:
            return Caller.of(named)
        except MissingTenantError:
            return None

    def _is_public(self, scope: ASGIScope) -> bool:
        path = _path(scope)
        return path in self._public or path.startswith(self._public_roots)

    async def _refuse(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _answer(send, self._on_missing)
            return
        # A connection must be accepted before it is closed: before that, servers answer 403 and the code is lost.
        while (await receive())["type"] != "websocket.connect":
            pass
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000 + self._on_missing, "reason": _REFUSAL})


async def _answer(send: Send, status: int) -> None:
    body = json.dumps({"detail": _REFUSAL}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    # A shared cache that kept the refusal would give it to callers who have a tenant.
    headers.append((b"cache-control", b"no-store"))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def cache_lifespan(
    inner: Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]] | None = None, **configuration: Any
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Returns a lifespan that opens the process-wide cache when the application starts and closes it when it ends.

    It opens in each worker, after the server has forked. The state of a request then has ``cache``.

    ::

        app = FastAPI(lifespan=cache_lifespan(redis_url="redis://localhost"))
        app = Litestar(lifespan=[cache_lifespan()])

    Args:
        inner: A lifespan of your own, which runs while the cache is open.
        configuration: The arguments of `configure`; without any, the earlier configuration, else the environment.

    Raises:
        SettingsError: When the application starts, if settings are wrong.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        if configuration:
            configure(**configuration)
        state = {"cache": await CacheManager.cache()}
        try:
            if inner is None:
                yield state
            else:
                async with inner(app) as more:
                    yield {**state, **(more or {})}
        finally:
            await CacheManager.close()

    return lifespan
