"""Ids as databases, enums and data frames give them: one text for each, in every verb."""

from __future__ import annotations

import enum
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from alacena import (
    CacheManager,
    Context,
    acquire_job_lock,
    get_embeddings_batch_with_cache,
    get_with_cache_aside,
    invalidate_document_update,
    release_job_lock,
    standardize_llama_metadata,
    track_token_usage,
)
from alacena.common.cache.jobs import job_lock_fence
from alacena.engine import Cache, EncodeError, InvalidKeyError, MissingTenantError, Policy, Scope
from alacena.sources.postgres import row_loader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


class Type(str, enum.Enum):  # noqa: UP042 - not the same as a StrEnum
    DOCUMENT = "document"


class Tenant(str, enum.Enum):  # noqa: UP042 - not the same as a StrEnum
    ACME = "acme"


class Number(int, enum.Enum):
    SEVEN = 7


class Plain(enum.Enum):
    TWIN = "twin"


class Sub(str):
    def __str__(self) -> str:
        return "something else"


T = uuid.UUID(int=5)
FORMS: tuple[tuple[Any, str], ...] = (
    (Type.DOCUMENT, "document"),
    (Number.SEVEN, "7"),
    (Plain.TWIN, "twin"),
    (Sub("sub"), "sub"),
    (np.str_("text"), "text"),
    (np.int64(7), "7"),
    (7, "7"),
    (-1, "-1"),
    (T, str(T)),
)
NO_IDS: tuple[Any, ...] = (True, 1.5, b"a", ("t",), np.float64(1), np.True_)


@pytest.mark.parametrize(("form", "text"), FORMS, ids=lambda one: repr(one)[:30])
async def test_an_id_is_its_text_in_every_part_of_an_entry(
    open_cache: Callable[..., Awaitable[Cache]], form: Any, text: str
) -> None:
    """aio-libs/aiocache#633: Python 3.11 writes members of ``class X(str, Enum)`` as X.MEMBER, so keys differ."""
    cache = await open_cache()
    other = await open_cache() if cache.url else cache
    await cache.set(form, form, "value", Scope(form, form, form, form), tags=[form], document_ids=form)
    assert await other.get(text, text, Scope(text, text, text, text)) == "value"
    assert await cache.invalidate(text, tags=[text])
    assert await cache.get(form, form, Scope(form, form, form, form)) is None
    await cache.set(form, form, "again", form)
    assert await other.get(text, text, text) == "again"
    assert await other.get_many(form, [form], form) == {form: "again"}
    assert await other.invalidate(text, text, text)
    assert await cache.get(form, form, form, use_memory=False) is None


async def test_a_policy_holds_for_the_member_that_names_its_type(open_cache: Callable[..., Awaitable[Cache]]) -> None:
    """aio-libs/aiocache#633, a variation: a member is hashed by its name, so a table of policies does not find it."""
    cache = await open_cache(policies={"document": Policy(ttl=77)})
    assert cache.policy(Type.DOCUMENT).ttl == 77


async def test_coordination_names_are_texts(open_cache: Callable[..., Awaitable[Cache]]) -> None:
    """aio-libs/aiocache#633, where it costs most: two holders of one lock, and a job that nobody finds."""
    cache = await open_cache()
    other = await open_cache() if cache.url else cache
    assert await cache.locks.try_acquire(Type.DOCUMENT, tenant_id=Tenant.ACME) is not None
    assert await other.locks.try_acquire("document", tenant_id="acme") is None
    pushed = await cache.queues(Type.DOCUMENT, tenant_id=Tenant.ACME).push("job", id=T)
    assert pushed == str(T)
    [item] = await other.queues.reserve_any("document")
    assert item.id == str(T)
    await item.ack()
    assert await cache.queues("document", tenant_id=7).push("job", id=Number.SEVEN) == "7"
    assert await cache.counters.increment("c", tenant_id=T, idempotency_id=T) == 1
    assert await cache.counters.increment("c", tenant_id=str(T), idempotency_id=str(T)) == 1
    await cache.lists.rpush(Type.DOCUMENT, "a", tenant_id=Tenant.ACME)
    assert await other.lists.lrange("document", tenant_id="acme") == ["a"]
    await cache.sets.add(Type.DOCUMENT, "a", tenant_id=Number.SEVEN)
    assert await other.sets.members("document", tenant_id="7") == ["a"]
    await cache.ledger.record(T, 5, model=Plain.TWIN, agent_id=Number.SEVEN, idempotency_key=T)
    await cache.ledger.record(str(T), 5, model="twin", agent_id="7", idempotency_key=str(T))
    assert (await other.ledger.totals(T)).used == 5


async def test_the_number_0_is_an_id(manager: type[CacheManager]) -> None:
    """langchain-ai/langgraph#4181, the other way about: serial keys begin at 0, which is false and an id all the same."""
    await manager.set("chunk", "c0", {"document_id": 0}, "acme")
    await manager.set("chunk", "c1", {"document_id": "d1"}, "acme")
    await invalidate_document_update("acme", 0, metadata={"document_id": "d1"})
    assert await manager.get("chunk", "c0", "acme") is None
    assert await manager.get("chunk", "c1", "acme") == {"document_id": "d1"}


async def test_the_guides_verbs_take_a_uuid_everywhere(manager: type[CacheManager]) -> None:
    """langchain-ai/langgraph#4181: UUID objects for text; here some verbs said that no tenant was given."""
    verbs = manager.get_instance()
    assert await track_token_usage(T, 5, "m", idempotency_key=T)
    assert await acquire_job_lock(T, T)
    assert job_lock_fence(str(T), str(T)) is not None
    assert await release_job_lock(str(T), T)
    assert await verbs.rpush("q", 1, tenant_id=T) == 1
    assert await verbs.lpop(f"{T}:q") == 1
    assert await verbs.set_nx(T, 1, tenant_id=T)
    assert not await verbs.set_nx(str(T), 1, tenant_id=str(T))
    assert await verbs.increment_counter(Type.DOCUMENT, resource_id=T, tenant_id=T) == 1
    assert await verbs.get_counter("document", str(T), str(T)) == 1
    assert (await get_with_cache_aside(Type.DOCUMENT, T, T, lambda: 1))[0] == 1
    assert await manager.get("document", str(T), str(T)) == 1
    async with Context(tenant_id=T, agent_id=7) as ctx:
        assert ctx.get_tenant_id() == str(T)
        assert ctx.get_agent_id() == "7"
        assert await manager.get("document", T) == 1


@pytest.mark.parametrize("wrong", NO_IDS, ids=repr)
async def test_what_has_no_single_text_is_refused_with_its_type(manager: type[CacheManager], wrong: Any) -> None:
    """langchain-ai/langgraph#4181: the error must say what is wrong with the id, not that there is none."""
    cache, verbs = await manager.cache(), manager.get_instance()
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: manager.set("t", wrong, 1, "acme"),
        lambda: manager.get("t", "r", wrong),
        lambda: manager.get(wrong, "r", "acme"),
        lambda: verbs.rpush("q", 1, tenant_id=wrong),
        lambda: verbs.rpush(wrong, 1, tenant_id="acme"),
        lambda: acquire_job_lock("j", wrong),
        lambda: acquire_job_lock(wrong, "acme"),
        lambda: track_token_usage(wrong, 5, idempotency_key="k"),
        lambda: track_token_usage("acme", 5, idempotency_key=wrong),
        lambda: cache.queues("q", tenant_id="acme").push("v", wrong),
        lambda: cache.locks.try_acquire("l", tenant_id=wrong),
        lambda: cache.set("t", "r", 1, "acme", tags=[wrong]),
    ]
    for call in calls:
        with pytest.raises(
            InvalidKeyError,
            match=f"must be a string, an int, a UUID or a member of an Enum, not {type(wrong).__name__}",
        ):
            await call()
    with pytest.raises(InvalidKeyError, match="must be a string"):
        Context(tenant_id=wrong)
    with pytest.raises(InvalidKeyError, match="must be a string"):
        standardize_llama_metadata({"document_id": wrong}, "acme")


async def test_no_tenant_is_still_said_to_be_none(manager: type[CacheManager]) -> None:
    for blank in (None, "", "  "):
        with pytest.raises(MissingTenantError):
            await manager.get("t", "r", blank)
        with pytest.raises(MissingTenantError):
            await manager.get_instance().rpush("q", 1, tenant_id=blank)


async def test_a_batch_loader_may_answer_by_ids_of_any_form(cache: Cache) -> None:
    """langchain-ai/langgraph#4181: rows by int and UUID, as the driver gives them, were lost without a word."""
    rows = {7: "row 7", T: "row T"}
    asked: list[Sequence[Any]] = []

    async def load_rows(ids: Sequence[Any]) -> dict[Any, str]:
        asked.append(ids)
        return {one: rows[one] for one in ids if one in rows}

    assert await cache.load_many("row", [7, T, 8], "acme", load_rows) == rows
    assert await cache.load_many("row", [7, T], "acme", load_rows) == rows
    assert asked == [[7, T, 8]]

    async def by_number(ids: Sequence[str]) -> dict[Any, str]:
        return {int(one): f"row {one}" for one in ids}

    assert await cache.load_many("row", ["11", "12"], "acme", by_number) == {"11": "row 11", "12": "row 12"}


async def test_a_batch_loader_that_answers_for_others_is_told_which(cache: Cache) -> None:
    """langchain-ai/langgraph#4181: a mapping by other ids is a mistake, and was taken for "the source has nothing"."""

    async def others(ids: Sequence[str]) -> dict[Any, Any]:
        return {"nobody asked for this": 1, 3.5: 2}

    with pytest.raises(ValueError, match=r"'nobody asked for this', 3\.5"):
        await cache.load_many("row", ["a"], "acme", others)


async def test_an_array_by_id_is_still_a_value(cache: Cache) -> None:
    async def load(ids: Sequence[str]) -> dict[str, Any]:
        return {one: np.zeros(3) for one in ids}

    assert len(await cache.load_many("row", ["a", "b"], "acme", load)) == 2


def test_metadata_has_ids_as_text() -> None:
    """langchain-ai/langgraph#4181: numbers of chunks come from numpy and pandas."""
    meta = standardize_llama_metadata({"collection_id": Number.SEVEN}, T, T, np.int64(3))
    assert (meta["tenant_id"], meta["document_id"], meta["collection_id"]) == (str(T), str(T), "7")
    assert meta["chunk_id"] == f"{T}_3"
    assert all(type(value) is str for name, value in meta.items() if name.endswith("_id"))
    assert standardize_llama_metadata({}, "acme", "d1", chunk_id=-1)["chunk_id"] == "d1_-1"
    assert standardize_llama_metadata(meta) == meta


async def test_row_loader_compares_as_text() -> None:
    """langchain-ai/langgraph#4181: an int id for a statement that compares texts was the driver's error."""

    class Pool:
        async def fetchrow(self, statement: str, *args: Any) -> dict[str, Any]:
            return {"args": args}

    row = await row_loader(Pool(), "documents")(7, Tenant.ACME)  # type: ignore[arg-type]  # what users pass
    assert row == {"args": ("7", "acme")}
    assert all(type(one) is str for one in row["args"])


@pytest.mark.parametrize(("form", "text"), FORMS, ids=lambda one: repr(one)[:30])
async def test_a_write_block_ends_what_its_id_names_in_any_form(
    open_cache: Callable[..., Awaitable[Cache]], form: Any, text: str
) -> None:
    """aio-libs/aiocache#633: a block around a transaction ended the member's name, or nothing, in place of its value."""
    cache = await open_cache()
    other = await open_cache() if cache.url else cache
    await cache.set(text, text, "old", Scope(text, agent_id="a1"))
    await cache.load("answer", "q", text, _answer_from(cache, text))
    async with cache.write(form, (form, form)):
        late = await other.load(text, text, Scope(text, agent_id="a2"), lambda: "read inside")
        assert late == "read inside"
    assert await cache.get(text, text, Scope(text, agent_id="a1")) is None
    assert await other.get(text, text, Scope(text, agent_id="a2")) is None
    assert await cache.get("answer", "q", text) is None


def _answer_from(cache: Cache, text: str) -> Callable[..., Awaitable[str]]:
    async def answer() -> str:
        return f"from {await cache.get(text, text, Scope(text, agent_id='a1'))}"

    return answer


class Model(enum.Enum):
    SMALL = "text-embedding-3-small"


async def test_a_model_is_named_by_its_text(manager: type[CacheManager]) -> None:
    """Settings have models as members of an enum, and dimensions out of a data frame."""
    asked: list[list[str]] = []

    def provider(texts: list[str]) -> list[list[float]]:
        asked.append(texts)
        return [[1.0, 2.0, 3.0] for _ in texts]

    for model, dimensions in (
        (Model.SMALL, np.int64(3)),
        ("text-embedding-3-small", 3),
        (np.str_(Model.SMALL.value), 3),
    ):
        await get_embeddings_batch_with_cache(["a"], "acme", model, provider, dimensions=dimensions)  # type: ignore[arg-type]
    assert asked == [["a"]]
    for wrong in (None, " ", 1.5, True, b"m"):
        with pytest.raises(InvalidKeyError, match="model_name"):
            await get_embeddings_batch_with_cache(["a"], "acme", wrong, provider)  # type: ignore[arg-type]
    for name in ("dimensions", "batch_size"):
        for value in (0, 2.5, "3", True, np.float64(3)):
            with pytest.raises(ValueError, match=name):
                await get_embeddings_batch_with_cache(["a"], "acme", "m", provider, **{name: value})  # type: ignore[arg-type]


async def test_ids_that_cannot_be_told_apart_are_no_ids(cache: Cache) -> None:
    for wrong in (np.array(7), ["a"], {"a"}):
        for call in (
            cache.get_many("document", [wrong], "acme"),
            cache.load_many("document", ["a", wrong], "acme", lambda ids: dict.fromkeys(ids, 1)),
        ):
            with pytest.raises(InvalidKeyError, match="resource_id"):
                await call


async def test_numbers_of_any_library_are_numbers(cache: Cache) -> None:
    """What a data frame, a settings file or a database gives as an amount or a time."""
    one, two = np.int64(1), np.float64(2)
    assert await cache.counters.increment("c", one, tenant_id="acme") == 1
    budget = cache.budgets("b", tenant_id="acme", limit=np.int32(5))
    async with await budget.reserve(np.uint8(2)):
        pass
    assert await cache.limits.token_bucket("l", tenant_id="acme", rate_per_s=two, burst=one)  # type: ignore[arg-type]
    assert await cache.limits.token_bucket("m", tenant_id="acme", rate_per_s=Decimal("0.5"), burst=1)  # type: ignore[arg-type]
    assert await cache.limits.sliding_window("w", tenant_id="acme", limit=one, window_s=np.int64(60))
    queue = cache.queues("q", tenant_id="acme")
    await queue.push("v", delay_s=np.float32(0))
    [item] = await queue.reserve(one, visibility_s=np.int64(60), wait_s=Decimal(1))  # type: ignore[arg-type]
    await item.ack()
    async with cache.locks.acquire("k", tenant_id="acme", ttl_s=np.int64(30), wait_s=one):
        pass
    assert await cache.set("document", "d1", "v", "acme", ttl=np.int64(60))
    assert await cache.set("document", "d1", "v", "acme", ttl=Decimal("60.5"))  # type: ignore[arg-type]


async def test_what_is_no_number_is_named(cache: Cache) -> None:
    queue = cache.queues("q", tenant_id="acme")
    for wrong in ("3", None, True, float("nan")):
        calls: dict[str, Any] = {
            "max_items": queue.reserve(wrong),
            "wait_s": queue.reserve(wait_s=wrong),
            "rate_per_s": cache.limits.token_bucket("l", tenant_id="acme", rate_per_s=wrong, burst=1),
            "amount": cache.counters.increment("c", wrong, tenant_id="acme"),
        }
        for name, call in calls.items():
            with pytest.raises(ValueError, match=name):
                await call
        if wrong is not None:
            with pytest.raises(ValueError, match="wait_s"):
                await cache.locks.take("k", tenant_id="acme", wait_s=wrong)
    with pytest.raises(ValueError, match="max_items"):
        await queue.reserve(1.0)  # type: ignore[arg-type]


LONE = "\ud800"


async def test_an_id_that_no_server_takes_is_refused_without_one_too(manager: type[CacheManager]) -> None:
    """A text that is no UTF-8 worked in the tests of a service and failed on its server."""
    cache = await manager.cache()
    with pytest.raises(InvalidKeyError, match="UTF-8"):
        await cache.queues("jobs", tenant_id="acme").push("v", LONE)
    with pytest.raises(InvalidKeyError, match="reservation_id"):
        await cache.budgets("tokens", tenant_id="acme", limit=9).reserve(1, reservation_id=LONE)
    assert (await cache.budgets("tokens", tenant_id="acme", limit=9).reserve(1, reservation_id=7)).id == "7"  # type: ignore[arg-type]


def test_a_chunk_without_a_document_is_told_what_a_documents_id_may_be() -> None:
    """After langchain-ai/langgraph 4181: ids of databases were refused by an error about something else."""
    with pytest.raises(ValueError, match="int or a UUID"):
        standardize_llama_metadata({}, uuid.UUID(int=5), chunk_id=3)


@pytest.mark.parametrize("text", [LONE, "a\0b"], ids=["a lone surrogate", "a NUL"])
async def test_usage_that_cannot_be_stored_names_the_field(manager: type[CacheManager], text: str) -> None:
    for field in ("model", "idempotency_key"):
        with pytest.raises(EncodeError, match=f"because of its {field}"):
            await track_token_usage("acme", 1, **{"model": "m", field: text})
    with pytest.raises(EncodeError, match="because of its metadata"):
        await track_token_usage("acme", 1, metadata={"note": text})


async def test_a_tenant_that_one_verb_takes_every_verb_takes(manager: type[CacheManager], cache: Cache) -> None:
    """A token in the place of the tenant was cached for a month, and refused by the ledger at the end of the first call."""

    async def load(_: object = None) -> str:
        return "answer"

    longest, longer = "é" * 256, "é" * 256 + "x"
    verbs: list[Callable[[str], Awaitable[object]]] = [
        lambda tenant: manager.set("note", "n", "x", tenant),
        lambda tenant: manager.get("note", "n", tenant),
        lambda tenant: manager.invalidate(tenant, "note", "n"),
        lambda tenant: get_with_cache_aside("note", "m", tenant, load),
        lambda tenant: track_token_usage(tenant, 1, "model", idempotency_key="k"),
        lambda tenant: acquire_job_lock("job", tenant),
        lambda tenant: release_job_lock("job", tenant),
        lambda tenant: cache.load("note", "n", tenant, load),
        lambda tenant: cache.get_many("note", ["n"], tenant),
        lambda tenant: cache.locks.try_acquire("lock", tenant_id=tenant),
        lambda tenant: cache.queues("jobs", tenant_id=tenant).push("job"),
        lambda tenant: cache.counters.increment("count", tenant_id=tenant),
        lambda tenant: cache.limits.sliding_window("limit", tenant_id=tenant, limit=1, window_s=1),
        lambda tenant: cache.tenant(tenant).budgets("budget", limit=1).state(),
        lambda tenant: cache.ledger.record(tenant, 1, model="model"),
        cache.ledger.totals,
    ]
    for verb in verbs:
        await verb(longest)
        with pytest.raises(InvalidKeyError, match="tenant_id has 513 bytes, and at most 512"):
            await verb(longer)
    with pytest.raises(InvalidKeyError, match="513 bytes"):
        Scope(longer)
    with pytest.raises(InvalidKeyError, match="513 bytes"), Context(tenant_id=longer):
        pass
