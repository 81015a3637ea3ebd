"""LangGraph's node cache on Alacena: graphs and tenants apart, nothing stale, sync and async."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypedDict

import pytest

pytest.importorskip("langgraph")

from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy

from alacena import Cache, Context, MissingTenantError, Settings, UsageError
from alacena.integrations.bridge import Bridge
from alacena.integrations.langgraph import NodeCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = (("writes", "a", "node"), "k")


class State(TypedDict):
    n: int


def graph(cache: NodeCache[Any], node: Callable[..., Any], ttl: int | None = None) -> Any:
    builder = StateGraph(State)
    builder.add_node("node", node, cache_policy=CachePolicy(ttl=ttl))
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder.compile(cache=cache)


class Node:
    """Counts its runs; waits for ``gate`` if there is one."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.runs, self._gate = 0, gate

    async def __call__(self, state: State) -> State:
        self.runs += 1
        run = self.runs
        if self._gate is not None:
            await self._gate.wait()
        return {"n": state["n"] * 100 + run}


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge(Cache(Settings())) as bridge:
        yield bridge


async def test_repeated_node_is_not_run_again_and_tenants_and_users_are_apart(cache: Cache) -> None:
    node = Node()
    ours = graph(NodeCache("g", cache), node)
    for tenant, user in (("acme", None), ("acme", None), ("globex", None), ("acme", "ana"), ("acme", None)):
        with Context(tenant_id=tenant, user_id=user):
            await ours.ainvoke({"n": 1})

    assert node.runs == 3
    with pytest.raises(MissingTenantError):
        await ours.ainvoke({"n": 1})


async def test_hit_is_shown_as_one(cache: Cache) -> None:
    ours = graph(NodeCache("g", cache), Node())
    with Context(tenant_id="acme"):
        await ours.ainvoke({"n": 1})
        updates = [update async for update in ours.astream({"n": 1}, stream_mode="updates")]

    assert updates == [{"node": {"n": 101}, "__metadata__": {"cached": True}}]


async def test_two_graphs_with_one_node_do_not_answer_each_other(cache: Cache) -> None:
    first, second = Node(), Node()
    with Context(tenant_id="acme"):
        await graph(NodeCache("first", cache), first).ainvoke({"n": 1})
        await graph(NodeCache("second", cache), second).ainvoke({"n": 1})

    assert (first.runs, second.runs) == (1, 1)


@pytest.mark.parametrize("name", ["", "  ", None])
def test_graph_must_have_a_name(name: Any) -> None:
    with pytest.raises(UsageError, match="graph is blank"):
        NodeCache(name)


async def test_node_that_an_invalidation_overtook_is_not_kept(cache: Cache) -> None:
    gate = asyncio.Event()
    node = Node(gate)
    ours = graph(NodeCache("g", cache), node)
    with Context(tenant_id="acme"):
        under_way = asyncio.create_task(ours.ainvoke({"n": 1}))
        while not node.runs:
            await asyncio.sleep(0)
        await cache.invalidate("acme")
        gate.set()
        assert await under_way == {"n": 101}
        assert await ours.ainvoke({"n": 1}) == {"n": 102}
        assert await ours.ainvoke({"n": 1}) == {"n": 102}


async def test_namespaces_are_cleared_apart_and_only_of_this_graph_and_tenant(cache: Cache) -> None:
    first, second = NodeCache[int]("first", cache), NodeCache[int]("second", cache)
    other = (("writes", "b", "node"), "k")
    pairs = {KEY: (1, None), other: (2, None)}
    for tenant in ("acme", "globex"):
        with Context(tenant_id=tenant, user_id="ana"):
            await first.aset(pairs)
            await second.aset(pairs)
    with Context(tenant_id="acme", user_id="ana"):
        await first.aclear([])
        assert await first.aget([KEY, other]) == {KEY: 1, other: 2}
        await first.aclear([KEY[0]])
        assert await first.aget([KEY, other]) == {other: 2}
    with Context(tenant_id="acme"):
        await first.aclear()
    with Context(tenant_id="acme", user_id="ana"):
        assert await first.aget([KEY, other]) == {}
        assert await second.aget([KEY, other]) == {KEY: 1, other: 2}
    with Context(tenant_id="globex", user_id="ana"):
        assert await first.aget([KEY, other]) == {KEY: 1, other: 2}


async def test_namespaces_that_join_to_one_text_are_apart(cache: Cache) -> None:
    ours = NodeCache[int]("g", cache)
    with Context(tenant_id="acme"):
        await ours.aset({(("a:b", "c"), "k"): (1, None)})
        assert await ours.aget([(("a", "b:c"), "k"), (("a", "b", "c"), "k")]) == {}
        assert await ours.aget([]) == {}


async def test_ttl_is_in_seconds_and_none_is_for_ever(cache: Cache) -> None:
    ours = NodeCache[int]("g", cache, data_type="node")
    with Context(tenant_id="acme"):
        await ours.aset({KEY: (1, 60), (KEY[0], "forever"): (2, None), (KEY[0], "never"): (3, 0)})
        assert await ours.aget([KEY, (KEY[0], "forever"), (KEY[0], "never")]) == {KEY: 1, (KEY[0], "forever"): 2}
        ages = [await cache.ttl("node", ours._name((KEY[0], name)), "acme") for name in ("k", "forever")]
    assert 50 < ages[0] <= 60
    assert ages[1] == -1


def test_sync_graphs_work_over_a_bridge(bridge: Bridge) -> None:
    runs = []

    def node(state: State) -> State:
        runs.append(1)
        return {"n": state["n"] + 1}

    ours = graph(NodeCache("g", bridge), node, ttl=60)
    with Context(tenant_id="acme"):
        assert [ours.invoke({"n": 1}) for _ in range(2)] == [{"n": 2}] * 2
        assert len(runs) == 1
        ours.clear_cache()
        assert ours.invoke({"n": 1}) == {"n": 2}
    assert len(runs) == 2


def test_sync_node_that_an_invalidation_overtook_is_not_kept(bridge: Bridge) -> None:
    runs = []

    def node(state: State) -> State:
        runs.append(1)
        if len(runs) == 1:
            bridge.run(bridge.cache.invalidate("acme"))
        return {"n": len(runs)}

    ours = graph(NodeCache("g", bridge), node)
    with Context(tenant_id="acme"):
        assert [ours.invoke({"n": 1}) for _ in range(3)] == [{"n": 1}, {"n": 2}, {"n": 2}]


def test_missing_framework_names_extra_and_range(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"langgraph-checkpoint>=4\.3,<5.*alacena\[langgraph\]"):
        import_without("alacena.integrations.langgraph", "langgraph")


async def test_what_cannot_be_read_is_a_miss_and_what_cannot_be_written_is_not_kept(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    ours: NodeCache[Any] = NodeCache("g", cache)
    with Context(tenant_id="acme"):
        await ours.aset({KEY: ({"n": 1}, None)})
        await cache.set("langgraph_node", ours._name(KEY), ("of another serializer", b"\x00"), "acme")
        assert await ours.aget([KEY]) == {}
        await ours.aset({KEY: ((step for step in "abc"), None)})
        assert await ours.aget([KEY]) == {}
    assert "is not kept" in caplog.text
