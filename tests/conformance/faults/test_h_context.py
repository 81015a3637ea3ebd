"""H: the context, each fault by its name. Details are in tests/unit/common/test_context.py."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import UUID

import pytest

from alacena import Context, get_current_tenant_id, reset_context, set_current_tenant_id, with_context
from alacena.engine.base.errors import MissingTenantError


def test_h1_no_tenant_leaks_out_of_a_block_and_setters_return_tokens() -> None:
    with Context("a"):
        assert get_current_tenant_id() == "a"
    assert get_current_tenant_id() is None
    token = set_current_tenant_id("b")
    reset_context(token, "tenant_id")
    assert get_current_tenant_id() is None


async def test_h2_every_form_of_the_decorator_works() -> None:
    @with_context
    async def bare(ctx: Context | None = None) -> object:
        return ctx

    @with_context(tenant=True, user=True)
    async def without_ctx(user_id: str) -> str:
        return user_id

    @with_context(tenant=True)
    def sync(name: str) -> str:
        return name

    @with_context(tenant=True)
    async def positional(step: str, ctx: Context | None = None) -> object:
        return ctx

    with Context("a") as context:
        assert isinstance(await bare(), Context)
        assert await without_ctx("u") == "u"
        assert sync("n") == "n"
        assert await positional("s", context) is context


def test_h3_a_context_knows_its_own_tenant() -> None:
    with Context("ambient"):
        assert Context("own").get_tenant_id() == "own"
        assert Context("own").get_tenant_id(validate=False) == "own"
        assert Context("own").get_tenant_id(False) == "own"


@pytest.mark.parametrize("tenant", ["default", str(UUID(int=0))])
def test_h4_default_and_the_nil_uuid_are_no_tenants(tenant: str) -> None:
    with pytest.raises(MissingTenantError), Context(tenant, validate_tenant=True):
        pass


async def test_h5_tenant_and_collection_come_from_the_arguments() -> None:
    @with_context(tenant=True, collection=True)
    async def work(tenant_info: SimpleNamespace, collection_id: str, ctx: Context | None = None) -> tuple[object, ...]:
        assert ctx is not None
        return ctx.get_tenant_id(), ctx.get_collection_id(), get_current_tenant_id()

    assert await work(SimpleNamespace(tenant_id="t"), "c") == ("t", "c", "t")


def test_h6_one_context_can_be_entered_again_while_it_is_open() -> None:
    context = Context("a")
    with context, Context("b"), context:
        assert get_current_tenant_id() == "a"
    assert get_current_tenant_id() is None
