"""Documents with long names, answers made from many, lives beyond all counting: kept alike in both modes, or said aloud."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from alacena import depends_on, get_with_cache_aside, invalidate_document_update
from alacena.engine.base.keys import MOST_TAGS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena import CacheManager
    from alacena.engine import Cache

pytestmark = pytest.mark.usefixtures("mode")

NAMES = {
    "a URL": "https://files.example.org/acme/" + "carpeta%20con%20nombre/" * 12 + "a.pdf",
    "Chinese": "租赁合同附件" * 15,
    "ten thousand letters": "x" * 10_000,
    "a lone surrogate": "\ud800",
    "separators": "a:b|c\0d{e}" * 40,
}


async def stored(cache: Cache) -> None:
    parts = cache._parts
    assert parts is not None
    while tasks := parts.flights.tasks:
        await asyncio.wait(tasks)


# Long names (infiniflow/ragflow#7597, JSONbored/metagraphed#1457, gregjones/httpcache#84)


@pytest.mark.parametrize("name", NAMES)
async def test_a_document_of_any_name_is_kept_and_ends(manager: type[CacheManager], name: str) -> None:
    document, asked = NAMES[name], 0

    async def answer() -> str:
        nonlocal asked
        asked += 1
        depends_on(document)
        return "an answer that costs a cent"

    cache = await manager.cache()
    for _ in range(2):
        await get_with_cache_aside("answer", "q", "acme", generate_func=answer)
        await stored(cache)
    assert await manager.get("answer", "q", "acme", use_memory=False) is not None
    assert asked == 1
    assert await manager.set("chunk", "c", {"document_id": document}, "acme")
    assert await manager.get("chunk", "c", "acme", use_memory=False) is not None
    await invalidate_document_update("acme", document)
    assert await manager.get("answer", "q", "acme") is None
    assert await manager.get("chunk", "c", "acme", use_memory=False) is None
    assert cache.stats()["refused_fills"] == {}


# Many documents (colinmollenhour/Cm_Cache_Backend_Redis#67; xorbitsai/xagent#2437: most of a long document is lost)


@pytest.mark.parametrize("count", [MOST_TAGS, MOST_TAGS + 1, 9_000])
@pytest.mark.parametrize("door", ["set", "early", "late"])
async def test_an_entry_made_from_many_documents_is_kept_and_ends_with_each(
    cache: Cache, count: int, door: str
) -> None:
    documents = [f"d{number}" for number in range(count)]

    async def load(context: Any) -> str:
        if door == "late":
            context.depends_on(documents)
        return "v"

    for document in (documents[0], documents[-1]):
        if door == "set":
            assert await cache.set("answer", "q", "v", "acme", document_ids=documents)
        else:
            await cache.load("answer", "q", "acme", load, document_ids=documents if door == "early" else ())
            await stored(cache)
        if count <= MOST_TAGS:
            await cache.invalidate("acme", document_ids=["another"])
        assert await cache.get("answer", "q", "acme", use_memory=False) == "v"
        await cache.invalidate("acme", document_ids=[document])
        assert await cache.get("answer", "q", "acme") is None
    assert cache.stats()["refused_fills"] == {}


async def test_more_than_an_entry_can_name_ends_with_any(cache: Cache) -> None:
    for end in ({"tags": ["t"]}, {"data_type": "note"}, {"data_type": "note", "resource_id": "n"}, {"agent_id": "a"}):
        await cache.set("answer", "q", "v", "acme", document_ids=range(MOST_TAGS + 1))  # type: ignore[arg-type]
        await cache.invalidate("acme", **end)  # type: ignore[arg-type]
        assert await cache.get("answer", "q", "acme") is None, end


async def test_an_answer_made_from_more_entries_than_it_can_name_is_kept_and_ends(cache: Cache) -> None:
    ids = [str(number) for number in range(MOST_TAGS + 16)]
    for at in range(0, len(ids), 104):
        some = ids[at : at + 104]
        assert await cache.set_many("chunk", dict.fromkeys(some, "x"), "acme") == len(some)

    async def answer() -> int:
        return len(await cache.get_many("chunk", ids, "acme"))

    assert await cache.load("answer", "q", "acme", answer) == len(ids)
    await stored(cache)
    assert await cache.get("answer", "q", "acme", use_memory=False) == len(ids)
    await cache.invalidate("acme", "chunk", ids[-1])
    assert await cache.get("answer", "q", "acme") is None


async def test_a_document_that_ends_while_it_is_one_of_too_many_makes_the_value_unstorable(cache: Cache) -> None:
    async def load(context: Any) -> str:
        await cache.invalidate("acme", document_ids=["d7"])
        context.depends_on([f"d{number}" for number in range(2 * MOST_TAGS)])
        return "v"

    assert await cache.load("answer", "q", "acme", load) == "v"
    await stored(cache)
    assert await cache.get("answer", "q", "acme") is None
    assert cache.stats()["refused_fills"] == {"generation": 1}


# Scripts over many keys (redis/redis#10728: a script notes all its keys for a client that tracks, at each command that
# reads; 800 documents held a server of version 7.0 for a quarter of a second)


@pytest.mark.parametrize("door", ["set", "early", "late"])
async def test_no_script_reads_more_often_because_there_are_more_documents(
    open_cache: Callable[..., Awaitable[Cache]], url: str | None, request: pytest.FixtureRequest, door: str
) -> None:
    if url is None:
        pytest.skip("there are no scripts without a server")
    server = request.getfixturevalue("valkey_server")
    reads = {}
    for count in (5, 500):
        cache = await open_cache()
        documents = [f"{door}{number}" for number in range(count)]
        server.call("CONFIG", "RESETSTAT")
        if door == "set":
            await cache.set("answer", f"{door}{count}", "v", "acme", document_ids=documents)
        else:
            early = documents if door == "early" else ()
            value = {"document_ids": documents}
            await cache.load("answer", f"{door}{count}", "acme", lambda value=value: value, document_ids=early)
            await stored(cache)
        await cache.invalidate("acme", document_ids=documents)
        reads[count] = _reads(server.call("INFO", "commandstats"))
    assert reads[5] == reads[500]


def _reads(stats: str) -> dict[str, int]:
    """How often commands ran that read keys, by their names."""
    counted = {"get", "mget", "strlen", "pttl", "getrange"}  # the heartbeat asks whether its canary EXISTS
    lines = [line.removeprefix("cmdstat_").split(":calls=") for line in stats.splitlines() if ":calls=" in line]
    return {name: int(rest.split(",")[0]) for name, rest in lines if name in counted}


# Lives beyond all counting


@pytest.mark.parametrize("ttl", [sys.maxsize, 1e300, timedelta.max])
async def test_any_time_to_live_is_kept_alike(cache: Cache, ttl: Any) -> None:
    assert await cache.set("note", "n", "v", "acme", ttl=ttl, tags=["t"])
    await cache.load("note", "m", "acme", lambda: "v", ttl=ttl, tags=["t"])
    await stored(cache)
    assert await cache.get("note", "n", "acme", use_memory=False) == "v"
    assert await cache.get("note", "m", "acme", use_memory=False) == "v"
    assert await cache.ttl("note", "n", "acme") > 900 * 365 * 24 * 3600


# What fails after the answer was given (the loader is asked for ever, and nothing says so)


async def test_whatever_a_fill_fails_with_is_counted_told_and_logged_once(
    open_cache: Callable[..., Awaitable[Cache]], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    cache = await open_cache(observers=[SimpleNamespace(observe=told.append)])
    tier = cache._open_parts().remote

    async def fails(*_: object) -> str:
        raise ArithmeticError("does not fit")

    with patch.object(tier, "fill_many", fails), caplog.at_level(logging.WARNING, logger="alacena"):
        for name in ("a", "b"):
            assert await cache.load("note", name, "acme", lambda: "v") == "v"
            await stored(cache)
        found = await cache.load_many("note", ["c", "d"], "acme", lambda ids: dict.fromkeys(ids, "v"))
        await stored(cache)
    assert found == {"c": "v", "d": "v"}
    assert cache.stats()["refused_fills"] == {"value": 4}
    assert cache.stats()["load_failures"] == 0
    assert [event.reason for event in told if type(event).__name__ == "FillRefused"] == ["value"] * 4
    assert sum("does not fit" in record.getMessage() for record in caplog.records) == 1
    assert await cache.load("note", "a", "acme", lambda: "again") == "again"
