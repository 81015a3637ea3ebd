"""A document that is deleted while it is being ingested leaves no chunks: langgenius/dify#38518."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, invalidate_document_update
from alacena.engine import Cache, Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Open = Callable[..., Awaitable[Cache]]


def chunk_of(document_id: str) -> dict[str, str]:
    """A chunk as ingestion makes it."""
    return {"document_id": document_id, "text": f"of {document_id}"}


@pytest.mark.parametrize("how", ["set", "set_many"])
async def test_work_under_way_stores_no_chunk_of_a_deleted_document(manager: type[CacheManager], how: str) -> None:
    """langgenius/dify#38518: indexing that was under way wrote the chunks of a knowledge base that had been deleted."""
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def ingest() -> None:
        reading.set()
        await go_on.wait()
        if how == "set":
            assert await manager.set("chunk", "c1", chunk_of("d1"), "acme") is False
        else:
            assert await manager.set_many("chunk", {"c1": chunk_of("d1"), "c2": chunk_of("d2")}, "acme") is False

    work = asyncio.create_task(ingest())
    await reading.wait()
    await invalidate_document_update("acme", "d1")
    go_on.set()
    await work
    assert await manager.get("chunk", "c1", "acme") is None
    if how == "set_many":
        assert await manager.get("chunk", "c2", "acme") == chunk_of("d2")


async def test_who_invalidated_a_document_may_store_it_again_at_once(manager: type[CacheManager]) -> None:
    """An update: the document is invalidated, then ingested anew, by the same task or by one that it starts."""
    await invalidate_document_update("acme", "d1")
    assert await manager.set("chunk", "c1", chunk_of("d1"), "acme")
    assert await asyncio.create_task(manager.set("chunk", "c2", chunk_of("d1"), "acme"))
    assert await manager.set_many("chunk", {"c3": chunk_of("d1")}, "acme")
    await manager.invalidate("acme", document_id="d1")
    assert await manager.set("chunk", "c1", chunk_of("d1"), "acme")


async def in_a_group(work: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(work)


@pytest.mark.parametrize(
    "way", [asyncio.gather, in_a_group, asyncio.create_task, lambda work: asyncio.wait_for(work, 60)]
)
async def test_a_task_that_sent_another_to_invalidate_may_store_afterwards(
    manager: type[CacheManager], way: Callable[[Any], Any]
) -> None:
    """langgenius/dify#38518, the other side: the old chunks are ended, several at once, and the new ones are stored."""
    await way(invalidate_document_update("acme", "d1"))
    assert await manager.set("chunk", "c1", chunk_of("d1"), "acme") is True


async def in_a_gather(works: list[Any]) -> list[Any]:
    return await asyncio.gather(*works)


async def in_one_group(works: list[Any]) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
    return [task.result() for task in tasks]


async def in_a_gather_of_gathers(works: list[Any]) -> list[Any]:
    return [one for [one] in await asyncio.gather(*(in_a_gather([work]) for work in works))]


@pytest.mark.parametrize("together", [in_a_gather, in_one_group, in_a_gather_of_gathers])
async def test_work_under_way_stores_no_chunk_by_tasks_of_its_own(
    manager: type[CacheManager], together: Callable[[list[Any]], Awaitable[list[Any]]]
) -> None:
    """langgenius/dify#38518: the chunks are stored side by side, by tasks that begin after the document was deleted."""
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def ingest() -> list[Any]:
        reading.set()
        await go_on.wait()
        return await together([manager.set("chunk", f"c{number}", chunk_of("d1"), "acme") for number in range(3)])

    work = asyncio.create_task(ingest())
    await reading.wait()
    await asyncio.create_task(invalidate_document_update("acme", "d1"))
    go_on.set()
    assert await work == [False] * 3
    assert await manager.get_many("chunk", ["c0", "c1", "c2"], "acme") == {}


@pytest.mark.parametrize("together", [in_a_gather, in_one_group, in_a_gather_of_gathers])
async def test_who_invalidated_a_document_may_store_it_side_by_side(
    manager: type[CacheManager], together: Callable[[list[Any]], Awaitable[list[Any]]]
) -> None:
    await asyncio.create_task(invalidate_document_update("acme", "d1"))
    works = [manager.set("chunk", f"c{number}", chunk_of("d1"), "acme") for number in range(3)]
    assert await together(works) == [True] * 3


async def test_a_task_that_a_waiting_group_is_given_later_may_store(manager: type[CacheManager]) -> None:
    """The body of a server's group does nothing but wait: what is started in it later has read later."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def serve() -> bool:
        async with asyncio.TaskGroup() as group:

            async def accept() -> bool:
                document_id = await queue.get()
                return await group.create_task(manager.set("chunk", "c1", chunk_of(document_id), "acme"))

            accepted = group.create_task(accept())
        return accepted.result()

    server = asyncio.create_task(serve())
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.create_task(invalidate_document_update("acme", "d1"))
    queue.put_nowait("d1")
    assert await server


async def test_a_worker_that_waits_for_work_may_store_what_it_is_given_next(manager: type[CacheManager]) -> None:
    """A worker of the same process that was idle when the document ended has read nothing of it yet."""
    queue: asyncio.Queue[str] = asyncio.Queue()
    stored: asyncio.Queue[bool] = asyncio.Queue()

    async def work() -> None:
        while True:
            document_id = await queue.get()
            stored.put_nowait(await manager.set("chunk", "c1", chunk_of(document_id), "acme"))

    worker = asyncio.create_task(work())
    await asyncio.sleep(0)
    await invalidate_document_update("acme", "d1")
    queue.put_nowait("d1")
    assert await stored.get()
    worker.cancel()


async def test_set_many_ends_with_the_documents_that_its_values_name(manager: type[CacheManager]) -> None:
    """Each value of ``set_many`` depends on its own ``document_id``, as with ``set``."""
    assert await manager.set_many("chunk", {"c1": chunk_of("d1"), "c2": chunk_of("d2")}, "acme")
    await invalidate_document_update("acme", "d1")
    assert await manager.get_many("chunk", ["c1", "c2"], "acme") == {"c2": chunk_of("d2")}


ENDINGS: dict[str, Callable[[Cache], Awaitable[int]]] = {
    "document": lambda cache: cache.invalidate("acme", document_ids=["d1"]),
    "late document": lambda cache: cache.invalidate("acme", document_ids=["d2"]),
    "tag": lambda cache: cache.invalidate("acme", tags=["law"]),
    "collection": lambda cache: cache.invalidate("acme", collection_id="kb"),
    "type in the collection": lambda cache: cache.invalidate("acme", "chunk", collection_id="kb"),
    "type": lambda cache: cache.invalidate("acme", "chunk"),
    "tenant": lambda cache: cache.invalidate("acme"),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("buckets", [1, 3])
async def test_a_reading_stores_nothing_that_ended_since_it_began(open_cache: Open, ending: str, buckets: int) -> None:
    """langgenius/dify#38518, with the deletion in another process, and however long the work takes."""
    settings = {} if buckets == 1 else {"tenant_buckets": {"acme": buckets}}
    one, two = await open_cache(**settings), await open_cache(**settings)
    scope = Scope("acme", collection_id="kb")
    async with one.reading(scope, document_ids=["d1"], tags=["law"], data_types=["chunk"]) as reading:
        assert await reading.set("chunk", "c0", "read before", document_ids=["d2"])
        await ENDINGS[ending](one if one.url is None else two)
        assert await reading.set("chunk", "c1", "read before", document_ids=["d2"]) is False
        assert await reading.set_many("chunk", {"c2": "read before", "c3": "too"}, document_ids=["d2"]) == 0
    for number in range(4):
        assert await one.get("chunk", f"c{number}", scope) is None
    async with one.reading(scope, document_ids=["d1"], tags=["law"], data_types=["chunk"]) as reading:
        assert await reading.set("chunk", "c1", "read after", document_ids=["d2"])
    assert await one.get("chunk", "c1", scope) == "read after"


async def test_a_reading_that_nothing_overtook_stores(open_cache: Open) -> None:
    """What it stores ends with the reading's documents, those named later, and those of the values."""
    cache = await open_cache()
    async with cache.reading("acme", document_ids=["d1"]) as reading:
        assert await cache.invalidate("acme", document_ids=["another"]) > 0
        assert await reading.set("chunk", "c1", "v", document_ids=["d2"])
        assert await reading.set("chunk", "c2", "v")
    assert await cache.get("chunk", "c1", "acme") == "v"
    await cache.invalidate("acme", document_ids=["d2"])
    assert await cache.get("chunk", "c1", "acme") is None
    assert await cache.get("chunk", "c2", "acme") == "v"
    await cache.invalidate("acme", document_ids=["d1"])
    assert await cache.get("chunk", "c2", "acme") is None


async def test_a_reading_of_the_manager_knows_the_documents_of_its_values(manager: type[CacheManager]) -> None:
    """The guide's dialect of the same: documents are found in the values, whether the reading named them or not."""
    async with manager.reading("acme", document_id="d1") as reading:
        assert await reading.set_many("chunk", {"c1": chunk_of("d1"), "c2": chunk_of("d2")}) == 2
        await invalidate_document_update("acme", "d2")
        assert await reading.set("chunk", "c3", chunk_of("d2")) is False
        assert await reading.set("chunk", "c4", chunk_of("d1"))
    values: dict[str, Any] = await manager.get_many("chunk", ["c1", "c2", "c3", "c4"], "acme")
    assert sorted(values) == ["c1", "c4"]


async def test_a_refused_chunk_ends_the_older_one(open_cache: Open) -> None:
    """The reading knows of a newer chunk that it may not store: the one before it is not served either."""
    cache = await open_cache()
    await cache.set("chunk", "c1", "of an older version", "acme")
    async with cache.reading("acme", document_ids=["d1"]) as reading:
        await cache.invalidate("acme", document_ids=["d1"])
        assert await reading.set("chunk", "c1", "newer") is False
    assert await cache.get("chunk", "c1", "acme") is None
