"""What do readers see while a Sentinel's master, or a primary of a cluster, is killed under load?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proving.reliability.journal import now
from proving.reliability.journey import Journey, roamed
from proving.reliability.place import OURS, Effort, Finding, attempted
from proving.servers.topology import RedisCluster, RedisSentinel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.reliability.crew import Member

NUMBERS = ("11",)
_KEYS = 60
_TENANTS = 12


async def run(effort: Effort) -> list[Finding]:
    """First Sentinel, then Cluster."""
    found = []
    for name, killing in (
        ("Sentinel master killed", _sentinel_killed(effort)),
        ("Cluster primary killed", _cluster_killed(effort)),
    ):
        found.append(await attempted("11", name, OURS, _judged(name, effort, killing)))
    return found


async def _sentinel_killed(effort: Effort) -> Journey:
    with RedisSentinel(effort.flavour) as sentinel:
        return await killed(sentinel_url(sentinel), sentinel.primary.crash, effort)


async def _cluster_killed(effort: Effort) -> Journey:
    with RedisCluster(effort.flavour, replicas=1) as cluster:
        return await killed(cluster_url(cluster), cluster.primaries[0].crash, effort)


def sentinel_url(sentinel: RedisSentinel) -> str:
    """Where the cache finds it."""
    hosts = ",".join(f"{host}:{port}" for host, port in sentinel.addresses)
    return f"redis+sentinel://{hosts}/{sentinel.service}"


def cluster_url(cluster: RedisCluster) -> str:
    """Where the cache finds it."""
    return "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in cluster.addresses)


async def killed(url: str, kill: Callable[[], None], effort: Effort) -> Journey:
    """Let processes roam, kill a server after a quarter of the time, and see what they saw."""
    seconds = effort.of(15.0, 8.0)

    async def trouble(_: list[Member]) -> float:
        await asyncio.sleep(seconds / 4)
        at = now()
        await asyncio.to_thread(kill)
        return at

    urls = [url] * effort.of(8, 3)
    return await roamed(effort, urls, seconds=seconds, bound_s=1.0, trouble=trouble, keys=_KEYS, tenants=_TENANTS)


async def _judged(title: str, effort: Effort, killing: Awaitable[Journey]) -> Finding:
    journey = await killing
    service_s = journey.back_s(journey.figure)
    surfaced = sum(len(one["surfaced"]) for one in journey.said)
    return Finding(
        "11",
        title,
        "alacena",
        f"seed {effort.seed}, {journey.ran}, SIGKILL after a quarter of the time",
        f"errors that surfaced: {surfaced}; {journey.seen}; full service everywhere {service_s:.1f} s after the kill",
        held=journey.held and service_s < 15,
        details={"violations": len(journey.report.violations), "surfaced": surfaced, "service_s": service_s},
    )
