"""The console inside an application: behind its own login, read-only."""

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from alacena import Cache
from alacena.ops.console import ActivityLog, console_app

USERS = {"a-session-of-ana": "ana"}


# --8<-- [start:mount]
def operator(request: HTTPConnection) -> str | None:
    """Your own login: the name of whoever may look, or None."""
    return USERS.get(request.cookies.get("session", ""))


def application(cache: Cache, activity: ActivityLog) -> Starlette:
    console = console_app(cache, signed_in=operator, activity=activity, hosts=())
    return Starlette(routes=[Mount("/ops/cache", console)])


# --8<-- [end:mount]


async def main() -> None:
    activity = ActivityLog()
    async with Cache(observers=[activity]) as cache:
        await cache.set("document", "d1", "text", "acme")
        transport = httpx.ASGITransport(application(cache, activity))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as stranger:
            print("a stranger:", (await stranger.get("/ops/cache/api/overview")).status_code)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://shop", cookies={"session": "a-session-of-ana"}
        ) as ana:
            found = await ana.get("/ops/cache/api/explain", params={"type": "document", "id": "d1", "tenant": "acme"})
            print("ana:", found.json()["data"]["reason"])


asyncio.run(main())
