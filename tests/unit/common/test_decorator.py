"""`@cached`: what is one entry, whose it is, and what the wrapped function offers."""

import asyncio

import pytest

from alacena import (
    UNCHANGED,
    CacheManager,
    Context,
    Policy,
    cached,
    configure,
    depends_on,
    get_with_cache_aside,
    invalidate_document_update,
)
from alacena.engine.base.errors import EncodeError, MissingTenantError
from alacena.testing.doubles import FakeEnvironment


@pytest.fixture(autouse=True)
async def memory_only():
    await CacheManager.close()
    configure()
    yield
    await CacheManager.close()


def counted(**options):
    calls = []

    @cached("price", **options)
    async def price(product_id: str, currency: str = "EUR", *, tenant_id: str | None = None) -> list[str]:
        calls.append((product_id, currency, tenant_id))
        return [product_id, currency]

    return price, calls


async def test_arguments_that_mean_the_same_are_one_entry():
    price, calls = counted()
    async with Context("acme"):
        assert await price("p1") == await price(product_id="p1", currency="EUR") == ["p1", "EUR"]
        assert await price("p1", "USD") == ["p1", "USD"]

    assert len(calls) == 2


async def test_a_result_that_is_changed_by_its_reader_stays_what_it_was():
    price, _ = counted()
    (await price("p1", tenant_id="acme")).append("changed")
    (await price("p1", tenant_id="acme")).append("changed")

    assert await price("p1", tenant_id="acme") == ["p1", "EUR"]


async def test_tenants_do_not_share_results():
    price, calls = counted()
    await price("p1", tenant_id="acme")
    async with Context("rival"):
        await price("p1")

    assert len(calls) == 2


async def test_without_a_tenant_nothing_is_called():
    price, calls = counted()
    with pytest.raises(MissingTenantError):
        await price("p1")

    assert calls == []


async def test_invalidate_refresh_and_explain_find_the_entry_by_the_same_arguments():
    price, calls = counted()
    async with Context("acme"):
        await price("p1")
        assert (await price.explain("p1"))["memory"] is not None
        assert await price.invalidate(product_id="p1") > 0
        assert (await price.explain("p1"))["memory"] is None
        await price("p1")
        await price.refresh("p1")
        await price("p1")
        await price.invalidate_all()
        await price("p1")

    assert len(calls) == 4


@pytest.mark.parametrize("tags", ["red", ["red", "blue"]])
@pytest.mark.parametrize("refreshed", [False, True])
async def test_a_result_ends_with_its_tags_refreshed_or_not(tags, refreshed):
    price, calls = counted(tags=tags)
    async with Context("acme"):
        await price("p1")
        if refreshed:
            await price.refresh("p1")
        before = len(calls)
        await CacheManager.invalidate("acme", tags=["r"])
        await price("p1")
        assert len(calls) == before
        await CacheManager.invalidate("acme", tags=["red"])
        await price("p1")
        assert len(calls) == before + 1


async def test_callers_at_a_time_share_one_call():
    price, calls = counted()
    async with Context("acme"):
        await asyncio.gather(*(price("p1") for _ in range(50)))

    assert len(calls) == 1


async def test_an_argument_that_is_no_key_is_named_unless_it_is_ignored():
    session = object()

    @cached("row")
    async def strict(row_id: str, session: object) -> str:
        return row_id

    @cached("row", ignore=("session",))
    async def lenient(row_id: str, session: object) -> str:
        return row_id

    async with Context("acme"):
        with pytest.raises(EncodeError, match="ignore="):
            await strict("r1", session)
        assert await lenient("r1", session) == "r1"


async def test_a_method_is_cached_by_its_arguments_and_not_by_its_object():
    class Shop:
        calls = 0

        @cached("stock")
        async def stock(self, product_id: str) -> int:
            Shop.calls += 1
            return Shop.calls

    async with Context("acme"):
        assert await Shop().stock("p1") == 1
        assert await Shop().stock("p1") == 1
        await Shop().stock.invalidate("p1")
        assert await Shop().stock("p1") == 2
    assert Shop.stock.__name__ == "stock"


async def test_a_result_ends_with_the_document_that_its_function_says_it_used():
    calls = []

    async def search():
        depends_on("d1")

    @cached("answer")
    async def answer(question: str) -> str:
        calls.append(question)
        await asyncio.create_task(search())
        return "from d1"

    async with Context("acme"):
        for ask in (answer, answer.refresh):
            await ask("q")
            before = len(calls)
            await invalidate_document_update("acme", "other")
            await answer("q")
            assert len(calls) == before
            await invalidate_document_update("acme", "d1")
            await answer("q")
            assert len(calls) == before + 1


@pytest.mark.parametrize("door", ["aside", "decorated"])
async def test_a_source_is_told_what_it_answered_before_and_may_say_that_it_is_unchanged(door):
    environment = FakeEnvironment()
    configure(policies={"note": Policy(ttl=10, stale_if_error_s=60, jitter_ratio=0)}, environment=environment)
    told = []

    async def fetch(resource_id):
        ctx = Context("acme")
        told.append(ctx.previous)
        return {"document_id": "d1"} if ctx.previous is None else UNCHANGED

    decorated = cached("note", key=lambda resource_id: resource_id)(fetch)
    async with Context("acme"):
        for _ in range(3):
            if door == "aside":
                value, _ = await get_with_cache_aside("note", "n", "acme", fetch, serializer=dict, deserializer=dict)
            else:
                value = await decorated("n")
            assert value == {"document_id": "d1"}
            environment.advance(11)
    assert told == [None, {"document_id": "d1"}, {"document_id": "d1"}]
