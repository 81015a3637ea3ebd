"""How stale does anybody read, in eight processes behind proxies that delay, split, stall, lose, cut and reset?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec

from alacena.testing.proxy import FaultProxy, torment
from alacena.testing.staleness import check
from bench.reliability.crew import crew, results
from bench.reliability.journal import gather
from bench.reliability.place import Effort, Finding, folder
from bench.reliability.roaming import Plan
from bench.reliability.truth import Truth
from tests.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

    from alacena.testing.staleness import Report

NUMBERS = ("5", "2", "19", "39")
_KEYS = 24
_CLOCKS = ((0.0, 0.0), (600.0, 0.0), (-600.0, 1e-4), (3600.0, -1e-4))


async def run(effort: Effort) -> list[Finding]:
    """With and without faults, with H of a second and less."""
    found = []
    for title, bound_s, every_s in (("calm", 1.0, None), ("faults", 1.0, 0.4), ("faults, H = 0.2 s", 0.2, 0.4)):
        seconds = effort.of(25.0, 3.0)
        report, said = await roamed(
            effort, processes=effort.of(8, 3), seconds=seconds, bound_s=bound_s, fault_every_s=every_s
        )
        found.append(_finding(title, effort, bound_s, seconds, report, said))
    return found


async def roamed(
    effort: Effort, *, processes: int, seconds: float, bound_s: float, fault_every_s: float | None, **plan: Any
) -> tuple[Report, list[dict[str, Any]]]:
    """Let processes roam on one server, each behind a proxy of its own whose clock and faults are its own too.

    Returns:
        What the checker says of their common history, and what each said of itself.
    """
    with folder() as home, RedisServer(effort.flavour, tcp=True) as server:
        Truth.create(home / "truth", _KEYS)
        async with AsyncExitStack() as stack:
            proxies = [
                await stack.enter_async_context(FaultProxy(server.address, seed=effort.seed * 100 + number))
                for number in range(processes)
            ]
            arguments = [
                _arguments(home, number, proxy.port, effort.seed, seconds, bound_s, plan)
                for number, proxy in enumerate(proxies)
            ]
            members = await stack.enter_async_context(crew("bench.reliability.roaming:roam", arguments))
            faults = [
                asyncio.create_task(
                    torment(proxy, duration_s=seconds, every_s=fault_every_s, seed=effort.seed * 1000 + number)
                )
                for number, proxy in enumerate(proxies)
                if fault_every_s is not None
            ]
            said = await results(members)
            await asyncio.gather(*faults)
        report = check(gather(home.glob("*.log")), bound_s)
    return report, said


def _arguments(
    home: Path, number: int, port: int, seed: int, seconds: float, bound_s: float, plan: dict[str, Any]
) -> dict[str, Any]:
    clock_s, drift_ratio = _CLOCKS[number % len(_CLOCKS)]
    settings = {"staleness_bound_s": bound_s, **plan.pop("settings", {})}
    what = Plan(seed=seed, seconds=seconds, settings=settings, clock_s=clock_s, drift_ratio=drift_ratio, **plan)
    actor = f"p{number}"
    return {
        "actor": actor,
        "url": f"redis://127.0.0.1:{port}",
        "truth": str(home / "truth"),
        "journal": str(home / f"{actor}.log"),
        "plan": msgspec.to_builtins(what),
    }


def troubles(said: list[dict[str, Any]]) -> list[str]:
    """What the processes complain about: errors that surfaced, answers of others, tasks left behind."""
    texts = [
        f"{one['actor']} {what}: {text}"
        for one in said
        for what in ("surfaced", "complaints", "leaked")
        for text in one[what]
    ]
    return texts + [f"{one['actor']} read {one['wrong']} answers that belong to others" for one in said if one["wrong"]]


def _finding(
    title: str, effort: Effort, bound_s: float, seconds: float, report: Report, said: list[dict[str, Any]]
) -> Finding:
    p50, p99 = report.quantile(0.5) * 1000, report.quantile(0.99) * 1000
    hits = sum(one["memory_hits"] for one in said)
    wrong = troubles(said)
    return Finding(
        "5, 2, 19, 39",
        f"staleness bound, {title}",
        "alacena",
        f"seed {effort.seed}, {len(said)} processes x 4 tasks, {report.reads} reads ({hits} from memory), "
        f"{report.invalidations} invalidations, {seconds:g} s",
        f"stale reads after H: {len(report.violations)}; staleness of all reads p50 {p50:.2f} ms, p99 {p99:.2f} ms, "
        f"max {report.max_s * 1000:.1f} ms of H = {bound_s * 1000:.0f} ms; errors, leaks, foreign answers: {len(wrong)}",
        held=not report.violations and not wrong,
        details={
            "violations": len(report.violations),
            "max_ms": report.max_s * 1000,
            "p99_ms": p99,
            "reads": report.reads,
        },
    )
