"""What a reading of the source stores is not older than the end of the very entry that it stores.

A reading knew its tenant, its documents and its tags. It did not notice that the resource itself had been invalidated, held
by a transaction or deleted since it began, and stored the row that it had read before.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import Cache, Scope, Settings
from alacena.engine.remote.local import local_tier
from alacena.engine.remote.redis import journal
from alacena.integrations.bridge import Access
from alacena.integrations.get_then_set import GetThenSet
from alacena.testing.proxy import FaultProxy
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers.redis_server import RedisServer

    Open = Callable[..., Awaitable[Cache]]

TENANT = Scope("acme")
SCOPES = {
    "tenant": TENANT,
    "agent": Scope("acme", agent_id="a1"),
    "agent and collection": Scope("acme", agent_id="a1", collection_id="manuals"),
    "reader": Scope("acme", user_id="u1", permissions=frozenset({"read", "write"})),
}


async def commit(cache: Cache, scope: Scope) -> None:
    """A source transaction of the document, as it should be written."""
    async with cache.write(scope, ("document", "d1")):
        pass


ENDINGS: dict[str, Callable[[Cache, Scope], Awaitable[Any]]] = {
    "resource": lambda cache, _: cache.invalidate("acme", "document", "d1"),
    "resource at its scope": lambda cache, scope: cache.invalidate(scope, "document", "d1"),
    "write": lambda cache, _: commit(cache, TENANT),
    "write at its scope": commit,
    "delete": lambda cache, scope: cache.delete("document", "d1", scope),
    "type": lambda cache, _: cache.invalidate("acme", "document"),
    "scope": lambda cache, scope: cache.invalidate(scope),
}


async def pair(open_cache: Open, **settings: Any) -> tuple[Cache, Cache]:
    """A process that reads and one that ends; in memory there is one alone."""
    one = await open_cache(**settings)
    return one, one if one.url is None else await open_cache(**settings)


@pytest.mark.parametrize("many", [False, True], ids=["set", "set_many"])
@pytest.mark.parametrize("whose", SCOPES)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_what_ended_inside_a_reading_is_not_stored_by_it(
    open_cache: Open, ending: str, whose: str, *, many: bool
) -> None:
    """The row was read before, whatever has ended the entry: its id, its type, its scope, or a transaction of its own."""
    mine, other = await pair(open_cache)
    scope = SCOPES[whose]
    await mine.set("document", "d1", "older", scope)
    async with mine.reading(scope) as reading:
        await ENDINGS[ending](other, scope)
        if many:
            assert await reading.set_many("document", {"d1": "old", "d2": "still right"}) == (
                0 if ending in {"type", "scope"} else 1
            )
        else:
            assert await reading.set("document", "d1", "old") is False
    assert await mine.get("document", "d1", scope, search_hierarchy=False) is None
    assert await other.get("document", "d1", scope, use_memory=other is mine, search_hierarchy=False) is None


@pytest.mark.parametrize("ending", [name for name in ENDINGS if name != "scope"])
async def test_what_ended_before_a_reading_began_and_what_others_ended_is_no_reason(
    open_cache: Open, ending: str
) -> None:
    """Nothing is refused that is current: a neighbour's end, another type's, a narrower scope's, or one from before."""
    mine, other = await pair(open_cache)
    await ENDINGS[ending](other, TENANT)
    async with mine.reading("acme") as reading:
        await other.invalidate("acme", "document", "d11")
        await other.invalidate("acme", "page", "d1")
        await other.invalidate("zeta", "document", "d1")
        await other.invalidate(SCOPES["agent"], "document", "d1")
        await other.delete("document", "d1", SCOPES["agent"])
        await commit(other, SCOPES["agent and collection"])
        assert await reading.set("document", "d1", "new") is True
    assert await mine.get("document", "d1", "acme") == "new"


async def test_a_block_that_was_open_before_and_ended_inside_is_noticed(open_cache: Open) -> None:
    """The reading began before the commit, though the block around that had begun before the reading."""
    mine, other = await pair(open_cache)
    block = other.write("acme", ("document", "d1"))
    await block.__aenter__()
    async with mine.reading("acme") as reading:
        await block.__aexit__(None, None, None)
        assert await reading.set("document", "d1", "old") is False
    assert await mine.get("document", "d1", "acme") is None


async def test_a_block_that_begins_inside_and_is_still_open_is_noticed(open_cache: Open) -> None:
    """The transaction may have committed already."""
    mine, other = await pair(open_cache)
    async with mine.reading("acme") as reading, other.write("acme", ("document", "d1")):
        assert await reading.set("document", "d1", "old") is False
    assert await mine.get("document", "d1", "acme") is None


async def test_a_block_whose_process_died_is_held_against_readings_that_began_before_its_hold_expired(
    open_cache: Open,
) -> None:
    """Once the hold had expired, such a reading stored the row that it had read before the commit, for good."""
    reader, dying = await pair(open_cache)
    dead = dying.write(TENANT, ("document", "d1"), hold_s=0.2)
    await dead.__aenter__()
    async with reader.reading(TENANT, data_types=["document"]) as early:

        async def is_over() -> bool:
            return await reader.set("document", "d1", "new", "acme")

        await until(is_over)
        assert not await early.set("document", "d1", "old")
        assert await early.set_many("document", {"d1": "old", "d2": "other"}) == 1
    assert await reader.get("document", "d1", "acme") is None
    async with reader.reading(TENANT) as later:
        assert await later.set("document", "d1", "new")


@pytest.mark.parametrize("ending", ["resource", "delete"])
async def test_a_journal_that_has_forgotten_is_a_reason_to_refuse(
    open_cache: Open, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is bounded: after more endings than it can name, any may have been among them."""
    monkeypatch.setattr(journal, "LONGEST_BYTES", 40)
    monkeypatch.setattr(local_tier, "_NOTED_TAGS", 4)
    mine, other = await pair(open_cache)
    async with mine.reading("acme") as reading:
        await ENDINGS[ending](other, TENANT)
        for number in range(8):
            await other.invalidate("acme", "page", str(number))
        assert await reading.set("document", "d1", "old") is False
        assert await reading.set("document", "d2", "read before") is False
    async with mine.reading("acme") as reading:
        assert await reading.set("document", "d1", "new") is True


async def test_each_of_many_is_judged_by_the_journal_of_its_bucket(open_cache: Open) -> None:
    """One command stores entries of several buckets and readings."""
    mine, other = await pair(open_cache, tenant_buckets={"acme": 3})
    values = {f"d{number}": number for number in range(40)}
    async with mine.reading("acme") as reading:
        for number in range(0, 40, 2):
            await other.invalidate("acme", "document", f"d{number}")
        assert await reading.set_many("document", values) == 20
    assert await mine.get_many("document", list(values), "acme") == {f"d{n}": n for n in range(1, 40, 2)}


async def test_a_refused_value_is_no_reason_to_refuse_the_next_reading(open_cache: Open) -> None:
    """Readings that overlap would refuse each other one after the other, long after the end that was the reason."""
    mine, other = await pair(open_cache)
    async with mine.reading("acme") as early:
        await other.invalidate("acme", "document", "d1")
        async with mine.reading("acme") as late:
            assert await early.set("document", "d1", "old") is False
            assert await late.set("document", "d1", "new") is True
    assert await mine.get("document", "d1", "acme") == "new"


async def test_a_removal_that_was_owed_is_noticed_by_a_reading_of_another_process(valkey_server: RedisServer) -> None:
    """It is made up for name by name; the journal that would have said so was left as it was."""
    async with FaultProxy(valkey_server.address) as proxy:
        cut_off = Settings(redis_url=f"redis://127.0.0.1:{proxy.port}", redis_timeout_s=0.3)
        async with Cache(cut_off) as other, Cache(Settings(redis_url=valkey_server.url, redis_budget_s=5.0)) as mine:
            for end in (
                lambda: other.invalidate("acme", "document", "d1"),
                lambda: other.delete("document", "d1", "acme"),
                lambda: other.invalidate("acme", "document"),
            ):
                await other.get("document", "d1", "acme")
                async with mine.reading("acme") as reading:
                    proxy.up.hold()
                    assert not await end()
                    proxy.reset()
                    proxy.up.calm()
                    await until(lambda: not other.guarantee()["removals_owed"])
                    assert await reading.set("document", "d1", "old") is False
                assert await mine.get("document", "d1", "acme") is None


async def test_a_plain_set_by_work_that_was_under_way_is_not_stored(cache: Cache) -> None:
    """A plain ``set`` does not say when its value was read: the process remembers which work an end overtook."""
    for ending in ("resource", "write", "type", "resource at its scope"):
        read, go_on = asyncio.Event(), asyncio.Event()

        async def work(read: asyncio.Event = read, go_on: asyncio.Event = go_on) -> list[bool | int]:
            read.set()
            await go_on.wait()
            return [
                await cache.set("document", "d1", "old", "acme"),
                await cache.set("document", "d1", "old", SCOPES["agent"]),
                await cache.set_many("document", {"d1": "old", "d2": "right"}, "acme"),
            ]

        async with asyncio.TaskGroup() as group:
            working = group.create_task(work())
            await read.wait()
            await asyncio.create_task(ENDINGS[ending](cache, TENANT))
            go_on.set()
        assert working.result() == [False, False, 0 if ending == "type" else 1], ending
        assert await cache.get("document", "d1", "acme") is None


async def test_who_ended_a_resource_may_store_it_at_once(cache: Cache) -> None:
    """The value after a commit is stored by the task whose block has just ended, and by those that it starts."""
    async with cache.write("acme", ("document", "d1"), document_ids=["d1"]):
        pass
    assert await cache.set("document", "d1", "new", "acme", document_ids=["d1"])
    assert await asyncio.create_task(cache.set("document", "d1", "newer", "acme", document_ids=["d1"]))
    with suppress(ConnectionError):
        async with cache.write("acme", ("document", "d1"), document_ids=["d1"]):
            raise ConnectionError("the source is away")
    assert await cache.set("document", "d1", "new", "acme", document_ids=["d1"])
    await cache.invalidate("acme", "document", "d1")
    assert await cache.set("document", "d1", "new", "acme")


@pytest.mark.parametrize("ending", [name for name in ENDINGS if name != "scope"])
async def test_a_look_and_a_later_store_are_a_reading(open_cache: Open, ending: str) -> None:
    """Interfaces whose look-up and store are two calls rest on the same."""
    mine, other = await pair(open_cache)
    aside = GetThenSet(Access(mine), "document")
    assert await aside.look(["d1"], TENANT) == {}
    await ENDINGS[ending](other, TENANT)
    assert await aside.store("d1", "old", TENANT) is False
    assert await aside.look(["d1"], TENANT) == {}
    assert await aside.store("d1", "new", TENANT) is True


@asynccontextmanager
async def _reads(cache: Cache) -> AsyncIterator[Callable[..., Awaitable[int]]]:
    async with cache.reading("acme") as reading:
        yield reading.set_many


@asynccontextmanager
async def _sets(cache: Cache) -> AsyncIterator[Callable[..., Awaitable[int]]]:
    async def set_many(data_type: str, values: Any, **options: Any) -> int:
        return await cache.set_many(data_type, values, "acme", **options)

    yield set_many


@pytest.mark.parametrize("door", [_reads, _sets], ids=["reading", "cache"])
async def test_each_of_many_may_name_documents_of_its_own(cache: Cache, door: Any) -> None:
    """A mapping of documents by id was taken for documents called as the ids are: nothing ended with the right ones."""
    async with door(cache) as set_many:
        documents = {"p1": ["d1"], "p2": ["d1", 2]}
        values = {"p1": "a", "p2": "b", "p3": "c"}
        assert await set_many("page", values, tags=["all"], document_ids=documents) == 3
        await cache.invalidate("acme", document_ids=["p1", "p2"])
        assert await cache.get_many("page", list(values), "acme") == values
        await cache.invalidate("acme", document_ids=["2"])
        assert await cache.get_many("page", list(values), "acme") == {"p1": "a", "p3": "c"}
        await cache.invalidate("acme", document_ids=["d1"])
        assert await cache.get_many("page", list(values), "acme") == {"p3": "c"}
        await cache.invalidate("acme", tags=["all"])
        assert await cache.get_many("page", list(values), "acme") == {}
        with pytest.raises(ValueError, match="'p9'"):
            await set_many("page", values, document_ids={"p9": ["d1"]})
