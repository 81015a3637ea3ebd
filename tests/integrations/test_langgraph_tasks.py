"""LangGraph's functional API and its threads: what stores is neither the task nor the thread that looked up."""

from __future__ import annotations

import asyncio
import operator
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest

pytest.importorskip("langgraph")

from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy

from alacena import Cache, Context, MissingTenantError, Settings
from alacena.common.context import get_current_tenant_id
from alacena.integrations.bridge import Bridge
from alacena.integrations.langgraph import NodeCache
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_S = 60.0


class Steps(TypedDict):
    steps: Annotated[list[str], operator.add]


@pytest.fixture
def bridge(url: str | None) -> Iterator[Bridge]:
    with Bridge(Cache(Settings(redis_url=url, ttl_jitter_ratio=0.0, redis_budget_s=5.0))) as bridge:
        yield bridge


def workflow(cache: NodeCache[Any], double: Any) -> Any:
    @entrypoint(cache=cache)
    async def doubled(numbers: list[int]) -> list[int]:
        return [await double(number) for number in numbers]

    return doubled


async def test_calls_of_a_task_are_kept_and_tenants_and_users_are_apart(cache: Cache) -> None:
    """After langchain-ai/langgraph#8753: calls of a task are named by their input, whoever makes them."""
    runs: list[int] = []

    @task(cache_policy=CachePolicy())
    async def double(number: int) -> int:
        runs.append(number)
        return number * 2

    ours = workflow(NodeCache("g", cache), double)
    for tenant, user in (("acme", None), ("acme", None), ("globex", None), ("acme", "ana"), ("acme", "ana")):
        with Context(tenant_id=tenant, user_id=user):
            # Each number once: LangGraph stores a call's result beside the run, and waits for it at the run's end only.
            assert await ours.ainvoke([1, 2]) == [2, 4]
    assert runs == [1, 2] * 3
    with Context(tenant_id="acme"):
        await cache.invalidate("acme")
        assert await ours.ainvoke([1]) == [2]
    assert runs == [1, 2] * 3 + [1]
    with pytest.raises(MissingTenantError):
        await ours.ainvoke([1])


async def test_call_of_a_task_that_an_invalidation_overtook_is_not_kept(cache: Cache) -> None:
    gate, runs = asyncio.Event(), []

    @task(cache_policy=CachePolicy())
    async def count(number: int) -> int:
        runs.append(number)
        await gate.wait()
        return len(runs)

    ours = workflow(NodeCache("g", cache), count)
    with Context(tenant_id="acme"):
        under_way = asyncio.create_task(ours.ainvoke([1]))
        await until(lambda: bool(runs))
        await cache.invalidate("acme")
        gate.set()
        assert await under_way == [1]
        assert [await ours.ainvoke([1]) for _ in range(2)] == [[2], [2]]


async def test_call_of_a_task_that_fails_keeps_nobody_waiting(cache: Cache) -> None:
    gate, runs = asyncio.Event(), []

    @task(cache_policy=CachePolicy())
    async def fail_first(number: int) -> int:
        runs.append(number)
        if len(runs) == 1:
            await gate.wait()
            raise OSError("the model is away")
        return number

    ours = workflow(NodeCache("g", cache), fail_first)
    with Context(tenant_id="acme"):
        first = asyncio.create_task(ours.ainvoke([1]))
        await until(lambda: bool(runs))
        second = asyncio.create_task(ours.ainvoke([1]))
        gate.set()
        # Together: what failed is held by the code that waits for both.
        outcomes = await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), LONG_S)
    assert isinstance(outcomes[0], OSError)
    assert outcomes[1] == [1]


async def test_workflow_that_is_kept_itself_may_call_tasks_that_are_kept(cache: Cache) -> None:
    runs: list[str] = []

    @task(cache_policy=CachePolicy())
    async def step(name: str) -> str:
        runs.append(name)
        return name.upper()

    @entrypoint(cache=NodeCache[Any]("g", cache), cache_policy=CachePolicy())
    async def ours(names: list[str]) -> list[str]:
        runs.append("whole")
        return [await step(name) for name in names]

    with Context(tenant_id="acme"):
        assert [await ours.ainvoke(["a", "b"]) for _ in range(2)] == [["A", "B"]] * 2
    assert runs == ["whole", "a", "b"]


def test_sync_calls_of_a_task_are_kept_for_their_own_tenant(bridge: Bridge) -> None:
    """LangGraph stores what a sync task made from a thread that has no context, and so no tenant."""
    runs: list[int] = []

    @task(cache_policy=CachePolicy())
    def double(number: int) -> int:
        runs.append(number)
        return number * 2

    @entrypoint(cache=NodeCache[Any]("g", bridge))
    def ours(numbers: list[int]) -> list[int]:
        return [double(number).result() for number in numbers]

    for tenant in ("acme", "acme", "globex", "globex"):
        with Context(tenant_id=tenant):
            assert ours.invoke([1, 2]) == [2, 4]
    assert runs == [1, 2] * 2


def test_sync_calls_of_two_tenants_at_one_time_are_kept_apart(bridge: Bridge) -> None:
    both = threading.Barrier(2)
    runs: list[str] = []

    @task(cache_policy=CachePolicy())
    def tell(number: int) -> str:
        tenant = str(get_current_tenant_id())
        runs.append(tenant)
        if len(runs) <= 2:
            both.wait(LONG_S)
        return f"{tenant}:{number}"

    @entrypoint(cache=NodeCache[Any]("g", bridge))
    def ours(number: int) -> str:
        return str(tell(number).result())

    def ask(tenant: str) -> str:
        with Context(tenant_id=tenant):
            return str(ours.invoke(1))

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(ask, ["acme", "globex"])) == ["acme:1", "globex:1"]
        assert sorted(threads.map(ask, ["acme", "globex"])) == ["acme:1", "globex:1"]
    assert sorted(runs) == ["acme", "globex"]


def test_sync_call_that_an_invalidation_overtook_is_not_kept(bridge: Bridge) -> None:
    runs: list[int] = []

    @task(cache_policy=CachePolicy())
    def count(number: int) -> int:
        runs.append(number)
        if len(runs) == 1:
            bridge.run(bridge.cache.invalidate("acme"))
        return len(runs)

    @entrypoint(cache=NodeCache[Any]("g", bridge))
    def ours(number: int) -> int:
        return int(count(number).result())

    with Context(tenant_id="acme"):
        assert [ours.invoke(1) for _ in range(3)] == [1, 2, 2]


def test_sync_nodes_side_by_side_are_kept(bridge: Bridge) -> None:
    """A node that takes longer than the start of the next one ends in a thread that has no context."""
    both, runs = threading.Barrier(2), []

    def node(name: str) -> Any:
        def run(_: Steps) -> Steps:
            runs.append(name)
            both.wait(LONG_S)
            return {"steps": [name]}

        return run

    builder = StateGraph(Steps)
    for name in ("left", "right"):
        builder.add_node(name, node(name), cache_policy=CachePolicy())
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    ours = builder.compile(cache=NodeCache("g", bridge))

    with Context(tenant_id="acme"):
        assert [ours.invoke({"steps": []}) for _ in range(2)] == [{"steps": ["left", "right"]}] * 2
    assert sorted(runs) == ["left", "right"]


def test_value_without_a_tenant_is_neither_stored_nor_given_to_one(bridge: Bridge) -> None:
    """A key under which two tenants ask, or none has, does not say whose a value is."""
    ours = NodeCache[int]("g", bridge)
    shared = (("__pregel_ns_writes", "f", "node"), "k")
    nobody = copy_context()
    for tenant in ("acme", "globex"):
        with Context(tenant_id=tenant):
            assert ours.get([shared]) == {}
    nobody.run(ours.set, {shared: (1, None), (shared[0], "another"): (2, None)})
    for tenant in ("acme", "globex"):
        with Context(tenant_id=tenant):
            assert ours.get([shared, (shared[0], "another")]) == {}
    with pytest.raises(MissingTenantError):
        nobody.run(ours.set, {(("graph", "node"), "k"): (1, None)})
