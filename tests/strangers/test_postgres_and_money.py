"""Postgres behind a cache and behind the ledger: pools and schemas as they are found, and money that is not rounded."""

from __future__ import annotations

import decimal
import shlex
import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg_pool
import pytest
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range
from sqlalchemy.dialects.postgresql import MultiRange as AlchemyMultiRange
from sqlalchemy.dialects.postgresql import Range as AlchemyRange
from typer.testing import CliRunner

from alacena import track_token_usage
from alacena.coordination.coordination_context import CoordinationContext
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import ArgumentError, BackendUnavailableError, OutcomeUnknownError, ServerReplyError
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.integrations.prices import ModelPrice
from alacena.integrations.usage import TokenCounts
from alacena.ledger.ledger import Ledger
from alacena.ledger.spool import Spool
from alacena.ledger.usage import Usage
from alacena.ops.commands import app
from alacena.sources import postgres, psycopg
from alacena.sources.ledger import PostgresAuthority, migrations
from tests.integration.coordination.stand import PlainKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from alacena import CacheManager
    from proving.servers.postgres import Postgres

_FORGET = """
DROP VIEW IF EXISTS alacena_token_monthly;
DROP TABLE IF EXISTS alacena_token_usage, alacena_token_daily, alacena_token_conflicts CASCADE;
DROP TABLE IF EXISTS alacena_token_parts, alacena_fences CASCADE;
DROP FUNCTION IF EXISTS alacena_absorb_usage(jsonb), alacena_claimed_tenant() CASCADE;
"""

_OLDER = """
CREATE OR REPLACE FUNCTION alacena_absorb_usage(records jsonb)
RETURNS TABLE (conflict_tenant_id text, conflict_key text)
LANGUAGE sql
AS $$
    INSERT INTO alacena_token_usage (tenant_id, idempotency_key, fingerprint, tokens, model, token_type, operation, used_at)
    SELECT r.tenant_id, r.idempotency_key, r.fingerprint, r.tokens, r.model, r.token_type, r.operation, now()
    FROM jsonb_to_recordset(records) AS r (
        tenant_id text, idempotency_key text, fingerprint text, tokens bigint, model text, token_type text, operation text
    );
    SELECT ''::text, ''::text WHERE false;
$$;
"""
"""The function of a first version, which knows no cost."""


@pytest.fixture
async def connection(postgres: Postgres) -> AsyncIterator[Any]:
    """A connection to a Postgres that knows nothing of the ledger."""
    one = await asyncpg.connect(postgres.dsn)
    await one.execute(_FORGET)
    yield one
    await one.execute(_FORGET)
    await one.close()


def _usage(key: str, **more: Any) -> Usage:
    figures: dict[str, Any] = {"tenant_id": "t", "tokens": 5, "model": "m", "token_type": "llm", "operation": "query"}
    return Usage(idempotency_key=key, at=1_700_000_000.25, **figures, **more)


async def test_the_pool_of_the_rows_serves_the_ledger_too(postgres_dsn: str, connection: Any) -> None:
    """MagicStack/asyncpg 140 in its kind: with a codec for jsonb on the pool, text that is JSON is encoded once more."""
    for one in migrations():
        await connection.execute(one.sql)
    pool = await postgres.create_pool(postgres_dsn)
    async with pool:
        assert await PostgresAuthority(pool).absorb([_usage("k", cost_micros=7)]) == []
    assert await connection.fetchval("SELECT cost_micros FROM alacena_token_usage") == 7


async def test_figures_that_json_lacks_are_no_reason_to_refuse_a_use(connection: Any) -> None:
    for one in migrations():
        await connection.execute(one.sql)
    assert await PostgresAuthority(connection).absorb([_usage("k", metadata={"score": float("inf")})]) == []
    assert await connection.fetchval("SELECT metadata->'score' FROM alacena_token_usage") == "null"


async def test_nothing_of_a_use_is_lost_while_the_migrations_are_applied_again(connection: Any) -> None:
    """A service applies its schema at each start, beside workers of the last version that write usage."""
    for one in migrations():
        await connection.execute(one.sql)
    for number, one in enumerate(migrations()):
        await connection.execute(one.sql)
        await PostgresAuthority(connection).absorb([_usage(f"k{number}", parts={"input": 5}, cost_micros=7)])
    assert await connection.fetchval("SELECT sum(cost_micros) FROM alacena_token_usage") == 7 * len(migrations())
    totals = await connection.fetch("SELECT part, amount FROM alacena_token_parts ORDER BY part")
    assert [tuple(row) for row in totals] == [("$", 7 * len(migrations())), ("input", 5 * len(migrations()))]


async def test_a_schema_without_costs_takes_no_use_that_may_have_one(connection: Any) -> None:
    """unchainedshop/unchained 783 in its kind: not migrated, and on it went: the cost of each use was left out."""
    await connection.execute(migrations()[0].sql + _OLDER)
    with pytest.raises(ServerReplyError, match="alacena db --apply") as refused:
        await PostgresAuthority(connection).absorb([_usage("k", cost_micros=7)])
    assert refused.value.code == "42P01"  # the relay keeps what is refused with it, and tries again
    for one in migrations():
        await connection.execute(one.sql)
    assert await PostgresAuthority(connection).absorb([_usage("k", cost_micros=7)]) == []
    assert await connection.fetchval("SELECT cost_micros FROM alacena_token_usage") == 7


async def test_json_columns_neither_gain_nor_lose_anything(postgres_dsn: str) -> None:
    """brianc/node-postgres 1943: a score that was NaN came back as if nobody had given one."""
    async with await postgres.create_pool(postgres_dsn) as pool:
        for value in (float("nan"), {"rows": [{"score": float("inf")}]}):
            with pytest.raises((ArgumentError, asyncpg.DataError), match="NaN"):
                await pool.fetchval("SELECT $1::jsonb", value)
        assert await pool.fetchval("SELECT $1::jsonb", {"none": None, "score": 0.5}) == {"none": None, "score": 0.5}
        assert await pool.fetchval("""SELECT '{"title": "\\ud83d"}'::json""") == {"title": "\ud83d"}


@pytest.mark.parametrize("value", ["'[1,5)'::int4range", "'empty'::int4range", "'{[1,3),[5,7)}'::int4multirange"])
async def test_ranges_of_psycopg_are_kept(manager: type[CacheManager], postgres: Postgres, value: str) -> None:
    """psycopg/psycopg2 462, getredash/redash 1764: a row with a range was served, and asked for anew each time."""
    postgres.execute(f"DROP TABLE IF EXISTS ranges; CREATE TABLE ranges AS SELECT 'r' id, 'a' tenant_id, {value} AS v")
    async with psycopg_pool.AsyncConnectionPool(postgres.dsn, open=False) as pool:
        row = await psycopg.row_loader(pool, "ranges")("r", "a")
    postgres.execute("DROP TABLE ranges")
    assert await manager.set("row", "r", row, "a")
    assert await manager.get("row", "r", "a", use_memory=False) == row


@pytest.mark.parametrize(
    "value",
    [
        Range(None, 5, "(]"),
        Multirange([Range(1, 3), Range(empty=True)]),
        AlchemyRange(1, None, bounds="[)"),
        AlchemyRange(empty=True),
        AlchemyMultiRange([AlchemyRange(1, 3)]),
    ],
)
async def test_a_range_of_any_library_is_the_same_afterwards(manager: type[CacheManager], value: Any) -> None:
    assert await manager.set("row", "r", value, "a")
    kept = await manager.get("row", "r", "a", use_memory=False)
    assert (type(kept), kept) == (type(value), value)


@pytest.fixture(params=["few digits", "every rounding is an error"])
def context(request: pytest.FixtureRequest) -> decimal.Context:
    """A context that an application may have set for figures of its own."""
    if request.param == "few digits":
        return decimal.Context(prec=4)
    return decimal.Context(prec=28, traps=[decimal.Inexact, decimal.Rounded])


async def test_money_is_exact_whatever_the_application_rounds_to(
    manager: type[CacheManager], context: decimal.Context
) -> None:
    """NangoHQ/nango 7495, flexprice/flexprice 2456: figures were cut where they were shown, and billed so."""
    cache = await manager.cache()
    with decimal.localcontext(context):
        for key in "ab":
            await track_token_usage("t", 5, model="m", cost=Decimal("1234.5678915"), idempotency_key=key)
        totals = await cache.ledger.totals("t")
    assert totals.cost == Decimal("2469.135784")
    assert totals.rows[0].cost == totals.cost


def test_a_price_is_exact_whatever_the_application_rounds_to(context: decimal.Context) -> None:
    price = ModelPrice(model="m", since=date(2025, 1, 1), input_usd=Decimal("2.5000007"), output_usd=Decimal("10.01"))
    with decimal.localcontext(context):
        assert price.nanodollars(TokenCounts(input_tokens=1_234_567, output_tokens=7)) == 3_086_488_434


@pytest.mark.parametrize("cost", ["1e999999", Decimal("1e999999"), Decimal("1e-999999"), "1e40"])
async def test_an_amount_of_no_size_is_refused_or_nothing(manager: type[CacheManager], cost: Any) -> None:
    if Decimal(cost) < 1:
        await track_token_usage("t", 5, model="m", cost=cost)
        return
    with pytest.raises(ValueError, match="cost"):
        await track_token_usage("t", 5, model="m", cost=cost)


class _Away(LocalBackend):
    """A server that is away until it is told otherwise."""

    away = True

    async def script(self, *words: Any, **more: Any) -> Any:
        if self.away:
            raise BackendUnavailableError("away")
        return await super().script(*words, **more)


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """A spill file that cannot be written."""

    def path() -> Path:
        file = tmp_path / "spill"
        if not file.is_symlink():
            file.symlink_to("/dev/full")
        return file

    return path


def _ledger(store: LocalBackend, path: Path) -> Ledger:
    port = CoordinationContext(store, PlainKeys(), SystemEnvironment())
    return Ledger(port, spill=Spool(path))


async def test_what_was_paid_for_waits_for_the_disk_as_for_the_server(full_disk: Callable[[], Path]) -> None:
    """vectordotdev/vector 26325 in its kind: the server was away, the disk full, and what came then thrown away."""
    store, path = _Away(SystemEnvironment()), full_disk()
    ledger = _ledger(store, path)
    pending = ledger._pending
    pending.keep(_usage("k"))
    await pending.flush()
    assert ledger.health() | {"conflicts": 0} == {"pending": 1, "lost": 0, "refused": 0, "conflicts": 0}
    store.away = False
    await pending.flush()
    assert len(pending) == 0
    assert (await ledger.totals("t")).used == 5
    await ledger.close()


async def test_a_full_disk_is_no_other_error_than_the_server_that_is_away(full_disk: Callable[[], Path]) -> None:
    ledger = _ledger(_Away(SystemEnvironment()), full_disk())
    with pytest.raises(BackendUnavailableError) as refused:
        await ledger.record("t", 5, model="m")
    assert "spill" in "".join(refused.value.__notes__)
    await ledger.close()


async def test_safe_usage_that_is_on_no_disk_is_of_unknown_outcome(full_disk: Callable[[], Path]) -> None:
    store = _Away(SystemEnvironment())
    store.away = False
    ledger = _ledger(store, full_disk())
    with pytest.raises(OutcomeUnknownError, match="spill file"):
        await ledger.record("t", 5, model="m", mode="safe")
    await ledger.close()


async def test_a_pool_behind_a_pooler_keeps_no_statement(postgres_dsn: str) -> None:
    """supabase/supabase#39227, MagicStack/asyncpg#121: the next transaction was on a connection without the statement."""
    async with await postgres.create_pool(postgres_dsn, max_size=1, statement_cache_size=0) as pool:
        for _ in range(2):
            async with pool.acquire() as one, one.transaction():
                assert await one.fetchval("SELECT $1::jsonb", [1]) == [1]
                assert await one.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0
    with pytest.raises(ValueError, match="statement_cache_size"):
        await postgres.create_pool(postgres_dsn, statement_cache_size=-1)


def test_a_shell_that_closed_its_output_gets_the_exit_code_alone() -> None:
    """streamlink/streamlink#6197: without its standard output the command ended with a traceback."""
    command = [sys.executable, "-W", "ignore", "-c", "from alacena.ops.cli import main; main()", "db"]
    for closed in (">&-", ">&- 2>&-"):
        done = subprocess.run(f"{shlex.join(command)} {closed}", shell=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("option", ["--apply", "--check"])
def test_a_user_without_rights_is_told_so_in_one_line(postgres: Postgres, option: str) -> None:
    """A role that may read and write, and not make tables: the refusal was a traceback of a hundred lines."""
    postgres.execute("DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN")
    try:
        done = CliRunner().invoke(app, ["db", option, postgres.dsn_of("poor")])
    finally:
        postgres.execute("DROP ROLE poor")
    assert (done.exit_code, isinstance(done.exception, SystemExit)) == (1, True)
    assert option == "--check" or "permission denied" in done.stderr
    assert done.stderr.count("\n") <= 1
