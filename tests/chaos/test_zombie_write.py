"""A fill that sat in a socket while its entry was invalidated is refused when it arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alacena.engine.api.cache import Cache
from alacena.engine.base.settings import Settings
from alacena.testing.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.redis_server import RedisServer


async def _until(condition: Callable[[], bool], tries: int = 500) -> None:
    for _ in range(tries):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


async def test_a_fill_that_arrives_after_the_invalidation_is_refused(valkey_server: RedisServer) -> None:
    async with FaultProxy(str(valkey_server.socket_path)) as proxy:
        slow = Cache(Settings(redis_url=f"redis://127.0.0.1:{proxy.port}", redis_timeout_s=0.3))
        quick = Cache(Settings(redis_url=valkey_server.url))
        async with slow, quick:

            async def load() -> str:
                proxy.up.hold()
                return "old"

            assert await slow.load("document", "d1", "acme", load) == "old"
            await asyncio.sleep(0.1)
            assert await quick.invalidate("acme", "document", "d1") > 0
            executed = int(_stat(valkey_server, "total_commands_processed"))
            proxy.up.release()
            await _until(lambda: int(_stat(valkey_server, "total_commands_processed")) > executed + 2)
            assert await quick.get("document", "d1", "acme", use_memory=False) is None
            assert await slow.get("document", "d1", "acme") is None


def _stat(server: RedisServer, name: str) -> str:
    text = server.call("INFO", "stats")
    text = text.decode() if isinstance(text, bytes) else str(text)
    return text.split(f"{name}:")[1].split("\r\n")[0]
