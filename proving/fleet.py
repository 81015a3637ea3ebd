"""What it costs that the processes of a namespace tell each other of themselves, and how soon a killed one is missed.

python -m proving.fleet                          32 processes, about a minute and a half
python -m proving.fleet --processes 4 --seconds 3 --json out.json
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from alacena import Cache, Settings
from alacena.ops.fleet_report import fresh_snapshots
from proving.reliability.crew import crew
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proving.reliability.crew import Member
    from proving.stand.workers import Talk

_TENANTS = 50
_TYPES = ("document", "query_result", "embedding")
_VIEWS = 15
_REPORTS = 500
_EVERY_S = 2.0
_SETTLE_S = 3.0
_LOOK_AGAIN_S = 0.05


class Figures(msgspec.Struct):
    """The figures of one run.

    Attributes:
        processes: How many there were.
        rows: Tenants and types that each counted.
        report_bytes: The size of one report on the server.
        publishing_ms_per_s: Processor time that telling takes a process, in ms for each second.
        process_ms_per_s: All processor time of an idle process.
        publishing_server_ms_per_s: Processor time that the telling of all of them takes the server.
        server_ms_per_s: All processor time of the server meanwhile.
        fleet_ms: The time of one view of all processes: the median, and the longest.
        locks_ms: The time of one list of all locks, likewise; each process holds one.
        missed_after_s: After how long a killed process is shown as silent.
        unsummed_after_s: After how long its counts are in no sum any more.
        command_s: How long ``alacena fleet`` takes then, and it ends with 1.
        lock_named: Whether the lock that it held is still listed, with its name.
    """

    processes: int
    rows: int
    report_bytes: int
    publishing_ms_per_s: float
    process_ms_per_s: float
    publishing_server_ms_per_s: float
    server_ms_per_s: float
    fleet_ms: tuple[float, float]
    locks_ms: tuple[float, float]
    missed_after_s: float
    unsummed_after_s: float
    command_s: float
    lock_named: bool


async def live(talk: Talk, *, url: str, name: str, every_s: float | None) -> None:
    """Be one process: count a little of many tenants, hold a lock, and say what processor time passes."""
    async with Cache(Settings(redis_url=url, process_name=name, fleet_every_s=every_s, redis_budget_s=5.0)) as cache:
        await _count(cache)
        lock = await cache.locks.take(name, tenant_id="acme", ttl_s=120)
        talk.say("ready")
        while await talk.hear():
            talk.say(time.process_time())
        await lock.release()


async def run(processes: int, seconds: float) -> Figures:
    """Measure it on a server of its own."""
    with RedisServer("valkey") as server:
        async with (
            crew("proving.fleet:live", _arguments(server, processes)) as members,
            Cache(Settings(redis_url=server.url, fleet_every_s=None, redis_budget_s=5.0)) as watcher,
        ):
            process_s, server_s = await _processor_time(server, members, seconds)
            publish_s, publish_server_s = await _publish(server)
            seen = await watcher.fleet()
            fleet_ms = [await _timed(watcher.fleet()) for _ in range(_VIEWS)]
            locks_ms = [await _timed(watcher.find_locks()) for _ in range(_VIEWS)]
            rows = len(seen[0].snapshot.rows) if seen[0].snapshot is not None else 0
            report_bytes = int(server.call("STRLEN", _key(server, "said", seen[0].name)))
            missed_after_s, unsummed_after_s, lock_named = await _kill(watcher, members[0], processes)
            command_s = await _command(server.url)
        return Figures(
            processes=processes, rows=rows, report_bytes=report_bytes,
            publishing_ms_per_s=1000 * publish_s / _EVERY_S, process_ms_per_s=1000 * process_s,
            publishing_server_ms_per_s=1000 * publish_server_s / _EVERY_S * processes, server_ms_per_s=1000 * server_s,
            fleet_ms=(median(fleet_ms), max(fleet_ms)), locks_ms=(median(locks_ms), max(locks_ms)),
            missed_after_s=missed_after_s, unsummed_after_s=unsummed_after_s, command_s=command_s,
            lock_named=lock_named,
        )  # fmt: skip


def _arguments(server: RedisServer, processes: int) -> list[dict[str, Any]]:
    return [{"url": server.url, "name": f"web-{number}", "every_s": _EVERY_S} for number in range(processes)]


async def _publish(server: RedisServer) -> tuple[float, float]:
    """Seconds of processor time that one report takes a process and the server: many of them, one after the other."""
    settings = Settings(redis_url=server.url, process_name="probe", fleet_every_s=3_600.0, redis_budget_s=5.0)
    async with Cache(settings) as cache:
        await _count(cache)
        await cache.fleet()
        assert cache._parts is not None
        publish = cache._parts.observation.fleet.publish
        before, server_before = time.process_time(), _server_s(server)
        for _ in range(_REPORTS):
            await publish()
        return (time.process_time() - before) / _REPORTS, (_server_s(server) - server_before) / _REPORTS


async def _count(cache: Cache) -> None:
    for tenant in range(_TENANTS):
        for kind in _TYPES:
            await cache.get(kind, "d1", f"tenant-{tenant}")


def _key(server: RedisServer, part: str, name: str) -> str:
    tail = f":{part}:{quote(name)}"
    (found,) = [key for key in map(str, server.call("KEYS", "*:fleet:*")) if key.endswith(tail)]
    return found


async def _processor_time(server: RedisServer, members: Sequence[Member], seconds: float) -> tuple[float, float]:
    """Seconds of processor time that a process takes in one second, in the middle, and that the server does."""
    await asyncio.sleep(_SETTLE_S)
    before, server_before, began = await _ask(members), _server_s(server), time.perf_counter()
    await asyncio.sleep(seconds)
    after, server_after, took = await _ask(members), _server_s(server), time.perf_counter() - began
    return mean(b - a for a, b in zip(before, after, strict=True)) / took, (server_after - server_before) / took


async def _ask(members: Sequence[Member]) -> list[float]:
    for member in members:
        member.tell("how much")
    return [float(said) for said in await asyncio.gather(*(member.hear() for member in members))]


def _server_s(server: RedisServer) -> float:
    facts = dict(line.split(":", 1) for line in str(server.call("INFO", "cpu")).splitlines() if ":" in line)
    return float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])


async def _timed(asked: Any) -> float:
    began = time.perf_counter()
    await asked
    return 1000 * (time.perf_counter() - began)


async def _kill(watcher: Cache, member: Member, processes: int) -> tuple[float, float, bool]:
    """Kill one; after how long it is shown as silent, its counts are in no sum, and whether its lock is still named."""
    member.kill()
    began = time.perf_counter()
    missed_after_s = unsummed_after_s = 0.0
    while not (missed_after_s and unsummed_after_s):
        seen = await watcher.fleet()
        passed = time.perf_counter() - began
        if not missed_after_s and any(one.is_stale for one in seen):
            missed_after_s = passed
        if not unsummed_after_s and len(fresh_snapshots(seen)) < processes:
            unsummed_after_s = passed
        await asyncio.sleep(_LOOK_AGAIN_S)
    held = await watcher.find_locks()
    return missed_after_s, unsummed_after_s, any((state.process or "").startswith("web-0#") for state in held)


async def _command(url: str) -> float:
    """Seconds of ``alacena fleet``, which must end with 1: a process is silent."""
    began = time.perf_counter()
    command = str(Path(sys.executable).with_name("alacena"))
    process = await asyncio.create_subprocess_exec(
        command, "fleet", "--json", "--url", url, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode != 1 or not msgspec.json.decode(said)["silent"]:
        raise RuntimeError(f"`alacena fleet` ended with {process.returncode} while a process was dead")
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; 1 if a killed process was not missed within ten seconds."""
    parser = argparse.ArgumentParser(prog="python -m proving.fleet", description="What a fleet costs.")
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long processor time is counted (default 20)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    figures = asyncio.run(run(options.processes, options.seconds))
    for name, value in msgspec.structs.asdict(figures).items():
        shown = ", ".join(f"{part:.2f}" for part in value) if isinstance(value, tuple) else value
        print(f"{name:20} {shown:.2f}" if isinstance(shown, float) else f"{name:20} {shown}")
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    return 0 if figures.missed_after_s < 10 else 1


if __name__ == "__main__":
    sys.exit(main())
