"""What do readers see while a Sentinel's master, or a primary of a cluster, is killed under load?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from alacena.testing.staleness import check
from bench.reliability.crew import crew, results
from bench.reliability.journal import gather, now
from bench.reliability.place import Effort, Finding, folder
from bench.reliability.roaming import Plan
from bench.reliability.trials.staleness import troubles
from bench.reliability.truth import Truth
from tests.servers.topology import RedisCluster, RedisSentinel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NUMBERS = ("11",)
_KEYS = 60
_TENANTS = 12
_BOUND_S = 1.0


async def run(effort: Effort) -> list[Finding]:
    """First Sentinel, then Cluster."""
    found = []
    with RedisSentinel(effort.flavour) as sentinel:
        url = sentinel_url(sentinel)
        found.append(await killed("Sentinel master killed", url, sentinel.primary.crash, effort))
    with RedisCluster(effort.flavour, replicas=1) as cluster:
        found.append(await killed("Cluster primary killed", cluster_url(cluster), cluster.primaries[0].crash, effort))
    return found


def sentinel_url(sentinel: RedisSentinel) -> str:
    """Where the cache finds it."""
    hosts = ",".join(f"{host}:{port}" for host, port in sentinel.addresses)
    return f"redis+sentinel://{hosts}/{sentinel.service}"


def cluster_url(cluster: RedisCluster) -> str:
    """Where the cache finds it."""
    return "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in cluster.addresses)


async def killed(title: str, url: str, kill: Callable[[], None], effort: Effort) -> Finding:
    """Let processes roam, kill a server after a third of the time, and see what they saw."""
    processes, seconds = effort.of(8, 3), effort.of(15.0, 9.0)
    with folder() as home:
        Truth.create(home / "truth", _KEYS)
        arguments = [_arguments(home, number, url, effort.seed, seconds) for number in range(processes)]
        async with crew("bench.reliability.roaming:roam", arguments) as members:
            saying = asyncio.create_task(results(members))
            await asyncio.sleep(seconds / 4)
            killed_at = now()
            await asyncio.to_thread(kill)
            said = await saying
        report = check(gather(home.glob("*.log")), _BOUND_S)
    return _finding(title, effort, seconds, killed_at, report, said)


def _arguments(home: Path, number: int, url: str, seed: int, seconds: float) -> dict[str, Any]:
    what = Plan(seed=seed, seconds=seconds, tenants=_TENANTS, settings={"staleness_bound_s": _BOUND_S})
    return {
        "actor": f"p{number}", "url": url, "truth": str(home / "truth"), "journal": str(home / f"p{number}.log"),
        "plan": msgspec.to_builtins(what),
    }  # fmt: skip


def _finding(
    title: str, effort: Effort, seconds: float, killed_at: float, report: Any, said: list[dict[str, Any]]
) -> Finding:
    back = [one["service"][-1] for one in said]
    service_s = max(at for at, _ in back) - killed_at if all(full for _, full in back) else float("inf")
    wrong = troubles(said)
    surfaced = sum(len(one["surfaced"]) for one in said)
    return Finding(
        "11",
        title,
        "alacena",
        f"seed {effort.seed}, {len(said)} processes x 4 tasks, {report.reads} reads, {report.invalidations} "
        f"invalidations, {seconds:g} s, SIGKILL after {seconds / 4:g} s",
        f"stale reads after H: {len(report.violations)}; errors surfaced: {surfaced}; other complaints: "
        f"{len(wrong) - surfaced}; full service everywhere after {service_s:.1f} s; slowest read beyond the source: "
        f"{max(one['slowest_s'] for one in said) * 1000:.0f} ms",
        held=not report.violations and not wrong and service_s < seconds,
        details={"violations": len(report.violations), "surfaced": surfaced, "service_s": service_s},
    )
