"""A fill that sat in a socket while its entry was invalidated is refused when it arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alacena.engine.api.cache import Cache
from alacena.engine.base.settings import Settings
from alacena.testing.proxy import FaultProxy, Faults
from tests.waiting import until

if TYPE_CHECKING:
    from proving.servers.redis_server import RedisServer


async def test_a_fill_that_arrives_after_the_invalidation_is_refused(valkey_server: RedisServer) -> None:
    came = asyncio.Event()

    class Watched(Faults):
        async def until_released(self) -> None:
            if self.held:
                came.set()
            await super().until_released()

    async with FaultProxy(str(valkey_server.socket_path)) as proxy:
        proxy.up = Watched()
        slow = Cache(Settings(redis_url=f"redis://127.0.0.1:{proxy.port}", redis_budget_s=5.0, redis_timeout_s=0.3))
        quick = Cache(Settings(redis_url=valkey_server.url, redis_budget_s=5.0))
        async with slow, quick:

            async def load() -> str:
                proxy.up.hold()
                return "old"

            assert await slow.load("document", "d1", "acme", load) == "old"
            await came.wait()
            assert await quick.invalidate("acme", "document", "d1") > 0
            executed = int(_stat(valkey_server, "total_commands_processed"))
            proxy.up.release()
            await until(lambda: int(_stat(valkey_server, "total_commands_processed")) > executed + 2)
            assert await quick.get("document", "d1", "acme", use_memory=False) is None
            assert await slow.get("document", "d1", "acme") is None


def _stat(server: RedisServer, name: str) -> str:
    text = server.call("INFO", "stats")
    text = text.decode() if isinstance(text, bytes) else str(text)
    return text.split(f"{name}:")[1].split("\r\n")[0]
