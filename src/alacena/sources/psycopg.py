"""Postgres as a source of truth, through psycopg 3: the rows of one tenant, and a loader for the cache.

As `alacena.sources.postgres`, which does the same through asyncpg. The pool is psycopg's own.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from alacena.engine.base.arguments import check_part, text_id
from alacena.engine.base.errors import SettingsError
from alacena.engine.base.scope import identifier
from alacena.sources.call_arguments import check_name, check_tenant, split_name
from alacena.sources.postgres import CLAIMS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool


@asynccontextmanager
async def as_tenant(
    pool: AsyncConnectionPool[Any], tenant_id: str, *, role: str = "authenticated"
) -> AsyncIterator[AsyncConnection[Any]]:
    """Yields a connection in a transaction that is limited to one tenant by the database's own row-level security.

    Cost: three round trips around the block's own.
    Cancellation: the transaction is rolled back.

    Args:
        pool: An open ``psycopg_pool.AsyncConnectionPool``.
        tenant_id: The tenant of the visible rows.
        role: The database role that the policies are written for; the pool's user must be a member of it.

    Raises:
        MissingTenantError: The tenant is blank.
        TenantMismatchError: The code runs for another tenant.
    """
    check_part(pool, "pool", "connection", "an open AsyncConnectionPool")
    role = text_id("role", role)
    claims = json.dumps({"role": role, "tenant_id": text_id("tenant_id", check_tenant(tenant_id))})
    async with pool.connection() as connection, connection.transaction():
        # `true`: for this transaction only. The pool gives the connection to another tenant next.
        await connection.execute(
            "select set_config(%s, %s, true), set_config('role', %s, true)", (CLAIMS, claims, role)
        )
        yield connection


def row_loader(
    pool: AsyncConnectionPool[Any], table: str, *, id_column: str = "id", tenant_column: str = "tenant_id"
) -> Callable[[str, str], Awaitable[dict[str, Any] | None]]:
    """Returns a loader for ``get_with_cache_aside(fetch_from_db_func=...)``: one row of a table by id and tenant, as a dict.

    Cost: one statement a call.

    Args:
        pool: An open ``psycopg_pool.AsyncConnectionPool``.
        table: ``"table"`` or ``"schema.table"``.
        id_column: The column that the resource id is compared with, as text.
        tenant_column: The column that the tenant is compared with, as text.

    Raises:
        SettingsError: psycopg is not installed.
        ValueError: A name is not one that Postgres could have.
    """
    try:
        from psycopg import sql
        from psycopg.rows import dict_row
    except ImportError as error:
        raise SettingsError("psycopg is not installed: pip install 'alacena[psycopg]'") from error

    def name(part: str) -> sql.Identifier:
        return sql.Identifier(check_name(part))

    statement = sql.SQL("select * from {} where {}::text = %s and {}::text = %s limit 1").format(
        sql.SQL(".").join(name(part) for part in split_name(table)), name(id_column), name(tenant_column)
    )

    async def load_row(resource_id: str, tenant_id: str) -> dict[str, Any] | None:
        tenant, resource = check_tenant(tenant_id), identifier("resource_id", resource_id)
        async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement, (resource, tenant))
            row: dict[str, Any] | None = await cursor.fetchone()
            return row

    return load_row
