"""Sentinel and Cluster, real ones, with servers that are killed and slots that move."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import BackendError
from alacena.engine.remote.redis.cluster import Cluster
from alacena.engine.remote.redis.endpoint import Endpoint
from alacena.engine.remote.redis.link_hooks import Hooks
from alacena.engine.remote.redis.slot_map import slot_of
from alacena.engine.remote.redis.topology import connect_to
from tests.integration.wire.servers import Farm, ask, make_cluster, until_answer, until_contains
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alacena.engine.remote.redis.link import Link
    from alacena.engine.remote.redis.topology import Topology

TIMEOUT_S = 20.0


@pytest.fixture
def farm() -> Iterator[Farm]:
    farm = Farm()
    yield farm
    farm.close()


def endpoint_of(kind: str, addresses: list[Any], service: str = "") -> Endpoint:
    return Endpoint.parse(f"redis+{kind}://{','.join(map(str, addresses))}/{service}")


async def first_success(topology: Topology, key: str, *command: Any) -> None:
    """Ask until it works."""

    async def works() -> bool:
        try:
            await topology.call(key, *command, timeout_s=1)
        except BackendError:
            return False
        return True

    await until(works)


@pytest.mark.parametrize("how", ["killed", "demoted by command", "frozen"])
async def test_a_failover_of_sentinels_is_followed(farm: Farm, how: str) -> None:
    master = await farm.node()
    replica = await farm.node("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")
    await until_contains(lambda: ask(replica, "INFO", "replication"), b"master_link_status:up")
    sentinels = [await farm.sentinel("cache", master) for _ in range(3)]
    for sentinel in sentinels:
        await until_contains(lambda: ask(sentinel, "INFO", "sentinel"), b"status=ok", b"slaves=1,sentinels=3")  # noqa: B023
    events: list[str] = []
    promoted = asyncio.Event()

    def rise(link: Link, _: object) -> None:
        events.append(str(link.address))
        if link.address == replica:
            promoted.set()

    hooks = Hooks(on_down=lambda link, error: events.append("down"), on_up=rise)
    topology = connect_to(endpoint_of("sentinel", sentinels, "cache"), environment=SystemEnvironment(), hooks=hooks)
    await topology.open(timeout_s=TIMEOUT_S)
    link = topology.link_for("any")
    assert link.address == master
    await topology.call("k", "SET", "k", "before", timeout_s=TIMEOUT_S)

    if how == "killed":
        farm.signal(master, signal.SIGKILL)
    elif how == "frozen":
        farm.signal(master, signal.SIGSTOP)
    else:
        await ask(sentinels[0], "SENTINEL", "FAILOVER", "cache")
    await asyncio.wait_for(promoted.wait(), DEADLINE_S)
    await first_success(topology, "k", "SET", "k", "after")
    assert link.address == replica
    assert events[0] == str(master)
    assert events[1] == "down"
    assert (await ask(replica, "GET", "k")) == b"after"
    await topology.close()


async def test_slots_are_those_of_the_server_and_every_key_finds_its_node(farm: Farm) -> None:
    nodes = await make_cluster(farm, 3)
    topology = connect_to(endpoint_of("cluster", nodes[:1]), environment=SystemEnvironment())
    await topology.open(timeout_s=TIMEOUT_S)
    assert len(topology.links()) == 3
    keys = [
        "plain",
        "{tag}a",
        "{tag}b",
        "a{}b",
        "{}{x}",
        "a{b",
        "a}b{c}",
        "alacena:e:{acme.0}:document:d1",
        "é\0",
        "{é}",
    ]
    keys += [f"k{number}" for number in range(300)]
    for key in keys:
        assert slot_of(key) == await ask(nodes[0], "CLUSTER", "KEYSLOT", key)
        await topology.call(key, "SET", key, key, timeout_s=TIMEOUT_S)
    assert [await topology.call(key, "GET", key, timeout_s=TIMEOUT_S) for key in keys] == [key.encode() for key in keys]
    sizes = [await ask(node, "DBSIZE") for node in nodes]
    assert sum(sizes) == len(keys)
    assert min(sizes) > 50
    await topology.close()


async def test_slots_move_under_load_and_nothing_is_lost_or_counted_twice(farm: Farm) -> None:
    nodes = await make_cluster(farm, 2)
    source, target = nodes
    moved: set[int] = set()
    where = endpoint_of("cluster", nodes)
    topology = Cluster(where, environment=SystemEnvironment(), on_slots_moved=moved.update)
    await topology.open(timeout_s=TIMEOUT_S)
    names = [f"{{tenant{number}}}" for number in range(400) if slot_of(f"{{tenant{number}}}") < 8192][:20]
    counts, turns = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    done = False

    async def count(name: str) -> None:
        while not done:
            result = await topology.exchange(
                name,
                [("MULTI",), ("INCR", name + "n"), ("INCR", name + "n"), ("EXEC",)],
                settle=lambda replies: replies[-1],
                timeout_s=TIMEOUT_S,
            )
            if isinstance(result, list):
                counts[name] += 2
                assert result[-1] == counts[name]
            else:
                assert str(result).startswith(("TRYAGAIN", "EXECABORT"))
            value = await topology.call(name, "GET", name + "n", timeout_s=TIMEOUT_S)
            assert int(value or 0) == counts[name]
            turns[name] += 1

    async def counted_on() -> None:
        """Until everybody has counted once more, or tried to."""
        before = dict(turns)
        await until(lambda: all(turns[name] > before[name] for name in names))

    workers = [asyncio.create_task(count(name)) for name in names]
    target_id = (await ask(target, "CLUSTER", "MYID")).decode()
    source_id = (await ask(source, "CLUSTER", "MYID")).decode()
    for name in names:
        slot = slot_of(name)
        await ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        await counted_on()
        while keys := await ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            await ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        await counted_on()
        for node in (target, source):
            await ask(node, "CLUSTER", "SETSLOT", slot, "NODE", target_id)
    await counted_on()
    done = True
    await asyncio.gather(*workers)
    assert topology.counters.redirections > len(names), "asked on the way, and once more at the new place"
    assert moved >= {slot_of(name) for name in names}
    assert all(total > 0 for total in counts.values())
    for name in names:
        assert topology.link_for(name).address == target
        assert int(await topology.call(name, "GET", name + "n", timeout_s=TIMEOUT_S)) == counts[name]
    await topology.close()


async def test_a_killed_master_of_a_cluster_is_replaced_by_its_replica(farm: Farm) -> None:
    nodes = await make_cluster(farm, 3, replicas=True)
    master, replica = nodes[0], nodes[3]
    await until_contains(lambda: ask(replica, "INFO", "replication"), b"master_link_status:up")
    downs: list[Link] = []
    hooks = Hooks(on_down=lambda link, error: downs.append(link))
    topology = connect_to(endpoint_of("cluster", nodes), environment=SystemEnvironment(), hooks=hooks)
    await topology.open(timeout_s=TIMEOUT_S)
    key = next(f"k{number}" for number in range(1000) if slot_of(f"k{number}") < 16384 // 3)
    assert topology.link_for(key).address == master
    farm.signal(master, signal.SIGKILL)
    await first_success(topology, key, "SET", key, "after")
    assert topology.link_for(key).address == replica
    assert [link.address for link in downs] == [master]
    await until_answer(lambda: ask(replica, "GET", key), b"after")
    await topology.close()


async def test_no_cluster_at_all_is_said_in_time() -> None:
    topology = connect_to(Endpoint.parse("redis+cluster://127.0.0.1:1"), environment=SystemEnvironment())
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:1"):
        await topology.open(timeout_s=0.3)
    await topology.close()
    with pytest.raises(BackendError):
        topology.link_for("k")
