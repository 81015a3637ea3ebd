"""What do readers get while the server is away, deaf, slow, loading, demoted, full, busy or frozen; and how does it end?"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

import hiredis

from alacena.testing.proxy import FaultProxy
from proving.reliability.journal import now
from proving.reliability.journey import KEYS, Journey, roamed
from proving.reliability.place import OURS, Effort, Finding, attempted
from proving.reliability.rivalry import THREADED, contender, others
from proving.reliability.trials.failover import cluster_url
from proving.rivals.rival import Place
from proving.servers.redis_server import RedisServer
from proving.servers.topology import RedisCluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.reliability.crew import Member

    Act = Callable[[RedisServer, FaultProxy], None]

NUMBERS = ("24", "25", "26")
_BUDGET_S = 0.05
_LOAD_S = 0.005
_SLACK_S = 0.02
"""What a busy machine may add to a read, beyond what it adds while all is well."""
_BOUND_S = 0.4


class Outage(NamedTuple):
    """One way to fail.

    Attributes:
        name: In words.
        begin: Breaks the server, or the way to it.
        end: Mends it.
        cold: Whether the server is empty afterwards.
    """

    name: str
    begin: Act
    end: Act
    cold: bool = False


def _deafen(_: RedisServer, proxy: FaultProxy) -> None:
    proxy.up.lost = proxy.down.lost = True


def _slow_down(_: RedisServer, proxy: FaultProxy) -> None:
    proxy.down.latency_s = 1.0


def _calm(_: RedisServer, proxy: FaultProxy) -> None:
    proxy.calm()


def _refuse(_: RedisServer, proxy: FaultProxy) -> None:
    proxy.refusing = True
    proxy.reset()


def _keep_busy(server: RedisServer, _: FaultProxy) -> None:
    server.call("CONFIG", "SET", "busy-reply-threshold", 10)

    def spin() -> None:
        with suppress(hiredis.ReplyError, OSError):
            server.call("EVAL", "while true do end", 0)

    threading.Thread(target=spin, daemon=True).start()


def _reload_slowly(server: RedisServer, _: FaultProxy) -> None:
    """Reload everything, with a pause at each key: it answers LOADING meanwhile."""
    for number in range(2_000):
        server.call("SET", f"ballast:{number}", "x" * 2_000)
    server.call("CONFIG", "SET", "loading-process-events-interval-bytes", 2048)
    server.call("CONFIG", "SET", "key-load-delay", 800)

    def reload() -> None:
        with suppress(hiredis.ReplyError, OSError):
            server.call("DEBUG", "RELOAD")

    threading.Thread(target=reload, daemon=True).start()


def _load_fast(server: RedisServer, _: FaultProxy) -> None:
    with suppress(hiredis.ReplyError, OSError):
        server.call("CONFIG", "SET", "key-load-delay", 0)


OUTAGES = (
    Outage(
        "killed, port closed, back empty", lambda server, _: server.crash(), lambda server, _: _start(server), cold=True
    ),
    Outage("connections refused", _refuse, _calm),
    Outage("black hole", _deafen, _calm),
    Outage("1 s slower", _slow_down, _calm),
    Outage("LOADING", _reload_slowly, _load_fast),
    Outage(
        "READONLY",
        lambda server, _: server.call("REPLICAOF", "127.0.0.1", 1),
        lambda server, _: server.call("REPLICAOF", "NO", "ONE"),
    ),
    Outage(
        "OOM",
        lambda server, _: server.call("CONFIG", "SET", "maxmemory", 1),
        lambda server, _: server.call("CONFIG", "SET", "maxmemory", 0),
    ),
    Outage("BUSY", _keep_busy, lambda server, _: server.call("SCRIPT", "KILL")),
    Outage("frozen (SIGSTOP)", lambda server, _: server.process.pause(), lambda server, _: server.process.resume()),
)


def _start(server: RedisServer) -> None:
    server.start()


async def run(effort: Effort) -> list[Finding]:
    """Each outage on one server, then a cluster that is down."""
    found = []
    for name, suffering in (
        *((outage.name, suffered(outage, effort)) for outage in OUTAGES),
        ("CLUSTERDOWN", cluster_down(effort)),
    ):
        found.append(await attempted("24, 25, 26", f"outage: {name}", OURS, _judged(name, effort, suffering)))
    found += [
        await attempted("24", "outage: black hole", who, _peers(who, effort)) for who in others(effort, but=THREADED)
    ]
    herding = suffered(OUTAGES[0], effort, write_ratio=0.0)
    return [*found, await attempted("25", "recovery herd", OURS, _herded(effort, herding))]


async def _judged(name: str, effort: Effort, suffering: Awaitable[tuple[Window, Journey]]) -> Finding:
    return finding(name, effort, *await suffering)


async def _herded(effort: Effort, suffering: Awaitable[tuple[Window, Journey]]) -> Finding:
    return herd(effort, *await suffering)


async def _peers(who: str, effort: Effort) -> Finding:
    """Readers of another cache while nothing passes in either direction, each read given up after a while."""
    seconds = effort.of(5.0, 2.0)
    waits: list[float] = []
    errors = given_up = 0

    async def source(key: str) -> str:
        await asyncio.sleep(_LOAD_S)
        return key

    async def reader(number: int) -> None:
        nonlocal errors, given_up
        until = now() + seconds
        while (began := now()) < until:
            try:
                async with asyncio.timeout(seconds):
                    await cache.get_or_load(f"d{number}")
            except TimeoutError:
                given_up += 1
            except Exception:
                errors += 1
                await asyncio.sleep(_LOAD_S)
            else:
                waits.append(now() - began)

    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(effort.flavour, tcp=True))
        proxy = await stack.enter_async_context(FaultProxy(("127.0.0.1", server.port), seed=effort.seed))
        cache = contender(who)
        await cache.open(Place(source, port=proxy.port))
        for number in range(KEYS):
            await cache.get_or_load(f"d{number}")
        _deafen(server, proxy)
        await asyncio.gather(*(reader(number) for number in range(KEYS)))
        _calm(server, proxy)
        proxy.reset()
        with suppress(Exception):
            async with asyncio.timeout(5):
                await cache.close()
    return Finding(
        "24",
        "outage: black hole",
        who,
        f"1 process x {KEYS} tasks, {seconds:g} s, every read given up after as long",
        f"{len(waits):,} reads answered, {errors} errors, {given_up} given up; p99 {_p99_s(waits) * 1000:.0f} ms",
    )


class Window(NamedTuple):
    """When it was bad, and when the end of that began."""

    began_at: float
    ended_at: float


async def suffered(outage: Outage, effort: Effort, *, write_ratio: float = 0.02) -> tuple[Window, Journey]:
    """Let processes roam through an outage of a quarter of the time."""
    seconds = effort.of(12.0, 6.0)
    extra = ("--enable-debug-command", "yes")
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(effort.flavour, tcp=True, extra=extra))
        proxy = await stack.enter_async_context(FaultProxy(("127.0.0.1", server.port), seed=effort.seed))
        window: list[float] = []

        async def trouble(_: list[Member]) -> float:
            await asyncio.sleep(seconds / 4)
            window.append(now())
            await asyncio.to_thread(outage.begin, server, proxy)
            await asyncio.sleep(seconds / 4)
            await asyncio.to_thread(outage.end, server, proxy)
            window.append(now())
            return 0.0

        urls = [f"redis://127.0.0.1:{proxy.port}"] * effort.of(8, 3)
        journey = await _roamed(effort, urls, seconds, trouble, write_ratio)
    return Window(*window), journey


async def cluster_down(effort: Effort) -> tuple[Window, Journey]:
    """Kill one of three primaries that has no replica: the whole cluster refuses to serve."""
    seconds = effort.of(16.0, 10.0)
    window: list[float] = []
    with RedisCluster(effort.flavour) as cluster:

        async def trouble(_: list[Member]) -> float:
            await asyncio.sleep(seconds / 4)
            window.append(now())
            await asyncio.to_thread(cluster.primaries[0].crash)
            await asyncio.sleep(seconds / 4)
            await asyncio.to_thread(cluster.primaries[0].start)
            window.append(now())
            return 0.0

        journey = await _roamed(effort, [cluster_url(cluster)] * effort.of(8, 3), seconds, trouble)
    return Window(*window), journey


async def _roamed(
    effort: Effort, urls: list[str], seconds: float, trouble: object, write_ratio: float = 0.02
) -> Journey:
    return await roamed(
        effort,
        urls,
        seconds=seconds,
        bound_s=_BOUND_S,
        trouble=trouble,  # type: ignore[arg-type]
        load_s=_LOAD_S,
        timed=True,
        write_ratio=write_ratio,
    )


def finding(name: str, effort: Effort, window: Window, journey: Journey) -> Finding:
    """What it was like, beside what it was like before."""
    reads = sorted(read for one in journey.said for read in one["reads"])
    before = [read for read in reads if read[0] < window.began_at]
    calm_s = _p99_s([took_s for _, took_s, _ in before])
    waits = [took_s for called_at, took_s, _ in reads if window.began_at <= called_at < window.ended_at]
    after = [read for read in reads if read[0] >= window.ended_at]
    missed_ratio = sum(loaded for *_, loaded in before) / len(before)
    hits_s, service_s = _hit_again_s(after, window.ended_at, missed_ratio), journey.back_s(window.ended_at)
    p99_s, surfaced = _p99_s(waits), sum(len(one["surfaced"]) for one in journey.said)
    return Finding(
        "24, 25, 26",
        f"outage: {name}",
        "alacena",
        f"seed {effort.seed}, {journey.ran}, {window.ended_at - window.began_at:.1f} s of outage",
        f"{len(waits):,} reads answered, {surfaced} errors; p99 {p99_s * 1000:.0f} ms (before: {calm_s * 1000:.0f} ms), "
        f"slowest {max(waits, default=0.0) * 1000:.0f} ms; hits as before {hits_s:.1f} s and full service {service_s:.1f} s "
        f"after its end; stale reads after H: {len(journey.report.violations)}",
        held=journey.held and bool(waits) and p99_s <= _BUDGET_S + _SLACK_S + calm_s and service_s < 8,
        details={"p99_ms": p99_s * 1000, "calm_ms": calm_s * 1000, "service_s": service_s, "hits_s": hits_s},
    )


def _p99_s(waits: list[float]) -> float:
    return sorted(waits)[int(0.99 * (len(waits) - 1))] if waits else 0.0


def _hit_again_s(reads: list[tuple[float, float, bool]], since: float, missed_ratio: float) -> float:
    """After how long, of 200 reads in a row, hardly more went to the source than before."""
    for first in range(0, len(reads) - 200, 10):
        if sum(loaded for *_, loaded in reads[first : first + 200]) <= 200 * (missed_ratio + 0.05):
            return reads[first][0] - since
    return float("inf")


def herd(effort: Effort, window: Window, journey: Journey) -> Finding:
    """What the source had to bear while the server was away, and when everybody came back to an empty one."""
    reads = sorted(read for one in journey.said for read in one["reads"])
    back_s = journey.back_s(window.ended_at)
    loads = [called_at for called_at, _, loaded in reads if loaded]
    away = [at for at in loads if window.began_at <= at < window.ended_at]
    returning = [at for at in loads if window.ended_at <= at < window.ended_at + back_s]
    settled = [at for at in loads if at >= window.ended_at + back_s]
    return Finding(
        "25",
        "recovery herd",
        "alacena",
        f"seed {effort.seed}, {journey.ran}, {KEYS} keys, {window.ended_at - window.began_at:.1f} s away, back empty",
        f"loads/s while away {len(away) / (window.ended_at - window.began_at):.0f}, while the first to reconnect wait for "
        f"the last ({back_s:.1f} s) {len(returning) / max(back_s, 0.001):.0f}; loads after that: {len(settled)}",
        held=journey.held and len(settled) <= KEYS,
        details={"settled": len(settled), "back_s": back_s},
    )
