"""The ambient tenant: blocks, decorator, setters, headers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import wraps
from uuid import UUID

import pytest

from alacena.common.context import (
    Context,
    add_context_to_headers,
    extract_context_from_headers,
    get_context_log_prefix,
    get_current_agent_id,
    get_current_tenant_id,
    get_full_context,
    reset_context,
    run_public_context,
    set_current_agent_id,
    set_current_tenant_id,
    setup_context_from_headers,
    with_context,
)
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError, TenantMismatchError


@dataclass
class TenantInfo:
    tenant_id: str
    tier: str = "pro"


@dataclass
class RequestBody:
    tenant_id: str


@pytest.fixture(autouse=True)
def nothing_ambient():
    """No test starts with, or leaves, an ambient id."""
    assert not any(get_full_context().values())
    yield
    assert not any(get_full_context().values())


def test_a_block_restores_what_was_ambient_before_it() -> None:
    with Context("a", "agent"):
        with Context(collection_id="c"):
            assert get_full_context() == {
                "tenant_id": "a",
                "agent_id": "agent",
                "conversation_id": None,
                "collection_id": "c",
            }
        assert get_full_context()["tenant_id"] == "a"
        assert get_full_context()["collection_id"] is None


def test_a_block_restores_after_an_error_and_after_setters_used_inside() -> None:
    def fail() -> None:
        with Context("a"):
            set_current_tenant_id("b")
            set_current_agent_id("x")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert get_current_tenant_id() is None


async def test_one_context_object_is_re_entrant_in_one_task() -> None:
    context = Context("a")
    async with context:
        with Context("b"):
            with context:
                assert get_current_tenant_id() == "a"
            assert get_current_tenant_id() == "b"
        assert get_current_tenant_id() == "a"


async def test_one_context_object_serves_several_tasks_at_once() -> None:
    context, seen = Context("a"), []

    async def work(pause: asyncio.Event) -> None:
        with context:
            await pause.wait()
            seen.append(get_current_tenant_id())
        seen.append(get_current_tenant_id())

    first, second = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(work(first)), asyncio.create_task(work(second))]
    await asyncio.sleep(0)
    first.set()
    await tasks[0]
    second.set()
    await tasks[1]
    assert seen == ["a", None, "a", None]


def test_blocks_left_out_of_order_leak_nothing() -> None:
    outer, inner = Context("a"), Context("b")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert get_current_tenant_id() is None
    inner.__exit__(None, None, None)
    assert get_current_tenant_id() is None


def test_leaving_a_block_that_was_never_entered_changes_nothing() -> None:
    with Context("a"):
        Context("b").__exit__(None, None, None)
        assert get_current_tenant_id() == "a"


@pytest.mark.parametrize("tenant", ["", "  ", "\t\n", True, b"a"])
def test_a_blank_or_foreign_tenant_is_refused_at_once(tenant: object) -> None:
    with pytest.raises(InvalidKeyError, match="tenant_id"):
        Context(tenant)


def test_a_uuid_is_taken_by_its_text() -> None:
    assert Context(UUID(int=5)).tenant_id == str(UUID(int=5))


@pytest.mark.parametrize("tenant", [None, "default", str(UUID(int=0))])
def test_validation_refuses_what_names_no_tenant(tenant: str | None) -> None:
    with pytest.raises(MissingTenantError), Context(tenant, validate_tenant=True):
        pass
    with pytest.raises(MissingTenantError):
        Context(tenant).get_tenant_id()
    assert Context(tenant).get_tenant_id(False) == tenant
    assert Context(tenant).get_tenant_id(validate=False) == tenant


def test_a_context_answers_with_its_own_ids_first_and_the_ambient_ones_else() -> None:
    with Context("ambient", "agent", "conversation", "collection", user_id="user"):
        own = Context("own", user_id="me")
        assert own.get_tenant_id() == "own"
        assert own.get_user_id() == "me"
        assert (own.get_agent_id(), own.get_conversation_id(), own.get_collection_id()) == (
            "agent",
            "conversation",
            "collection",
        )
        assert Context().get_tenant_id() == "ambient"
    assert not Context().has_tenant_id()
    assert Context().get_user_id(False) is None
    with pytest.raises(LookupError, match="user_id"):
        Context().get_user_id(True)


def test_setters_on_a_context_reach_the_running_code_while_it_is_open() -> None:
    context = Context("a")
    context.set_agent_id("before")
    assert get_current_agent_id() is None
    with context:
        assert get_current_agent_id() == "before"
        context.set_agent_id("inside")
        assert get_current_agent_id() == "inside"
        context.set_conversation_id("v")
        context.set_collection_id("c")
        assert get_full_context()["conversation_id"] == "v"
        assert get_full_context()["collection_id"] == "c"


def test_metrics_and_metadata_are_kept_in_the_context() -> None:
    context = Context("a", tenant_info=TenantInfo("a"))
    context.add_metric("read", 1)
    context.add_metric("read", {"source": "cache"})
    context.add_metadata("k", "v")
    assert context.metrics == {"read": [1, {"source": "cache"}]}
    assert context.metadata == {"k": "v"}
    assert context.tenant_info.tier == "pro"
    assert context.tenant_id == "a"
    assert Context(tenant_info=TenantInfo("t")).tenant_id == "t"
    with pytest.raises(TenantMismatchError):
        Context("a", tenant_info=TenantInfo("t"))


def test_tokens_of_setters_undo_them_each_on_its_own() -> None:
    tenant = set_current_tenant_id("a")
    agent = set_current_agent_id("x")
    reset_context(tenant, "tenant_id")
    assert get_full_context()["agent_id"] == "x"
    reset_context(agent, "agent_id")
    with pytest.raises(InvalidKeyError, match="tenant_id, agent_id"):
        reset_context(tenant, "tenant")


async def test_bare_decorator_takes_the_ambient_tenant_and_injects_ctx() -> None:
    @with_context
    async def work(document_id: str, ctx: Context | None = None) -> tuple[str, str | None]:
        assert ctx is not None
        return document_id, ctx.get_tenant_id()

    with Context("a"):
        assert await work("d") == ("d", "a")
    with pytest.raises(MissingTenantError):
        await work("d")


def test_sync_functions_are_decorated_as_sync_functions() -> None:
    @with_context(tenant=True)
    def table(name: str) -> str:
        return f"{get_current_tenant_id()}.{name}"

    with Context("a"):
        assert table("t") == "a.t"


async def test_ctx_is_injected_only_where_the_function_takes_it() -> None:
    @with_context(tenant=True)
    async def without(document_id: str) -> str:
        return document_id

    @with_context(tenant=True)
    async def with_rest(**rest: object) -> dict[str, object]:
        return rest

    with Context("a"):
        assert await without("d") == "d"
        assert await with_rest(x=1) == {"x": 1}


async def test_a_ctx_that_is_passed_is_respected_by_position_and_by_keyword() -> None:
    @with_context(tenant=True)
    async def step(name: str, ctx: Context | None = None) -> Context | None:
        assert get_current_tenant_id() == "mine"
        return ctx

    mine = Context("mine")
    assert await step("s", mine) is mine
    assert await step("s", ctx=mine) is mine
    with Context("mine"):
        injected = await step("s", None)
        assert isinstance(injected, Context)
        assert isinstance(await step("s", ctx=None), Context)


async def test_argument_tenant_info_ctx_and_surroundings_must_agree_on_the_tenant() -> None:
    @with_context
    async def work(
        tenant_id: str | None = None, tenant_info: TenantInfo | None = None, ctx: Context | None = None
    ) -> str | None:
        return get_current_tenant_id()

    assert await work("t") == await work(None, TenantInfo("t")) == await work(ctx=Context("t")) == "t"
    assert await work("t", TenantInfo("t"), Context("t")) == "t"
    for given in (("t", TenantInfo("u")), ("t", None, Context("u")), (None, TenantInfo("t"), Context("u"))):
        with pytest.raises(TenantMismatchError):
            await work(*given)
    with Context("ambient"):
        assert await work() == await work("ambient", TenantInfo("ambient"), Context("ambient")) == "ambient"
        for given in (("t",), (None, TenantInfo("t")), (None, None, Context("t"))):
            with pytest.raises(TenantMismatchError):
                await work(*given)


async def test_tenant_info_counts_by_its_class_whatever_the_parameters_name() -> None:
    @with_context
    async def work(who: TenantInfo, ctx: Context | None = None) -> tuple[str | None, object]:
        assert ctx is not None
        return get_current_tenant_id(), ctx.tenant_info

    info = TenantInfo("info")
    assert await work(info) == ("info", info)


async def test_a_request_body_does_not_choose_the_tenant() -> None:
    @with_context
    async def work(body: RequestBody) -> str | None:
        return get_current_tenant_id()

    with Context("authenticated"):
        assert await work(RequestBody("somebody else")) == "authenticated"


@pytest.mark.parametrize("tenant", ["", "  ", "default", str(UUID(int=0))])
async def test_invalid_explicit_tenants_do_not_fall_back_to_the_ambient_one(tenant: str) -> None:
    @with_context(tenant=True, validate_tenant=True)
    async def work(tenant_id: str) -> None:
        raise AssertionError

    with Context("ambient"), pytest.raises(MissingTenantError):
        await work(tenant)


async def test_flags_make_arguments_ambient_and_validation_can_be_left_out() -> None:
    @with_context(tenant=True, agent=True, conversation=True, collection=True, user=True, validate_tenant=False)
    async def work(agent_id: str, conversation_id: str, *, collection_id: str, user_id: str = "u") -> dict[str, object]:
        return get_full_context()

    with Context("default"):
        assert await work("a", "v", collection_id="c") == {
            "tenant_id": "default",
            "agent_id": "a",
            "conversation_id": "v",
            "collection_id": "c",
        }


async def test_tenant_false_asks_for_no_tenant() -> None:
    @with_context(tenant=False)
    async def work(ctx: Context | None = None) -> bool:
        assert ctx is not None
        return ctx.has_tenant_id()

    assert await work() is False


async def test_it_stacks_with_other_decorators_both_ways() -> None:
    def handle_errors(function):
        @wraps(function)
        async def run(*args, **kwargs):
            return await function(*args, **kwargs)

        return run

    def plain_wrapper(function):
        @wraps(function)
        def run(*args, **kwargs):
            return function(*args, **kwargs)

        return run

    async def work(ctx: Context | None = None) -> tuple[str | None, str | None]:
        assert ctx is not None
        await asyncio.sleep(0)
        return ctx.get_tenant_id(), get_current_tenant_id()

    with Context("a"):
        assert await with_context(handle_errors(work))() == ("a", "a")
        assert await handle_errors(with_context(work))() == ("a", "a")
        later = with_context(plain_wrapper(work))()
    with Context("b"):
        assert await later == ("a", "a")


def test_a_generator_returns_to_its_consumer_what_it_returned() -> None:
    @with_context
    def pages(tenant_id: str):
        yield get_current_tenant_id()
        return "end"

    def consumer():
        end = yield from pages("t")
        yield end, get_current_tenant_id()

    assert list(consumer()) == ["t", ("end", None)]


def test_ids_travel_in_headers_and_back() -> None:
    with Context("acmé ñ", "a%b", collection_id="x\r\ny"):
        headers = add_context_to_headers({"Accept": "*/*"})
    assert headers["Accept"] == "*/*"
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    lowered = {name.lower(): value for name, value in headers.items()}
    assert extract_context_from_headers(lowered) == {
        "tenant_id": "acmé ñ",
        "agent_id": "a%b",
        "collection_id": "x\r\ny",
    }
    tokens = setup_context_from_headers({"x-tenant-id": "t", "X-Agent-ID": "  "})
    assert get_full_context()["tenant_id"] == "t"
    assert get_full_context()["agent_id"] is None
    for token, name in reversed(tokens):
        reset_context(token, name)


async def test_public_work_runs_for_the_tenant_that_is_named() -> None:
    async def who() -> str | None:
        return get_current_tenant_id()

    assert await run_public_context(who(), "t") == "t"
    assert get_context_log_prefix() == ""
    with Context("t", "a"):
        assert get_context_log_prefix() == "[tenant_id=t agent_id=a] "
