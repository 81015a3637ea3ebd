"""What a server does not tell of is not known: without pushes, each read asks for what its answer rests on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from alacena.engine import Cache, Scope, Settings
from alacena.engine.remote.redis.cache_scripts import STORE
from alacena.engine.remote.redis.node import Node
from alacena.testing.doubles import FakeEnvironment
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.redis_server import RedisServer


async def test_without_tracking_no_read_is_older_than_the_last_invalidation(
    start_redis: Callable[..., RedisServer],
) -> None:
    """spring-data-redis 1338, managed servers without CLIENT TRACKING: another process invalidates."""
    server = start_redis(users=["app on >pw ~* &* +@all -client|tracking"])
    url = f"unix://app:pw@{server.socket_path}"
    options: dict[str, Any] = {"redis_url": url, "redis_budget_s": 5.0, "ttl_jitter_ratio": 0.0}
    async with Cache(Settings(**options)) as one, Cache(Settings(**options)) as two:
        assert not one.guarantee()["memory"]
        agent = Scope("acme", agent_id="x")
        await one.set("document", "d1", "old", "acme", document_ids=["src"])
        await one.set("document", "d2", "old", agent)
        await one.set("document", "d3", "old", "acme")

        async def reads() -> list[Any]:
            return [
                await one.get("document", "d1", "acme"),
                await one.get("document", "d1", "acme", use_memory=False),
                (await one.get_many("document", ["d1"], "acme")).get("d1"),
            ]

        assert await reads() == ["old"] * 3
        assert await one.get("document", "d2", agent, search_hierarchy=False) == "old"
        assert await two.invalidate("acme", document_ids=["src"]) > 0
        assert await reads() == [None] * 3
        assert await one.get("document", "d3", "acme") == "old"
        assert await two.invalidate("acme", "document") > 0
        assert await one.get("document", "d3", "acme") is None
        assert await one.get("document", "d2", agent, search_hierarchy=False) is None
        assert await one.load("document", "d3", "acme", lambda: "new") == "new"


async def test_without_tracking_a_load_is_still_shared(start_redis: Callable[..., RedisServer]) -> None:
    """Who comes while a load is under way joins it, or waits for what it stores: the source is asked once."""
    server = start_redis(users=["app on >pw ~* &* +@all -client|tracking"])
    settings = Settings(redis_url=f"unix://app:pw@{server.socket_path}", redis_budget_s=5.0)
    async with Cache(settings) as cache:
        began, goes_on = asyncio.Event(), asyncio.Event()
        loads = 0

        async def load() -> str:
            nonlocal loads
            loads += 1
            began.set()
            await goes_on.wait()
            return "value"

        first = asyncio.create_task(cache.load("document", "d1", "acme", load))
        await began.wait()
        later = [asyncio.create_task(cache.load("document", "d1", "acme", load)) for _ in range(5)]
        await asyncio.sleep(0)
        goes_on.set()
        assert await asyncio.gather(first, *later) == ["value"] * 6
        assert loads == 1


def nodes_of_two(answering: str) -> tuple[Node, Node, Any]:
    """Two nodes of a cluster; what the first is asked is answered by one of them."""
    links: dict[str, Any] = {name: SimpleNamespace(name=name) for name in ("first", "second")}
    nodes: dict[str, Node] = {}

    async def script(*_: Any, settle: Any, answered: Any, **__: Any) -> Any:
        answered(links[answering])
        return settle(b"ok")

    topology: Any = SimpleNamespace(fetch=None, script=script)
    coherence: Any = SimpleNamespace()
    table: Any = SimpleNamespace(refresh=lambda: None, at=lambda link: nodes[link.name])
    for name, link in links.items():
        nodes[name] = Node(link, topology, coherence, FakeEnvironment(), Settings(), table)
        nodes[name].tracked = True
    return nodes["first"], nodes["second"], links


async def write(node: Node) -> None:
    await node.evaluate(STORE, (b"e",), (), lambda answering, _: answering.expect(b"e"), 1.0)


async def test_a_push_of_our_own_is_expected_where_the_write_landed() -> None:
    """A slot of a cluster moves: the write is redirected, and the push comes over the other connection."""
    first, second, _ = nodes_of_two("second")
    await write(first)
    assert first._own == {}
    assert second._own == {b"e": 1}


async def test_the_node_that_was_asked_is_not_taken_for_the_one_that_answered() -> None:
    """With that mechanism switched off, the expectation stays behind, and a stranger's push would be swallowed."""
    first, second, _ = nodes_of_two("second")
    with patch.object(Node, "_node_at", lambda node, _: node):
        await write(first)
    assert (first._own, second._own) == ({b"e": 1}, {})


async def test_slots_that_move_end_every_expectation() -> None:
    first, _, _ = nodes_of_two("first")
    await write(first)
    assert first._own == {b"e": 1}
    first.forget_expectations()
    assert first._own == {}


@pytest.mark.parametrize("back", [False, True])
async def test_a_slot_that_leaves_and_comes_back_hides_no_invalidation(
    start_cluster: Callable[..., Any], back: bool
) -> None:
    """The same on a real cluster: after the slot came back, what others delete is gone here too."""
    cluster = start_cluster(nodes=2)
    url = "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in cluster.addresses)
    tenant = next(f"t{n}" for n in range(50) if cluster.node_of(f"{{t{n}.0}}") is cluster.primaries[0])
    slot = int(cluster.nodes[0].call("CLUSTER", "KEYSLOT", f"{{{tenant}.0}}"))
    source, target = cluster.primaries
    options: dict[str, Any] = {"redis_url": url, "redis_budget_s": 5.0}
    async with Cache(Settings(**options)) as one, Cache(Settings(**options)) as two, asyncio.timeout(100):
        assert await one.set("document", "d0", "warm", tenant)
        for giver, taker in ((source, target), (target, source))[: 1 + back]:
            for name in giver.call("CLUSTER", "GETKEYSINSLOT", slot, 1000):
                giver.call("DEL", name)
            cluster.move_slot(slot, giver, taker)
            await until(lambda: one.set("document", "d1", "new", tenant))
        while not (one.guarantee()["memory"] and await one.get("document", "d1", tenant) == "new"):
            await one.set("document", "d1", "new", tenant)
        assert await two.delete("document", "d1", tenant)
        await until(lambda: one.peek((tenant, "document", "d1")) != "new")
        assert await one.get("document", "d1", tenant) is None
