"""A small measurement of the configured server as a cache sees it: seconds, and only the figures that an operator compares."""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Final

from alacena.engine import Cache, Policy
from alacena.ops.output import Cell, CommandResult, Table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine import Settings

_TENANT: Final = "alacena-bench"
_TTL_S: Final = 60
_IN_MEMORY: Final = "alacena_bench_memory"
_ON_SERVER: Final = "alacena_bench_server"
_POLICIES: Final = {_IN_MEMORY: Policy(ttl=_TTL_S), _ON_SERVER: Policy(ttl=_TTL_S, use_memory=False)}
_VALUE: Final = {"text": "x" * 1_000}
_BATCHES: Final = 5
_CALLERS: Final = 50


async def measure(settings: Settings, seconds: float) -> CommandResult:
    """Measures a read of the server, a read of memory, and reads of the server at one time.

    It stores two entries of a tenant of its own, which it invalidates at the end.

    Args:
        settings: Where the server is.
        seconds: How long it may take, in all.

    Raises:
        BackendError: The server did not take the entries.
    """
    async with Cache(settings, policies=_POLICIES) as cache:
        for kind in _POLICIES:
            await cache.set(kind, "one", _VALUE, _TENANT)
        part_s = seconds / 4
        floor_s = await _per_call(_floor, part_s)
        memory_s = await _per_call(lambda: cache.get(_IN_MEMORY, "one", _TENANT), part_s)
        server_s = await _per_call(lambda: cache.get(_ON_SERVER, "one", _TENANT), part_s)
        reads = await _count(lambda: cache.get(_ON_SERVER, "one", _TENANT), part_s)
        serves = bool(cache.guarantee()["memory"])
        await cache.invalidate(_TENANT)
    data = {
        "server_read_ms": server_s * 1000,
        "memory_read_us": memory_s * 1e6,
        "memory_read_floors": memory_s / floor_s,
        "memory_serves": serves,
        "server_reads_per_s": reads / part_s,
        "callers": _CALLERS,
    }
    rows = [
        (Cell("a read of the server"), Cell(f"{server_s * 1000:.3f} ms")),
        (Cell("a read of memory"), Cell(f"{memory_s * 1e6:.1f} us, {memory_s / floor_s:.1f} floors")),
        (Cell(f"reads of the server by {_CALLERS} callers"), Cell(f"{reads / part_s:,.0f} a second")),
    ]
    words = "A floor is the time to await a coroutine that does one dict look-up; the values have 1,000 characters."
    last = [Cell(words)]
    if not serves:
        last.append(Cell("Memory is off: its reads were reads of the server. `alacena doctor` says why.", "doubtful"))
    return CommandResult(data, (), (Table("", ("", ""), rows),), last, code=0 if serves else 1)


async def _per_call(call: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Returns the seconds of one call: the median of some batches, after one call that does not count."""
    began = perf_counter()
    await call()
    size = max(1, int(seconds / _BATCHES / max(perf_counter() - began, 1e-7) / 2))
    took = []
    for _ in range(_BATCHES):
        began, done = perf_counter(), 0
        while done < size and perf_counter() - began < seconds / _BATCHES:
            # The clock is read once in ten calls: the time that it takes is not small beside a read of memory.
            for _ in range(10):
                await call()
            done += 10
        took.append((perf_counter() - began) / done)
    return median(took)


async def _count(call: Callable[[], Awaitable[object]], seconds: float) -> int:
    end = perf_counter() + seconds

    async def ask() -> int:
        done = 0
        while perf_counter() < end:
            await call()
            done += 1
        return done

    return sum(await asyncio.gather(*(ask() for _ in range(_CALLERS))))


async def _floor() -> object:
    return _POLICIES.get(_IN_MEMORY)
