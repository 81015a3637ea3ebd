"""Rows of Postgres through psycopg 3: one tenant's, in a load and under row-level security; vectors are values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("psycopg_pool")

from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from alacena import Context, MissingTenantError, SettingsError, TenantMismatchError, get_with_cache_aside
from alacena.sources.psycopg import as_tenant, row_loader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def pool(postgres: Any) -> AsyncIterator[AsyncConnectionPool[Any]]:
    postgres.execute(
        "insert into ai.documents (tenant_id, document_id, title, metadata) values"
        " ('acme', 'd1', 'Acme', '{\"a\": [1, 2.5]}'), ('globex', 'd1', 'Globex', '{}')"
    )
    postgres.execute(
        "insert into ai.document_chunks (tenant_id, chunk_id, document_id, embedding)"
        " values ('acme', 'c1', 'd1', '[1,2,3]')"
    )
    async with AsyncConnectionPool(postgres.dsn, min_size=1, max_size=2, open=False) as pool:
        yield pool


async def test_row_of_a_tenant_is_loaded_and_cached(pool: AsyncConnectionPool[Any], cache: Any) -> None:
    load = row_loader(pool, "ai.documents", id_column="document_id")
    for tenant, title in (("acme", "Acme"), ("globex", "Globex")):
        for source in ("supabase", "cache"):
            with Context(tenant):
                row, metrics = await get_with_cache_aside("document", "d1", fetch_from_db_func=load)
            assert (row["title"], metrics["source"]) == (title, source)
    assert (await load("d1", "acme"))["metadata"] == {"a": [1, 2.5]}  # type: ignore[index]
    assert await load("d2", "acme") is None
    assert await load("d1' or true --", "acme") is None
    with Context("globex"), pytest.raises(TenantMismatchError):
        await load("d1", "acme")


async def test_policies_hold_for_the_tenant_of_the_block(pool: AsyncConnectionPool[Any]) -> None:
    for tenant in ("acme", "globex"):
        async with as_tenant(pool, tenant) as connection, connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute("select tenant_id from ai.documents")
            assert await cursor.fetchall() == [(tenant,)]
    async with pool.connection() as connection:  # nothing is left on a connection that is used again
        cursor = await connection.execute("select current_setting('role'), current_setting('request.jwt.claims', true)")
        assert await cursor.fetchone() in {("none", ""), ("none", None)}
    with pytest.raises(MissingTenantError):
        async with as_tenant(pool, " "):
            pass


async def test_vectors_are_values(postgres: Any, pool: AsyncConnectionPool[Any], cache: Any) -> None:
    psycopg_vectors = pytest.importorskip("pgvector.psycopg")
    async with AsyncConnectionPool(
        postgres.dsn, min_size=1, max_size=1, open=False, configure=psycopg_vectors.register_vector_async
    ) as own:
        load = row_loader(own, "ai.document_chunks", id_column="chunk_id")
        for source in ("supabase", "cache"):
            row, metrics = await get_with_cache_aside("chunk", "c1", "acme", fetch_from_db_func=load)
            assert (row["embedding"].to_list(), metrics["source"]) == ([1.0, 2.0, 3.0], source)


def test_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    pool: Any = None
    for table in ("", "a" * 64, "ai..documents", "a\0b"):
        with pytest.raises(ValueError, match="not a name"):
            row_loader(pool, table)
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"pip install 'alacena\[psycopg\]'"):
        row_loader(pool, "documents")
