"""Whose it is: every door agrees with the surroundings on the tenant, and code that runs for a tenant runs inside it."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from alacena import (
    CacheManager,
    Context,
    TenantMismatchError,
    acquire_job_lock,
    cached,
    get_current_tenant_id,
    get_embeddings_batch_with_cache,
    get_supabase_client,
    get_with_cache_aside,
    invalidate_document_update,
    release_job_lock,
    standardize_langchain_metadata,
    standardize_llama_metadata,
    track_token_usage,
    with_context,
)
from alacena.common.cache import invalidate_chunk_cache
from alacena.common.context import (
    get_current_agent_id,
    get_current_collection_id,
    get_current_conversation_id,
    get_current_user_id,
    run_public_context,
    setup_context_from_headers,
)
from alacena.common.db import close_supabase_clients, configure_supabase
from alacena.engine import Cache, Scope
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError, UsageError
from alacena.sources.call_arguments import check_tenant
from alacena.sources.postgres import row_loader
from alacena.sources.storage import StorageDownloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from alacena.engine import Cache

pytestmark = pytest.mark.usefixtures("manager")

UPLOADED = {"title": "report", "tenant_id": "victim"}


@cached("door")
async def by_argument(tenant_id: str) -> str:
    return f"made for {get_current_tenant_id()}"


async def nothing(*_: object) -> None:
    raise AssertionError("no source is asked for a call that is refused")


def vectors(texts: list[str]) -> list[list[float]]:
    raise AssertionError("no provider is asked for a call that is refused")


ONE = CacheManager.get_instance()
DOORS: dict[str, Callable[[], Any]] = {
    "get": lambda: CacheManager.get("document", "d", "victim"),
    "get from the server": lambda: CacheManager.get("document", "d", "victim", use_memory=False),
    "get scoped": lambda: CacheManager.get("document", "d", "victim", agent_id="a"),
    "set": lambda: CacheManager.set("document", "d", 1, "victim"),
    "delete": lambda: CacheManager.delete("document", "d", "victim"),
    "delete a list": lambda: CacheManager.delete(key="list", tenant_id="victim"),
    "invalidate": lambda: CacheManager.invalidate("victim", "document", "d"),
    "invalidate_cache": lambda: CacheManager.invalidate_cache("tenant", "victim"),
    "get_many": lambda: CacheManager.get_many("document", ["d"], "victim"),
    "set_many": lambda: CacheManager.set_many("document", {"d": 1}, "victim"),
    "ttl": lambda: CacheManager.ttl("document", "d", "victim"),
    "set_if_not_exists": lambda: CacheManager.set_if_not_exists("lock", "d", 1, "victim"),
    "rpush": lambda: ONE.rpush("list", 1, tenant_id="victim"),
    "lpop": lambda: ONE.lpop("list", tenant_id="victim"),
    "add_to_set": lambda: ONE.add_to_set("set", 1, tenant_id="victim"),
    "get_set_members": lambda: ONE.get_set_members("set", tenant_id="victim"),
    "increment_counter": lambda: ONE.increment_counter("calls", tenant_id="victim"),
    "set_nx": lambda: ONE.set_nx("flag", 1, tenant_id="victim"),
    "aside": lambda: get_with_cache_aside("document", "d", "victim", nothing),
    "aside, ctx": lambda: get_with_cache_aside("document", "d", None, nothing, ctx=Context("victim")),
    "aside, ctx and argument": lambda: get_with_cache_aside("document", "d", "acme", nothing, ctx=Context("victim")),
    "embeddings": lambda: get_embeddings_batch_with_cache(["t"], "victim", "m", vectors),
    "embeddings, ctx": lambda: get_embeddings_batch_with_cache(["t"], None, "m", vectors, ctx=Context("victim")),
    "document update": lambda: invalidate_document_update("victim", "d"),
    "document update, ctx": lambda: invalidate_document_update(None, "d", ctx=Context("victim")),
    "document update, metadata": lambda: invalidate_document_update(None, "d", metadata=UPLOADED),
    "chunk": lambda: invalidate_chunk_cache("victim", "c"),
    "tokens": lambda: track_token_usage("victim", 5),
    "take a job": lambda: acquire_job_lock("j", "victim"),
    "give a job back": lambda: release_job_lock("j", "victim"),
    "@cached": lambda: by_argument("victim"),
    "@cached invalidate": lambda: by_argument.invalidate("victim"),
    "@cached invalidate_all": lambda: by_argument.invalidate_all("victim"),
    "storage": lambda: StorageDownloads(SimpleNamespace)("f", "victim"),
    "a row": lambda: row_loader(SimpleNamespace(), "documents")("d", "victim"),
    "public work": lambda: run_public_context(asyncio.sleep(0), "victim"),
}


@pytest.mark.parametrize("door", DOORS)
async def test_a_tenant_that_an_argument_names_agrees_with_the_surroundings(door: str) -> None:
    """After agno-agi/agno 8664: what a caller names may not choose whose data is read or written."""
    async with Context("acme"):
        with pytest.raises(TenantMismatchError, match="victim"):
            await DOORS[door]()
    async with Context("victim"):
        assert await CacheManager.get("document", "d") is None


async def test_without_surroundings_the_argument_is_the_tenant() -> None:
    """A worker has no request around it: it names the tenant itself."""
    await CacheManager.set("document", "d", "of a", "a")
    assert await CacheManager.get("document", "d", "a") == "of a"
    assert await by_argument("a") == "made for a"


async def test_trusted_code_crosses_by_entering_the_other_tenants_block() -> None:
    """The one door from tenant to tenant, as an administrator's job needs it."""
    async with Context("acme"):
        with Context("other"):
            assert await CacheManager.set("document", "d", "for other", "other")
        assert await CacheManager.get("document", "d", "acme") is None
        with Context("other"):
            assert await CacheManager.get("document", "d") == "for other"


@pytest.mark.parametrize("standardize", [standardize_llama_metadata, standardize_langchain_metadata])
def test_the_metadata_of_a_document_never_chooses_the_tenant(standardize: Callable[..., dict[str, Any]]) -> None:
    """After agno-agi/agno 8664 and 8912: front matter, a column or a property of an uploaded file names somebody else."""
    with Context("acme") as ctx:
        for given in ({}, {"ctx": ctx}, {"tenant_id": "acme"}):
            with pytest.raises(TenantMismatchError):
                standardize(UPLOADED, **given)
        with pytest.raises(TenantMismatchError):
            standardize({}, tenant_id="victim")
        assert standardize({"tenant_id": "acme"})["tenant_id"] == "acme"
    with pytest.raises(TenantMismatchError):
        standardize(UPLOADED, tenant_id="acme")
    with pytest.raises(TenantMismatchError):
        standardize(UPLOADED, ctx=Context("acme"))


VALUES = {
    "a row": UPLOADED,
    "metadata": {"text": "poison", "metadata": UPLOADED},
    "a list": [{"tenant_id": "acme"}, UPLOADED],
    "an object": SimpleNamespace(tenant_id="victim"),
    "a framework's document": SimpleNamespace(metadata=UPLOADED),
    "a scored node": SimpleNamespace(node=SimpleNamespace(metadata=UPLOADED)),
    "documents with a score": [(SimpleNamespace(metadata=UPLOADED), 0.5)],
    "rows under a key": {"count": 1, "rows": [{"tenant_id": "acme"}, UPLOADED]},
    "lists of a collection": {"ids": [["a"]], "metadatas": [[UPLOADED]]},
    "a deque": deque([UPLOADED]),
    "a point of a vector store": SimpleNamespace(id=1, payload=UPLOADED),
    "a hit": {"score": 1.0, "document": {"metadata": UPLOADED}},
}


async def stored_by_a_reading(value: Any) -> bool:
    async with CacheManager.reading("acme", document_id="d") as reading:
        return await reading.set("chunk", "c", value)


@pytest.mark.parametrize("form", VALUES)
async def test_a_value_that_says_it_is_another_tenants_is_refused(form: str) -> None:
    """After agno-agi/agno 8912: a chunk with another tenant's id in it was stored, or pushed to a queue, as it was."""
    value = VALUES[form]

    @cached("found")
    async def found() -> Any:
        return value

    doors = (
        lambda: CacheManager.set("chunk", "c", value, "acme"),
        lambda: CacheManager.set_many("chunk", {"c": value}, "acme"),
        lambda: get_with_cache_aside("chunk", "c", "acme", lambda: value),
        lambda: ONE.rpush("jobs", value, tenant_id="acme"),
        lambda: ONE.add_to_set("jobs", value, tenant_id="acme"),
        lambda: ONE.set_nx("jobs", value, tenant_id="acme"),
        lambda: stored_by_a_reading(value),
        found,
    )
    for ambient in (None, "acme"):
        with Context(ambient):
            for door in doors:
                if door is found and ambient is None:
                    continue
                with pytest.raises(TenantMismatchError):
                    await door()
    assert await CacheManager.get("chunk", "c", "acme") is None


async def test_what_a_dict_holds_in_a_dict_may_be_another_services_tenant() -> None:
    """An account of a cloud has a tenant of its own making, which says nothing of whose the value is."""
    value = {"tenant_id": "acme", "login": {"tenant_id": "72f988bf"}, "hosts": {"a": {"tenant_id": "72f988bf"}}}
    assert await CacheManager.set("account", "a", value, "acme")
    assert await CacheManager.get("account", "a", "acme") == value


@cached("by keywords")
async def by_keywords(name: str, *rest: object, **more: object) -> str:
    return f"{name} of {get_current_tenant_id()}"


@dataclass
class TenantInfo:
    tenant_id: str


async def test_a_cached_functions_keywords_and_tenant_infos_name_its_tenant() -> None:
    """After agno-agi/agno 8664: what a call says of the tenant by another way than a parameter did not count."""
    calls = (
        lambda: by_keywords("d", tenant_id="victim"),
        lambda: by_keywords("d", ctx=Context("victim")),
        lambda: by_keywords("d", TenantInfo("victim")),
        lambda: by_keywords("d", tenant=TenantInfo("victim")),
        lambda: by_keywords("d", who=TenantInfo("victim")),
    )
    with Context("acme"):
        for call in calls:
            with pytest.raises(TenantMismatchError):
                await call()
    for call in calls:
        assert await call() == "d of victim"
    with pytest.raises(TenantMismatchError):
        await by_keywords("d", TenantInfo("victim"), tenant_id="acme")
    with Context("acme"):
        one, other = [await by_keywords("d", user_id=user) for user in ("u1", "u2")]
        assert one == other == "d of acme"
        assert await by_keywords.explain("d", user_id="u1") != await by_keywords.explain("d", user_id="u2")


async def test_what_belongs_to_nobody_may_speak_of_all_tenants() -> None:
    assert await CacheManager.set("tenants", "all", [{"tenant_id": "a"}, {"tenant_id": "b"}], "system")


async def test_an_authenticated_tenant_info_is_not_outranked_by_a_path() -> None:
    """A ``tenant_id`` in the path of a request named another tenant than the one who signed in."""

    class TenantInfo:
        tenant_id = "acme"

    @with_context
    async def endpoint(tenant_id: str, who: TenantInfo) -> str | None:
        return get_current_tenant_id()

    with pytest.raises(TenantMismatchError):
        await endpoint("victim", TenantInfo())
    assert await endpoint("acme", TenantInfo()) == "acme"
    with Context("acme"), pytest.raises(TenantMismatchError):
        setup_context_from_headers({"X-Tenant-ID": "victim"})


async def test_a_cached_function_runs_for_the_tenant_it_is_kept_for() -> None:
    """A summary that was filed under one tenant and made of another's document was served to its owner's neighbour."""
    await CacheManager.set("document", "d1", "of a", "a")

    @cached("summary")
    async def summary(document_id: str, tenant_id: str) -> str:
        return f"summary of {await CacheManager.get('document', document_id)}"

    assert await summary("d1", tenant_id="a") == "summary of of a"
    assert await summary.refresh("d1", tenant_id="a") == "summary of of a"

    @cached("profile")
    async def profile(name: str, ctx: Context | None = None) -> str:
        return f"{name} of {get_current_tenant_id()}"

    assert await profile("u", ctx=Context("b")) == "u of b"
    with Context("a"):
        with pytest.raises(TenantMismatchError):
            await profile("u", ctx=Context("b"))
        assert await profile("u", ctx=Context("a")) == "u of a"


@with_context
async def stream(tenant_id: str) -> Any:
    try:
        yield f"{tenant_id}: begins"
        await asyncio.sleep(0)
        answer = yield f"{tenant_id}: {await CacheManager.get('document', 'd1')}"
        try:
            yield f"{tenant_id}: {answer} {get_current_tenant_id()}"
        except LookupError as error:
            yield f"{tenant_id}: {error!r} {get_current_tenant_id()}"
    finally:
        CLOSED.append((tenant_id, get_current_tenant_id()))


CLOSED: list[tuple[str, str | None]] = []


async def test_streams_that_one_task_merges_keep_their_tenants() -> None:
    """Two streams entered their blocks in one task, and the first went on with the second one's tenant."""
    CLOSED.clear()
    for tenant in "ab":
        await CacheManager.set("document", "d1", f"of {tenant}", tenant)
    a, b = stream("a"), stream("b")
    async with aclosing(a), aclosing(b):
        assert [await anext(a), await anext(b)] == ["a: begins", "b: begins"]
        assert get_current_tenant_id() is None
        assert [await anext(a), await anext(b)] == ["a: of a", "b: of b"]
        assert await a.asend("sent") == "a: sent a"
        assert await b.asend("sent") == "b: sent b"
        assert await a.athrow(LookupError()) == "a: LookupError() a"
        assert get_current_tenant_id() is None
    assert sorted(CLOSED) == [("a", "a"), ("b", "b")]


async def test_a_consumer_that_leaves_a_stream_has_its_own_tenant_back() -> None:
    """A client went away after the first token, and the request that followed read the stream's tenant."""
    with Context("consumer"):
        with pytest.raises(TenantMismatchError):
            stream("a")
        with Context("a"):
            tokens = stream("a")
        async for _ in tokens:
            break
        assert get_current_tenant_id() == "consumer"
        await tokens.aclose()
        assert get_current_tenant_id() == "consumer"


async def unadorned(tenant_id: str) -> Any:
    async with Context(tenant_id):
        yield f"{tenant_id}: begins"
        yield f"{tenant_id}: {await CacheManager.get('document', 'd1')}"
        yield f"{tenant_id}: {(await get_with_cache_aside('document', 'd1'))[0]} {get_current_tenant_id()}"


async def test_a_block_that_a_generator_leaves_open_is_not_its_consumers() -> None:
    """A block inside a stream stayed open in whoever read the stream, and two of them traded tenants."""
    for tenant in "ab":
        await CacheManager.set("document", "d1", f"of {tenant}", tenant)
    a, b = unadorned("a"), unadorned("b")
    assert [await anext(a), await anext(b)] == ["a: begins", "b: begins"]
    assert get_current_tenant_id() is None
    assert [await anext(a), await anext(b)] == ["a: of a", "b: of b"]
    assert [await anext(a), await anext(b)] == ["a: of a a", "b: of b b"]
    with Context("consumer"):
        assert get_current_tenant_id() == "consumer"
    await a.aclose()
    assert [one async for one in b] == []
    assert get_current_tenant_id() is None


async def test_a_stream_that_is_abandoned_leaves_its_consumer_alone() -> None:
    tokens = unadorned("a")
    async for _ in tokens:
        break
    assert get_current_tenant_id() is None
    with pytest.raises(MissingTenantError):
        await CacheManager.get("document", "d1")
    assert await CacheManager.set("document", "d1", 1, "b")

    async def later() -> str | None:
        return get_current_tenant_id()

    with pytest.raises(UsageError, match="@with_context"):
        await asyncio.create_task(later())
    await tokens.aclose()
    assert await asyncio.create_task(later()) is None


async def test_a_task_that_names_its_tenant_works_while_a_stream_is_open() -> None:
    """The same streams, with a job of the consumer beside them: it says for whom it works, so nothing is in doubt."""
    tokens = unadorned("a")
    await anext(tokens)

    async def job(tenant_id: str) -> Any:
        assert await acquire_job_lock("job-1", tenant_id)
        assert await release_job_lock("job-1", tenant_id)
        await CacheManager.set("document", "d2", f"job of {tenant_id}", tenant_id)
        await CacheManager.get_instance().rpush("jobs", 1, tenant_id)
        assert await CacheManager.invalidate(tenant_id, "document", "d2") == 1
        value, _ = await get_with_cache_aside("document", "d3", tenant_id, generate_func=lambda: f"of {tenant_id}")
        return value

    for tenant_id in ("a", "b"):
        assert await asyncio.create_task(job(tenant_id)) == f"of {tenant_id}"
    await tokens.aclose()


async def test_a_task_of_an_open_stream_names_one_of_the_two_it_may_work_for() -> None:
    """It is the stream's or its consumer's; a third tenant is a mistake whichever it is."""
    with Context("b"):
        tokens = unadorned("a")
        await anext(tokens)
        for tenant_id in ("a", "b"):
            await asyncio.create_task(CacheManager.set("document", "d2", tenant_id, tenant_id))
            assert await asyncio.create_task(asyncio.to_thread(check_tenant, tenant_id)) == tenant_id
        with pytest.raises(TenantMismatchError):
            await asyncio.create_task(CacheManager.set("document", "d2", "c", "c"))
        await tokens.aclose()


async def test_a_stream_of_the_consumers_own_tenant_leaves_no_doubt() -> None:
    with Context("a"):
        tokens = unadorned("a")
        await anext(tokens)

        async def later() -> str | None:
            return get_current_tenant_id()

        assert await asyncio.create_task(later()) == "a"
        await tokens.aclose()


async def test_context_managers_and_fixtures_set_the_tenant_for_their_caller() -> None:
    @asynccontextmanager
    async def request(tenant_id: str) -> Any:
        async with Context(tenant_id):
            yield

    @contextmanager
    def job(tenant_id: str) -> Any:
        with Context(tenant_id):
            yield

    async with request("a"):
        assert get_current_tenant_id() == "a"
        with job("b"):
            assert get_current_tenant_id() == "b"
        assert get_current_tenant_id() == "a"
    assert get_current_tenant_id() is None


def test_plain_generators_keep_their_tenants_too() -> None:
    @with_context
    def rows(tenant_id: str) -> Any:
        got = yield get_current_tenant_id()
        yield got, get_current_tenant_id()

    a, b = rows("a"), rows("b")
    assert [next(a), next(b), a.send(1), b.send(2)] == ["a", "b", (1, "a"), (2, "b")]
    assert get_current_tenant_id() is None


async def test_a_cancelled_stream_ends_in_its_tenant() -> None:
    started, seen = asyncio.Event(), []

    @with_context
    async def endless(tenant_id: str) -> Any:
        try:
            started.set()
            await asyncio.Event().wait()
            yield
        finally:
            seen.append(get_current_tenant_id())

    async def consume() -> None:
        async for _ in endless("a"):
            pass

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert seen == ["a"]


async def test_only_the_taker_gives_a_job_lock_back() -> None:
    """``finally: release`` around an ``acquire`` that said no gave back the lock of the task that was at work."""
    working, done = asyncio.Event(), asyncio.Event()

    async def taker() -> bool:
        assert await acquire_job_lock("j", "a")
        working.set()
        await done.wait()
        return await release_job_lock("j", "a")

    async def other() -> tuple[bool, bool]:
        return await acquire_job_lock("j", "a"), await release_job_lock("j", "a")

    task = asyncio.create_task(taker())
    await working.wait()
    assert await asyncio.create_task(other()) == (False, False)
    assert await asyncio.create_task(acquire_job_lock("j", "a")) is False
    done.set()
    assert await task is True
    assert await acquire_job_lock("j", "a")
    assert await asyncio.create_task(release_job_lock("j", "a")) is True  # a task that the taker started


async def test_arguments_in_the_order_of_another_verb_are_noticed(cache: Cache) -> None:
    """``invalidate`` takes the tenant first and ``get`` last: mixed up, it said 1 and ended nothing."""
    await CacheManager.set("document", "d1", "old", "acme")
    whole = await CacheManager.cache()
    for ambient in (None, "acme"):
        with Context(ambient):
            for call in (CacheManager.invalidate, whole.invalidate):
                with pytest.raises(InvalidKeyError, match="place of the tenant"):
                    await call("document", "d1", "acme")
            with pytest.raises(InvalidKeyError, match="pair"):
                async with whole.write("document", "d1", "acme"):  # type: ignore[arg-type]
                    pass
    with Context("document"):
        assert await CacheManager.invalidate(None, "d1")
    assert await CacheManager.invalidate("document", "chunk")


async def test_a_session_of_the_shared_supabase_client_is_nobody_elses() -> None:
    """Who signed in through the client that all requests share was the user whom the next request saw there."""
    configure_supabase(url="http://127.0.0.1:9", key="public")
    client = get_supabase_client()
    mine = client.auth
    session = SimpleNamespace(access_token="of-one-user", expires_at=None)
    mine._in_memory_session = session  # what signing in keeps
    assert await mine.get_session() is session
    assert await get_supabase_client().auth.get_session() is None
    with Context("acme"), pytest.raises(UsageError):
        get_supabase_client("victim")
    await close_supabase_clients()
    configure_supabase()


async def test_a_part_beside_a_whole_scope_is_an_error_and_not_ignored(cache: Cache) -> None:
    """agno-agi/agno#8664: what keeps two apart must not be left out in silence."""
    with pytest.raises(UsageError, match="whole Scope"):
        await cache.get("document", "d1", Scope("acme"), agent_id="a1")
    with pytest.raises(UsageError, match="whole Scope"):
        await cache.set("document", "d1", "of a1", Scope("acme"), user_id="ana")


def _ids() -> tuple[str | None, ...]:
    read = (get_current_agent_id, get_current_conversation_id, get_current_collection_id, get_current_user_id)
    return tuple(one() for one in read)


async def test_who_crosses_to_another_tenant_takes_nobody_along() -> None:
    """As agno-agi/agno 8664, the other way round: one tenant's user and conversation stood in another's records."""
    with Context("acme", agent_id="support", conversation_id="c1", collection_id="legal", user_id="ana"):
        with Context("other", agent_id="sales"):
            assert _ids() == ("sales", None, None, None)
            with Context(user_id="bob"):
                assert _ids() == ("sales", None, None, "bob")
        with Context("acme"), Context():
            assert _ids() == ("support", "c1", "legal", "ana")

        def stream() -> Iterator[tuple[str | None, ...]]:
            with Context("other"):
                yield _ids()

        assert [(inside, _ids()) for inside in stream()] == [((None,) * 4, ("support", "c1", "legal", "ana"))]
    assert _ids() == (None,) * 4
    with Context(user_id="ana"), Context("acme"):
        assert get_current_user_id() == "ana"


async def test_a_generator_that_a_function_hands_out_runs_for_the_functions_tenant() -> None:
    """A handler that returns a stream: it is iterated when the handler's own block has ended."""

    async def tokens() -> AsyncIterator[str | None]:
        yield get_current_tenant_id()
        yield get_current_tenant_id()

    def lines() -> Iterator[str | None]:
        yield get_current_tenant_id()

    @with_context
    async def answer(tenant_id: str) -> AsyncIterator[str | None]:
        return tokens()

    @with_context
    async def listing(tenant_id: str) -> Iterator[str | None]:
        return lines()

    async def later(tenant_id: str) -> AsyncIterator[str | None]:
        return tokens()

    @with_context
    def call(tenant_id: str) -> Any:
        return later(tenant_id)

    assert [one async for one in await answer("acme")] == ["acme", "acme"]
    assert [one async for one in await call("acme")] == ["acme", "acme"]
    assert list(await listing("acme")) == ["acme"]
    assert get_current_tenant_id() is None


@pytest.mark.parametrize("whose", [{"user_id": "ana"}, {"permissions": ["salaries"]}], ids=["user", "permissions"])
@pytest.mark.parametrize("how", ["load", "load_many", "claim", "around"])
async def test_what_a_load_for_everybody_made_of_one_readers_entry_is_kept_for_nobody(
    cache: Cache, whose: dict[str, Any], how: str
) -> None:
    """The engine's verbs are explicit, and a source that mixes up two scopes would hand one user's row to all."""
    await cache.set("salary", "ana", "90,000", "acme", **whose)

    async def source(*_: object) -> Any:
        return await cache.get("salary", "ana", "acme", **whose)

    async def source_of_many(ids: Any, *_: object) -> dict[str, Any]:
        return {one: await source() for one in ids}

    async def around(_: object) -> Any:
        return await cache.load("note", "inner", "acme", source)

    if how == "load":
        assert await cache.load("note", "n", "acme", source) == "90,000"
    elif how == "load_many":
        assert await cache.load_many("note", ["n"], "acme", source_of_many) == {"n": "90,000"}
    elif how == "claim":
        async with cache.claim("note", "n", "acme") as claim:
            assert not await claim.store(await source())
    else:
        assert await cache.load("note", "n", "acme", around) == "90,000"
    assert await cache.get("note", "n", "acme") is None
    assert await cache.get("note", "inner", "acme") is None

    await cache.load("note", "n", Scope("acme", **whose), source)  # its entry names who may see it
    assert await cache.get("note", "n", "acme") is None
