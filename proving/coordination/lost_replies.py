"""Every verb that changes something, its reply held past every timeout: applied how often, and what is said of it?"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import BackendError, OutcomeUnknownError
from alacena.engine.remote.backend import Script
from alacena.engine.remote.local.twins import TWINS
from alacena.testing.proxy import FaultProxy
from proving.coordination.crew import until
from proving.coordination.peers import ABSENT, installed
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.figures.tables import Cell
    from proving.stand.effort import Effort

    Step = Callable[[Cache], Awaitable[Any]]

TIMEOUT_S = 0.15
TENANT = "acme"
T: dict[str, Any] = {"tenant_id": TENANT}


async def _nothing(_: Cache) -> None:
    """Nothing to set up."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Attributes:
        name: As it is shown.
        call: The verb, given what ``before`` gave.
        applied: How often it was applied, seen by another client.
        before: What must be there first, made by the caller's cache.
        again: Whether the caller may call it again, because an id or a token names the call.
    """

    name: str
    call: Callable[[Cache, Any], Awaitable[Any]]
    applied: Step
    before: Step = _nothing
    again: bool = True


async def _item(cache: Cache) -> Any:
    queue = _queue(cache)
    await queue.push_many(range(3))
    return (await queue.reserve(1, visibility_s=60, token="t"))[0]


async def _dead(cache: Cache) -> None:
    item = await _item(cache)
    await cache.queues("q", max_attempts=1, **T).nack(item)


async def _reservation(cache: Cache) -> Any:
    return await cache.budgets("b", limit=100, **T).reserve(7, reservation_id="r")


async def _fives(cache: Cache) -> None:
    await cache.lists.rpush("l", 1, 2, 3, 4, 5, **T)
    await cache.sets.add("s", 1, 2, 3, 4, 5, **T)
    await cache.flags.set_nx("f", 1, **T)
    await cache.locks.try_acquire("l", token="me", **T)


def _queue(cache: Cache) -> Any:
    return cache.queues("q", **T)


async def _stat(cache: Cache, name: str) -> int:
    return int(getattr(await _queue(cache).stats(), name))


async def _spent(cache: Cache) -> int:
    return (await cache.budgets("b", limit=100, **T).state()).spent // 7


async def _open(cache: Cache) -> int:
    return (await cache.budgets("b", limit=100, **T).state()).open_reservations


async def _window_used(cache: Cache) -> int:
    return 10 - 1 - (await cache.limits.sliding_window("w", limit=10, window_s=600, **T)).remaining


async def _bucket_used(cache: Cache) -> int:
    return 10 - 1 - (await cache.limits.token_bucket("w", rate_per_s=0.001, burst=10, **T)).remaining


async def _held(cache: Cache) -> int:
    return int(await cache.locks.try_acquire("n", token="other", **T) is None)


async def _tokens(cache: Cache) -> int:
    return (await cache.ledger.totals(TENANT)).used // 9


async def _left(cache: Cache, what: str) -> int:
    seen = await {"l": cache.lists.lrange, "s": cache.sets.members}[what](what, **T)
    return 5 - len(seen)


VERBS = (
    Verb("lists.rpush", lambda c, _: c.lists.rpush("l", 1, **T), lambda c: c.lists.llen("l", **T), again=False),
    Verb("lists.lpop", lambda c, _: c.lists.lpop("l", **T), lambda c: _left(c, "l"), _fives, again=False),
    Verb("sets.add", lambda c, _: c.sets.add("t", 1, **T), lambda c: _count(c.sets.members("t", **T))),
    Verb("sets.remove", lambda c, _: c.sets.remove("s", 3, **T), lambda c: _left(c, "s"), _fives),
    Verb("flags.set_nx", lambda c, _: c.flags.set_nx("g", 1, **T), lambda c: c.flags.get("g", **T)),
    Verb("counters.increment", lambda c, _: c.counters.increment("c", **T), lambda c: c.counters.get("c", **T), again=False),
    Verb(
        "counters.increment, id", lambda c, _: c.counters.increment("c", idempotency_id="i", **T),
        lambda c: c.counters.get("c", **T),
    ),
    Verb(
        "limits.sliding_window", lambda c, _: c.limits.sliding_window("w", limit=10, window_s=600, **T), _window_used,
        again=False,
    ),
    Verb(
        "limits.token_bucket", lambda c, _: c.limits.token_bucket("w", rate_per_s=0.001, burst=10, **T), _bucket_used,
        again=False,
    ),
    Verb("budget.reserve, id", lambda c, _: _reservation(c), _open),
    Verb("reservation.commit", lambda _, held: held.commit(7), _spent, _reservation),
    Verb("reservation.refund", lambda _, held: held.refund(), lambda c: _flipped(_open(c)), _reservation),
    Verb("queue.push", lambda c, _: _queue(c).push(1), lambda c: _minus(_stat(c, "pushed"), 3), _item, again=False),
    Verb("queue.push, id", lambda c, _: _queue(c).push(1, "i"), lambda c: _minus(_stat(c, "pushed"), 3), _item),
    Verb(
        "queue.reserve, token", lambda c, _: _queue(c).reserve(1, token="u"), lambda c: _minus(_stat(c, "in_flight"), 1), _item
    ),
    Verb("item.ack", lambda _, item: item.ack(), lambda c: _stat(c, "acked"), _item),
    Verb("item.nack", lambda _, item: item.nack(), lambda c: _minus(_stat(c, "ready"), 2), _item),
    Verb("queue.replay", lambda c, _: _queue(c).replay(), lambda c: _minus(_stat(c, "ready"), 2), _dead),
    Verb("queue.discard", lambda c, _: _queue(c).discard(), lambda c: _stat(c, "discarded"), _dead),
    Verb("locks.try_acquire, token", lambda c, _: c.locks.try_acquire("n", token="me", **T), _held),
    Verb("locks.take (given up: given back)", lambda c, _: c.locks.take("n", wait_s=0.1, **T), _held, again=False),
    Verb(
        "locks.release, token", lambda c, _: c.locks.release("l", token="me", **T),
        lambda c: _flipped(_is_held(c)), _fives,
    ),
    Verb("ledger.record, key", lambda c, _: c.ledger.record(TENANT, 9, model="m", idempotency_key="k"), _tokens),
)  # fmt: skip


async def _is_held(cache: Cache) -> int:
    return int(await cache.locks.try_acquire("l", token="other", **T) is None)


async def _flipped(count: Awaitable[int]) -> int:
    return 1 - await count


async def _minus(count: Awaitable[int], less: int) -> int:
    return await count - less


async def _count(values: Awaitable[list[Any]]) -> int:
    return len(await values)


async def measure(effort: Effort, seed: int) -> Result:
    """Each verb by itself, on an emptied server."""
    rows, doubles, lies = [], 0, 0
    with RedisServer("valkey", extra=("--appendonly", "yes")) as server:
        for name in TWINS:
            server.call("SCRIPT", "LOAD", Script(name, idempotent=True).source)
        for verb in VERBS[:: effort.of(1, 4)]:
            server.call("FLUSHALL", "SYNC")
            said, applied, after = await lose(verb, server, seed)
            expected = 0 if verb.name.startswith("locks.take") else 1
            doubles += applied > expected or (after is not None and after != 1)
            lies += said != OutcomeUnknownError.__name__
            rows.append(Row(verb.name, (said, applied, after), "ours"))
        server.reset()
        rows.append(Row("redis-py's incrby", await _redis_py(server, seed), "peer"))
    notes = (
        (
            f"replies are held from before the call until it has failed; timeout {TIMEOUT_S:g} s; again: the same call once more "
            "with its id or token, as a caller would"
        ),
    )
    columns = (Column("said", 0), Column("applied", 0), Column("after calling again", 0))
    bars = (
        judged("verbs applied twice", doubles, bar=0),
        judged("verbs that said more than was known", lies, bar=0),
    )
    return Result((Table("Lost replies", columns, tuple(rows), notes),), bars)


async def lose(verb: Verb, server: RedisServer, seed: int) -> tuple[str, int, int | None]:
    with tempfile.TemporaryDirectory(prefix="alacena-") as home:
        settings = Settings(redis_url=f"unix://{home}/s", redis_timeout_s=TIMEOUT_S)
        async with (
            FaultProxy(str(server.socket_path), listen=f"{home}/s", seed=seed) as proxy,
            Cache(settings) as cache,
            Cache(Settings(redis_url=server.url)) as direct,
        ):
            made = await verb.before(cache)
            proxy.down.hold()
            said = await _said(verb.call(cache, made))
            await asyncio.sleep(3 * TIMEOUT_S)
            proxy.down.release()
            await until(lambda: _answers(cache), 10)
            await cache.locks.close()
            applied, after = await _applied(verb, direct), None
            if verb.again:
                await verb.call(cache, made)
                after = await _applied(verb, direct)
            return said, applied, after


async def _applied(verb: Verb, direct: Cache) -> int:
    return int(await verb.applied(direct) or 0)


async def _said(call: Awaitable[Any]) -> str:
    try:
        await call
    except BackendError as error:
        return type(error).__name__
    return "nothing"


async def _answers(cache: Cache) -> bool:
    try:
        await cache.counters.get("ping", **T)
    except BackendError:
        return False
    return True


async def _redis_py(server: RedisServer, seed: int) -> tuple[Cell, ...]:
    """What the client does by default, but for the same timeout: the replies to its first two attempts are held."""
    if installed("redis") is None:
        return (ABSENT, None, None)
    import redis.asyncio

    with tempfile.TemporaryDirectory(prefix="alacena-") as home:
        async with FaultProxy(str(server.socket_path), listen=f"{home}/s", seed=seed) as proxy:
            client = redis.asyncio.Redis(unix_socket_path=f"{home}/s", socket_timeout=TIMEOUT_S)
            await client.ping()
            proxy.down.latency_s = TIMEOUT_S / 5
            calling = asyncio.ensure_future(client.incrby("n", 1))
            for times in (1, 2):
                await until(lambda times=times: int(server.call("GET", "n") or 0) >= times, 5, every_s=0.002)  # type: ignore[misc]
                proxy.down.hold()
                await asyncio.sleep(2 * TIMEOUT_S)
                proxy.down.release()
            try:
                said = f"returned {await calling}"
            except redis.RedisError as error:
                said = type(error).__name__
            await client.aclose()
    return (said, int(server.call("GET", "n") or 0), None)
