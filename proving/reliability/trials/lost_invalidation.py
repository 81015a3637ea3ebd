"""Does what was invalidated come back when a replica is promoted that never heard of the invalidation?

The replica is stopped and its link is cut, so the invalidations, acknowledged by the primary, never reach it. Then the
primary is killed, and the replica, which holds every old value and every old lease, takes its place.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from proving.reliability.place import Effort, Finding, folder
from proving.reliability.puppet import TENANT, Strings, puppets, served
from proving.reliability.trials.failover import cluster_url, sentinel_url
from proving.reliability.truth import Truth
from proving.servers.process import wait_for
from proving.servers.topology import RedisCluster, RedisSentinel

if TYPE_CHECKING:
    from proving.servers.redis_server import RedisServer

NUMBERS = ("11", "12")
_DEADLINE_S = 20.0


class Pair(NamedTuple):
    """A primary, the replica that will take its place, and where the cache finds whoever is primary."""

    url: str
    primary: RedisServer
    replica: RedisServer


class Seen(NamedTuple):
    """What one promotion showed.

    Attributes:
        values: Entries that were invalidated.
        leases: Loads that were under way, with a lease, when they were invalidated.
        kept: Old entries that the promoted server holds: what a plain read would resurrect.
        stale: Reads, by two old processes and a new one, from memory and from the server, that returned an old value.
        stored: Old values that loads from before the promotion could store after it.
    """

    values: int
    leases: int
    kept: int
    stale: int
    stored: int


async def run(effort: Effort) -> list[Finding]:
    """On Sentinel and in a cluster."""
    rounds = effort.of(3, 1)
    found = []
    for title in ("Sentinel", "Cluster"):
        seen = [await _promoted(title, effort) for _ in range(rounds)]
        found.append(_finding(title, effort, seen))
    return found


async def _promoted(title: str, effort: Effort) -> Seen:
    if title == "Sentinel":
        with RedisSentinel(effort.flavour) as sentinel:
            pair = Pair(sentinel_url(sentinel), sentinel.primary, sentinel.replicas[0])
            return await promoted(pair, effort)
    with RedisCluster(effort.flavour, replicas=1) as cluster:
        primary = cluster.node_of(f"{{{TENANT}.0}}")
        place = next(number for number, node in enumerate(cluster.primaries) if node is primary)
        replica = cluster.nodes[len(cluster.primaries) + place]
        return await promoted(Pair(cluster_url(cluster), primary, replica), effort)


async def promoted(pair: Pair, effort: Effort) -> Seen:
    """Fill, cut, invalidate, kill, and read."""
    values, leases = range(effort.of(200, 40)), range(effort.of(200, 40), effort.of(240, 50))
    everything = [*values, *leases]
    async with AsyncExitStack() as stack:
        home = stack.enter_context(folder())
        truth = stack.enter_context(Truth.create(home / "truth", len(everything)))
        reader, writer = await stack.enter_async_context(puppets(home, [pair.url] * 2))
        await reader.pull("fill", list(values))
        await writer.pull("load", list(values))
        await reader.pull("begin", list(leases))
        await asyncio.to_thread(_lose_link, pair)
        for key in everything:
            truth.commit(key)
        acknowledged = await writer.pull("invalidate", everything)
        if acknowledged != len(everything):
            raise RuntimeError(f"only {acknowledged} of {len(everything)} invalidations were acknowledged")
        await asyncio.to_thread(_promote, pair)
        (newcomer,) = await stack.enter_async_context(puppets(home, [pair.url]))
        for puppet in (reader, writer, newcomer):
            await served(puppet)
        kept = len(await asyncio.to_thread(pair.replica.call, "KEYS", "alacena:e:*"))
        await reader.pull("finish")
        stored = await _stale(newcomer, "get", list(leases), truth, use_memory=False)
        stale = 0
        for puppet in (reader, writer, newcomer):
            for verb, use_memory in (("get", True), ("get", False), ("load", True), ("load", True)):
                stale += await _stale(puppet, verb, everything, truth, use_memory=use_memory)
        return Seen(len(values), len(leases), kept, stale, stored)


def _lose_link(pair: Pair) -> None:
    """Wait until the replica has everything, then let it hear nothing more."""
    offset = int(_replication(pair.primary, "master_repl_offset"))
    wait_for(lambda: int(_replication(pair.replica, "slave_repl_offset")) >= offset, "a replica in step")
    pair.replica.process.pause()
    pair.primary.call("CLIENT", "KILL", "TYPE", "replica")


def _promote(pair: Pair) -> None:
    """Kill the primary, and wait until the replica has taken its place."""
    pair.primary.crash()
    pair.replica.process.resume()
    wait_for(lambda: _replication(pair.replica, "role") == "master", "a promoted replica", _DEADLINE_S)


def _replication(server: RedisServer, name: str) -> str:
    lines = server.call("INFO", "replication").splitlines()
    return str(next(line for line in lines if line.startswith(f"{name}:")).partition(":")[2])


async def _stale(puppet: Strings, verb: str, keys: list[int], truth: Truth, *, use_memory: bool) -> int:
    """How many of the keys a verb returned in an old version."""
    versions = await puppet.pull(verb, keys, use_memory=use_memory)
    return sum(0 < version < truth.version(key) for key, version in zip(keys, versions, strict=True))


def _finding(title: str, effort: Effort, seen: list[Seen]) -> Finding:
    stale, stored = sum(one.stale for one in seen), sum(one.stored for one in seen)
    details: dict[str, Any] = {"stale": stale, "stored": stored, "kept": sum(one.kept for one in seen)}
    return Finding(
        "11, 12",
        f"promotion that lost invalidations, {title}",
        "alacena",
        f"{len(seen)} promotions; each: {seen[0].values} entries and {seen[0].leases} loads under a lease, replication "
        "cut, all of them invalidated and acknowledged, primary killed",
        f"resurrected: {stale} reads, {stored} late fills (the promoted servers held {details['kept']} old entries)",
        held=stale == stored == 0 and details["kept"] > 0,
        details=details,
    )
