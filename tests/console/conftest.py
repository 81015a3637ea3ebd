"""A console and somebody who asks it: in this process for what it answers, in a real browser for what is seen."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from alacena import Cache, Settings
from alacena.ops.console import ActivityLog, console_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from proving.servers.redis_server import RedisServer

TOKEN = "a token of this test"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def activity() -> ActivityLog:
    return ActivityLog(wall=lambda: 1_700_000_000.0)


@pytest.fixture
async def cache(valkey_server: RedisServer, activity: ActivityLog) -> AsyncIterator[Cache]:
    async with Cache(Settings(redis_url=valkey_server.url, redis_budget_s=5), observers=[activity]) as cache:
        yield cache


@pytest.fixture
def client_of(cache: Cache, activity: ActivityLog) -> Callable[..., httpx.AsyncClient]:
    """`client_of(token=..., headers=...)`: a client of a console with these arguments."""

    def make(*, host: str = "localhost", headers: dict[str, str] | None = None, **arguments: Any) -> httpx.AsyncClient:
        app = console_app(cache, **({"token": TOKEN, "activity": activity} | arguments))
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url=f"http://{host}",
            headers=BEARER if headers is None else headers,
        )

    return make


@pytest.fixture
def served(cache: Cache, activity: ActivityLog) -> Callable[..., AbstractAsyncContextManager[str]]:
    """`async with served(allow_actions=True) as address`: a console on a port of loopback."""

    @asynccontextmanager
    async def serve(**arguments: Any) -> AsyncIterator[str]:
        app = console_app(cache, token=TOKEN, activity=activity, **arguments)
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
        listener = server.config.bind_socket()
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
            listener.close()

    return serve
