"""A thousand embeddings of 1,536 float32 in one call: all cached, none, half. What do they cost beside a bare MGET?

Every contender does what its users would: one call for what is cached, the provider for the rest, one call to store
that; keys are SHA-256 digests of the texts, and arrays are what comes out. The provider answers at once. Ours starts
each round with an empty memory, so that the server answers, over TCP; memory is a row of its own.

The bar: 20 times as fast as aiocache and cashews, whichever of their serializers is taken. The goal: at most 1.5 times
the bare MGET. A list of numbers, as JSON or MessagePack, is decoded number by number; a pickled array is one buffer, as
ours is. Where aiocache reads pickled arrays in less than 20 times what the bare MGET takes, nobody can meet that bar:
its rows are there to be seen.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from alacena import CacheManager, configure, get_embeddings_batch_with_cache
from alacena.common import runtime
from proving.figures.statistics import Spread, ratio, spread
from proving.figures.tables import Bar, Column, Result, Row, Table, judged, unjudged
from proving.rivals.bare import Bare
from proving.rivals.rival import Place
from proving.stand.relay import Relay
from proving.stand.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proving.rivals.rival import BatchRunner
    from proving.stand.effort import Effort
    from proving.stand.server import Server

_TEXTS = 1_000
_DIMENSIONS = 1_536
_MODEL = "model"
_FILLS_S = 3.0
_FLOOR = "bare MGET + frombuffer"
_OURS = "alacena"
_MEMORY = "alacena, from memory"
_LISTS = ("aiocache, lists as JSON", "cashews, lists as JSON", "aiocache, lists as msgpack")
_PEERS = ("cashews, pickled arrays", "aiocache, pickled arrays")
_COLUMNS = (
    Column("of bare (time)", 2, "low"),
    Column("ms", 1, "low"),
    Column("round trips", 0, "low"),
    Column("MB sent", 2, "low"),
    Column("MB received", 2, "low"),
    Column("made again", 0, "low"),
)


class Flow(Protocol):
    """One way of getting embeddings for texts."""

    async def open(self, place: Place) -> None:
        """Connect."""

    async def prepare(self, cached: Sequence[str]) -> None:
        """The server is empty: cache some of the texts."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Any]:
        """What is timed."""
        ...

    async def close(self) -> None:
        """Disconnect."""


class Provider:
    """Makes embeddings without a delay.

    Attributes:
        made: How many, so far.
    """

    def __init__(self) -> None:
        import numpy as np

        self.made = 0
        self._rows = np.random.default_rng(5).standard_normal((_TEXTS, _DIMENSIONS), dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> list[Any]:
        """One embedding a text."""
        self.made += len(texts)
        return [self._rows[int(text.rpartition(" ")[2])] for text in texts]


def _key(text: str) -> str:
    return f"{_MODEL}:{hashlib.sha256(text.encode()).hexdigest()}"


class Ours:
    """`get_embeddings_batch_with_cache`."""

    def __init__(self, provider: Provider, *, warm: bool) -> None:
        self._provider = provider
        self.warm = warm

    async def open(self, place: Place) -> None:
        self._url = place.url

    async def prepare(self, cached: Sequence[str]) -> None:
        await CacheManager.close()
        configure(redis_url=self._url)
        await CacheManager.initialize()
        if cached:
            await self.embed(cached)
            await _filled(len(cached))
        if not self.warm:
            await CacheManager.close()
            await CacheManager.initialize()
        await CacheManager.get("embedding", "nobody", "acme")

    async def embed(self, texts: Sequence[str]) -> Sequence[Any]:
        found, _ = await get_embeddings_batch_with_cache(texts, "acme", _MODEL, self._provider.embed, as_arrays=True)
        return found

    async def close(self) -> None:
        await CacheManager.close()


async def _filled(count: int) -> None:
    """Wait until so many fills have been accepted or refused since the cache was opened, a few seconds at most."""
    cache = await runtime.opened()
    deadline = time.perf_counter() + _FILLS_S
    while time.perf_counter() < deadline:
        stats = cache.stats()
        if stats["fills"] + sum(stats["refused_fills"].values()) >= count:
            return
        await asyncio.sleep(0.002)


class Raw:
    """The bare protocol: MGET, `frombuffer`, SETs in one write."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._rival = Bare()

    async def open(self, place: Place) -> None:
        await self._rival.open(place)

    async def prepare(self, cached: Sequence[str]) -> None:
        await self._store(cached)

    async def _store(self, texts: Sequence[str]) -> list[Any]:
        made = self._provider.embed(texts)
        call = self._rival.protocol.call
        await asyncio.gather(
            *(call("SET", _key(text), one.tobytes(), "EX", 3600) for text, one in zip(texts, made, strict=True))
        )
        return made

    async def embed(self, texts: Sequence[str]) -> Sequence[Any]:
        import numpy as np

        found = await self._rival.protocol.call("MGET", *map(_key, texts))
        missing = [text for text, data in zip(texts, found, strict=True) if data is None]
        made = iter(await self._store(missing) if missing else ())
        return [next(made) if data is None else np.frombuffer(data, dtype=np.float32) for data in found]

    async def close(self) -> None:
        await self._rival.close()


class Peer:
    """A contender's `get_many`, the provider, its `set_many`."""

    def __init__(self, provider: Provider, rival: BatchRunner, *, lists: bool = False) -> None:
        self._provider = provider
        self._rival = rival
        self._lists = lists

    async def open(self, place: Place) -> None:
        await self._rival.open(place)

    async def prepare(self, cached: Sequence[str]) -> None:
        await self._store(cached)

    async def _store(self, texts: Sequence[str]) -> list[Any]:
        made = self._provider.embed(texts)
        stored = [one.tolist() for one in made] if self._lists else made
        if texts:
            await self._rival.set_many({_key(text): one for text, one in zip(texts, stored, strict=True)})
        return made

    async def embed(self, texts: Sequence[str]) -> Sequence[Any]:
        import numpy as np

        found = await self._rival.get_many([_key(text) for text in texts])
        missing = [text for text, one in zip(texts, found, strict=True) if one is None]
        made = iter(await self._store(missing) if missing else ())
        if self._lists:
            found = [None if one is None else np.array(one, dtype=np.float32) for one in found]
        return [next(made) if one is None else one for one in found]

    async def close(self) -> None:
        await self._rival.close()


class Sample(NamedTuple):
    """One round of one contender."""

    took_s: float
    made_again: int


class Trips(NamedTuple):
    """What went over the wire."""

    round_trips: int
    sent_mb: float
    received_mb: float


async def _no_source(_: str) -> None:
    return None


async def measure(server: Server, effort: Effort) -> Result:
    """Ask with all, none and half of the texts cached."""
    texts = [f"a chunk of a document, number {number}" for number in range(_TEXTS)]
    provider = Provider()
    flows, absent = _flows(provider)
    tables, bars = [], []
    for title, cached in (("all cached", _TEXTS), ("none cached", 0), ("half cached", _TEXTS // 2)):
        split = (texts[:cached], texts[cached:])
        there = {name: flow for name, flow in flows.items() if name != _MEMORY or cached == _TEXTS}
        if cached != _TEXTS or effort.quick:
            there = {name: flow for name, flow in there.items() if name not in _LISTS}
        trips = {name: await _counted(server, flow, split) for name, flow in there.items()}
        for flow in there.values():
            await flow.open(Place(_no_source, server.path, port=server.port))
        found = await interleaved(
            {name: _timed(server, flow, provider, split) for name, flow in there.items()}, effort.rounds
        )
        for flow in there.values():
            await flow.close()
        tables.append(_table(f"{_TEXTS:,} embeddings of {_DIMENSIONS:,} float32, {title}", found, trips, absent))
        bars += _bars(title, found, () if effort.quick or cached != _TEXTS else _LISTS)
    return Result(tuple(tables), tuple(bars))


def _flows(provider: Provider) -> tuple[dict[str, Flow], tuple[str, ...]]:
    flows: dict[str, Flow] = {
        _FLOOR: Raw(provider),
        _OURS: Ours(provider, warm=False),
        _MEMORY: Ours(provider, warm=True),
    }
    absent = []
    try:
        from proving.rivals import cashews

        flows["cashews, pickled arrays"] = Peer(provider, cashews.OnRedis())
        flows["cashews, lists as JSON"] = Peer(provider, cashews.Jsoned(), lists=True)
    except ModuleNotFoundError as error:
        absent.append(f"absent, not installed: {error.name}")
    try:
        from proving.rivals import aiocache

        flows["aiocache, pickled arrays"] = Peer(provider, aiocache.Pickled())
        flows["aiocache, lists as JSON"] = Peer(provider, aiocache.Jsoned(), lists=True)
        flows["aiocache, lists as msgpack"] = Peer(provider, aiocache.OnRedis(), lists=True)
    except ModuleNotFoundError as error:
        absent.append(f"absent, not installed: {error.name}")
    return flows, tuple(absent)


def _timed(
    server: Server, flow: Flow, provider: Provider, split: tuple[list[str], list[str]]
) -> Callable[[], Awaitable[Sample]]:
    async def timed() -> Sample:
        server.flush()
        await flow.prepare(split[0])
        texts = [*split[0], *split[1]]
        before = provider.made
        began = time.perf_counter()
        found = await flow.embed(texts)
        took_s = time.perf_counter() - began
        assert len(found) == _TEXTS
        assert all(one is not None and one.shape == (_DIMENSIONS,) for one in found)
        return Sample(took_s, provider.made - before - len(split[1]))

    return timed


async def _counted(server: Server, flow: Flow, split: tuple[list[str], list[str]]) -> Trips:
    with Relay(server.path) as relay:
        await flow.open(Place(_no_source, relay.path))
        server.flush()
        await flow.prepare(split[0])
        relay.reset()
        await flow.embed([*split[0], *split[1]])
        if isinstance(flow, Ours):
            await _filled(len(split[1]) + (len(split[0]) if flow.warm else 0))
        trips = Trips(relay.round_trips, relay.sent_bytes / 1e6, relay.received_bytes / 1e6)
        await flow.close()
    return trips


def _table(title: str, found: dict[str, list[Sample]], trips: dict[str, Trips], absent: tuple[str, ...]) -> Table:
    rows = []
    for name, samples in found.items():
        took = spread([sample.took_s for sample in samples]).times(1e3)
        again = spread([sample.made_again for sample in samples])
        cells = (_of(found, name, _FLOOR), took, *trips[name], again)
        rows.append(Row(name, cells, "ours" if name.startswith(_OURS) else "floor" if name == _FLOOR else "peer"))
    return Table(title, _COLUMNS, tuple(rows), absent, charted=0)


def _of(found: dict[str, list[Sample]], above: str, below: str) -> Spread:
    return ratio([sample.took_s for sample in found[above]], [sample.took_s for sample in found[below]])


def _bars(title: str, found: dict[str, list[Sample]], lists: tuple[str, ...]) -> list[Bar]:
    again = max(sample.made_again for sample in found[_OURS])
    bars = [
        judged(f"1,000 embeddings, {title}: time, of a bare MGET", _of(found, _OURS, _FLOOR).median, goal=1.5),
        judged(f"1,000 embeddings, {title}: made again though they were stored", again, bar=0),
    ]
    for peer in (*lists, *_PEERS):
        question = f"1,000 embeddings, {title}: faster than {peer}"
        if peer in found:
            bars.append(judged(question, _of(found, peer, _OURS).median, bar=20, higher=True, unit="×"))
        else:
            bars.append(unjudged(question, "≥ 20×", "–", "not installed"))
    return bars
