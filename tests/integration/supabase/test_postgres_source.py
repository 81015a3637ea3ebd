"""The asyncpg helpers against Postgres: values, tenants, and errors that say what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from alacena.engine.base.errors import MissingTenantError, SettingsError
from alacena.sources.postgres import as_tenant, create_pool, row_loader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg import Pool

    from proving.servers.postgres import Postgres

DOCUMENTS = """
insert into ai.documents (tenant_id, document_id, metadata) values
    ('a', 'd1', '{"pages": 3}'), ('a', 'd2', '[]'), ('b', 'd1', '{}')
"""


@pytest.fixture
async def pool(postgres: Postgres) -> AsyncIterator[Pool]:
    postgres.execute(DOCUMENTS)
    pool = await create_pool(postgres.dsn, max_size=2)
    yield pool
    await pool.close()


async def test_json_goes_in_and_comes_out_as_values(pool: Pool) -> None:
    assert await pool.fetchval("select $1::jsonb", {"a": [1, None, "ñ"]}) == {"a": [1, None, "ñ"]}
    assert await pool.fetchval("select $1::json", [True]) == [True]


async def test_a_loader_finds_the_tenants_row_or_none(pool: Pool) -> None:
    load = row_loader(pool, "ai.documents", id_column="document_id")
    row = await load("d1", "a")
    assert row is not None
    assert (row["tenant_id"], row["metadata"]) == ("a", {"pages": 3})
    assert await load("d2", "b") is None
    assert await load("' or true --", "a") is None


async def test_a_transaction_of_a_tenant_sees_its_rows_only(pool: Pool) -> None:
    async with as_tenant(pool, "a") as connection:
        rows = await connection.fetch("select tenant_id from ai.documents")
    assert [row["tenant_id"] for row in rows] == ["a", "a"]
    assert await pool.fetchval("select count(*) from ai.documents") == 3


async def test_the_next_user_of_the_connection_inherits_no_tenant(postgres: Postgres) -> None:
    pool = await create_pool(postgres.dsn, min_size=1, max_size=1)
    try:
        async with as_tenant(pool, "a") as connection:
            assert await connection.fetchval("select public.request_tenant()") == "a"
        assert await pool.fetchrow("select public.request_tenant(), current_user") == (None, "postgres")
    finally:
        await pool.close()


async def test_what_a_failing_block_wrote_is_rolled_back(pool: Pool) -> None:
    async def delete_and_fail() -> None:
        async with as_tenant(pool, "a") as connection:
            assert await connection.execute("delete from ai.documents") == "DELETE 2"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await delete_and_fail()
    assert await pool.fetchval("select count(*) from ai.documents") == 3


async def test_a_blank_tenant_is_refused(pool: Pool) -> None:
    with pytest.raises(MissingTenantError):
        async with as_tenant(pool, " "):
            pass


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, "a\0"])
async def test_impossible_names_are_refused(pool: Pool, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        row_loader(pool, name)


async def test_a_strange_name_is_quoted(pool: Pool) -> None:
    await pool.execute('create table "odd ""name" (id int, tenant_id text)')
    try:
        await pool.execute('insert into "odd ""name" values (7, $1)', "a")
        assert await row_loader(pool, 'odd "name')("7", "a") == {"id": 7, "tenant_id": "a"}
    finally:
        await pool.execute('drop table "odd ""name"')


async def test_a_wrong_database_or_role_is_a_setting_to_mend(postgres: Postgres) -> None:
    with pytest.raises(SettingsError, match=r"refused the log-in: .*nothing"):
        await create_pool(postgres.dsn.replace("/postgres?", "/nothing?"))
    with pytest.raises(SettingsError, match="refused the log-in") as refused:
        await create_pool(postgres.dsn_of("nobody:hush"))
    assert "hush" not in str(refused.value)


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(OSError) as failed:
        await create_pool("postgresql://me:hush@127.0.0.1:1/db")
    assert failed.value.__notes__ == ["while connecting to postgresql://me@127.0.0.1:1/db"]


async def test_arguments_that_cannot_be_right_are_refused() -> None:
    with pytest.raises(SettingsError, match="must look like postgresql://"):
        await create_pool("mysql://x")
    with pytest.raises(SettingsError, match=r"min_size \(3\) must be between 0 and max_size \(2\)"):
        await create_pool("postgresql://x", min_size=3, max_size=2)


async def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(SettingsError, match=r"pip install 'alacena\[postgres\]'"):
        await create_pool("postgresql://x")
