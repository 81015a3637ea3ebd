"""A process that is killed is missed within seconds: by the command, on the console, and its locks are still named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from alacena import Cache, Settings
from alacena.ops import fleet_report
from alacena.ops.console import console_app
from proving.reliability.crew import crew
from tests.waiting import until

if TYPE_CHECKING:
    from proving.servers.redis_server import RedisServer

TOKEN = "a token of this test"
EVERY_S = 0.5


async def test_one_of_three_is_killed(valkey_server: RedisServer) -> None:
    arguments = [{"url": valkey_server.url, "name": f"web-{number}", "every_s": EVERY_S} for number in range(3)]
    settings = Settings(redis_url=valkey_server.url, fleet_every_s=None, redis_budget_s=5.0)
    async with crew("proving.fleet:live", arguments) as members, Cache(settings) as cache:
        app = httpx.ASGITransport(console_app(cache, token=TOKEN))
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=app, base_url="http://localhost", headers=headers) as console:

            async def summed() -> Any:
                return (await console.get("/api/overview")).json()["processes"]

            async def all_three() -> bool:
                return await summed() == 3 and len(await cache.find_locks()) == 3

            await until(all_three)
            assert (await fleet_report.fleet(cache)).code == 0
            members[0].kill()

            async def missed() -> bool:
                return await summed() == 2 and (await fleet_report.fleet(cache)).data["silent"] == 1

            # Two and a half of its periods, and room for a busy machine: no minute for which the dead stay listed.
            async with asyncio.timeout(30):
                await until(missed)
            assert (await fleet_report.fleet(cache)).code == 1
            listed = (await console.get("/api/fleet")).json()["processes"]
            assert sorted(one["is_stale"] for one in listed) == [False, False, True]
            locks = (await console.get("/api/locks")).json()["data"]["locks"]
            assert {lock["process"].partition("#")[0] for lock in locks} == {"web-0", "web-1", "web-2"}
