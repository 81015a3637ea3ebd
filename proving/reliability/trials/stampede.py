"""How often is one cold key loaded that 500 callers in each of 8 processes ask for, and what do the waiters cost?"""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from proving.reliability.crew import Member, crew
from proving.reliability.monitor import monitored
from proving.reliability.place import Effort, Finding, folder
from proving.reliability.rivalry import OURS, others
from proving.reliability.truth import Truth
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = ("23",)

_LOAD_S = 0.3
_LEASE_S = 1.0
_SETTLED_S = 0.2
_HELLO = frozenset({"HELLO", "CLIENT", "AUTH", "SELECT", "SCRIPT"})
"""What connections say of themselves when they are made, ours and others'."""


class Rush(NamedTuple):
    """What one rush at a cold key showed.

    Attributes:
        loads: How often the source was asked.
        waits: How long each caller waited, in seconds, ascending.
        commands: Commands that each connection sent from the first caller on, the most first; a process of ours has one.
        heartbeats: Commands of heartbeats, of all processes: they are sent whether or not anybody waits.
        versions: What the callers got.
        errors: What they got instead.
    """

    loads: int
    waits: list[float]
    commands: list[int]
    heartbeats: int
    versions: set[Any]
    errors: list[str]


async def run(effort: Effort) -> list[Finding]:
    """Ours, ours with the loading process killed, and the others."""
    processes, callers = effort.of(8, 3), effort.of(500, 50)
    found = []
    for who in (OURS, *others(effort)):
        for kill in (False, True) if who == OURS else (False,):
            rush = await rushed(who, effort, processes, callers, kill=kill)
            found.append(_finding(who, processes, callers, rush, kill=kill))
    return found


async def rushed(who: str, effort: Effort, processes: int, callers: int, *, kill: bool) -> Rush:
    """Let all callers of all processes ask for one cold key; kill the process that loads, where asked to."""
    with folder() as home, RedisServer(effort.flavour, tcp=True) as server, Truth.create(home / "truth", 1) as truth:
        arguments = [_arguments(who, server, home, callers) for _ in range(processes)]
        async with crew("proving.reliability.waiting:wait", arguments) as members, monitored(server) as monitor:
            for member in members:
                member.tell("go")
            said = await _heard(members, kill=kill)
            await asyncio.sleep(_SETTLED_S)
        loads = truth.loads(0)
    return Rush(
        loads,
        sorted(wait for one in said for wait in one["waits"]),
        sorted(Counter(one.client for one in monitor.sent() if one.name not in _HELLO).values(), reverse=True),
        monitor.heartbeats(),
        {version for one in said for version in one["versions"]},
        [error for one in said for error in one["errors"]],
    )


def _arguments(who: str, server: RedisServer, home: Path, callers: int) -> dict[str, Any]:
    settings = {"redis_url": server.tcp_url, "lease_s": _LEASE_S}
    return {
        "who": who, "path": str(server.socket_path), "truth": str(home / "truth"), "callers": callers,
        "load_s": _LOAD_S, "settings": settings,
    }  # fmt: skip


async def _heard(members: list[Member], *, kill: bool) -> list[dict[str, Any]]:
    """What everybody saw. The first who says that it loads is killed, where that is wanted."""
    victims: list[Member] = []

    async def hear(member: Member) -> dict[str, Any] | None:
        while (said := await member.hear()) == "loading":
            if kill and not victims:
                victims.append(member)
                member.kill()
        return said  # type: ignore[no-any-return]

    heard = await asyncio.gather(*(hear(member) for member in members))
    return [said for said in heard if said is not None]


def _finding(who: str, processes: int, callers: int, rush: Rush, *, kill: bool) -> Finding:
    p99_ms = rush.waits[int(0.99 * (len(rush.waits) - 1))] * 1000
    most = 2 if kill else 1
    waiting = rush.commands[1:] or [0]
    ours = who == OURS
    held = rush.loads <= most and rush.versions == {1} and not rush.errors and max(waiting) <= 5
    beats = f" (and {rush.heartbeats / processes:.0f} of its heartbeats)"
    a_process = f"{max(waiting)} at most{beats}" if ours else f"{sum(rush.commands) / processes:.0f} on average"
    return Finding(
        "23",
        "stampede, loader killed" if kill else "stampede",
        who,
        f"{processes} processes x {callers} callers, 1 cold key, source takes {_LOAD_S * 1000:.0f} ms"
        + (f", the loading process gets SIGKILL, lease {_LEASE_S:g} s" if kill else ""),
        f"loads: {rush.loads}; commands a waiting process: {a_process}; "
        f"wait p50 {statistics.median(rush.waits) * 1000:.0f} ms, p99 {p99_ms:.0f} ms; errors: {len(rush.errors)}",
        held=held if ours else None,
        details={"loads": rush.loads, "p99_ms": p99_ms, "commands": max(waiting)},
    )
