"""What does each verb of the cache make of each error that a server can answer with?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import BackendError
from proving.reliability.grumbler import Grumbler
from proving.reliability.journal import now
from proving.reliability.place import Effort, Finding

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Verb = Callable[[Cache], Awaitable[Any]]

NUMBERS = ("26", "10")
ERRORS = (
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the command",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "MISCONF Redis is configured to save RDB snapshots",
    "NOSCRIPT No matching script. Please use EVAL.",
    "UNKILLABLE Sorry the script already executed write commands",
    "ERR something else",
    "",
)
_BUDGET_S = 0.05
_SLACK_S = 0.15


async def _source() -> int:
    return 7


async def _many(ids: list[str]) -> dict[str, int]:
    return dict.fromkeys(ids, 7)


async def _write(cache: Cache) -> None:
    async with cache.write("acme", ("document", "d1")):
        pass


CACHE_VERBS: dict[str, tuple[Verb, Any]] = {
    "get": (lambda cache: cache.get("document", "d1", "acme"), None),
    "get, no memory": (lambda cache: cache.get("document", "d1", "acme", use_memory=False), None),
    "load": (lambda cache: cache.load("document", "d1", "acme", _source), 7),
    "load, no memory": (lambda cache: cache.load("document", "d1", "acme", _source, use_memory=False), 7),
    "load with tags": (lambda cache: cache.load("document", "d1", "acme", _source, tags=["x"]), 7),
    "refresh": (lambda cache: cache.refresh("document", "d1", "acme", _source), 7),
    "get_many": (lambda cache: cache.get_many("document", ["d1", "d2"], "acme"), {}),
    "load_many": (lambda cache: cache.load_many("document", ["d1", "d2"], "acme", _many), {"d1": 7, "d2": 7}),
    "set": (lambda cache: cache.set("document", "d1", 1, "acme"), False),
    "set_many": (lambda cache: cache.set_many("document", {"d1": 1}, "acme"), 0),
    "delete": (lambda cache: cache.delete("document", "d1", "acme"), False),
    "invalidate": (lambda cache: cache.invalidate("acme", "document", "d1"), 0),
    "invalidate the tenant": (lambda cache: cache.invalidate("acme"), 0),
    "write": (_write, None),
    "ttl": (lambda cache: cache.ttl("document", "d1", "acme"), -2),
}
"""What must not raise, and what it returns while the server refuses everything."""

COORDINATION_VERBS: dict[str, Verb] = {
    "queue push": lambda cache: cache.queues("jobs", tenant_id="acme").push(1),
    "counter add": lambda cache: cache.counters.increment("calls", tenant_id="acme"),
    "set add": lambda cache: cache.sets.add("seen", "x", tenant_id="acme"),
}
"""What must raise, and nothing but a ``BackendError``."""
_READS = tuple(name for name in CACHE_VERBS if name.startswith(("get", "load")))


async def run(effort: Effort) -> list[Finding]:
    """Every error with every verb, then a server whose pushes are swallowed."""
    wrong, cells, slowest_s = await grid()
    noticed = await canary_noticed()
    return [
        Finding(
            "26",
            "error grid",
            "alacena",
            f"{len(ERRORS) - 1} errors x {len(CACHE_VERBS)} cache verbs and {len(COORDINATION_VERBS)} of coordination",
            f"cells that are right: {cells - len(wrong)} of {cells}; slowest read {slowest_s * 1000:.0f} ms"
            + (f"; wrong: {'; '.join(wrong[:6])}" if wrong else ""),
            held=not wrong,
            details={"cells": cells, "wrong": len(wrong), "slowest_ms": slowest_s * 1000},
        ),
        Finding(
            "10",
            "pushes swallowed on the way",
            "alacena",
            "a server whose invalidation pushes never arrive",
            "memory stays off, and guarantee() says so" if noticed else "memory was served",
            held=noticed,
        ),
    ]


async def grid() -> tuple[list[str], int, float]:
    """Cells that are wrong, how many there are, and how long the slowest read took."""
    wrong: list[str] = []
    cells, slowest_s = 0, 0.0
    for error in ERRORS:
        if not error:
            continue
        async with Grumbler() as server:
            for name, (verb, expected) in CACHE_VERBS.items():
                async with Cache(Settings(redis_url=server.url, lease_wait_s=1.0)) as cache:
                    server.error = error
                    began = now()
                    complaint = await _cache_verb(verb(cache), expected)
                    took_s = now() - began
                    server.error = ""
                cells += 1
                if name in _READS:
                    slowest_s = max(slowest_s, took_s)
                    if took_s > _BUDGET_S + _SLACK_S and not complaint:
                        complaint = f"took {took_s * 1000:.0f} ms"
                wrong += [f"{error.split()[0]} x {name}: {complaint}"] if complaint else []
            for name, coordinate in COORDINATION_VERBS.items():
                async with Cache(Settings(redis_url=server.url)) as cache:
                    server.error = error
                    complaint = await _coordination_verb(coordinate(cache))
                    server.error = ""
                cells += 1
                wrong += [f"{error.split()[0]} x {name}: {complaint}"] if complaint else []
    return wrong, cells, slowest_s


async def _cache_verb(call: Awaitable[Any], expected: Any) -> str:
    try:
        seen = await call
    except Exception as error:
        return f"raised {error!r}"
    return "" if seen == expected else f"returned {seen!r}"


async def _coordination_verb(call: Awaitable[Any]) -> str:
    try:
        seen = await call
    except BackendError:
        return ""
    except Exception as error:
        return f"raised {error!r}"
    return f"returned {seen!r}"


async def canary_noticed() -> bool:
    """Whether memory stays off where no push arrives."""
    async with Grumbler() as server:
        server.silent = True
        async with Cache(Settings(redis_url=server.url)) as cache:
            await asyncio.sleep(0.3)
            return not cache.guarantee()["memory"] and bool(cache.guarantee()["why"])
