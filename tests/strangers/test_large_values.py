"""A value of megabytes does not hold up the small ones that share its connection, and is stored like them, or not at all."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.remote.redis.uploads import PIECE_BYTES, Uploads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine import Cache
    from proving.servers.redis_server import RedisServer

    Open = Callable[..., Awaitable[Cache]]

LARGE = random.Random(1).randbytes(8 * PIECE_BYTES + 1)


@pytest.mark.parametrize("ttl", [600, None])
@pytest.mark.parametrize("value", [LARGE, LARGE.hex(), {"body": LARGE.hex()}], ids=["bytes", "text", "dict"])
async def test_it_comes_back_in_every_process(open_cache: Open, value: Any, ttl: float | None) -> None:
    """One that a load brought, and one that was set: both replace what was there before."""
    one, other = await open_cache(), await open_cache()
    assert await one.set("document", "d1", "small", "acme", ttl=ttl)
    assert await one.set("document", "d1", value, "acme", ttl=ttl)
    assert await one.get("document", "d1", "acme") == value
    assert await one.load("document", "d2", "acme", lambda: value, ttl=ttl) == value
    assert await one.set_many("document", {"a": 1, "b": value, "c": 2}, "acme") == 3
    if one.url is not None:
        assert await other.get("document", "d1", "acme", use_memory=False) == value
        assert await other.get_many("document", ["a", "b", "c"], "acme") == {"a": 1, "b": value, "c": 2}


async def test_small_reads_overtake_it(valkey_server: RedisServer, open_cache: Open) -> None:
    """They stood behind all of it: ten megabytes written again and again made each small read wait for a fifth of a second."""
    cache = await open_cache()
    if cache.url is None:
        pytest.skip("nothing is sent in memory")
    assert await cache.set("document", "small", "s", "acme")
    writing = asyncio.create_task(cache.set("document", "large", LARGE, "acme"))
    overtaken = 0
    while not writing.done():
        assert await cache.get("document", "small", "acme", use_memory=False) == "s"
        overtaken += not writing.done()
    assert await writing
    assert overtaken >= len(LARGE) // PIECE_BYTES - 1
    assert valkey_server.call("KEYS", "*:p:*") == []


async def test_what_ends_while_it_is_on_its_way_ends_it_too(
    valkey_server: RedisServer, open_cache: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, other = await open_cache(), await open_cache()
    if cache.url is None:
        pytest.skip("nothing is sent in memory")
    send = Uploads.send

    async def end_meanwhile(uploads: Uploads, *rest: Any) -> str:
        name = await send(uploads, *rest)
        assert await other.invalidate("acme", document_ids=["d1"])
        return name

    monkeypatch.setattr(Uploads, "send", end_meanwhile)
    assert not await cache.set("answer", "a1", LARGE, "acme", document_ids=["d1"])
    assert await cache.get("answer", "a1", "acme") is None
    assert valkey_server.call("KEYS", "*:p:*") == []


async def test_one_that_is_not_whole_any_more_is_not_stored(
    valkey_server: RedisServer, open_cache: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pieces may be evicted while others are sent. The older value goes: the caller knows of a newer one."""
    cache = await open_cache()
    if cache.url is None:
        pytest.skip("nothing is sent in memory")
    assert await cache.set("document", "d1", "older", "acme")
    send = Uploads.send

    async def evict(uploads: Uploads, *rest: Any) -> str:
        name = await send(uploads, *rest)
        valkey_server.call("DEL", name)
        return name

    monkeypatch.setattr(Uploads, "send", evict)
    assert not await cache.set("document", "d1", LARGE, "acme")
    assert await cache.get("document", "d1", "acme") is None
    assert cache.stats()["refused_fills"] == {"late": 1}
