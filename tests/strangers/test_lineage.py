"""Lineage: what was made from a document, by whatever way, ends with it; and what ends says whether anything was tied."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import functools
import json
import uuid
from collections import deque, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from pydantic import BaseModel

from alacena import cached, depends_on, get_with_cache_aside, invalidate_document_update
from alacena.common.cache.embeddings import embedding_id, get_embeddings_batch_with_cache
from alacena.engine import Scope
from alacena.engine.base.lineage import MOST_OBJECTS, documents_in
from alacena.engine.codec import register

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena import CacheManager
    from alacena.engine import Cache

pytestmark = pytest.mark.usefixtures("mode")


@dataclass
class Hit:
    """What a framework gives for a found node: its document is in the metadata of something inside."""

    node: Any
    score: float = 0.0


@dataclass
class Node:
    """A framework's document."""

    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


class Loose(BaseModel, extra="allow"):
    """A model that takes whatever it is given."""

    text: str


class Slotted:
    """A row of an application that saves memory."""

    __slots__ = ("document_id",)

    def __init__(self, document_id: str) -> None:
        self.document_id = document_id


class Below(Slotted):
    """A row of another kind."""

    __slots__ = ("__weakref__",)


class Kind(str, enum.Enum):  # noqa: UP042 - formatted, it is not its text: that is what is tried
    """An id that is a member of an enumeration."""

    LEASE = "lease"


Row = namedtuple("Row", ["document_id", "text"])  # noqa: PYI024 - it is what drivers of databases return

ID = uuid.UUID("5f0c7a2e-0000-4000-8000-000000000001")


@pytest.fixture(autouse=True)
def _classes() -> None:
    register(Hit, "Hit")
    register(Node, "Node")
    register(Loose, "Loose")
    for row in (Slotted, Below):
        register(row, row.__name__, dump=lambda value: value.document_id, load=row)


async def answered(kind: str, made: Callable[[], Any], tenant: str = "acme", **options: Any) -> Any:
    value, _ = await get_with_cache_aside(kind, "q", tenant, generate_func=made, **options)
    return value


async def stored(cache: Cache) -> None:
    """Wait until what was loaded is stored, or refused: it happens behind the answer."""
    parts = cache._parts
    assert parts is not None
    while tasks := parts.flights.tasks:
        await asyncio.wait(tasks)


# Nested loads (HKUDS/LightRAG#755, #1041, #3181: the answer outlives the document)


@pytest.mark.parametrize("warm", [False, True], ids=["a miss", "a hit"])
async def test_an_answer_ends_with_the_document_that_its_retrieval_was_made_from(
    manager: type[CacheManager], warm: bool
) -> None:
    library = {"lease": "30 days"}

    async def retrieve() -> list[str]:
        depends_on("lease")
        return [library["lease"]]

    async def answer() -> str:
        return f"The notice period is {(await answered('retrieval_cache', retrieve))[0]}."

    if warm:
        await answered("retrieval_cache", retrieve)
    assert await answered("reply", answer) == "The notice period is 30 days."
    await stored(await manager.cache())
    library["lease"] = "60 days"
    counts = await invalidate_document_update("acme", "lease")
    assert counts["dependents"] > 0
    assert await answered("reply", answer) == "The notice period is 60 days."


async def _get(cache: Cache, manager: type[CacheManager]) -> Any:
    return await manager.get("chunk", "c", "acme")


async def _get_past_memory(cache: Cache, manager: type[CacheManager]) -> Any:
    return await manager.get("chunk", "c", "acme", use_memory=False)


async def _get_many(cache: Cache, manager: type[CacheManager]) -> Any:
    return await manager.get_many("chunk", ["c"], "acme")


async def _get_of_the_collection(cache: Cache, manager: type[CacheManager]) -> Any:
    return await manager.get("chunk", "c", "acme", collection_id="legal")


async def _aside(cache: Cache, manager: type[CacheManager]) -> Any:
    return await get_with_cache_aside("chunk", "c", "acme")


async def _lookup(cache: Cache, manager: type[CacheManager]) -> Any:
    return (await cache.lookup("chunk", "c", "acme")).value


async def _load_many(cache: Cache, manager: type[CacheManager]) -> Any:
    return await cache.load_many("chunk", ["c"], "acme", lambda ids: dict.fromkeys(ids, "?"))


async def _in_a_task(cache: Cache, manager: type[CacheManager]) -> Any:
    async with asyncio.TaskGroup() as group:
        one = group.create_task(_get(cache, manager))
    return one.result()


READS = (_get, _get_past_memory, _get_many, _get_of_the_collection, _aside, _lookup, _load_many, _in_a_task)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("end", ["document", "resource", "type"])
async def test_whatever_a_load_reads_is_what_its_value_is_made_from(
    manager: type[CacheManager], read: Callable[..., Awaitable[Any]], end: str
) -> None:
    cache = await manager.cache()
    await manager.set("chunk", "c", {"document_id": "d1", "text": "old"}, "acme")
    if read is _get_past_memory:  # the answer is the server's, or memory's where there is no other
        await manager.get("chunk", "c", "acme")
    loads = 0

    async def answer() -> str:
        nonlocal loads
        loads += 1
        assert await read(cache, manager)
        return "answer"

    await answered("reply", answer)
    await stored(cache)
    await answered("reply", answer)
    assert loads == 1
    if end == "document":
        assert (await invalidate_document_update("acme", "d1"))["dependents"] > 0
    elif end == "resource":
        await manager.invalidate("acme", "chunk", "c")
    else:
        await manager.invalidate("acme", "chunk")
    await manager.set("chunk", "c", {"document_id": "d1", "text": "new"}, "acme")
    await answered("reply", answer)
    assert loads == 2


async def _load_nothing(cache: Cache, manager: type[CacheManager]) -> Any:
    return await cache.load("chunk", "c", "acme", lambda: None)


async def _peek_many(cache: Cache, manager: type[CacheManager]) -> Any:
    return await cache.peek_many("chunk", ["c"], "acme")


@pytest.mark.parametrize("read", [one for one in READS if one is not _load_many] + [_load_nothing, _peek_many])
@pytest.mark.parametrize("end", ["resource", "type"])
async def test_that_there_was_nothing_is_what_an_answer_is_made_from(
    manager: type[CacheManager], read: Callable[..., Awaitable[Any]], end: str
) -> None:
    """HKUDS/LightRAG#755: the answer that found nothing is still given after the document has come."""
    cache = await manager.cache()

    async def answer() -> str:
        await read(cache, manager)
        return "nothing is known of it"

    await answered("reply", answer)
    await stored(cache)
    assert await manager.get("reply", "q", "acme") is not None
    await manager.invalidate("acme", "chunk", *["c"] * (end == "resource"))
    assert await manager.get("reply", "q", "acme") is None


async def test_an_answer_made_without_a_document_ends_when_it_comes(manager: type[CacheManager]) -> None:
    async def answer() -> str:
        return f"I know {await manager.get('document', 'd1', 'acme')}"

    await answered("reply", answer)
    await stored(await manager.cache())
    await manager.set("document", "d1", "the lease", "acme")
    assert (await invalidate_document_update("acme", "d1"))["dependents"] > 0
    await manager.set("document", "d1", "the lease", "acme")
    assert await answered("reply", answer) == "I know the lease"


async def test_an_answer_made_from_a_cached_document_depends_on_it(manager: type[CacheManager]) -> None:
    await manager.set("document", "d1", "old", "acme")

    @cached("summary")
    async def summary(tenant_id: str) -> str:
        return f"of {await manager.get('document', 'd1', tenant_id)}"

    assert await summary("acme") == "of old"
    await stored(await manager.cache())
    await manager.set("document", "d1", "new", "acme")
    await invalidate_document_update("acme", "d1")
    await manager.set("document", "d1", "new", "acme")
    assert await summary("acme") == "of new"


async def test_what_a_source_stores_by_hand_counts_as_read(manager: type[CacheManager]) -> None:
    async def answer() -> str:
        chunk = await manager.get("chunk", "c", "acme")
        if chunk is None:
            chunk = {"document_id": "d1", "text": "x"}
            await manager.set("chunk", "c", chunk, "acme")
        return f"made of {chunk['text']}"

    await answered("reply", answer)
    await stored(await manager.cache())
    assert await manager.get("reply", "q", "acme") is not None
    await invalidate_document_update("acme", "d1")
    assert await manager.get("reply", "q", "acme") is None


async def test_lineage_passes_through_any_number_of_loads(
    manager: type[CacheManager], open_cache: Callable[..., Awaitable[Cache]], url: str | None
) -> None:
    async def first() -> dict[str, Any]:
        return {"document_id": 7, "text": "x"}

    async def second() -> Any:
        return [await answered("first", first)]

    async def third() -> Any:
        return {"made of": await answered("second", second)}

    await answered("third", third)
    await stored(await manager.cache())
    if url:  # another process reads it from the server, tags and all, and makes something of it
        other = await open_cache()

        async def fourth() -> Any:
            return await other.get("third", "q", "acme")

        assert await other.load("fourth", "q", "acme", fourth)
        await stored(other)
        await invalidate_document_update("acme", 7)
        assert await other.get("fourth", "q", "acme", use_memory=False) is None
    else:
        await invalidate_document_update("acme", 7)
    assert await manager.get("third", "q", "acme") is None


async def test_embeddings_of_a_batch_pass_on_what_they_depend_on(manager: type[CacheManager]) -> None:
    async def provider(texts: list[str]) -> list[list[float]]:
        depends_on("d1")
        return [[1.0] for _ in texts]

    async def answer() -> str:
        await get_embeddings_batch_with_cache(["a", "b"], "acme", "m", provider)
        return "made of vectors"

    await answered("reply", answer)
    await stored(await manager.cache())
    await invalidate_document_update("acme", "d1")
    assert await manager.get("embedding", embedding_id("a", "m"), "acme") is None
    assert await manager.get("reply", "q", "acme") is None


async def test_what_is_invalidated_while_it_is_being_read_makes_nothing_that_stays(manager: type[CacheManager]) -> None:
    await manager.set("price", "p", 10, "acme")

    async def answer() -> str:
        price = await manager.get("price", "p", "acme")
        await manager.invalidate("acme", "price", "p")
        return f"costs {price}"

    assert await answered("reply", answer) == "costs 10"
    await stored(await manager.cache())
    assert await manager.get("reply", "q", "acme") is None


async def test_tenants_and_tasks_that_outlive_a_load_pass_nothing_on(manager: type[CacheManager]) -> None:
    await manager.set("note", "n", "other", "rival", tags=["shared"])
    await manager.set("note", "m", "later", "acme", tags=["later"])
    over = asyncio.Event()
    tasks: list[asyncio.Task[Any]] = []

    async def afterwards() -> None:
        await over.wait()
        await manager.get("note", "m", "acme")

    async def answer() -> str:
        await manager.get("note", "n", "rival")
        tasks.append(asyncio.get_running_loop().create_task(afterwards()))
        return "answer"

    cache = await manager.cache()
    found = await cache.lookup("reply", "q", "acme", answer)
    await stored(cache)
    over.set()
    await tasks[0]
    assert found.tags == ()
    await manager.invalidate("acme", tags=["later", "shared"])
    assert await manager.get("reply", "q", "acme") == "answer"


async def test_a_resource_in_another_bucket_counts_as_well(
    open_cache: Callable[..., Awaitable[Cache]],
) -> None:
    cache = await open_cache(tenant_buckets={"acme": 4})
    for number in range(8):
        await cache.set("note", f"n{number}", number, "acme")

        async def answer(number: int = number) -> Any:
            return await cache.get("note", f"n{number}", "acme")

        await cache.load("reply", "q", "acme", answer)
        await stored(cache)
        assert await cache.get("reply", "q", "acme") == number
        await cache.invalidate("acme", "note", f"n{number}")
        assert await cache.get("reply", "q", "acme") is None


# Who names its document (run-llama/llama_index#8832, LangStream/langstream#612, param20h/PDF-Assistant-RAG#376,
# bobmatnyc/trusty-tools#855: a document is ingested anew, and old chunks are found)

PART = TextNode(text="x", relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="d")})
FORMS: dict[str, tuple[Any, Any]] = {
    "text": ({"document_id": "d"}, "d"),
    "a number": ({"document_id": 42}, 42),
    "a number of numpy": ({"document_id": 42}, np.int64(42)),
    "a UUID": ({"document_id": ID}, ID),
    "a member of an enumeration": ({"document_id": "lease"}, Kind.LEASE),
    "its metadata": ({"text": "x", "metadata": {"document_id": "d"}}, "d"),
    "a list": ([{"document_id": "other"}, {"document_id": "d"}], "d"),
    "a list under a key": ({"chunks": [{"document_id": "d"}]}, "d"),
    "several": ({"answer": "x", "document_ids": ["other", "d"]}, "d"),
    "an object": (Node("x", {"document_id": "d"}), "d"),
    "objects with a score": ([Hit(Node("x", {"document_id": "d"}))], "d"),
    "one under the name of several": ({"document_ids": "d"}, "d"),
    "several as keys": ({"document_ids": {"other": 1, "d": 2}}, "d"),
    "several in a deque": ({"document_ids": deque(["other", "d"])}, "d"),
    "a deque": (deque([{"document_id": "d"}]), "d"),
    "what pandas makes of a number": ({"document_id": 42.0}, 42),
    "bytes of a client that decodes nothing": ({"document_id": b"d"}, "d"),
    "a field that the model did not declare": (Loose(text="x", document_id="d"), "d"),
    "slots": (Slotted("d"), "d"),
    "slots of a parent": (Below("d"), "d"),
    "a column of several": ({"document_id": ["other", "d"], "score": [1, 2]}, "d"),
    "a column by row, as pandas makes it": ({"document_id": {0: "other", 1: "d"}}, "d"),
    "several in several answers": ({"document_ids": [["other"], ["d"]]}, "d"),
    "an array of numbers": ({"document_ids": np.array([7, 42])}, 42),
    "an array of texts": ({"document_ids": np.array(["other", "d"])}, "d"),
    "a structured array": (np.array([("d", 0.5)], dtype=[("document_id", "U9"), ("score", "f4")]), "d"),
    "a structured array under a key": ({"hits": np.array([(42, 0.5)], dtype=[("document_id", "i8"), ("x", "f4")])}, 42),
    "a decimal": ({"document_id": Decimal(42)}, 42),
    "a name that is bytes": ({b"document_id": b"d"}, "d"),
    "metadata that a driver left as JSON": ({"text": "x", "metadata": '{"document_id": "d"}'}, "d"),
    "a node of LlamaIndex": ([NodeWithScore(node=PART, score=0.5)], "d"),
    "a node of LlamaIndex as a dict": (PART.to_dict(), "d"),
    "JSON text": ('{"answer": "x", "sources": [{"document_id": "d"}]}', "d"),
    "JSON bytes": (b'[{"document_ids": ["d"]}]', "d"),
    "far down": (functools.reduce(lambda inner, _: {"in": [inner]}, range(12), {"document_id": "d"}), "d"),
}


GIVEN: list[Any] = []


@cached("row", key=lambda tenant_id: "q")
async def row_that_was_given(tenant_id: str) -> Any:
    return GIVEN[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("door", ["set", "set_many", "load", "load_many", "cached", "besides"])
async def test_a_value_that_names_its_document_ends_with_it(manager: type[CacheManager], form: str, door: str) -> None:
    value, document_id = FORMS[form]
    name = "q"
    cache = await manager.cache()
    if door == "set":
        await manager.set("row", "q", value, "acme")
    elif door == "set_many":
        await manager.set_many("row", {"q": value}, "acme")
    elif door == "load":
        await answered("row", lambda: value)
    elif door == "load_many":
        await cache.load_many("row", ["q"], "acme", lambda ids: dict.fromkeys(ids, value))
    elif door == "cached":
        GIVEN[:] = [value]
        await row_that_was_given("acme")
        name = f"{row_that_was_given.__module__}.{row_that_was_given.__qualname__}:q"
    else:
        await answered("row", lambda: value, depends_on=["else"])
    await stored(cache)
    assert await manager.get("row", name, "acme") is not None
    counts = await invalidate_document_update("acme", document_id)
    assert await manager.get("row", name, "acme") is None
    assert counts["dependents"] == 1


async def test_set_many_takes_documents_and_tags_for_all(manager: type[CacheManager]) -> None:
    await manager.set_many("chunk", {"a": 1, "b": 2}, "acme", document_id=42, tags=["batch"])
    assert (await invalidate_document_update("acme", "42"))["dependents"] == 1
    assert await manager.get_many("chunk", ["a", "b"], "acme") == {}
    await manager.set_many("chunk", {"a": 1}, "acme", document_ids=["d1", ID], tags=["batch"])
    await manager.invalidate("acme", tags=["batch"])
    assert await manager.get("chunk", "a", "acme") is None


def test_documents_are_looked_for_within_bounds() -> None:
    deep: Any = {"document_id": "d"}
    for _ in range(5):
        deep = [deep]
    ring: list[Any] = [{"document_id": "d"}]
    ring.append(ring)
    assert documents_in(deep) == documents_in(ring) == documents_in(Row("d", "x")) == ("d",)
    assert documents_in([0.0] * (MOST_OBJECTS + 1)) == ()
    for nothing in (
        "d",
        b"d",
        1,
        None,
        np.zeros(9),
        {"document_id": " "},
        {"document_id": True},
        {"document_id": None},
    ):
        assert documents_in(nothing) == ()


UNKNOWN: dict[str, Any] = {
    "an id that cannot be read": {"document_id": dt.date(2026, 1, 1)},
    "an id that no integer holds": {"document_id": Decimal("1e999999")},
    "deeper than is looked": functools.reduce(lambda inner, _: [inner], range(50), {"document_id": "d"}),
    "JSON text too long to be read": json.dumps({"document_id": "d", "text": "x" * 1_000_000}),
}


@pytest.mark.parametrize("value", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_value_whose_documents_cannot_be_told_ends_with_any(cache: Cache, value: Any) -> None:
    """run-llama/llama_index#8832 in its kind: it named a document, nobody could read which, and it was given on."""
    await cache.set("row", "r", value, "acme")
    assert await cache.get("row", "r", "acme") is not None
    await cache.invalidate("acme", document_ids=["d"])
    assert await cache.get("row", "r", "acme") is None


async def test_a_value_too_large_to_be_looked_through_ends_with_any_document(cache: Cache) -> None:
    rows: list[Any] = [{"document_id": "d"}, *([0] * (MOST_OBJECTS + 10)), {"document_id": "last"}]
    await cache.set("rows", "r", rows, "acme")
    await cache.invalidate("acme", document_ids=["last"])
    assert await cache.get("rows", "r", "acme") is None


# What ended


async def test_an_invalidation_says_whether_anything_was_tied_to_the_document(manager: type[CacheManager]) -> None:
    assert (await invalidate_document_update("acme", "nobody's"))["dependents"] == 0
    await manager.set("chunk", "c", {"document_id": "d1"}, "acme")
    first = await invalidate_document_update("acme", "d1")
    assert first["dependents"] == 1
    assert first["document"] > 0
    assert (await invalidate_document_update("acme", "d1"))["dependents"] == 0
    cache = await manager.cache()
    await manager.set("chunk", "c", {"document_id": "d2"}, "acme")
    nobodys, known, all_of_a_type = await asyncio.gather(
        cache.invalidate_known("acme", document_ids=["d1"]),
        cache.invalidate_known("acme", document_ids=["d2"]),
        manager.invalidate("acme", "chunk"),
    )
    assert (nobodys, known) == (0, 1)
    assert all_of_a_type > 0
    assert type(all_of_a_type) is int
    assert await cache.invalidate_known("acme") == 0


# "I find nothing" (HKUDS/LightRAG#755: a document is added, and the question still gets the answer from before)


@pytest.mark.parametrize("kind", ["query_result", "my_answers"])
async def test_an_answer_that_names_no_document_ends_when_its_collection_gets_one(
    manager: type[CacheManager], kind: str
) -> None:
    scope = Scope("acme", collection_id="legal")
    await answered(kind, lambda: "I find nothing.", collection_id="legal")
    await manager.set("document", "d1", "another", "acme", collection_id="legal")
    await manager.set("chunk", "c1", "of another", "acme", collection_id="legal")
    await manager.set(kind, "made", "of one", "acme", collection_id="legal", document_id="d1")
    await answered(kind, lambda: "of another collection", collection_id="tax")
    cache = await manager.cache()
    await stored(cache)
    counts = await invalidate_document_update("acme", "new", collection_id="legal")
    assert counts["undocumented"] > 0
    assert await manager.get(kind, "q", "acme", collection_id="legal", search_hierarchy=False) is None
    assert await manager.get(kind, "q", "acme", collection_id="tax") == "of another collection"
    assert await cache.get_many("document", ["d1"], scope) == {"d1": "another"}
    assert await cache.get_many("chunk", ["c1"], scope) == {"c1": "of another"}
    if kind == "my_answers":
        assert await manager.get(kind, "made", "acme", collection_id="legal") == "of one"


async def test_what_is_made_from_an_answer_without_documents_ends_with_it(manager: type[CacheManager]) -> None:
    async def page() -> str:
        return f"<p>{await answered('my_answers', lambda: 'I find nothing.', collection_id='legal')}</p>"

    await answered("page", page)
    await stored(await manager.cache())
    await invalidate_document_update("acme", "new", collection_id="legal")
    assert await manager.get("page", "q", "acme") is None


async def test_an_answer_without_a_collection_ends_with_any(manager: type[CacheManager]) -> None:
    await answered("query_result", lambda: "I find nothing.")
    await answered("price", lambda: 10)
    await stored(await manager.cache())
    await invalidate_document_update("acme", "new", collection_id="legal")
    assert await manager.get("query_result", "q", "acme") is None
    assert await manager.get("price", "q", "acme") == 10


async def test_outside_of_a_load_nothing_is_noted(manager: type[CacheManager]) -> None:
    await manager.set("chunk", "c", 1, "acme", tags=["t"])
    await manager.get("chunk", "c", "acme")
    cache = await manager.cache()
    assert (await cache.lookup("reply", "q", "acme", lambda: 2)).tags == ()


async def test_several_documents_may_be_named_in_one_list(manager: type[CacheManager]) -> None:
    """What a retriever returns is a list of ids: it was refused, and the answer was loaded at each read."""

    async def answer() -> str:
        depends_on(["d1", "d2"], {"d3"}, "d4")
        return "30 days"

    for document in ("d1", "d2", "d3", "d4"):
        _, metrics = await get_with_cache_aside("answer", "q", "acme", generate_func=answer)
        assert metrics["stored"]
        assert (await invalidate_document_update("acme", document))["dependents"] == 1
        assert await manager.get("answer", "q", "acme") is None
