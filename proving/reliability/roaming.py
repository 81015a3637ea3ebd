"""A process that reads and writes at random, and logs what it saw."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from alacena.engine import Cache, Settings
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.keys import document_tag
from proving.reliability.journal import Journal, now
from proving.reliability.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine.loading.load import LoadContext
    from proving.stand.workers import Talk

TYPES = ("document", "answer")
"""Data types; a key's number says which is its own."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of a trial do.

    Attributes:
        seed: Names what each client draws.
        seconds: For how long.
        clients: Tasks in each process.
        tenants: Over how many tenants the keys are spread.
        write_ratio: Share of the operations that change the source and invalidate.
        wide_ratio: Share of these that invalidate a tag, a type or a tenant.
        strict_ratio: Share of the reads that skip memory, whose bound is zero.
        pause_s: Mean pause of a client between two operations.
        load_s: The source takes up to this long.
        settings: More settings of the cache.
        clock_s: What the process's own clocks are off by.
        drift_ratio: By how much its clock runs too fast; below 0: too slowly.
        timed: Whether every read is reported with its time.
        blob_bytes: How much ballast values carry.
    """

    seed: int
    seconds: float
    clients: int = 4
    tenants: int = 3
    write_ratio: float = 0.05
    wide_ratio: float = 0.2
    strict_ratio: float = 0.1
    pause_s: float = 0.004
    load_s: float = 0.01
    settings: dict[str, Any] = {}
    clock_s: float = 0.0
    drift_ratio: float = 0.0
    timed: bool = False
    blob_bytes: int = 0


class Wrong(SystemEnvironment):
    """The machine's clocks, set wrong."""

    def __init__(self, clock_s: float, drift_ratio: float) -> None:
        super().__init__()
        right, wall = self.now, self.wall
        origin = right()
        self.now = lambda: origin + clock_s + (right() - origin) * (1 + drift_ratio)
        self.wall = lambda: wall() + clock_s


@dataclass(slots=True)
class Tally:
    """What went wrong, which should be nothing.

    Attributes:
        operations: How many were done.
        wrong: Answers that belonged to another key or tenant.
        surfaced: Exceptions that came out of a cache verb.
        slowest_s: The longest that a read took beyond the source's own time.
        reads: When each read was called, how long it took, and whether it asked the source; only where timed.
    """

    operations: int
    wrong: int
    surfaced: list[str]
    slowest_s: float = 0.0
    reads: list[tuple[float, float, bool]] = field(default_factory=list)


class Client:
    """One task's view of the cache: what it does and logs."""

    def __init__(self, cache: Cache, truth: Truth, journal: Journal, plan: Plan, chance: random.Random) -> None:
        self.tally = Tally(0, 0, [])
        self._cache = cache
        self._truth = truth
        self._journal = journal
        self._plan = plan
        self._chance = chance
        self._asked_s = 0.0

    async def roam(self, until: float) -> None:
        """Operate until the time has come. Nothing that a cache verb raises is let out: it is counted."""
        while now() < until:
            writes = self._chance.random() < self._plan.write_ratio
            step = self._write if writes else self._read
            try:
                await step(self._chance.randrange(len(self._truth)))
            except Exception as error:
                self.tally.surfaced.append(f"{step.__name__}: {error!r}")
            self.tally.operations += 1
            await asyncio.sleep(self._plan.pause_s * 2 * self._chance.random())

    # Reads

    async def _read(self, key: int) -> None:
        strict = self._chance.random() < self._plan.strict_ratio
        called_at, self._asked_s = now(), 0.0
        value = await self._read_somehow(key, use_memory=not strict)
        took_s = now() - called_at
        self.tally.slowest_s = max(self.tally.slowest_s, took_s - self._asked_s)
        if self._plan.timed:
            self.tally.reads.append((called_at, took_s, self._asked_s > 0))
        if value is not None:
            self._take(key, value, called_at, 0.0 if strict else None)

    async def _read_somehow(self, key: int, *, use_memory: bool) -> Any:
        where = (kind(key), name(key), self._tenant(key))
        match self._chance.randrange(8):
            case 0:
                return await self._cache.get(*where, use_memory=use_memory)
            case 1:
                ids, tags = [name(key)], [document_tag(name(key))]
                found = await self._cache.load_many(
                    kind(key), ids, self._tenant(key), self._load_many, tags=tags, use_memory=use_memory
                )
                return found[name(key)]
            case _:
                return await self._cache.load(*where, self._loader(key), document_ids=early(key), use_memory=use_memory)

    def _take(self, key: int, value: Any, called_at: float, bound_s: float | None) -> None:
        if value["key"] != key or value["tenant"] != self._tenant(key):
            self.tally.wrong += 1
        else:
            self._journal.read(key, value["version"], called_at, bound_s)

    def _loader(self, key: int) -> Callable[[LoadContext], Awaitable[Any]]:
        async def load(context: LoadContext) -> Any:
            value = await self._ask(key)
            if not early(key):
                context.depends_on(name(key))
            return value

        return load

    async def _load_many(self, ids: list[str]) -> dict[str, Any]:
        return {one: await self._ask(int(one[1:])) for one in ids}

    async def _ask(self, key: int) -> dict[str, Any]:
        began = now()
        version = self._truth.load(key)
        await asyncio.sleep(self._plan.load_s * self._chance.random())
        self._asked_s += now() - began
        return {"key": key, "tenant": self._tenant(key), "version": version, "ballast": self._ballast(key)}

    def _ballast(self, key: int) -> bytes:
        return random.Random(key).randbytes(self._plan.blob_bytes)

    # Writes

    async def _write(self, key: int) -> None:
        if self._chance.random() < self._plan.wide_ratio:
            await self._write_wide(key)
            return
        match self._chance.randrange(3):
            case 0:
                await self._held(key)
            case 1:
                version = self._truth.commit(key)
                called_at = now()
                if await self._cache.invalidate(self._tenant(key), kind(key), name(key)):
                    self._journal.invalidated([(key, version)], called_at)
            case _:
                version = self._truth.commit(key)
                called_at = now()
                if await self._cache.delete(kind(key), name(key), self._tenant(key)):
                    self._journal.invalidated([(key, version)], called_at)

    async def _held(self, key: int) -> None:
        failures = self._cache.stats()["backend_failures"]
        called_at = now()
        async with self._cache.write(self._tenant(key), (kind(key), name(key))):
            await asyncio.sleep(self._plan.load_s * self._chance.random())
            version = self._truth.commit(key)
        if self._cache.stats()["backend_failures"] == failures:
            self._journal.invalidated([(key, version)], called_at)

    async def _write_wide(self, key: int) -> None:
        """Everything that the scope covers was committed before the call, whoever did it."""
        self._truth.commit(key)
        options: dict[str, Any]
        match self._chance.randrange(3):
            case 0:
                covered, options = [key], {"document_ids": [name(key)]}
            case 1:
                covered = [one for one in self._all_of(key) if kind(one) == kind(key)]
                options = {"data_type": kind(key)}
            case _:
                covered, options = self._all_of(key), {}
        versions = [(one, self._truth.version(one)) for one in covered]
        called_at = now()
        if await self._cache.invalidate(self._tenant(key), **options):
            self._journal.invalidated(versions, called_at)

    def _all_of(self, key: int) -> list[int]:
        return [one for one in range(len(self._truth)) if self._tenant(one) == self._tenant(key)]

    def _tenant(self, key: int) -> str:
        return f"t{key % self._plan.tenants}"


class Watch:
    """Notes when the cache had full service and when not, by its own word."""

    def __init__(self, cache: Cache) -> None:
        self.changes: list[tuple[float, bool]] = []
        self._cache = cache

    async def keep(self, until: float) -> None:
        """Look again and again until the time has come."""
        while now() < until:
            promised = self._cache.guarantee()
            full = bool(promised["connected"] and promised["memory"])
            if not self.changes or self.changes[-1][1] != full:
                self.changes.append((now(), full))
            await asyncio.sleep(0.02)


def kind(key: int) -> str:
    """The data type of a key."""
    return TYPES[key % len(TYPES)]


def name(key: int) -> str:
    """Its resource id, and the id of the document that it is made from."""
    return f"d{key}"


def early(key: int) -> list[str]:
    """The documents that are known before the load, for one half of the keys; the other half names them late."""
    return [name(key)] if key % 4 < 2 else []


async def roam(talk: Talk, *, actor: str, url: str, truth: str, journal: str, plan: dict[str, Any]) -> None:
    """Open a cache, wait for the word, let the clients roam, and say what they saw."""
    what = msgspec.convert(plan, Plan)
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context)))
    settings = Settings(redis_url=url, ttl_jitter_ratio=0.0, **what.settings)
    environment = Wrong(what.clock_s, what.drift_ratio)
    with Truth(truth) as source, Journal(journal, actor) as log:
        async with Cache(settings, environment=environment) as cache:
            clients = [
                Client(cache, source, log, what, random.Random(f"{what.seed}/{actor}/{n}")) for n in range(what.clients)
            ]
            talk.say("ready")
            await talk.hear()
            until = now() + what.seconds
            watch = Watch(cache)
            async with asyncio.TaskGroup() as group:
                group.create_task(watch.keep(until))
                for client in clients:
                    group.create_task(client.roam(until))
            stats = cache.stats()
        tallies = [client.tally for client in clients]
        talk.say(
            {
                "actor": actor,
                "operations": sum(tally.operations for tally in tallies),
                "wrong": sum(tally.wrong for tally in tallies),
                "surfaced": [error for tally in tallies for error in tally.surfaced][:20],
                "slowest_s": max(tally.slowest_s for tally in tallies),
                "complaints": complaints[:20],
                "leaked": await leaked(),
                "service": watch.changes,
                "reads": [read for tally in tallies for read in tally.reads],
                "stats": {key: value for key, value in stats.items() if isinstance(value, int)},
                "memory_hits": sum(counts.hits for counts in stats["memory"].values()),
            }
        )


async def leaked() -> list[str]:
    """Tasks that the cache left behind."""
    for _ in range(5):
        await asyncio.sleep(0)
    with suppress(RuntimeError):
        return [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]
    return []
