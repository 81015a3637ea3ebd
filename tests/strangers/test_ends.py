"""How strangers end things: whatever hangs, whoever is cancelled, however often they close."""

from __future__ import annotations

import asyncio
import gc
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alacena import (
    CacheManager,
    configure,
    get_with_cache_aside,
    invalidate_document_update,
    track_token_usage,
)
from alacena.common.runtime import PROCESS
from alacena.coordination.coordination_context import CoordinationContext
from alacena.coordination.locks import Locks
from alacena.engine import Cache, Settings
from alacena.engine.base.closing import Deadline, finish, take_apart
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import BackendUnavailableError, CacheClosedError, OutcomeUnknownError
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.ledger.ledger import Ledger
from alacena.ledger.relay import Relay
from alacena.ledger.spool import Spool
from alacena.ledger.usage import Usage
from alacena.sources.ledger import PostgresAuthority
from alacena.testing.doubles import FakeEnvironment
from tests.integration.coordination.stand import PlainKeys
from tests.unit.coordination.virtual import VirtualEnvironment, run_virtual
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proving.servers.redis_server import RedisServer

USE = Usage(tenant_id="acme", idempotency_key="k", tokens=1, model="m", token_type="llm", operation="query", at=1.7e9)


class Stuck:
    """An authority that never answers, as when the network is gone and nothing was reset."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        del usages
        self.asked.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError


class Deaf(Stuck):
    """One that swallows the first cancellation, as a pool does that gives a connection back."""

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        try:
            return await super().absorb(usages)
        except asyncio.CancelledError:
            return await super().absorb(usages)


@pytest.mark.parametrize("authority", [Stuck, Deaf])
async def test_closing_ends_though_the_authority_does_not_answer(url: str | None, authority: type[Stuck]) -> None:
    """BerriAI/litellm#35273 in its kind: what stands behind the cache must not hold the service."""
    stuck = authority()
    before = asyncio.all_tasks()
    cache = await Cache(Settings(redis_url=url, redis_budget_s=5.0), authority=stuck).open()
    await cache.ledger.record("acme", 1, model="m")
    await stuck.asked.wait()
    await cache.close(timeout_s=0.05)
    assert not cache.is_open
    assert asyncio.all_tasks() == before


async def test_a_close_that_was_cancelled_goes_on_and_the_next_one_waits_for_it(url: str | None) -> None:
    stuck = Stuck()
    before = asyncio.all_tasks()
    cache = await Cache(Settings(redis_url=url, redis_budget_s=5.0), authority=stuck).open()
    await cache.ledger.record("acme", 1, model="m")
    await stuck.asked.wait()
    closing = asyncio.create_task(cache.close(timeout_s=0.2))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.gather(*(cache.close() for _ in range(3)))
    assert asyncio.all_tasks() == before
    async with cache:
        assert cache.is_open


def test_a_loop_that_ends_while_a_close_is_under_way_leaves_no_server() -> None:
    """A service that bounds its shutdown itself: the embedded server must not outlive it."""
    folders: list[Path] = []

    async def main() -> None:
        stuck = Stuck()
        cache = await Cache(Settings(redis_url="embedded://"), authority=stuck).open()
        folders.append(Path((cache.url or "").removeprefix("unix://")).parent)
        await cache.ledger.record("acme", 1, model="m")
        await stuck.asked.wait()
        closing = asyncio.create_task(cache.close(timeout_s=60.0))
        await asyncio.sleep(0)
        closing.cancel()

    asyncio.run(main())
    assert not folders[0].exists()


async def test_the_process_wide_cache_closes_likewise(url: str | None) -> None:
    stuck = Stuck()
    before = asyncio.all_tasks()
    configure(redis_url=url, redis_budget_s=5.0, authority=stuck)
    await track_token_usage("acme", 1, "m")
    await stuck.asked.wait()
    closing = asyncio.create_task(CacheManager.close(timeout_s=0.2))
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, CacheManager.close(), CacheManager.close(), return_exceptions=True)
    assert asyncio.all_tasks() == before
    configure()


async def test_a_load_that_a_close_waits_for_can_still_count_and_ask(url: str | None) -> None:
    """A request in flight at SIGTERM: what it paid for is counted, and it opens no second cache."""
    configure(redis_url=url, redis_budget_s=5.0)
    cache = await CacheManager.cache()
    begun, go = asyncio.Event(), asyncio.Event()
    counted: list[Any] = []

    async def source() -> str:
        begun.set()
        await go.wait()
        counted.append(await track_token_usage("acme", 5, "m", idempotency_key="k"))
        counted.append((await get_with_cache_aside("inner", "i", "acme", lambda: "inner"))[0])
        counted.append((await cache.ledger.totals("acme")).used)
        return "answer"

    asking = asyncio.create_task(get_with_cache_aside("answer", "q", "acme", source))
    await begun.wait()
    closing = asyncio.create_task(CacheManager.close())
    await asyncio.sleep(0)
    go.set()
    assert (await asking)[0] == "answer"
    await closing
    assert counted == [True, "inner", 5]
    configure()  # refused, if a second cache had been opened


async def test_every_closer_runs_whatever_becomes_of_the_others() -> None:
    ran = []

    async def close(name: str, error: BaseException | None = None) -> None:
        ran.append(name)
        if error is not None:
            raise error

    async def hang() -> None:
        ran.append("hangs")
        await asyncio.get_running_loop().create_future()

    steps = [lambda: close("first"), lambda: close("fails", RuntimeError("x")), hang, lambda: close("last")]
    closing = asyncio.create_task(take_apart(steps, Deadline(60.0)))
    while "hangs" not in ran:
        await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert ran == ["last", "hangs", "fails", "first"]


async def test_finish_names_nothing_that_has_ended() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await finish((task,), 1.0)
    await finish((), 1.0)
    assert task.done()


class Fickle:
    """An authority that fails in every way before it does what it should."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.kept: list[str] = []

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        if self.errors:
            raise self.errors.pop(0)
        self.kept += [usage.idempotency_key for usage in usages]
        return []


def test_the_relay_survives_whatever_an_authority_raises(caplog: pytest.LogCaptureFixture) -> None:
    """A driver's hiccup, a failover, an inner cancellation: usage still reaches the authority, and it was said once."""
    errors = [
        RuntimeError("hiccup"),
        RuntimeError("hiccup"),
        asyncio.CancelledError(),
        ExceptionGroup("g", [OSError()]),
    ]

    async def test(environment: VirtualEnvironment) -> None:
        port, authority = CoordinationContext(LocalBackend(environment), PlainKeys(), environment), Fickle(*errors)
        ledger = Ledger(port, authority=authority)
        relay = Relay(port, ledger, authority)
        running = asyncio.create_task(relay.run())
        for number in range(3):
            await ledger.record("t", 1, model="m", idempotency_key=f"k{number}")
        await asyncio.sleep(1.0)
        assert relay.health()["failing"] is not None
        assert "not carried to the authority" in port.health.faults()["alacena: relay"]
        await asyncio.sleep(300.0)
        assert sorted(authority.kept) == ["k0", "k1", "k2"]
        assert relay.health()["failing"] is None
        assert port.health.faults() == {}
        assert relay.counts.outages == len(errors)
        relay.stop()
        await running

    with caplog.at_level("ERROR", "alacena"):
        run_virtual(test)
    said = [record.getMessage() for record in caplog.records]
    assert sum("hiccup" in words for words in said) == 1


def test_one_tenant_that_the_authority_breaks_on_holds_up_no_other() -> None:
    class Picky(Fickle):
        async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
            if usages[0].tenant_id == "bad":
                raise ValueError("bad")
            return await super().absorb(usages)

    async def test(environment: VirtualEnvironment) -> None:
        port, authority = CoordinationContext(LocalBackend(environment), PlainKeys(), environment), Picky()
        ledger = Ledger(port, authority=authority)
        for tenant in ("bad", "fine", "well"):
            await ledger.record(tenant, 1, model="m", idempotency_key=tenant)
        relay = Relay(port, ledger, authority)
        with pytest.raises(ValueError, match="bad"):
            await relay.run_once()
        assert sorted(authority.kept) == ["fine", "well"]

    run_virtual(test)


async def test_stats_tell_whether_the_background_is_alive(
    open_cache: Callable[..., Awaitable[Cache]], tmp_path: Path
) -> None:
    cache = await open_cache(ledger_spill_path=str(tmp_path / "spill"))
    health = cache.stats()["background"]
    assert health["dead"] == []
    assert health["failing"] == {}
    assert health["spill"] == {"holds_any": False, "failures": 0}
    assert cache.guarantee()["faults"] == {}
    [drain] = [task for task in asyncio.all_tasks() if task.get_name() == "alacena: spilled usage"]
    drain.cancel()
    await asyncio.wait((drain,))
    await asyncio.sleep(0)
    assert cache.stats()["background"]["dead"] == ["alacena: spilled usage"]
    assert "has ended" in cache.guarantee()["faults"]["alacena: spilled usage"]


class HungPool:
    """A pool whose server answers nothing, and whose connections cannot be given back."""

    def __init__(self) -> None:
        self.terminated = False
        self.hangs = asyncio.get_running_loop().create_future()

    async def fetch(self, query: str, *args: Any) -> Any:
        del query, args
        try:
            await asyncio.shield(self.hangs)
        finally:
            await asyncio.shield(self.hangs)

    async def close(self) -> None:
        await asyncio.shield(self.hangs)

    def terminate(self) -> None:
        self.terminated = True


async def test_an_authority_whose_postgres_hangs_is_given_up_and_closed() -> None:
    pytest.importorskip("asyncpg")
    pool = HungPool()
    authority = PostgresAuthority(pool, timeout_s=0.01)
    before = asyncio.all_tasks()
    with pytest.raises(Exception, match="no answer within"):
        await authority.absorb([])
    await authority.close(timeout_s=0.01)
    assert pool.terminated
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    "name", ["TargetServerAttributeNotMatched", "ProtocolError", "InternalClientError", "InterfaceError"]
)
async def test_every_error_of_the_driver_is_translated(name: str) -> None:
    exceptions = pytest.importorskip("asyncpg.exceptions")

    class Pool(HungPool):
        async def fetch(self, query: str, *args: Any) -> Any:
            del query, args
            raise getattr(exceptions, name)("said by the driver")

    from alacena.engine.base.errors import BackendError

    with pytest.raises(BackendError):
        await PostgresAuthority(Pool()).absorb([])


async def test_a_dsn_that_cannot_be_used_does_not_show_its_password() -> None:
    exceptions = pytest.importorskip("asyncpg.exceptions")

    class Pool(HungPool):
        async def fetch(self, query: str, *args: Any) -> Any:
            del query, args
            raise exceptions.ClientConfigurationError("invalid DSN: postgres://u:hunter2@h")

    with pytest.raises(Exception, match="DSN or the options") as caught:
        await PostgresAuthority(Pool()).absorb([])
    assert "hunter2" not in str(caught.value)


async def test_a_drain_lock_is_let_go_of_at_close(tmp_path: Path) -> None:
    one, other = Spool(tmp_path / "s"), Spool(tmp_path / "s")
    await one.append(b"a")
    assert await one.take() == [b"a"]
    one.close()
    assert await other.take() == [b"a"]
    await other.keep([])


async def test_a_cancelled_take_begins_no_drain(tmp_path: Path) -> None:
    spill = Spool(tmp_path / "s")
    await spill.append(b"a")
    taking = asyncio.create_task(spill.take())
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    other = Spool(tmp_path / "s")
    while (lines := await other.take()) is None:
        await asyncio.sleep(0)
    assert lines == [b"a"]
    await other.keep([])


async def test_a_drain_that_is_cancelled_at_any_step_lets_go_of_its_lock(tmp_path: Path) -> None:
    """Cancelled between the lock and the work under it, a drain kept all others out until the process ended."""
    port = CoordinationContext(LocalBackend(SystemEnvironment()), PlainKeys(), SystemEnvironment())
    for steps in range(12):
        path = tmp_path / f"s{steps}"
        await Spool(path).append(USE.pack())
        work = asyncio.create_task(Ledger(port, spill=Spool(path)).drain())
        for _ in range(steps):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait({work})
        other = Spool(path)
        await until(partial(_is_free, other))
    await asyncio.get_running_loop().shutdown_default_executor()
    await asyncio.sleep(0)


async def _is_free(spool: Spool) -> bool:
    if (lines := await spool.take()) is None:
        return False
    await spool.keep(lines)
    return True


async def test_who_waits_hears_of_the_caches_end(url: str | None) -> None:
    """In memory as on a server: who waited for a lock or a job when the cache was closed went on waiting."""
    cache = await Cache(Settings(redis_url=url)).open()
    await cache.locks.take("l", tenant_id="acme")
    queue = cache.queues("q", tenant_id="acme")
    waiting = [
        asyncio.create_task(cache.locks.take("l", tenant_id="acme")),
        asyncio.create_task(queue.reserve(wait_s=600.0)),
        asyncio.create_task(cache.queues.any("q", tenant_ids=["acme", "b"]).reserve(wait_s=600.0)),
    ]
    for _ in range(20):
        await asyncio.sleep(0)
    await cache.close()
    async with asyncio.timeout(DEADLINE_S):
        for task in waiting:
            with pytest.raises(CacheClosedError):
                await task


async def test_a_close_does_not_wait_for_a_server_that_is_away() -> None:
    """A lock that may have been granted was asked back for five seconds, from a server that nobody could reach."""

    class Away(LocalBackend):
        async def script(self, *_: Any, **__: Any) -> Any:
            raise BackendUnavailableError("not connected")

    environment = FakeEnvironment(seed=1)
    locks = Locks(CoordinationContext(Away(environment), PlainKeys(), environment))
    with pytest.raises(BackendUnavailableError):
        await locks.take("l", tenant_id="acme")
    async with asyncio.timeout(DEADLINE_S):
        await locks.close()


def test_backend_errors_of_the_store_back_off_longer_each_time() -> None:
    class Away(LocalBackend):
        tries = 0

        def listen(self, channel: str) -> Any:
            type(self).tries += 1
            raise BackendUnavailableError(channel)

    async def test(environment: VirtualEnvironment) -> None:
        port = CoordinationContext(Away(environment), PlainKeys(), environment)
        relay = Relay(port, Ledger(port), Fickle())
        running = asyncio.create_task(relay.run())
        await asyncio.sleep(600.0)
        relay.stop()
        await running
        assert 10 < Away.tries < 60

    run_virtual(test)


async def test_a_close_ends_its_own_tasks_though_the_next_cache_is_opened_at_once(url: str | None) -> None:
    """redis/redis-py 2749: a close that leaves a task behind is seen much later, as a task that was destroyed while pending."""
    before = asyncio.all_tasks()
    configure(redis_url=url, redis_budget_s=5.0)
    for _ in range(3):
        await CacheManager.set("document", "d1", 1, "acme")
        await asyncio.gather(CacheManager.close(), CacheManager.get("document", "d1", "acme"))
    await CacheManager.close()
    await until(lambda: asyncio.all_tasks() == before)


class _Mute:
    """A server that accepts connections and says nothing."""

    async def __aenter__(self) -> str:
        self._writers: list[asyncio.StreamWriter] = []
        self.called = asyncio.Event()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.called.set()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()


async def test_an_opening_that_a_close_ends_is_no_cancellation_of_its_callers() -> None:
    """ccxt/ccxt 29926: callers of a shared step were cancelled though nobody cancelled them, past every `except Exception`."""
    async with (mute := _Mute()) as url:
        cache = Cache(Settings(redis_url=url, redis_connect_timeout_s=60.0))
        callers = [asyncio.create_task(cache.open()) for _ in range(2)]
        await mute.called.wait()
        cancelled = asyncio.create_task(cache.open())
        await asyncio.sleep(0)
        cancelled.cancel()
        await cache.close(timeout_s=0.0)
        for caller in callers:
            with pytest.raises(CacheClosedError, match="open it again"):
                await caller
        with pytest.raises(asyncio.CancelledError):
            await cancelled


async def test_a_caller_of_the_process_wide_cache_is_not_cancelled_by_its_close() -> None:
    """The same, for a request that is the first to use the cache while the service is shut down."""
    async with (mute := _Mute()) as url:
        configure(redis_url=url, redis_connect_timeout_s=60.0)
        caller = asyncio.create_task(CacheManager.get("document", "d1", "acme"))
        await mute.called.wait()
        await CacheManager.close(timeout_s=0.0)
        with pytest.raises(CacheClosedError, match="open it again"):
            await caller
    configure()


async def test_an_opening_that_its_only_caller_left_is_open_for_nobody() -> None:
    """redis/redis-py 2749: a connect under a timeout of the caller's own, and a task that stays for ever."""
    before = asyncio.all_tasks()
    async with (mute := _Mute()) as url:
        entering = asyncio.create_task(Cache(Settings(redis_url=url, redis_connect_timeout_s=60.0)).__aenter__())
        await mute.called.wait()
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert {task for task in asyncio.all_tasks() - before if "alacena" in task.get_name()} == set()


async def _sent() -> None:
    """Lets what was begun send its first command."""
    for _ in range(20):
        await asyncio.sleep(0)


VERBS: dict[str, Callable[[Cache], Any]] = {
    "push": lambda cache: cache.queues("q", tenant_id="acme").push(1),
    "reserve": lambda cache: cache.queues("q", tenant_id="acme").reserve(),
    "acquire": lambda cache: cache.locks.take("l", tenant_id="acme"),
    "reserve of a budget": lambda cache: cache.budgets("b", tenant_id="acme", limit=5).reserve(1),
    "increment": lambda cache: cache.counters.increment("c", tenant_id="acme"),
    "record": lambda cache: cache.ledger.record("acme", 1, model="m", idempotency_key="k"),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_what_was_sent_when_the_cache_closes_may_have_been_done(verb: str, valkey_server: RedisServer) -> None:
    """redis/redis-py 3847: who is not told that the outcome is unknown asks again, and has it twice."""
    cache = await Cache(Settings(redis_url=valkey_server.url, redis_timeout_s=60.0)).open()
    valkey_server.process.pause()
    try:
        caller = asyncio.create_task(VERBS[verb](cache))
        await _sent()
        await cache.close(timeout_s=0.1)
        with pytest.raises(OutcomeUnknownError):
            await caller
    finally:
        valkey_server.process.resume()


async def test_an_invalidation_that_a_close_ends_is_unconfirmed(
    valkey_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The same for what never raises: 0 says that the server did not confirm; and no task fails for nobody to see."""
    cache = await Cache(Settings(redis_url=valkey_server.url, redis_timeout_s=60.0)).open()
    valkey_server.process.pause()
    try:
        caller = asyncio.create_task(cache.invalidate("acme", "document", "d1"))
        await _sent()
        await cache.close(timeout_s=0.1)
        assert await caller == 0
    finally:
        valkey_server.process.resume()
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_what_a_close_could_not_end_is_called_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    """redis/redis-py 3239: the last lines of a process are addresses of objects, and nobody knows what did not end."""

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    async def hold_on() -> None:
        for _ in range(2):
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                continue
        await asyncio.get_running_loop().create_future()

    async def fail() -> None:
        raise OSError("no route")

    async def test(environment: VirtualEnvironment) -> None:
        del environment
        await take_apart([hang, hold_on, fail], Deadline(1.0))
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    run_virtual(test)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert [line for line in lines if "object at" in line or "0x" in line or "<Task" in line] == []
    for name, how_often in (("hang", 1), ("hold_on", 2), ("fail", 1)):
        assert sum(f".{name}'" in line for line in lines) == how_often


@pytest.mark.parametrize("turns", range(8))
async def test_an_invalidation_that_is_cancelled_has_ended_when_its_caller_goes_on(
    turns: int, url: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that is aborted while it ends a document, in a process that closes its cache next."""
    configure(redis_url=url)
    if turns % 2:
        await CacheManager.initialize()
    work = asyncio.create_task(invalidate_document_update("acme", "d1", "c1"))
    for _ in range(turns):
        await asyncio.sleep(0)
    work.cancel()
    await asyncio.wait([work])
    await CacheManager.close()
    for _ in range(20):
        await asyncio.sleep(0)
    gc.collect()
    assert PROCESS.cache is None
    assert PROCESS.opening is None
    assert "never retrieved" not in caplog.text
