"""A newer value ends the older one, whether it can be stored or not; and what was invalidated is not stored again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import MISSING, UNCHANGED, Cache, EncodeError, Policy, Settings
from alacena.testing.proxy import FaultProxy
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine import LoadContext
    from proving.servers.redis_server import RedisServer

    Open = Callable[..., Awaitable[Cache]]

SMALL = {"max_value_bytes": 1_000}
LARGE = "new " * 1_000


class Unencodable:
    """Something that the codec does not know."""


async def skipped(context: LoadContext) -> str:
    """A newer value that is not to be stored."""
    context.skip()
    return "new"


def large() -> str:
    """A newer value that is larger than may be stored."""
    return LARGE


def unencodable() -> Unencodable:
    """A newer value that cannot be encoded."""
    return Unencodable()


@pytest.mark.parametrize("loader", [skipped, large, unencodable])
async def test_a_refreshed_value_that_cannot_be_stored_ends_the_older_one(open_cache: Open, loader: Any) -> None:
    """A refresh that brought a value too large left the one before it in place, for this process and the others."""
    one, two = await open_cache(**SMALL), await open_cache(**SMALL)
    await one.set("doc", "d1", "old", "acme")
    await two.get("doc", "d1", "acme")
    assert await one.refresh("doc", "d1", "acme", loader) != "old"
    assert await one.get("doc", "d1", "acme") is None
    assert await two.get("doc", "d1", "acme", use_memory=False) is None


@pytest.mark.parametrize("loader", [skipped, large, unencodable])
async def test_a_stale_value_is_not_served_again_once_a_newer_one_is_known(open_cache: Open, loader: Any) -> None:
    """Served while it is renewed, an expired value was served for its whole stale window, though its source had outgrown it."""
    policy = Policy(ttl=0.001, stale_while_revalidate_s=600.0, jitter_ratio=0.0)
    cache = await open_cache(policies={"doc": policy}, **SMALL)
    renewed = asyncio.Event()

    async def renew(context: LoadContext) -> Any:
        value = loader(context) if loader is skipped else loader()
        renewed.set()
        return await value if asyncio.iscoroutine(value) else value

    await cache.set("doc", "d1", "old", "acme")
    while await cache.get("doc", "d1", "acme") is not None:
        await asyncio.sleep(0)
    await cache.load("doc", "d1", "acme", renew)
    await asyncio.wait_for(renewed.wait(), DEADLINE_S)
    assert await cache.load("doc", "d1", "acme", renew) != "old"


@pytest.mark.parametrize("value", [LARGE, Unencodable()], ids=["large", "unencodable"])
async def test_a_value_that_set_refuses_with_an_error_ends_the_older_one(open_cache: Open, value: Any) -> None:
    """The caller knows that the old value is outdated; the error does not change that."""
    cache = await open_cache(**SMALL)
    await cache.set("doc", "d1", "old", "acme")
    await cache.set("doc", "d2", "old", "acme")
    with pytest.raises(EncodeError):
        await cache.set("doc", "d1", value, "acme")
    with pytest.raises(EncodeError):
        await cache.set_many("doc", {"d2": value}, "acme")
    assert await cache.get("doc", "d1", "acme") is None
    assert await cache.get("doc", "d2", "acme") is None


async def test_a_load_that_stores_nothing_leaves_what_was_set_meanwhile(open_cache: Open) -> None:
    """What another call stored while a refresh ran is newer than what the refresh was to replace."""
    cache = await open_cache()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(context: LoadContext) -> str:
        asked.set()
        await go_on.wait()
        context.skip()
        return "of the refresh"

    await cache.set("doc", "d1", "old", "acme")
    refreshing = asyncio.create_task(cache.refresh("doc", "d1", "acme", slow))
    await asked.wait()
    assert await cache.set("doc", "d1", "set meanwhile", "acme")
    go_on.set()
    await refreshing
    assert await cache.get("doc", "d1", "acme") == "set meanwhile"


async def test_a_failed_refresh_leaves_the_older_value(cache: Cache) -> None:
    """A source that fails brought nothing newer."""

    async def fails() -> str:
        raise ConnectionError("away")

    await cache.set("doc", "d1", "old", "acme")
    with suppress(ConnectionError):
        await cache.refresh("doc", "d1", "acme", fails)
    assert await cache.get("doc", "d1", "acme") == "old"


async def test_a_set_that_the_server_did_not_answer_ends_the_older_value(valkey_server: RedisServer) -> None:
    """A set that was never executed left the old value to everybody, and nothing was owed."""
    async with FaultProxy(valkey_server.address) as proxy:
        settings = Settings(redis_url=f"redis://127.0.0.1:{proxy.port}", redis_timeout_s=0.3)
        async with Cache(settings) as one, Cache(Settings(redis_url=valkey_server.url, redis_budget_s=5.0)) as two:
            await one.set("doc", "d1", "old", "acme")
            proxy.up.hold()
            assert await one.set("doc", "d1", "new", "acme") is False
            assert one.guarantee()["removals_owed"] > 0
            proxy.reset()
            proxy.up.calm()
            await until(lambda: not one.guarantee()["removals_owed"])
            assert await two.get("doc", "d1", "acme", use_memory=False) is None
            assert await one.get("doc", "d1", "acme") is None


async def test_a_set_that_an_invalidation_overtook_is_not_stored(valkey_server: RedisServer) -> None:
    """A set on its way was stamped anew after the tenant and its document had been invalidated, and stored."""
    async with FaultProxy(valkey_server.address) as proxy:
        settings = Settings(redis_url=f"redis://127.0.0.1:{proxy.port}", redis_budget_s=5.0)
        async with Cache(settings) as one, Cache(Settings(redis_url=valkey_server.url, redis_budget_s=5.0)) as two:
            await one.set("answer", "warm", "v", "acme", document_ids=["d1"])
            for ending in ({}, {"document_ids": ["d1"]}, {"data_type": "answer"}):
                proxy.up.hold()
                under_way = asyncio.create_task(one.set("answer", "q", "made from old", "acme", document_ids=["d1"]))
                await asyncio.sleep(0)
                assert await two.invalidate("acme", **ending) > 0
                proxy.up.release()
                assert await under_way is False
                assert await two.get("answer", "q", "acme") is None
                assert await one.set("answer", "q", "made from new", "acme", document_ids=["d1"])


@pytest.mark.parametrize("ending", ["document", "type", "resource", "delete"])
async def test_what_ended_while_its_reload_waited_is_not_handed_to_the_loader(open_cache: Open, ending: str) -> None:
    """A conditional load answered "unchanged" about a value that was invalidated while it waited for a lease."""
    policies = {"answer": Policy(ttl=0.001, stale_if_error_s=60.0, jitter_ratio=0.0)}
    one, two = await open_cache(policies=policies), await open_cache(policies=policies)
    if one.url is None:
        two = one
    endings = {
        "document": lambda: two.invalidate("acme", document_ids=["d1"]),
        "type": lambda: two.invalidate("acme", "answer"),
        "resource": lambda: two.invalidate("acme", "answer", "q"),
        "delete": lambda: two.delete("answer", "q", "acme"),
    }
    asked, go_on = asyncio.Event(), asyncio.Event()
    seen: list[Any] = []

    async def fails() -> str:
        asked.set()
        await go_on.wait()
        raise ConnectionError("away")

    async def conditional(context: LoadContext) -> Any:
        seen.append(context.previous)
        return "new" if context.previous is MISSING else UNCHANGED

    await one.set("answer", "q", "made from old", "acme", document_ids=["d1"])
    # By the clock of each: two processes' views of the server's time differ by as much as a busy machine lets them.
    while any([await cache.get("answer", "q", "acme") is not None for cache in (one, two)]):
        await asyncio.sleep(0)
    slow = asyncio.create_task(two.load("answer", "q", "acme", fails))
    await asked.wait()
    waiting = asyncio.create_task(one.load("answer", "q", "acme", conditional))
    await asyncio.sleep(0)
    await endings[ending]()
    go_on.set()
    await asyncio.gather(slow, return_exceptions=True)
    with suppress(ConnectionError):
        await waiting
    assert "made from old" not in seen
    assert await one.load("answer", "q", "acme", conditional) == "new"


async def _is_gone(cache: Cache) -> bool:
    return await cache.get("answer", "q", "acme") is None


async def test_what_still_stands_is_handed_to_the_loader_with_its_documents(open_cache: Open) -> None:
    """Conditional loads go on as before: the value's life begins anew, and it ends with its document."""
    cache = await open_cache(policies={"answer": Policy(ttl=0.05, stale_if_error_s=60.0, jitter_ratio=0.0)})

    async def conditional(context: LoadContext) -> Any:
        return "new" if context.previous is MISSING else UNCHANGED

    await cache.set("answer", "q", "first", "acme", document_ids=["d1"])
    await until(lambda: _is_gone(cache))
    assert await cache.load("answer", "q", "acme", conditional) == "first"
    await cache.invalidate("acme", document_ids=["d1"])
    assert await cache.load("answer", "q", "acme", conditional) == "new"


@pytest.mark.parametrize("ending", ["resource", "type", "tenant", "document"])
@pytest.mark.parametrize("waits", [False, True], ids=["comes later", "waits already"])
async def test_nobody_waits_for_a_load_that_can_store_nothing(open_cache: Open, ending: str, *, waits: bool) -> None:
    """After a type or a tenant was invalidated, other processes waited for a slow load that had begun before."""
    one, two = await open_cache(), await open_cache()
    endings: dict[str, Callable[[], Awaitable[int]]] = {
        "resource": lambda: one.invalidate("acme", "doc", "d1"),
        "type": lambda: one.invalidate("acme", "doc"),
        "tenant": lambda: one.invalidate("acme"),
        "document": lambda: one.invalidate("acme", document_ids=["d1"]),
    }
    began, never = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        began.set()
        await never.wait()
        return "made before"

    options = {"document_ids": ["d1"]}
    stuck = asyncio.create_task(two.load("doc", "d1", "acme", slow, **options))
    await began.wait()

    async def load() -> Any:
        async with asyncio.timeout(DEADLINE_S):
            return await one.load("doc", "d1", "acme", lambda: "made after", **options)

    try:
        if waits and one.url is not None:
            early = asyncio.create_task(load())
            for _ in range(20):
                await one.get("doc", "another", "acme", use_memory=False)
            assert not early.done()
            await endings[ending]()
            assert await early == "made after"
        else:
            await endings[ending]()
            assert await load() == "made after"
    finally:
        never.set()
        await stuck
    assert await one.get("doc", "d1", "acme") == "made after"


OUTLIVED: dict[str, Callable[[Cache, Any], Any]] = {
    "load": lambda cache, source: cache.load("doc", "d1", "acme", source),
    "refresh": lambda cache, source: cache.refresh("doc", "d1", "acme", source),
    "load_many": lambda cache, source: cache.load_many("doc", ["d1"], "acme", lambda ids: source(None)),
}


@pytest.mark.parametrize("verb", OUTLIVED)
@pytest.mark.parametrize("brings", ["older", "large", "unencodable", "nothing"])
@pytest.mark.parametrize("newer", ["loaded", "set"])
async def test_a_load_that_outlived_its_lease_changes_nothing(
    valkey_server: RedisServer, verb: str, brings: str, newer: str
) -> None:
    """A load slower than its lease: another process has stored a newer value meanwhile, which stays and is served."""
    settings: dict[str, Any] = {"redis_url": valkey_server.url, "redis_budget_s": 5.0, "ttl_jitter_ratio": 0.0, **SMALL}
    async with Cache(Settings(lease_s=600.0, **settings)) as one, Cache(Settings(**settings)) as two:
        await _outlive(valkey_server, one, two, verb, brings, newer)


async def _outlive(server: RedisServer, one: Cache, two: Cache, verb: str, brings: str, newer: str) -> None:
    reads, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> Any:
        reads.set()
        await go_on.wait()
        value = {"older": "older", "large": LARGE, "unencodable": Unencodable(), "nothing": None}[brings]
        return {"d1": value} if verb == "load_many" else value

    work = asyncio.create_task(OUTLIVED[verb](one, slow))
    await reads.wait()
    lease = [key for key in server.call("KEYS", "*:l:*") if ":doc:d1" in key]
    assert server.call("UNLINK", *lease) == 1  # as if its time had come while the process stood still
    if newer == "loaded":
        assert await two.load("doc", "d1", "acme", lambda: "newer") == "newer"
        await until(lambda: server.call("EXISTS", lease[0].replace(":l:", ":e:")) == 1)
    else:
        await two.set("doc", "d1", "newer", "acme")
    go_on.set()
    await work
    for cache in (one, two):
        assert await cache.get("doc", "d1", "acme") == "newer"
        assert await cache.get("doc", "d1", "acme", use_memory=False) == "newer"
    assert await one.load("doc", "d1", "acme", lambda: "loaded again") == "newer"
