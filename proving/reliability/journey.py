"""Processes that roam together while somebody makes trouble, and what the checker says of their common history."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from alacena.testing.staleness import Report, check
from proving.reliability.crew import Member, crew, results
from proving.reliability.journal import gather, now
from proving.reliability.place import folder
from proving.reliability.roaming import Plan
from proving.reliability.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from proving.reliability.place import Effort

    Trouble = Callable[[list[Member]], Awaitable[float]]

KEYS = 24
CLOCKS = ((0.0, 0.0), (600.0, 0.0), (-600.0, 1e-4), (3600.0, -1e-4))
"""What the processes' own clocks are off by in seconds, and how much too fast they run."""


class Journey(NamedTuple):
    """What was seen on the way.

    Attributes:
        report: What the checker says.
        said: What each process said of itself.
        figure: What the trouble returned; 0 without any.
    """

    report: Report
    said: list[dict[str, Any]]
    figure: float

    @property
    def held(self) -> bool:
        """Whether nothing was stale beyond the bound and nobody has anything to complain about."""
        return not self.report.violations and not self.troubles

    @property
    def troubles(self) -> list[str]:
        """Errors that surfaced, answers of others, tasks left behind, and what the loop complained about."""
        texts = [
            f"{one['actor']} {what}: {text}"
            for one in self.said
            for what in ("surfaced", "complaints", "leaked")
            for text in one[what]
        ]
        return texts + [f"{one['actor']} got {one['wrong']} answers of others" for one in self.said if one["wrong"]]

    @property
    def ran(self) -> str:
        """How much was done."""
        from_memory = sum(one["memory_hits"] for one in self.said)
        return (
            f"{len(self.said)} processes x 4 tasks, {self.report.reads:,} reads ({from_memory:,} from memory), "
            f"{self.report.invalidations:,} invalidations"
        )

    @property
    def seen(self) -> str:
        """What came out of it."""
        stale = len(self.report.staleness_s)
        text = (
            f"stale reads after H: {len(self.report.violations)}; errors, leaks, foreign answers: {len(self.troubles)}"
        )
        if stale:
            p50, p99 = (self.report.staleness_s[int(ratio * (stale - 1))] * 1000 for ratio in (0.5, 0.99))
            text += (
                f"; {stale} stale within H: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {self.report.max_s * 1000:.1f} ms"
            )
        text += "" if stale else "; stale within H: none"
        return text + (f"; first complaint: {self.troubles[0]:.300}" if self.troubles else "")

    def back_s(self, since: float) -> float:
        """How long after an instant everybody had full service again for good; infinite where somebody never had."""
        last = [one["service"][-1] for one in self.said]
        return max(0.0, *(at - since for at, _ in last)) if all(full for _, full in last) else float("inf")


async def roamed(
    effort: Effort,
    urls: Sequence[str],
    *,
    seconds: float,
    bound_s: float,
    trouble: Trouble | None = None,
    clocks: bool = False,
    keys: int = KEYS,
    settings: dict[str, Any] | None = None,
    **plan: Any,
) -> Journey:
    """Let a process for each URL roam, and ``trouble(members)`` do its worst meanwhile.

    Args:
        effort: Its seed counts.
        urls: Where each process finds the server.
        seconds: For how long.
        bound_s: H.
        trouble: Runs beside them.
        clocks: Whether the processes' clocks are set wrong, each in its own way.
        keys: How many the source has.
        settings: More settings of the caches.
        plan: More of the processes' `Plan`.
    """
    with folder() as home, Truth.create(home / "truth", keys):
        what = Plan(
            seed=effort.seed, seconds=seconds, settings={"staleness_bound_s": bound_s, **(settings or {})}, **plan
        )
        arguments = [_arguments(home, number, url, what, clocks=clocks) for number, url in enumerate(urls)]
        async with crew("proving.reliability.roaming:roam", arguments) as members:
            beside = None if trouble is None else asyncio.ensure_future(trouble(members))
            said = await results(members)
            figure = 0.0 if beside is None else await beside
        return Journey(check(gather(home.glob("*.log")), bound_s), said, figure)


def _arguments(home: Path, number: int, url: str, plan: Plan, *, clocks: bool) -> dict[str, Any]:
    if clocks:
        clock_s, drift_ratio = CLOCKS[number % len(CLOCKS)]
        plan = msgspec.structs.replace(plan, clock_s=clock_s, drift_ratio=drift_ratio)
    actor = f"p{number}"
    return {
        "actor": actor,
        "url": url,
        "truth": str(home / "truth"),
        "journal": str(home / f"{actor}.log"),
        "plan": msgspec.to_builtins(plan),
    }


async def wait_until(instant: float) -> None:
    """Sleep until an instant of the common clock."""
    await asyncio.sleep(max(0.0, instant - now()))
