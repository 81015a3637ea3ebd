"""taskiq: the tenant travels with a task, and a worker opens the cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from taskiq import Context as TaskContext
from taskiq import InMemoryBroker, TaskiqDepends

from alacena import CacheManager, Context, TenantMismatchError, configure, get_current_tenant_id
from alacena.common.context import get_current_user_id
from alacena.common.runtime import PROCESS
from alacena.integrations.taskiq import TenantMiddleware, open_in_workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture(params=[False, True], ids=["later", "in place"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[InMemoryBroker]:
    broker = InMemoryBroker(await_inplace=request.param).with_middlewares(TenantMiddleware())
    broker.is_worker_process = True
    yield broker
    await broker.shutdown()


async def seen_by(sent: Any) -> Any:
    result = await (await sent).wait_result(timeout=60)
    result.raise_for_error()
    return result.return_value


async def test_task_works_for_who_sent_it(broker: InMemoryBroker) -> None:
    @broker.task
    async def see() -> list[str | None]:
        await asyncio.sleep(0)
        return [get_current_tenant_id(), get_current_user_id()]

    @broker.task
    def see_sync() -> list[str | None]:
        return [get_current_tenant_id(), get_current_user_id()]

    @broker.task
    async def fail() -> None:
        raise LookupError(get_current_tenant_id())

    for task in (see, see_sync):
        with Context("acme", user_id="u1"):
            assert await seen_by(task.kiq()) == ["acme", "u1"]
            assert get_current_tenant_id() == "acme"
        assert await seen_by(task.kiq()) == [None, None]
        assert await seen_by(task.kicker().with_labels(alacena_tenant_id="umbrella").kiq()) == ["umbrella", None]
    with Context("acme"):
        with pytest.raises(LookupError, match="acme"):
            await seen_by(fail.kiq())
        assert get_current_tenant_id() == "acme"
        with pytest.raises(TenantMismatchError):
            await see.kicker().with_labels(alacena_tenant_id="umbrella").kiq()


async def test_many_tasks_do_not_mix(broker: InMemoryBroker) -> None:
    @broker.task
    async def see() -> str | None:
        before = get_current_tenant_id()
        await asyncio.sleep(0)
        assert get_current_tenant_id() == before
        return before

    async def send(n: int) -> Any:
        with Context(f"t{n}"):
            return await seen_by(see.kiq())

    assert await asyncio.gather(*(send(n) for n in range(20))) == [f"t{n}" for n in range(20)]


async def test_task_that_was_sent_by_a_task_works_for_the_same(broker: InMemoryBroker) -> None:
    @broker.task
    async def inner() -> str | None:
        return get_current_tenant_id()

    @broker.task
    async def outer() -> Any:
        return await seen_by(inner.kiq())

    with Context("acme"):
        sent = outer.kiq()
        assert await seen_by(sent) == "acme"


async def test_worker_opens_and_closes_the_cache() -> None:
    configure()
    broker = InMemoryBroker()
    broker.is_worker_process = True
    open_in_workers(broker, namespace="taskiq-test")

    @broker.task
    async def namespace(context: TaskContext = TaskiqDepends()) -> str:  # noqa: B008 - as taskiq has it
        assert context.state.cache is await CacheManager.cache()
        return str(context.state.cache.settings.namespace)

    await broker.startup()
    try:
        assert PROCESS.cache is not None
        assert await seen_by(namespace.kiq()) == "taskiq-test"
    finally:
        await broker.shutdown()
    assert PROCESS.cache is None
    configure()


def test_missing_framework_is_named_with_its_extra(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"pip install 'alacena\[taskiq\]'"):
        import_without("alacena.integrations.taskiq", "taskiq")
