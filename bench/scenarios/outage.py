"""The server is refused, silent, slow or loading: how long does a read take, and does the source get every one?

Callers read through the cache from a source that takes a millisecond. The connection is healthy at first, except where
nobody listens at all; then the fault begins. A contender that raises leaves its user to ask the source: that is what
the errors are. A read that takes longer than the limit is given up and counted at it. Our own promise is to wait for the
cache 50 ms at most, kept to within 5 ms; the source and the turns of a busy loop come on top.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hiredis

from alacena.testing.proxy import FaultProxy
from proving.figures.statistics import percentile
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import REDIS, invited, settings_of
from proving.rivals.rival import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proving.rivals.rival import Rival
    from proving.stand.effort import Effort
    from proving.stand.server import Server

_NAMES = ("alacena", "redis-py", "cashews", "aiocache")
_NOTE = "valkey-glide is left out: it blocks the loop while it connects, and the loop is where the faults are made"
_SOURCE_S = 0.001
_LIMIT_S = 2.0
_OPENING_S = 10.0
_CALLERS = 10
_SLOW_S = 0.3
_COLUMNS = (
    Column("p50, ms", 1, "low"),
    Column("p99, ms", 1, "low"),
    Column("longest, ms", 1, "low"),
    Column("loads of the source", 0),
    Column("reads", 0),
    Column("errors", 0, "low"),
)


class Fate(NamedTuple):
    """How the reads of one contender went."""

    waits_s: list[float]
    loads: int
    errors: int

    @property
    def cells(self) -> tuple[float, ...]:
        """As a row."""
        p50, p99 = percentile(self.waits_s, 0.5), percentile(self.waits_s, 0.99)
        return (p50 * 1e3, p99 * 1e3, max(self.waits_s) * 1e3, self.loads, len(self.waits_s), self.errors)


class Loading(asyncio.Protocol):
    """A server that was just started: it greets and tells about itself, and answers everything else with LOADING."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self._transport.write(_ANSWERS.get(command[0].upper(), _LOADING))


_LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
_INFO = b"redis_version:7.2.4\r\nrole:master\r\nloading:1\r\n"
_ANSWERS = {
    b"HELLO": b"%3\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n+role\r\n+master\r\n",
    b"INFO": b"$%d\r\n%b\r\n" % (len(_INFO), _INFO),
    b"CLIENT": b"+OK\r\n",
    b"SELECT": b"+OK\r\n",
}


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody under each fault."""
    reads = effort.of(60, 20)
    field = invited(REDIS, _NAMES)
    logging.disable(logging.ERROR)
    tables, worst_ms = [], 0.0
    try:
        for title, fault in _FAULTS.items():
            fates = {name: await _fate(server, name, fault, reads) for name in field.present}
            worst_ms = max(worst_ms, percentile(fates["alacena"].waits_s, 0.99) * 1e3)
            rows = tuple(Row(name, fate.cells, "ours" if name == "alacena" else "peer") for name, fate in fates.items())
            tables.append(Table(title, _COLUMNS, rows, charted=1))
    finally:
        logging.disable(logging.NOTSET)
    notes = (settings_of(field.present), f"a read is given up after {_LIMIT_S:g} s", _NOTE, *field.note)
    tables[-1] = Table(tables[-1].title, _COLUMNS, tables[-1].rows, notes, charted=1)
    return Result(
        tuple(tables), (judged("outage: p99 of a read under the worst fault", worst_ms, bar=100, goal=65, unit=" ms"),)
    )


async def _fate(server: Server, name: str, fault: Fault, reads: int) -> Fate:
    loads = 0

    async def load(key: str) -> Any:
        nonlocal loads
        loads += 1
        await asyncio.sleep(_SOURCE_S)
        return {"key": key}

    server.flush()
    rival = invited(REDIS, (name,)).present[name]
    waits_s: list[float] = []
    errors = 0

    async def caller(number: int) -> None:
        nonlocal errors
        for turn in range(reads):
            began = time.perf_counter()
            try:
                await asyncio.wait_for(rival.get_or_load(f"k{number}.{turn % (reads // 2)}"), _LIMIT_S)
            except (Exception, asyncio.CancelledError):
                errors += 1
            waits_s.append(time.perf_counter() - began)
            if time.perf_counter() > end:
                return

    async with fault(server) as (path, begin):
        if not await _opened(rival, Place(load, path)):
            return Fate([_LIMIT_S], 0, 1)
        await begin()
        loads, end = 0, time.perf_counter() + _LIMIT_S
        await asyncio.gather(*(caller(number) for number in range(_CALLERS)))
        counted = loads
        await _closed(rival)
    return Fate(waits_s, counted, errors)


async def _opened(rival: Rival, place: Place) -> bool:
    """Open it; where it will not even do that without a server, there is nothing to measure."""
    try:
        await asyncio.wait_for(rival.open(place), _OPENING_S)
    except (Exception, asyncio.CancelledError):
        return False
    return True


async def _closed(rival: Rival) -> None:
    try:
        await asyncio.wait_for(rival.close(), _OPENING_S)
    except (Exception, asyncio.CancelledError):
        return


async def _nothing() -> None:
    """Nothing changes: the fault was there from the start."""


@asynccontextmanager
async def _refused(_: Server) -> AsyncIterator[tuple[str, Callable[[], Any]]]:
    with tempfile.TemporaryDirectory(prefix="outage-") as folder:
        yield str(Path(folder) / "nobody"), _nothing


@asynccontextmanager
async def _loading(_: Server) -> AsyncIterator[tuple[str, Callable[[], Any]]]:
    with tempfile.TemporaryDirectory(prefix="outage-") as folder:
        path = str(Path(folder) / "s")
        loading = await asyncio.get_running_loop().create_unix_server(Loading, path)
        yield path, _nothing
        loading.close()


@asynccontextmanager
async def _proxied(server: Server) -> AsyncIterator[tuple[str, FaultProxy]]:
    with tempfile.TemporaryDirectory(prefix="outage-") as folder:
        path = str(Path(folder) / "s")
        async with FaultProxy(server.path, listen=path) as proxy:
            yield path, proxy


@asynccontextmanager
async def _black_hole(server: Server) -> AsyncIterator[tuple[str, Callable[[], Any]]]:
    async with _proxied(server) as (path, proxy):

        async def begin() -> None:
            proxy.down.lost = proxy.up.lost = True

        yield path, begin


@asynccontextmanager
async def _slow(server: Server) -> AsyncIterator[tuple[str, Callable[[], Any]]]:
    async with _proxied(server) as (path, proxy):

        async def begin() -> None:
            proxy.down.latency_s = _SLOW_S

        yield path, begin


Fault = Any
_FAULTS: dict[str, Fault] = {
    "Nobody listens": _refused,
    "A black hole": _black_hole,
    f"A server that takes {_SLOW_S * 1e3:.0f} ms": _slow,
    "A server that is loading": _loading,
}
