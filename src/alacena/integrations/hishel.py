"""hishel: its HTTP cache keeps responses in this one, each tenant its own.

hishel decides by RFC 9111 which responses may be stored and served (``Cache-Control``, ``ETag``, ``Vary``); here it keeps
them. It works for answers of your own service (``hishel.asgi``) and for answers that a client fetches
(``hishel.httpx``).
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from alacena import UNSET, AlacenaError, CacheManager, Scope, get_current_tenant_id
from alacena.engine.base.lineage import documents_in
from alacena.integrations.bridge import Access
from alacena.integrations.caller import current_scope
from alacena.integrations.get_then_set import GetThenSet
from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.hishel", "hishel", ("hishel", "2.0", "3")):
    from hishel import AsyncBaseStorage, Entry, Headers, Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alacena import Cache
    from alacena.engine import Reading

RESPONSE: Final = "http_response"
"""The data type of one stored response."""
VARIANTS: Final = "http_variants"
"""The data type of a list of the responses under one key."""
_MOST_VARIANTS: Final = 64


@dataclass(slots=True)
class _Noted:
    """The findings of a look-up, for the response that may be kept after it."""

    of: tuple[object, str, Scope]
    reading: Reading | None = None
    found: set[str] = field(default_factory=set)


_LOOK: Final[ContextVar[_Noted | None]] = ContextVar("alacena.hishel", default=None)


class AlacenaStorage(AsyncBaseStorage):
    """A storage for hishel over Alacena. A response belongs to the caller that it was made for: tenant, user, permissions.

    Without an ambient tenant nothing is found and nothing is kept: put `TenantMiddleware` outside of hishel's.

    ::

        app = TenantMiddleware(ASGICacheMiddleware(service, AlacenaStorage()), who=...)

    Args:
        cache: An open cache; ``None``: the process-wide one.
        public: Whether the users of a tenant share responses, with any permissions. Otherwise a response of one user is
            for that user alone, and a request that changes something ends that user's alone.
        default_ttl: Seconds that a response is kept, if hishel does not say; ``None``: as the type ``http_response``.
        max_stream_size: Bytes of the largest body that is kept.
        fills: Whether equal requests at one time wait for the first one's response, here and in other processes, so that
            it is made once. For a service, or a client, that keeps most responses: one that is not kept is made
            for each of them, one after the other.
    """

    def __init__(
        self,
        cache: Cache | None = None,
        *,
        public: bool = False,
        fills: bool = False,
        default_ttl: float | None = None,
        max_stream_size: int | None = 1_000_000,
    ) -> None:
        super().__init__(default_ttl=default_ttl, max_stream_size=max_stream_size)
        self._cache = cache
        self._public = public
        self._steps = GetThenSet(Access(cache), VARIANTS) if fills else None

    async def create_entry(
        self,
        request: Request,
        response: Response,
        key: str,
        *,
        ttl: float | None = None,
        tti: float | None = None,  # noqa: ARG002 - entries are kept by their age
    ) -> Entry:
        """Returns an entry; its body is kept once it was read to its end. ``tti`` does not count.

        A response that replaces others is kept only if these have not been invalidated since they were found.
        """
        entry = Entry(id=uuid4(), request=request, response=response)
        scope = self._scope()
        # A cookie is for the one who asked, whatever the rules of HTTP allow.
        if scope is None or (self._public and "set-cookie" in response.headers):
            return entry
        ttl = self.default_ttl if ttl is None else ttl
        look = _LOOK.get()
        began: Reading | None = None
        if look is not None and look.of == (self, key, scope):
            began = look.reading or await self._begin_behind(look.found, scope)
            if began is None:
                return entry
        stream = self._read_and_keep(entry, key, scope, ttl, began)
        return replace(entry, response=replace(response, stream=stream))

    async def _read_and_keep(
        self, entry: Entry, key: str, scope: Scope, ttl: float | None, began: Reading | None
    ) -> AsyncIterator[bytes]:
        kept: list[bytes] | None = []
        size = 0
        source: Any = entry.response.stream
        if source is not None:
            async for chunk in source:
                size += len(chunk)
                if kept is not None and self.max_stream_size is not None and size > self.max_stream_size:
                    # Only the copy is given up: the response is delivered to its end.
                    kept = None
                if kept is not None:
                    kept.append(bytes(chunk))
                yield chunk
        if kept is not None:
            await self._keep(entry, key, scope, b"".join(kept), ttl, began)

    async def _begin_behind(self, found: set[str], scope: Scope) -> Reading | None:
        """Returns a reading that counts from when these were found; ``None`` if one of them has ended since then."""
        cache = await self._get_cache()
        reading = await _begin(cache, scope)
        alive = await cache.get_many(RESPONSE, sorted(found), scope)
        return reading if len(alive) == len(found) else None

    async def _keep(
        self, entry: Entry, key: str, scope: Scope, body: bytes, ttl: float | None, began: Reading | None
    ) -> None:
        value: dict[str, Any] = {"key": key, "request": _pack_request(entry.request), "body": body}
        value |= {"status": entry.response.status_code, "headers": _pack(entry.response.headers)}
        lives: Any = UNSET if ttl is None else ttl
        cache = await self._get_cache()
        set_one = partial(cache.set, tenant_id=scope) if began is None else began.set
        documents = documents_in(body)
        try:
            # The response first and the list that names it after: a reader of the list finds what it names.
            if not await set_one(RESPONSE, str(entry.id), value, ttl=lives, document_ids=documents):
                return
            others = await cache.get(VARIANTS, key, scope, default=[], search_hierarchy=False)
            alive = await cache.get_many(RESPONSE, others, scope) if others else {}
            variants = [*alive, str(entry.id)][-_MOST_VARIANTS:]
            if self._steps is not None:
                await self._steps.store(key, variants, scope, ttl=lives)
            else:
                await set_one(VARIANTS, key, variants, ttl=lives)
        except (AlacenaError, ValueError):  # the body was delivered: what could not be kept costs nobody anything
            return

    async def get_entries(self, key: str) -> list[Entry]:
        """Returns the responses that are kept under a key for the ambient tenant and user.

        The response that the same code keeps next counts as made from now on: one that an invalidation overtakes is not
        kept. Equal requests at one time are made each, unless the storage ``fills``.
        """
        scope = self._scope()
        if scope is None:
            return []
        cache = await self._get_cache()
        if self._steps is not None:
            ids = (await self._steps.look([key], scope)).get(key, [])
        else:
            ids = await cache.get(VARIANTS, key, scope, default=[], search_hierarchy=False)
        found = await cache.get_many(RESPONSE, ids, scope) if ids else {}
        look = _Noted((self, key, scope), found=set(found))
        if not found:
            look.reading = await _begin(cache, scope)
        _LOOK.set(look)
        return [_entry(resource_id, value) for resource_id, value in found.items() if value["key"] == key]

    async def update_headers(self, id: UUID, headers: Headers) -> None:  # noqa: A002 - hishel's name for it
        """Replaces the headers of a response, if it is still kept; it lives on for the rest of its time."""
        scope = self._scope()
        if scope is None:
            return
        cache = await self._get_cache()
        reading = await _begin(cache, scope)  # what is invalidated from here on is not written once more
        value = await cache.get(RESPONSE, str(id), scope, search_hierarchy=False)
        left = await cache.ttl(RESPONSE, str(id), scope) if value is not None else 0
        if value is not None and left != _ABSENT:
            lives = left if left > 0 else None
            kept = {name: several for name, several in _pack(headers).items() if name.lower() != "set-cookie"}
            value = {**value, "headers": kept if self._public else _pack(headers)}
            await reading.set(RESPONSE, str(id), value, ttl=lives, document_ids=documents_in(value["body"]))

    async def remove_entry(self, id: UUID) -> None:  # noqa: A002 - likewise
        """Removes a response."""
        scope, look = self._scope(), _LOOK.get()
        if scope is None:
            return
        was_there = await (await self._get_cache()).delete(RESPONSE, str(id), scope)
        if look is not None and was_there:  # one that somebody else has ended stays: what replaces it may be older
            look.found.discard(str(id))

    async def _get_cache(self) -> Cache:
        return self._cache or await CacheManager.cache()

    def _scope(self) -> Scope | None:
        tenant_id = get_current_tenant_id()
        if tenant_id is None:
            return None
        return Scope(tenant_id) if self._public else current_scope()


_ABSENT: Final = -2


async def _begin(cache: Cache, scope: Scope) -> Reading:
    async with cache.reading(scope, data_types=(RESPONSE, VARIANTS)) as reading:
        return reading


def _pack(headers: Headers) -> dict[str, list[str]]:
    return {name: list(headers.get_list(name) or ()) for name in headers}


def _pack_request(request: Request) -> dict[str, Any]:
    return {"method": request.method, "url": request.url, "headers": _pack(request.headers)}


def _entry(resource_id: str, value: dict[str, Any]) -> Entry:
    request = value["request"]
    return Entry(
        id=UUID(resource_id),
        request=Request(request["method"], request["url"], Headers(request["headers"])),
        response=Response(value["status"], Headers(value["headers"]), _body(value["body"])),
    )


async def _body(body: bytes) -> AsyncIterator[bytes]:
    yield body
