"""Supabase's asyncio client, made without ``await`` and usable with it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import httpx
from supabase import AsyncClient, AsyncClientOptions
from supabase_auth import AsyncMemoryStorage

from alacena.common.db.truncation import note_truncation

if TYPE_CHECKING:
    from collections.abc import Generator

    from postgrest import AsyncRequestBuilder
    from supabase._async.auth_client import AsyncSupabaseAuthClient
    from supabase_auth.types import AuthChangeEvent, Session

MAX_CLIENTS = 256
"""Clients kept for one event loop; the least recently used one is forgotten, its connections are shared anyway."""


class SupabaseClient(AsyncClient):
    """``supabase.AsyncClient``, shared by all its callers.

    ``await client`` gives the client itself, for callers that take the factory for a coroutine function;
    ``table("ai.documents")`` looks in the schema that the name says; and signing in through ``auth`` neither turns
    all requests into the user's own nor shows the user's session to others.
    """

    @property
    def auth(self) -> AsyncSupabaseAuthClient:
        """Returns a client of the authentication service, new each time: its session is its holder's alone.

        A session that the shared client kept would be the next request's, of another user or tenant.
        """
        options = replace(self.options, storage=AsyncMemoryStorage(), headers=dict(self.options.headers))
        return self._init_supabase_auth_client(auth_url=str(self.auth_url), client_options=options)

    @auth.setter
    def auth(self, _: AsyncSupabaseAuthClient) -> None:
        """Ignores the one that the base class makes."""

    def __await__(self) -> Generator[object, None, Self]:
        return self._itself().__await__()

    async def _itself(self) -> Self:
        return self

    def from_(self, table_name: str) -> AsyncRequestBuilder:
        """Returns a request on a table, ``"table"`` or ``"schema.table"``; ``table()`` is the same."""
        schema, dot, name = table_name.partition(".")
        if not dot:
            return super().from_(table_name)
        return self.schema(schema).from_(name)

    def _listen_to_auth_events(self, event: AuthChangeEvent, session: Session | None) -> None:
        """Keeps the key and token that the client was made with: the base class would take over the session's."""


class LoopClients:
    """The clients of one event loop, one for each key and token, on one pool of connections.

    Args:
        timeout_s: How long a request may take, seconds.
    """

    def __init__(self, timeout_s: float) -> None:
        self._http = httpx.AsyncClient(
            timeout=timeout_s, follow_redirects=True, http2=True, event_hooks={"response": [note_truncation]}
        )
        self._clients: OrderedDict[tuple[str, str, str | None], SupabaseClient] = OrderedDict()

    def get(self, url: str, key: str, access_token: str | None) -> SupabaseClient:
        """Returns the client for a key and, if one is given, a token in the name of which it asks."""
        name = (url, key, access_token)
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self._make(url, key, access_token)
            if len(self._clients) > MAX_CLIENTS:
                self._clients.popitem(last=False)
        self._clients.move_to_end(name)
        return client

    def _make(self, url: str, key: str, access_token: str | None) -> SupabaseClient:
        options = AsyncClientOptions(httpx_client=self._http, auto_refresh_token=False, persist_session=False)
        if access_token is not None:
            # supabase keeps this header if it is there, and makes one from the key if not.
            options.headers["Authorization"] = f"Bearer {access_token}"
        return SupabaseClient(url, key, options)

    async def close(self) -> None:
        """Closes the connections; the clients are of no use afterwards."""
        self._clients.clear()
        await self._http.aclose()


class ClientRegistry:
    """The clients of every event loop: a connection must not be used on a loop other than its own."""

    def __init__(self) -> None:
        self._by_loop: dict[tuple[asyncio.AbstractEventLoop | None, float], LoopClients] = {}

    def here(self, timeout_s: float) -> LoopClients:
        """Returns the clients of the running loop; outside of one, those of the loop that will first use them."""
        place = (_get_running_loop(), timeout_s)
        if place not in self._by_loop:
            # A program that runs a new loop for each job would leave a pool of connections behind for each.
            self._forget_closed_loops()
            self._by_loop[place] = LoopClients(timeout_s)
        return self._by_loop[place]

    def _forget_closed_loops(self) -> None:
        for place in list(self._by_loop):
            if place[0] is not None and place[0].is_closed():
                del self._by_loop[place]

    async def close_here(self) -> None:
        """Closes the clients of the running loop, and those made outside of any."""
        here = {None, _get_running_loop()}
        # Each is taken out before it is awaited: a client that is asked for meanwhile is a new one.
        for place in [place for place in self._by_loop if place[0] in here]:
            await self._by_loop.pop(place).close()


def _get_running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
