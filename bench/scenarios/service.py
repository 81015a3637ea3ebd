"""What is left of a service's requests per second if each of them looks into the cache first?

Uvicorn with two worker processes, a FastAPI route and a bare ASGI handler that answer with a document of 2 kB as JSON; 32
clients in a third process ask again as soon as they are answered. Each look-up is measured in slices that alternate with
the handler that looks nowhere. 500 keys, some far more often than others, all of them in the cache; one Valkey, over TCP.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import statistics
import sys
from contextlib import asynccontextmanager
from os import environ, sysconf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from proving.figures.statistics import percentile, ratio, spread
from proving.figures.tables import Bar, Column, Result, Row, Table, judged, unjudged
from proving.rivals import importable, made
from proving.rivals.rival import Place
from proving.stand.clients import Clients
from proving.stand.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from proving.rivals.rival import Rival
    from proving.stand.effort import Effort
    from proving.stand.server import Server

    Look = Callable[[str], Awaitable[Any]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

FLOOR = "no look-up"
GET, ASIDE = "CacheManager.get", "get_with_cache_aside"
_RIVALS = {"aiocache": "aiocache:OnRedis", "cashews": "cashews:ClientSide", "alacena": "alacena:InMemory"}
_PATHS = {FLOOR: "none", GET: "get", ASIDE: "aside", "cashews": "cashews", "aiocache": "aiocache"}
_WORKERS = 2
_CLIENTS = 32
_KEYS = 500
_SOURCE_S = 0.02
_SLICES = 4
_SEED = 11
_ROOT = Path(__file__).parents[2]
_PORT = "ALACENA_BENCH_PORT"
_HANDLER = "ALACENA_BENCH_HANDLER"
_STARTED_S = 60.0
_HANDLERS = {"fastapi": "a FastAPI route", "asgi": "a bare ASGI handler"}
_DOCUMENT = {
    "id": "d1",
    "title": "Manual of the boiler, second edition",
    "pages": list(range(40)),
    "tags": ["heating", "manual"],
    "body": "Close the valve before you open the drain. " * 40,
}
_COLUMNS = (
    Column("of the handler alone", 2, "high"),
    Column("requests/s", 0, "high"),
    Column("µs CPU a request", 0, "low"),
    Column("p99, ms", 1, "low"),
    Column("failed, %", 2, "low"),
)


class Sample(NamedTuple):
    """One round of one look-up, with the handler alone in turn."""

    per_s: float
    alone_per_s: float
    cpu_s: float
    p99_s: float
    failed: float


async def measure(server: Server, effort: Effort) -> Result:
    """Ask each look-up, behind each kind of handler."""
    try:
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        return Result((), (unjudged("a service's requests", "≥ 0.9", "–", f"not installed: {error.name}"),))
    tables, bars = [], []
    for handler, shown in _HANDLERS.items():
        if effort.quick and handler != "fastapi":
            continue
        server.flush()
        try:
            found = await _served(server, effort, handler)
        except ModuleNotFoundError as error:
            bars.append(unjudged(f"a service, {shown}", "≥ 0.9", "–", f"not installed: {error.name}"))
            continue
        tables.append(_table(f"A service, {shown}, {_WORKERS} workers, {_CLIENTS} clients", found))
        bars += _bars(found, shown, judge=handler == "fastapi")
    return Result(tuple(tables), tuple(bars))


def _table(title: str, found: dict[str, list[Sample]]) -> Table:
    rows = []
    for name, samples in found.items():
        cells = (
            ratio([sample.per_s for sample in samples], [sample.alone_per_s for sample in samples]),
            spread([sample.per_s for sample in samples]),
            spread([sample.cpu_s for sample in samples]).times(1e6),
            spread([sample.p99_s for sample in samples]).times(1e3),
            100 * statistics.mean(sample.failed for sample in samples),
        )
        rows.append(Row(name, cells, "floor" if name == FLOOR else "ours" if name in (GET, ASIDE) else "peer"))
    absent = {name: missing for name, place in _RIVALS.items() if (missing := importable(place)) is not None}
    about = "; ".join(f"{name}: {made(place).about}" for name, place in _RIVALS.items() if name not in absent)
    gone = tuple(f"absent, not installed: {name} ({missing})" for name, missing in absent.items())
    notes = ("the clients share the two processors with the workers: read the ratios", f"with: {about}", *gone)
    return Table(title, _COLUMNS, tuple(rows), notes, charted=0)


def _bars(found: dict[str, list[Sample]], shown: str, *, judge: bool) -> list[Bar]:
    bars = []
    for name in (GET, ASIDE):
        samples = found[name]
        seen = ratio([sample.per_s for sample in samples], [sample.alone_per_s for sample in samples]).median
        question = f"a service, {shown}, {name}: of the handler alone"
        bars.append(judged(question, seen, bar=0.9 if judge else None, goal=None if judge else 0.9, higher=True))
    return bars


async def _served(server: Server, effort: Effort, handler: str) -> dict[str, list[Sample]]:
    if handler == "fastapi":
        import fastapi  # noqa: F401
    async with _uvicorn(server, handler) as (port, process):
        clients, workers = Clients(port, _CLIENTS), _children(process)
        await clients.open()
        try:
            names = [name for name in _PATHS if name not in _RIVALS or importable(_RIVALS[name]) is None]
            for name in names:
                await clients.ask(_walk(name), effort.of(1.5, 0.5))
            slice_s = effort.of(0.25, 0.1)
            contenders = {name: _timed(clients, workers, name, slice_s) for name in names}
            return await interleaved(contenders, effort.of(5, 3))
        finally:
            clients.close()


def _timed(clients: Clients, workers: list[int], name: str, slice_s: float) -> Callable[[], Awaitable[Sample]]:
    async def timed() -> Sample:
        per_s, alone_per_s, waits_s, failed, worked_s = [], [], [], 0, 0.0
        for _ in range(_SLICES):
            alone = await clients.ask(lambda: _paths(FLOOR), slice_s)
            before_s = _cpu_s(workers)
            own = await clients.ask(lambda: _paths(name), slice_s)
            worked_s += _cpu_s(workers) - before_s
            alone_per_s.append(alone.per_s)
            per_s.append(own.per_s)
            waits_s += own.waits_s
            failed += own.failed
        medians = (statistics.median(per_s), statistics.median(alone_per_s))
        return Sample(*medians, worked_s / len(waits_s), percentile(waits_s, 0.99), failed / len(waits_s))

    return timed


_seeds = itertools.count(_SEED)


def _paths(name: str) -> Iterator[str]:
    chance, path = random.Random(next(_seeds)), _PATHS[name]
    while True:
        yield f"/{path}/d{min(int(chance.paretovariate(0.8)), _KEYS)}"


def _walk(name: str) -> Callable[[], Iterator[str]]:
    """Every key again and again, each client from another one on: what fills the caches."""
    starts = itertools.count(0, max(1, _KEYS // _CLIENTS))

    def paths() -> Iterator[str]:
        return (f"/{_PATHS[name]}/d{number % _KEYS + 1}" for number in itertools.count(next(starts)))

    return paths


@asynccontextmanager
async def _uvicorn(server: Server, handler: str) -> AsyncIterator[tuple[int, int]]:
    """Two workers, for the length of a block; gives their port, and the process that started them."""
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-m", "uvicorn", f"{__name__}:serve", "--workers", str(_WORKERS),
        "--timeout-graceful-shutdown", "2",  # a request that a peer never answers must not keep the servers alive
        "--timeout-keep-alive", "600",  # longer than a busy machine leaves a client idle
        "--port", str(port), "--no-access-log", "--log-level", "error",
        cwd=_ROOT, env={**environ, _PORT: str(server.port), _HANDLER: handler},
    )  # fmt: skip
    try:
        await _until_it_answers(port)
        yield port, process.pid
    finally:
        process.terminate()
        await process.wait()


async def _until_it_answers(port: int) -> None:
    """Waits until the port is open, and a few connections more: so that every worker has opened its caches."""
    async with asyncio.timeout(_STARTED_S):
        while True:
            try:
                clients = Clients(port, _CLIENTS)
                await clients.open()
                await clients.ask(lambda: _paths(FLOOR), 0.2)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                clients.close()
                return


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _cpu_s(processes: list[int]) -> float:
    """Processor time of these processes so far."""
    ticks = 0
    for process in processes:
        user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return ticks / sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Looks:
    """The look-ups of one worker, by the first part of the path."""

    def __init__(self) -> None:
        self._rivals: list[Rival] = []
        self.by_path: dict[str, Look] = {_PATHS[FLOOR]: _nowhere}

    async def open(self) -> None:
        """Opens what is installed. An engine's own caches may only be opened on the loop that serves."""
        place = Place(_source, path="tcp", port=int(environ[_PORT]), entries=10_000)
        for name, where in _RIVALS.items():
            if importable(where) is not None:
                continue
            rival = made(where)
            await rival.open(place)
            self._rivals.append(rival)
            if name == "alacena":
                self.by_path |= {_PATHS[GET]: _get_or_set(rival), _PATHS[ASIDE]: rival.get_or_load}
            else:
                self.by_path[_PATHS[name]] = rival.get_or_load

    async def close(self) -> None:
        """Closes them."""
        for rival in self._rivals:
            await rival.close()


def _get_or_set(rival: Rival) -> Look:
    async def look(key: str) -> Any:
        value = await rival.get(key)
        if value is None:
            value = await _source(key)
            await rival.set(key, value)
        return value

    return look


async def _nowhere(_: str) -> Any:
    return _DOCUMENT


async def _source(_: str) -> Any:
    await asyncio.sleep(_SOURCE_S)
    return _DOCUMENT


def _fastapi(looks: _Looks) -> Any:
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await looks.open()
        yield
        await looks.close()

    service = FastAPI(lifespan=lifespan)

    async def answer(path: str, key: str) -> Any:
        return JSONResponse(await looks.by_path[path](key))

    service.add_api_route("/{path}/{key}", answer, response_model=None)
    return service


def _asgi(looks: _Looks) -> Any:
    async def service(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await looks.open()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await looks.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        _, path, key = scope["path"].split("/")
        body = json.dumps(await looks.by_path[path](key), separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return service


_SERVICES: dict[str, Callable[[_Looks], Any]] = {"fastapi": _fastapi, "asgi": _asgi}


def __getattr__(name: str) -> Any:
    """Gives a worker its application: only in a worker is there one."""
    if name != "serve":
        raise AttributeError(name)
    return _SERVICES[environ[_HANDLER]](_Looks())
