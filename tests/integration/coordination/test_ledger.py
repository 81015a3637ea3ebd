"""The ledger on both stores: once, whatever is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from alacena.coordination.coordination_context import CoordinationContext
from alacena.engine.api.cache import Cache
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import (
    BackendError,
    BackendUnavailableError,
    EncodeError,
    IdempotencyConflictError,
    MissingTenantError,
    OutcomeUnknownError,
    ServerReplyError,
    UsageError,
)
from alacena.engine.base.settings import Settings
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.ledger.ledger import Ledger
from alacena.ledger.relay import Relay
from alacena.ledger.spool import Spool
from tests.integration.coordination.stand import LossyStore, PlainKeys
from tests.simulator import keyspace_commands  # noqa: F401 - registers commands that the library does not send
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from alacena.engine.remote.backend import Argument, Reply, Script
    from alacena.ledger.usage import Usage
    from proving.servers.redis_server import RedisServer


class Book:
    """An authority in memory.

    Attributes:
        kept: By tenant and key.
        fail: How many of the next commits look lost; ``after`` them if they were made.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Usage] = {}
        self.fail = 0
        self.after = True
        self.refuses: str | None = None

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        if self.refuses is not None and any(usage.model == self.refuses for usage in usages):
            raise ServerReplyError("22P05 unsupported text")
        lost, self.fail = self.fail > 0, max(self.fail - 1, 0)
        if lost and not self.after:
            raise BackendUnavailableError("away")
        conflicts = []
        for usage in usages:
            known = self.kept.setdefault((usage.tenant_id, usage.idempotency_key), usage)
            if known.fingerprint != usage.fingerprint:
                conflicts.append(usage)
        if lost:
            raise OutcomeUnknownError("lost")
        return conflicts

    @property
    def total(self) -> int:
        return sum(usage.tokens for usage in self.kept.values())


class AwayStore(LocalBackend):
    away = False

    async def script(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument], *, timeout_s: float | None = None
    ) -> Reply:
        if self.away:
            raise BackendUnavailableError("away")
        return await super().script(script, keys, args)


async def test_a_key_counts_once_and_answers_true_again(port: CoordinationContext, store: LossyStore) -> None:
    ledger = Ledger(port)
    store.lose["ledger_record"] = 2
    for _ in range(3):
        assert await ledger.record("t", 70, model="m", idempotency_key="call-1") is True
    totals = await ledger.totals("t")
    assert (totals.used, totals.calls, totals.saved) == (70, 1, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"tokens": 71},
        {"model": "n"},
        {"token_type": "embedding"},
        {"operation": "chat"},
        {"saved": True},
    ],
)
async def test_a_key_with_other_figures_is_refused_and_changes_nothing(
    port: CoordinationContext, other: dict[str, Any]
) -> None:
    ledger = Ledger(port)
    figures = {"tokens": 70, "model": "m", "idempotency_key": "k"}
    await ledger.record("t", **figures, metadata={"try": 1})
    await ledger.record("t", **figures, metadata={"try": 2})
    with pytest.raises(IdempotencyConflictError):
        await ledger.record("t", **{**figures, **other})
    assert (await ledger.totals("t")).used == 70


async def test_without_a_key_every_call_counts_and_no_lost_reply_doubles_one(
    port: CoordinationContext, store: LossyStore
) -> None:
    ledger = Ledger(port)
    for _ in range(5):
        store.lose["ledger_record"] = 2
        await ledger.record("t", 10, model="m")
    assert (await ledger.totals("t")).used == 50


async def test_totals_are_by_day_month_model_type_and_operation_and_saved_is_never_used(
    port: CoordinationContext,
) -> None:
    ledger = Ledger(port)
    await ledger.record("t", 5, model="gpt", operation="chat")
    await ledger.record("t", 7, model="ada", token_type="embedding", operation="embedding")
    await ledger.record("t", 11, model="gpt", operation="chat", saved=True)
    await ledger.record("u", 1_000, model="gpt")
    wall = port.environment.wall()
    from datetime import UTC, datetime

    today = datetime.fromtimestamp(wall, UTC).date()
    for totals in (
        await ledger.totals("t"),
        await ledger.totals("t", day=today),
        await ledger.totals("t", month=today),
    ):
        assert (totals.used, totals.saved, totals.calls) == (12, 11, 2)
        assert totals.by("model") == {"ada": 7, "gpt": 5}
        assert totals.by("token_type") == {"embedding": 7, "llm": 5}
        assert totals.by("operation") == {"chat": 5, "embedding": 7}
    assert (await ledger.totals("t", day="1999-01-01")).rows == ()


async def test_nothing_is_counted_for_zero_and_its_key_stays_free(port: CoordinationContext, store: LossyStore) -> None:
    ledger = Ledger(port)
    assert await ledger.record("t", 0, model="m", idempotency_key="k") is True
    assert store.sent == []
    await ledger.record("t", 9, model="m", idempotency_key="k")
    assert (await ledger.totals("t")).used == 9


async def test_bad_input_is_refused(port: CoordinationContext, store: LossyStore) -> None:
    ledger = Ledger(port)
    for tokens in (-1, 2**53, 1.5, True, None):
        with pytest.raises(ValueError, match="tokens must"):
            await ledger.record("t", tokens, model="m")  # type: ignore[arg-type]
    for name in ("model", "token_type", "operation", "idempotency_key"):
        with pytest.raises(ValueError, match=name):
            await ledger.record("t", 1, **{"model": "m", name: " "})  # type: ignore[arg-type]
    with pytest.raises(MissingTenantError):
        await ledger.record("", 1, model="m")
    with pytest.raises(UsageError, match="authority"):
        await ledger.record("t", 1, model="m", mode="durable")
    with pytest.raises(EncodeError):
        await ledger.record("t", 1, model="m", metadata={"x": object()})
    with pytest.raises(EncodeError, match="NUL"):
        await ledger.record("t", 1, model="m", metadata={"x": "a\0"})
    with pytest.raises(ValueError, match="at most 256 bytes"):
        await ledger.record("t", 1, model="m" * 257)
    assert store.sent == []


async def test_a_long_key_of_many_chunk_ids_is_accepted_and_counts_once(port: CoordinationContext) -> None:
    ledger = Ledger(port)
    key = ",".join(f"chunk-{n}" for n in range(1_000))
    for _ in range(2):
        await ledger.record("t", 3, model="m", idempotency_key=key)
    await ledger.record("t", 4, model="m", idempotency_key=key + ",chunk-1000")
    assert (await ledger.totals("t")).used == 7


async def test_one_record_takes_one_round_trip(port: CoordinationContext, store: LossyStore) -> None:
    ledger = Ledger(port, outbox=True)
    await ledger.record("t", 1, model="m")
    store.sent.clear()
    await ledger.record("t", 1, model="m")
    assert store.sent == ["ledger_record"]


async def test_the_relay_carries_every_record_once_however_commits_and_replies_are_lost(
    port: CoordinationContext, store: LossyStore
) -> None:
    book = Book()
    ledger = Ledger(port, authority=book)
    relay = Relay(port, ledger, book, batch=7, retry_s=0.001)
    running = asyncio.create_task(relay.run())
    truth = 0
    for number in range(60):
        for name in ("ledger_record", "ready_tenants_announce", "ready_tenants_turns", "ready_tenants_park"):
            store.lose[name] = number % 3
        store.lose["ZREM"] = number % 2
        book.fail, book.after = number % 2, number % 4 < 2
        truth += number
        for _ in range(1 + number % 3):
            await ledger.record("abc"[number % 3], number, model="m", idempotency_key=f"call-{number}")

    async def carried() -> bool:
        return book.total >= truth and not sum([await ledger.backlog(tenant) for tenant in "abc"])

    await until(carried)
    relay.stop()
    counts = await running
    assert book.total == truth
    assert counts.conflicts == 0
    assert sum([(await ledger.totals(tenant)).used for tenant in "abc"]) == truth


async def test_a_record_that_the_authority_can_never_take_holds_nobody_up(port: CoordinationContext) -> None:
    book = Book()
    book.refuses = "bad"
    ledger = Ledger(port, outbox=True)
    for number in range(10):
        await ledger.record("t", 1, model="bad" if number == 4 else "m")
    relay = Relay(port, ledger, book)
    await relay.run_once()
    assert book.total == 9
    assert relay.counts.unreadable == 1
    assert await ledger.backlog("t") == 0


async def test_an_authority_that_is_not_set_up_keeps_the_outbox_waiting(port: CoordinationContext) -> None:
    class Missing(Book):
        async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
            raise ServerReplyError("42883 function alacena_absorb_usage does not exist")

    ledger = Ledger(port, outbox=True)
    await ledger.record("t", 1, model="m")
    with pytest.raises(ServerReplyError):
        await Relay(port, ledger, Missing()).run_once()
    assert await ledger.backlog("t") == 1


async def test_durable_returns_when_the_authority_has_it_and_leaves_nothing_behind(
    port: CoordinationContext, store: LossyStore
) -> None:
    book = Book()
    ledger = Ledger(port, authority=book)
    await ledger.record("t", 5, model="m", idempotency_key="k", mode="durable")
    assert book.total == 5
    assert await ledger.backlog("t") == 0
    book.fail = 1
    with pytest.raises(OutcomeUnknownError):
        await ledger.record("t", 6, model="m", idempotency_key="l", mode="durable")
    await ledger.record("t", 6, model="m", idempotency_key="l", mode="durable")
    assert book.total == 11
    assert (await ledger.totals("t")).used == 11


async def test_the_authority_refuses_other_figures_after_redis_has_forgotten_the_key(
    port: CoordinationContext, store: LossyStore
) -> None:
    book = Book()
    ledger = Ledger(port, authority=book)
    await ledger.record("t", 5, model="m", idempotency_key="k", mode="durable")
    await store.call("FLUSHALL")
    with pytest.raises(IdempotencyConflictError):
        await ledger.record("t", 6, model="m", idempotency_key="k", mode="durable")
    await ledger.record("t", 5, model="m", idempotency_key="m", mode="durable")
    assert book.total == 10


async def test_safe_returns_when_a_disk_has_it(port: CoordinationContext, store: LossyStore, tmp_path: Path) -> None:
    has_file = await store.wait_aof("x")
    ledger = Ledger(port)
    if has_file:
        assert await ledger.record("t", 5, model="m", mode="safe")
    else:
        with pytest.raises(OutcomeUnknownError, match="did not confirm"):
            await ledger.record("t", 5, model="m", mode="safe", idempotency_key="k")
        spill = Spool(tmp_path / "spill")
        ledger = Ledger(port, spill=spill)
        assert await ledger.record("t", 5, model="m", mode="safe", idempotency_key="k")
        assert len(await spill.take() or []) == 1
        await spill.keep([])
    assert (await ledger.totals("t")).used == 5


async def test_what_was_spilled_while_the_server_was_away_is_counted_once_later(tmp_path: Path) -> None:
    environment = SystemEnvironment()
    store = AwayStore(environment)
    port = CoordinationContext(store, PlainKeys(), environment)
    ledger = Ledger(port, spill=Spool(tmp_path / "spill"))
    await ledger.record("t", 1, model="m", idempotency_key="before")
    store.away = True
    for number in range(5):
        assert await ledger.record("t", 10, model="m", idempotency_key=f"k{number}")
    assert await ledger.record("t", 10, model="m", idempotency_key="k0")
    assert await ledger.record("t", 99, model="m", idempotency_key="before")
    with pytest.raises(BackendUnavailableError):
        await ledger.drain()
    store.away = False
    assert await ledger.drain() == 6
    assert await ledger.drain() == 0
    assert (await ledger.totals("t")).used == 51
    assert b'"before"' in (tmp_path / "spill.rejected").read_bytes()


async def test_without_a_spill_file_an_outage_is_raised() -> None:
    environment = SystemEnvironment()
    store = AwayStore(environment)
    store.away = True
    with pytest.raises(BackendUnavailableError):
        await Ledger(CoordinationContext(store, PlainKeys(), environment)).record("t", 1, model="m")


async def test_an_open_cache_counts_by_itself_what_was_spilled(
    tmp_path: Path, start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alacena.engine.api.coordination._DRAIN_EVERY_S", 0.1)
    server = start_redis()
    settings = Settings(redis_url=server.url, ledger_spill_path=str(tmp_path / "spill"), redis_timeout_s=0.2)
    async with Cache(settings) as cache:
        await cache.ledger.record("t", 5, model="m", idempotency_key="before")
        server.crash()
        for number in range(10):
            assert await cache.ledger.record("t", 10, model="m", idempotency_key=f"k{number % 5}")
        server.start()

        async def counted() -> bool:
            try:
                return (await cache.ledger.totals("t")).used == 50
            except BackendError:
                return False

        await until(counted)
    assert not (tmp_path / "spill").exists()
