"""A value of megabytes does not hold up the small ones that share its connection, and is stored like them, or not at all."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.remote.redis.large_writes import PIECE_BYTES, LargeWrites
from alacena.engine.remote.redis.node import Node

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
    send = LargeWrites.send

    async def end_meanwhile(uploads: LargeWrites, *rest: Any) -> str:
        name = await send(uploads, *rest)
        assert await other.invalidate("acme", document_ids=["d1"])
        return name

    monkeypatch.setattr(LargeWrites, "send", end_meanwhile)
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
    send = LargeWrites.send

    async def evict(uploads: LargeWrites, *rest: Any) -> str:
        name = await send(uploads, *rest)
        valkey_server.call("DEL", name)
        return name

    monkeypatch.setattr(LargeWrites, "send", evict)
    assert not await cache.set("document", "d1", LARGE, "acme")
    assert await cache.get("document", "d1", "acme") is None
    assert cache.stats()["refused_fills"] == {"late": 1}


@pytest.fixture
async def reader(open_cache: Open) -> Cache:
    """A cache on a server that has seen a large value of the type: the next ones are read in pieces."""
    cache = await open_cache()
    if cache.url is None:
        pytest.skip("nothing is read from a server in memory")
    assert await cache.set("document", "large", LARGE, "acme")
    return cache


def act_before_a_piece(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], Awaitable[object]]) -> list[int]:
    """Acts before a piece is asked for, counted from 1; returns a list that has one member for each piece."""
    exchange, pieces = Node.exchange, list[int]()

    async def act_and_exchange(node: Node, key: bytes, commands: Any, **options: Any) -> Any:
        if commands[0][0] == "GETRANGE":
            pieces.append(len(commands))
            if len(pieces) == number:
                await act()
        return await exchange(node, key, commands, **options)

    monkeypatch.setattr(Node, "exchange", act_and_exchange)
    return pieces


async def read_with_an_act_between(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]], *, number: int = 3
) -> Any:
    await cache.delete("document", "other", "acme")
    pieces = act_before_a_piece(monkeypatch, number, act)
    found = await cache.get("document", "large", "acme", use_memory=False)
    assert len(pieces) >= number
    assert cache.stats()["rejected_entries"] == 0
    return found


async def test_small_reads_overtake_one_that_is_read(reader: Cache) -> None:
    """One connection for all: ten megabytes that are read made each small read wait for an eighth of a second."""
    assert await reader.set("note", "small", "s", "acme")
    reading = asyncio.create_task(reader.get("document", "large", "acme", use_memory=False))
    overtaken = 0
    while not reading.done():
        assert await reader.get("note", "small", "acme", use_memory=False) == "s"
        overtaken += not reading.done()
    assert await reading == LARGE
    assert overtaken >= len(LARGE) // PIECE_BYTES - 1


@pytest.mark.parametrize("number", [2, 5, 9])
@pytest.mark.parametrize("size", [len(LARGE), len(LARGE) // 2, 10])
async def test_one_that_is_replaced_between_two_pieces_is_read_as_a_whole(
    reader: Cache, open_cache: Open, monkeypatch: pytest.MonkeyPatch, size: int, number: int
) -> None:
    other, newer = await open_cache(), LARGE[::-1][:size]

    async def replace() -> None:
        assert await other.set("document", "large", newer, "acme")

    assert await read_with_an_act_between(reader, monkeypatch, replace, number=number) == newer


@pytest.mark.parametrize("ended", [{"data_type": "document", "resource_id": "large"}, {"data_type": "document"}, {}])
async def test_one_that_ends_between_two_pieces_is_not_found(
    reader: Cache, open_cache: Open, monkeypatch: pytest.MonkeyPatch, ended: dict[str, str]
) -> None:
    other = await open_cache()

    async def invalidate() -> None:
        assert await other.invalidate("acme", **ended)

    assert await read_with_an_act_between(reader, monkeypatch, invalidate) is None
    assert await reader.get("document", "large", "acme") is None


async def test_one_that_this_process_deletes_between_two_pieces_is_not_found_nor_kept(
    reader: Cache, open_cache: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await open_cache()
    assert await other.get("document", "large", "acme", use_memory=False) == LARGE  # from here on it reads in pieces
    act_before_a_piece(monkeypatch, 3, lambda: other.delete("document", "large", "acme"))
    assert await other.get("document", "large", "acme") is None
    assert await other.get("document", "large", "acme") is None


async def test_one_that_was_read_in_pieces_is_kept_until_it_changes(
    reader: Cache, open_cache: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await open_cache()
    assert await other.get("document", "large", "acme", use_memory=False) == LARGE
    pieces = act_before_a_piece(monkeypatch, 0, asyncio.Event().wait)
    assert await other.get("document", "large", "acme") == LARGE
    count = len(pieces)
    assert count == len(LARGE) // PIECE_BYTES + 1
    assert await other.get("document", "large", "acme") == LARGE
    assert len(pieces) == count
    assert await reader.set("document", "large", LARGE[::-1], "acme")
    assert await other.get("document", "large", "acme", use_memory=False) == LARGE[::-1]
    assert await other.get("document", "large", "acme") == LARGE[::-1]


async def test_small_ones_of_the_same_type_take_one_round_trip(reader: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await reader.set("document", "small", "s", "acme")
    pieces = act_before_a_piece(monkeypatch, 0, asyncio.Event().wait)
    assert await reader.get("document", "small", "acme", use_memory=False) == "s"
    assert await reader.get("document", "none", "acme", use_memory=False) is None
    assert pieces == [1, 1]


async def test_what_is_no_entry_is_a_miss(valkey_server: RedisServer, reader: Cache) -> None:
    (name,) = valkey_server.call("KEYS", "*document:large")
    valkey_server.call("SET", name, LARGE)
    assert await reader.get("document", "large", "acme", use_memory=False) is None
    valkey_server.call("DEL", name)
    valkey_server.call("LPUSH", name, "x")
    assert await reader.get("document", "large", "acme", use_memory=False) is None
