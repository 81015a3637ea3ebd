"""A block of ``cache.write`` that dies, fails half way or is cancelled leaves nothing old and nothing held for others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import Cache, LoadContext, Scope
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.servers.redis_server import RedisServer

    Open = Callable[..., Awaitable[Cache]]


async def kept(cache: Cache, resource_id: str = "d1") -> bool:
    """Whether what is loaded is stored."""
    found = await cache.lookup("document", resource_id, "acme", lambda: "v")
    await asyncio.sleep(0)
    return found.stored or found.source == "cache"


async def test_a_block_that_dies_leaves_nothing_that_was_read_before(open_cache: Open) -> None:
    """The resource's entries of an agent, and an answer made from the document, stayed after a crash inside the block."""
    cache = await open_cache()
    source = {"d1": "old"}

    async def load(context: LoadContext) -> str:
        context.depends_on("d1")
        return source["d1"]

    agent = Scope("acme", agent_id="a1")

    async def read() -> list[Any]:
        return [
            await cache.load("document", "d1", "acme", load),
            await cache.load("document", "d1", agent, load, search_hierarchy=False),
            await cache.load("answer", "q1", "acme", load),
        ]

    assert await read() == ["old"] * 3
    while await cache.get("answer", "q1", "acme") is None:
        await asyncio.sleep(0)
    block = cache.write("acme", ("document", "d1"), document_ids=["d1"], hold_s=60)
    await block.__aenter__()
    source["d1"] = "new"
    # The process dies here: the block never ends.
    assert await read() == ["new"] * 3


async def test_a_dead_hold_ends_though_others_write(open_cache: Open) -> None:
    """One expiry for all holds of a resource: each write that ended in order prolonged the one whose process had died."""
    cache = await open_cache()
    dead = cache.write("acme", ("document", "d1"), hold_s=0.2)
    await dead.__aenter__()
    assert not await kept(cache)
    async with cache.write("acme", ("document", "d1"), hold_s=60):
        assert not await kept(cache)
    await until(lambda: kept(cache))


async def test_a_hold_lasts_while_a_shorter_one_beside_it_ends(open_cache: Open) -> None:
    """The other way round: a hold is not cut short by one that was shorter."""
    cache = await open_cache()
    async with cache.write("acme", ("document", "d1"), hold_s=60):
        async with cache.write("acme", ("document", "d1"), hold_s=0.01):
            pass
        assert not await kept(cache)
    assert await kept(cache)


async def test_a_hold_that_failed_half_way_is_undone(valkey_server: RedisServer, open_cache: Open) -> None:
    """One of two resources could not be held; the other stayed held after the block had ended in order."""
    cache = await open_cache()
    if cache.url is None:
        pytest.skip("nothing fails in memory")
    valkey_server.call("SET", "alacena:h:{acme.0}:document:d2", "somebody's string")
    async with cache.write("acme", ("document", "d1"), ("document", "d2"), hold_s=60):
        pass
    assert await kept(cache)


async def test_a_block_that_is_cancelled_before_it_begins_holds_nothing(open_cache: Open) -> None:
    """The server holds what was asked for; who asked is gone and knows no token to give back."""
    cache = await open_cache()
    if cache.url is None:
        pytest.skip("nothing waits in memory")

    async def write() -> None:
        async with cache.write("acme", ("document", "d1"), hold_s=60):
            raise AssertionError("the block must not run")

    writing = asyncio.create_task(write())
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await kept(cache)
