"""The lines ``Cost:`` of docstrings, counted: how often a verb waits for the server, between client and server."""

from __future__ import annotations

import asyncio
import inspect
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from alacena import (
    Cache,
    CacheManager,
    Settings,
    Tenant,
    acquire_job_lock,
    cached,
    get_embeddings_batch_with_cache,
    get_with_cache_aside,
    invalidate_coordinated,
    invalidate_document_update,
    override,
    release_job_lock,
    track_token_usage,
)
from alacena.coordination.budgets import Budget, Reservation
from alacena.coordination.counters import Counters
from alacena.coordination.flags import Flags
from alacena.coordination.item import Item
from alacena.coordination.limits import Limits
from alacena.coordination.lists import Lists
from alacena.coordination.locks import Locks
from alacena.coordination.queue import Queue
from alacena.coordination.queues import Queues
from alacena.coordination.sets import Sets
from alacena.engine.writing.source_reading import Reading
from alacena.ledger.ledger import Ledger
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from proving.servers.redis_server import RedisServer

T = "acme"
MANY = [f"m{number}" for number in range(500)]


class Relay:
    """Stands between a cache and the server, and counts how often the cache spoke after the server had answered."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._running: set[asyncio.Task[None]] = set()
        self.turns = 0

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        """Returns a block in which it listens, and the URL at which it does."""
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        try:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        finally:
            server.close()
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond, towards = await asyncio.open_unix_connection(self._path)
        is_answered = True

        async def up() -> None:
            nonlocal is_answered
            while data := await reader.read(1 << 20):
                self.turns += is_answered
                is_answered = False
                towards.write(data)
            towards.close()

        async def down() -> None:
            nonlocal is_answered
            with suppress(ConnectionError):
                while data := await beyond.read(1 << 20):
                    is_answered = True
                    writer.write(data)
            writer.close()

        for pump in (up(), down()):
            task = asyncio.create_task(pump)
            self._running.add(task)
            task.add_done_callback(self._running.discard)


@dataclass(frozen=True)
class Case:
    """A verb, its words about the cost, and what it does.

    Attributes:
        of: The verb, or several that say the same.
        says: What its line ``Cost:`` says, for this case.
        turns: Round trips until it returns.
        do: Calls it, on a cache and under a name of its own.
        behind: Round trips after it has returned.
    """

    of: Any
    says: str
    turns: int
    do: Callable[[Cache, str], Awaitable[Any]]
    behind: int = 0


async def load(_: object = None) -> dict[str, str]:
    return {"text": "loaded"}


async def load_each(ids: Any, *_: object) -> dict[str, int]:
    return dict.fromkeys(ids, 1)


async def embed(texts: list[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


@cached("document")
async def decorated(name: str, tenant_id: str) -> str:
    return f"{name} of {tenant_id}"


async def claim(cache: Cache, name: str) -> None:
    async with cache.claim("document", name, T) as found:
        assert await found.store(1)


async def write(cache: Cache, name: str) -> None:
    async with cache.write(T, ("document", name)):
        pass


async def read_and_set(cache: Cache, name: str) -> None:
    async with cache.reading(T, document_ids=["known"], data_types=["document"]) as reading:
        assert await reading.set("document", name, 1, document_ids=["known"])


async def take_a_lock(cache: Cache, name: str) -> None:
    async with cache.locks.acquire(name, tenant_id=T):
        pass


async def hold_a_job(cache: Cache, name: str) -> None:
    assert await acquire_job_lock(name, T)
    assert await release_job_lock(name, T)


async def work(cache: Cache, name: str) -> None:
    queue = cache.queues(name, tenant_id=T)
    await queue.push(1)
    (item,) = await queue.reserve()
    await item.extend(60)
    await item.ack()


async def spend(cache: Cache, name: str) -> None:
    async with await cache.budgets(name, limit=10, tenant_id=T).reserve(5) as reservation:
        await reservation.commit(2)


ONE = "1 round trip"
MORE = "one more"
LOADS = "0 round trips from memory, 1 from Redis, 2 and the source on a miss"
ASIDE = "0 round trips on a memory hit, 1 on a Redis hit, 2 and the source on a miss"
CASES = {
    "get, memory": Case(
        (Cache.get, Tenant.get), "0 round trips if memory has it", 0, lambda c, n: c.get("document", "met", T)
    ),
    "get, Redis": Case(Cache.get, "else 1", 1, lambda c, n: c.get("document", "met", T, use_memory=False)),
    "get, nothing": Case(Cache.get, "else 1", 1, lambda c, n: c.get("document", n, T)),
    "get of the facade": Case(CacheManager.get, "otherwise 1", 1, lambda c, n: CacheManager.get("document", n, T)),
    "lookup": Case(Cache.lookup, "as for :meth:`get`", 1, lambda c, n: c.lookup("document", n, T)),
    "load, memory": Case((Cache.load, Tenant.load), LOADS, 0, lambda c, n: c.load("document", "met", T, load)),
    "load, Redis": Case(Cache.load, LOADS, 1, lambda c, n: c.load("document", "far", T, load)),
    "load, miss": Case(Cache.load, LOADS, 2, lambda c, n: c.load("document", n, T, load), behind=1),
    "aside, memory": Case(
        get_with_cache_aside, ASIDE, 0, lambda c, n: get_with_cache_aside("document", "met", T, load)
    ),
    "aside, Redis": Case(get_with_cache_aside, ASIDE, 1, lambda c, n: get_with_cache_aside("document", "far", T, load)),
    "aside, miss": Case(get_with_cache_aside, ASIDE, 2, lambda c, n: get_with_cache_aside("document", n, T, load), 1),
    "decorated": Case(type(decorated).__call__, "as `Cache.load`", 2, lambda c, n: decorated(n, T), behind=1),
    "refresh": Case(
        (Cache.refresh, Tenant.refresh), f"{ONE} and the source", 1, lambda c, n: c.refresh("document", n, T, load), 1
    ),
    "get_many": Case(
        (Cache.get_many, Tenant.get_many),
        "at most 1 round trip a node",
        1,
        lambda c, n: c.get_many("document", MANY, T),
    ),
    "peek_many": Case(Cache.peek_many, "at most 1 round trip a node", 1, lambda c, n: c.peek_many("document", MANY, T)),
    "load_many": Case(
        (Cache.load_many, Tenant.load_many),
        f"{ONE} a node for each 1,000 ids; one more for each 1,000 misses, and one loader call",
        2,
        lambda c, n: c.load_many("document", [n, "far"], T, load_each),
        1,
    ),
    "set": Case((Cache.set, Tenant.set, CacheManager.set), ONE, 1, lambda c, n: c.set("document", n, 1, T)),
    "set, new type": Case(
        (Cache.set, Tenant.set, CacheManager.set), f"{MORE} for a type", 2, lambda c, n: c.set(f"t-{n}", n, 1, T)
    ),
    "set, new scope": Case(
        Cache.set, f"{MORE} for a type, scope", 2, lambda c, n: c.set("document", n, 1, T, agent_id=n)
    ),
    "set, new document": Case(Cache.set, "or tag", 2, lambda c, n: c.set("document", n, 1, T, document_ids=[n])),
    "set of the facade": Case(
        CacheManager.set, ", document or tag", 2, lambda c, n: CacheManager.set("document", n, {"document_id": n}, T)
    ),
    "set_many": Case(
        (Cache.set_many, Tenant.set_many, CacheManager.set_many),
        "for each 400 entries",
        2,
        lambda c, n: c.set_many("document", dict.fromkeys(MANY, 1), T),
    ),
    "set_many, new type": Case(
        (Cache.set_many, CacheManager.set_many), MORE, 2, lambda c, n: c.set_many(f"t-{n}", {n: 1}, T)
    ),
    "delete": Case(
        (Cache.delete, Tenant.delete, CacheManager.delete), ONE, 1, lambda c, n: c.delete("document", "met", T)
    ),
    "invalidate one": Case(
        (Cache.invalidate, Tenant.invalidate), f"{ONE} a node", 1, lambda c, n: c.invalidate(T, "document", "met")
    ),
    "invalidate all": Case(
        CacheManager.invalidate, f"{ONE}, for any number", 1, lambda c, n: CacheManager.invalidate(T)
    ),
    "invalidate_known": Case(
        (Cache.invalidate_known, Tenant.invalidate_known),
        f"{ONE} a node",
        1,
        lambda c, n: c.invalidate_known(T, document_ids=[n]),
    ),
    "update of a document": Case(invalidate_document_update, ONE, 1, lambda c, n: invalidate_document_update(T, n)),
    "coordinated": Case(invalidate_coordinated, ONE, 1, lambda c, n: invalidate_coordinated(T, "document", n)),
    "end of a result": Case(type(decorated).invalidate, ONE, 1, lambda c, n: decorated.invalidate(n, tenant_id=T)),
    "ttl": Case((Cache.ttl, Tenant.ttl), ONE, 1, lambda c, n: c.ttl("document", "met", T)),
    "explain": Case(Cache.explain, ONE, 1, lambda c, n: c.explain("document", "met", T)),
    "explain, documents": Case(
        Cache.explain,
        "2 for an entry that depends on tags or documents",
        2,
        lambda c, n: c.explain("document", "made", T),
    ),
    "claim, stored": Case(Cache.claim, "2 on a miss", 2 + 1, claim),
    "write": Case((Cache.write, Tenant.write), "1 round trip before the block and 2 after it", 1 + 2, write),
    "reading": Case((Cache.reading, Reading.set), ONE, 1 + 1, read_and_set),
    "lock": Case(Locks.acquire, "1 round trip to acquire if it is free, 1 to release", 2, take_a_lock),
    "job lock": Case((acquire_job_lock, release_job_lock), ONE, 2, hold_a_job),
    "queue": Case((Queue.reserve, Queue.extend, Queue.ack, Item.nack), ONE, 3 + 3, work),
    "push, empty": Case(
        Queue.push,
        "1 more if the queue was empty, and 1 more each quarter",
        3,
        lambda c, n: c.queues(n, tenant_id=T).push(1),
    ),
    "names of queues": Case(Queues.find_keys, ONE, 1, lambda c, n: c.queues.find_keys()),
    "counter": Case(Counters.increment, ONE, 1, lambda c, n: c.counters.increment(n, tenant_id=T)),
    "window": Case(
        Limits.sliding_window, ONE, 1, lambda c, n: c.limits.sliding_window(n, limit=2, window_s=60, tenant_id=T)
    ),
    "bucket": Case(
        Limits.token_bucket, ONE, 1, lambda c, n: c.limits.token_bucket(n, rate_per_s=1, burst=2, tenant_id=T)
    ),
    "budget": Case((Budget.reserve, Reservation.commit), ONE, 2, spend),
    "rpush": Case(Lists.rpush, ONE, 1, lambda c, n: c.lists.rpush(n, 1, tenant_id=T)),
    "lrange": Case(Lists.lrange, ONE, 1, lambda c, n: c.lists.lrange(n, tenant_id=T)),
    "lpop": Case(Lists.lpop, ONE, 1, lambda c, n: c.lists.lpop(n, tenant_id=T)),
    "sets": Case(Sets.add, ONE, 1, lambda c, n: c.sets.add(n, 1, tenant_id=T)),
    "flag": Case(Flags.set_nx, ONE, 1, lambda c, n: c.flags.set_nx(n, 1, tenant_id=T)),
    "use of tokens": Case(Ledger.record, ONE, 1, lambda c, n: c.ledger.record(T, 5, model="m", idempotency_key=n)),
    "use, facade": Case(track_token_usage, ONE, 1, lambda c, n: track_token_usage(T, 5, "m", idempotency_key=n)),
    "totals": Case(Ledger.totals, ONE, 1, lambda c, n: c.ledger.totals(T)),
    "embeddings, new": Case(
        get_embeddings_batch_with_cache,
        "2 more and the provider for the rest",
        3,
        lambda c, n: get_embeddings_batch_with_cache([n], T, "m", embed),
        1,
    ),
}


def cost_of(verb: Any) -> str:
    """Returns what the docstring of a verb says of its cost, in one line."""
    text = " ".join((inspect.getdoc(verb) or "").split())
    found = re.search(r"Cost: (.*?)(?= (?:Atomicity|Cancellation|If Redis fails|Args|Returns|Raises):|$)", text)
    assert found, f"{verb.__qualname__} says nothing of its cost"
    return found[1]


@pytest.mark.parametrize("name", CASES)
def test_the_docstring_says_what_is_counted_here(name: str) -> None:
    case = CASES[name]
    for verb in case.of if isinstance(case.of, tuple) else (case.of,):
        assert case.says.lower() in cost_of(verb).lower()


@pytest.mark.parametrize("name", CASES)
async def test_a_verb_costs_what_its_docstring_says(name: str, valkey_server: RedisServer) -> None:
    case = CASES[name]
    relay = Relay(str(valkey_server.socket_path))
    # Heartbeats and reports of the process are conversations too: none falls into the count.
    quiet = {"ttl_jitter_ratio": 0.0, "redis_budget_s": 30.0, "staleness_bound_s": 3_600.0, "fleet_every_s": None}
    async with (
        relay.listen() as url,
        Cache(Settings(redis_url=url, **quiet)) as cache,
        Cache(Settings(redis_url=valkey_server.url, **quiet)) as other,
    ):
        with override(other):  # what the server learns at the first use, it knows then
            await case.do(other, "warm")
        await cache.set("document", "met", 1, T)
        await cache.set("document", "made", 1, T, document_ids=["known"])
        await other.set("document", "far", 1, T)
        before = relay.turns
        with override(cache):
            await case.do(cache, "it")
        assert relay.turns - before == case.turns
        await until(lambda: relay.turns - before == case.turns + case.behind)
