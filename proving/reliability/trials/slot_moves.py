"""Is anything stale or lost while slots move from server to server of a cluster under load?"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import hiredis

from alacena.engine.remote.redis.slot_map import slot_of
from proving.reliability.journal import now
from proving.reliability.journey import Journey, roamed
from proving.reliability.place import Effort, Finding
from proving.reliability.trials.failover import cluster_url
from proving.servers.topology import RedisCluster

if TYPE_CHECKING:
    from proving.reliability.crew import Member
    from proving.servers.redis_server import RedisServer

NUMBERS = ("38",)
_TENANTS = 8


async def run(effort: Effort) -> list[Finding]:
    """Slots of the tenants move again and again, with everything in them."""
    journey = await resharded(effort)
    surfaced = sum(len(one["surfaced"]) for one in journey.said)
    slowest_ms = max(one["slowest_s"] for one in journey.said) * 1000
    return [
        Finding(
            "38",
            "slots move under load",
            "alacena",
            f"seed {effort.seed}, {journey.ran}, {_TENANTS} tenants, {journey.figure:.0f} slots moved key by key (MIGRATE)",
            f"errors that surfaced: {surfaced}; {journey.seen}; slowest read beyond the source {slowest_ms:.0f} ms",
            held=journey.held and journey.figure > 0,
            details={"violations": len(journey.report.violations), "moves": journey.figure, "slowest_ms": slowest_ms},
        )
    ]


async def resharded(effort: Effort) -> Journey:
    """Roam while slots move."""
    seconds = effort.of(15.0, 5.0)
    with RedisCluster(effort.flavour) as cluster:

        async def move(_: list[Member]) -> float:
            chance = random.Random(effort.seed)
            until, moves = now() + seconds * 0.8, 0
            owners = {slot: cluster.node_of(f"{{t{n}.0}}") for n in range(_TENANTS) if (slot := slot_of(f"{{t{n}.0}}"))}
            while now() < until:
                slot = chance.choice(list(owners))
                target = chance.choice([node for node in cluster.primaries if node is not owners[slot]])
                await asyncio.to_thread(move_slot, cluster, slot, owners[slot], target)
                owners[slot] = target
                moves += 1
                await asyncio.sleep(0.1)
            return moves

        urls = [cluster_url(cluster)] * effort.of(6, 3)
        return await roamed(effort, urls, seconds=seconds, bound_s=0.5, trouble=move, tenants=_TENANTS, keys=48)


def move_slot(cluster: RedisCluster, slot: int, source: RedisServer, target: RedisServer) -> None:
    """Move a slot with its keys, as ``redis-cli --cluster reshard`` does."""
    source_id, target_id = source.call("CLUSTER", "MYID"), target.call("CLUSTER", "MYID")
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    while names := source.call("CLUSTER", "GETKEYSINSLOT", slot, 10):
        source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *names)
    for node in (target, source, *cluster.primaries):
        for _ in range(20):
            try:
                node.call("CLUSTER", "SETSLOT", slot, "NODE", target_id)
            except hiredis.ReplyError:
                # A key was written after the last look: it goes over too.
                for name in source.call("CLUSTER", "GETKEYSINSLOT", slot, 10):
                    source.call("MIGRATE", "127.0.0.1", target.port, name, 0, 5000, "REPLACE")
            else:
                break
