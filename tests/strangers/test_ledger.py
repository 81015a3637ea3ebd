"""What strangers ask of a ledger: parts of a call and money, days of their own zone, disks and processes that fail."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from alacena import Context, track_token_usage
from alacena.coordination.coordination_context import CoordinationContext
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import (
    BackendUnavailableError,
    DecodeError,
    IdempotencyConflictError,
    LimitExceededError,
    ServerReplyError,
)
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.ledger.ledger import Ledger
from alacena.ledger.spool import Spool
from tests.integration.coordination.stand import PlainKeys

if TYPE_CHECKING:
    from pathlib import Path

    from alacena import CacheManager
    from alacena.engine import Cache

OPENAI = SimpleNamespace(
    prompt_tokens=10,
    completion_tokens=5,
    total_tokens=15,
    prompt_tokens_details=SimpleNamespace(cached_tokens=3),
    completion_tokens_details=SimpleNamespace(reasoning_tokens=2),
)
RESPONSES = {
    "input_tokens": 10,
    "output_tokens": 5,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens_details": {"reasoning_tokens": 2},
}
ANTHROPIC = SimpleNamespace(input_tokens=4, output_tokens=5, cache_read_input_tokens=3, cache_creation_input_tokens=3)
BARE = SimpleNamespace(prompt_tokens=10, completion_tokens=5, prompt_tokens_details=None)


@pytest.mark.parametrize(
    ("usage", "parts"),
    [
        (OPENAI, {"input": 10, "output": 5, "cached": 3, "reasoning": 2}),
        (RESPONSES, {"input": 10, "output": 5, "cached": 3, "reasoning": 2}),
        (ANTHROPIC, {"input": 10, "output": 5, "cached": 3, "cache_write": 3}),
        (BARE, {"input": 10, "output": 5}),
        ({"input": 10, "output": 5, "tools": 1}, {"input": 10, "output": 5, "tools": 1}),
    ],
)
async def test_a_call_is_counted_with_its_parts(manager: type[CacheManager], usage: Any, parts: dict[str, int]) -> None:
    """BerriAI/litellm#14849 and #37407: input, output, cached and reasoning tokens have prices of their own."""
    cache = await manager.cache()
    for _ in range(2):
        await track_token_usage("acme", model="m", idempotency_key="c1", parts=usage, cost=Decimal("0.0000015"))
    await track_token_usage("acme", model="m", idempotency_key="c2", parts=usage, cost="0.1")
    totals = await cache.ledger.totals("acme", day=dt.datetime.now(dt.UTC))
    assert (totals.used, totals.calls) == (30, 2)
    assert totals.parts == {name: 2 * amount for name, amount in parts.items()}
    assert totals.cost == Decimal("0.100002")
    [row] = totals.rows
    assert row.parts == totals.parts


async def test_input_and_output_may_share_the_calls_id(manager: type[CacheManager]) -> None:
    cache = await manager.cache()
    for _ in range(2):
        await track_token_usage("acme", 10, "m", token_type="prompt", idempotency_key="c")
        await track_token_usage("acme", 5, "m", token_type="completion", idempotency_key="c")
    assert (await cache.ledger.totals("acme")).by("token_type") == {"prompt": 10, "completion": 5}
    with pytest.raises(IdempotencyConflictError, match=r"'c#prompt'.*10 tokens.*11 tokens"):
        await track_token_usage("acme", 11, "m", token_type="prompt", idempotency_key="c")


@pytest.mark.parametrize("other", [{"parts": {"input": 9}}, {"cost": "0.2"}, {"parts": None, "cost": None}])
async def test_other_parts_are_other_figures(manager: type[CacheManager], other: dict[str, Any]) -> None:
    figures: dict[str, Any] = {"parts": {"input": 10}, "cost": "0.1"}
    await track_token_usage("acme", 10, "m", idempotency_key="c", **figures)
    with pytest.raises(IdempotencyConflictError):
        await track_token_usage("acme", 10, "m", idempotency_key="c", **{**figures, **other})


async def test_whoever_records_a_call_first_is_billed(manager: type[CacheManager]) -> None:
    """A worker repeats the call outside of the conversation that made it."""
    cache = await manager.cache()
    async with Context(tenant_id="acme", agent_id="a1", conversation_id="c1"):
        await track_token_usage(tokens=10, model="m", idempotency_key="k")
    await track_token_usage("acme", 10, "m", idempotency_key="k")
    async with Context(tenant_id="acme", agent_id="a2"):
        await track_token_usage(tokens=10, model="m", idempotency_key="k")
    assert (await cache.ledger.totals("acme")).used == 10


NO_DAYS = [
    "30/11/2026",
    "20261130",
    "yesterday",
    "",
    "2026-11-31",
    "2026-1-3",
    "2026-11-30T00:00",
    20261130,
    "2026-W48-1",
]


@pytest.mark.parametrize("day", NO_DAYS)
async def test_a_mistyped_day_is_an_error_and_not_zero(cache: Cache, day: Any) -> None:
    """BerriAI/litellm#27780 and #29568: totals of another day, or of none, look like totals."""
    with pytest.raises(ValueError, match="2025-01-31"):
        await cache.ledger.totals("acme", day=day)
    with pytest.raises(ValueError, match="month must be"):
        await cache.ledger.totals("acme", month=day)


async def test_days_and_months_are_those_of_utc(cache: Cache) -> None:
    await cache.ledger.record("acme", 7, model="m")
    now = dt.datetime.now(dt.UTC)
    for there in ("Pacific/Kiritimati", "America/Los_Angeles"):
        local = now.astimezone(ZoneInfo(there))
        assert (await cache.ledger.totals("acme", day=local)).used == 7
        assert (await cache.ledger.totals("acme", month=local)).used == 7
    for day in (now.date(), f"{now:%Y-%m-%d}"):
        assert (await cache.ledger.totals("acme", day=day)).used == 7
    assert (await cache.ledger.totals("acme", month=f"{now:%Y-%m}")).used == 7


# The spill file


class Server(LocalBackend):
    """A store that refuses scripts with what it is given."""

    error: BaseException | None = None

    async def script(self, *words: Any, **more: Any) -> Any:
        if self.error is not None:
            raise self.error
        return await super().script(*words, **more)


def ledger_on(path: Path, store: Server) -> Ledger:
    return Ledger(CoordinationContext(store, PlainKeys(), SystemEnvironment()), spill=Spool(path))


async def spilled(path: Path, *keys: str) -> Server:
    store = Server(SystemEnvironment())
    store.error = BackendUnavailableError("away")
    for key in keys:
        await ledger_on(path, store).record("t", 1, model="m", idempotency_key=key)
    store.error = None
    return store


async def test_a_disk_that_was_full_for_a_moment_stops_no_drain(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = await spilled(path, "a")
    one, other = ledger_on(path, store), ledger_on(path, store)
    (tmp_path / "s.draining").write_bytes(path.read_bytes().replace(b'"a"', b'"b"'))
    full = tmp_path / "s.draining.new"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        await one.drain()
    with pytest.raises(OSError, match="No space left"):
        await other.drain()
    full.unlink()
    assert await other.drain() == 2
    assert (await one.totals("t")).used == 2


async def test_what_was_drained_while_the_disk_was_full_is_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = await spilled(path, "a", "b", "c")
    ledger, other = ledger_on(path, store), ledger_on(path, store)
    script, calls = store.script, []

    async def fail_at_the_third(*words: Any, **more: Any) -> Any:
        calls.append(words)
        if len(calls) == 3:
            raise BackendUnavailableError("away")
        return await script(*words, **more)

    store.script = fail_at_the_third  # type: ignore[method-assign]
    full = tmp_path / "s.draining.new"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        await ledger.drain()
    full.unlink()
    assert await other.drain() == 3
    assert (await ledger.totals("t")).used == 3


async def test_a_line_that_was_half_written_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spill = Spool(tmp_path / "s")
    await spill.append(b"whole")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            await spill.append(b"torn")
    await spill.append(b"next")
    assert await spill.take() == [b"whole", b"next"]
    await spill.keep([])


@pytest.mark.parametrize("code", ["OOM", "NOREPLICAS", "MISCONF", "READONLY", "NOPERM"])
async def test_a_refusal_is_an_outage_to_the_spill(tmp_path: Path, code: str) -> None:
    path = tmp_path / "s"
    store = await spilled(path)
    ledger = ledger_on(path, store)
    store.error = ServerReplyError(f"{code} refused")
    assert await ledger.record("t", 1, model="m")
    with pytest.raises(ServerReplyError):
        await ledger.drain()
    store.error = None
    assert await ledger.drain() == 1


async def test_one_line_that_a_server_never_takes_holds_up_no_other(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = await spilled(path, "a", "bad", "c")
    script = store.script

    async def refuse(named: Any, keys: Any, args: Any, **more: Any) -> Any:
        if "bad" in keys[0]:
            raise ServerReplyError("WRONGTYPE another key is there")
        return await script(named, keys, args, **more)

    store.script = refuse  # type: ignore[method-assign]
    ledger = ledger_on(path, store)
    with pytest.raises(ServerReplyError, match="WRONGTYPE"):
        await ledger.drain()
    assert (await ledger.totals("t")).used == 2
    store.script = script  # type: ignore[method-assign]
    assert await ledger.drain() == 1


@pytest.mark.parametrize("error", [IdempotencyConflictError("x"), LimitExceededError("x"), DecodeError("x")])
async def test_what_can_never_be_counted_is_set_aside(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "s"
    store = await spilled(path, "a")
    store.error = error
    assert await ledger_on(path, store).drain() == 0
    assert (tmp_path / "s.rejected").read_bytes().count(b"\n") == 1


async def test_a_drain_reads_each_line_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of a drain grows with the lines and not with their square."""
    path = tmp_path / "s"
    store = await spilled(path, *(f"k{number}" for number in range(30)))
    written: list[int] = []
    keep = Spool._replace

    def replace(spill: Spool, lines: list[bytes]) -> None:
        written.append(len(lines))
        keep(spill, lines)

    monkeypatch.setattr(Spool, "_replace", replace)
    store.error = BackendUnavailableError("away")
    for _ in range(3):
        with pytest.raises(BackendUnavailableError):
            await ledger_on(path, store).drain()
    assert written == []  # while the server is away, nothing is written again and again
    store.error = None
    assert await ledger_on(path, store).drain() == 30


async def test_a_forked_child_holds_no_drain_up(tmp_path: Path) -> None:
    text = f"""
import asyncio, os, sys
from alacena.ledger.spool import Spool
async def main():
    one, other = Spool({str(tmp_path / "s")!r}), Spool({str(tmp_path / "s")!r})
    await one.append(b"a")
    assert await one.take() == [b"a"]
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(ready, 1)
        os._exit(0)
    await one.keep([b"a"])
    assert await other.take() == [b"a"]
    await other.keep([])
    os.write(told, b"x")
    os.waitpid(child, 0)
asyncio.run(main())
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", text], check=True)


async def test_ten_thousand_tenants_leave_no_more_than_a_bound(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory beside memory_max_bytes does not grow with the tenants that were ever seen."""
    monkeypatch.setattr("alacena.engine.base.keys._MOST", 50)
    monkeypatch.setattr("alacena.engine.coherence.generation_table._MOST", 50)
    for number in range(300):
        assert await cache.load("doc", "d", f"tenant-{number}", lambda number=number: number) == number
    parts = cache._parts
    assert parts is not None
    assert len(parts.keys._prefixes) <= 50
    assert await cache.load("doc", "d", "tenant-299", lambda: None) == 299
