"""The half of a lock that is safety: the resource itself refuses a caller with an older fence.

A lock's lease can end while its holder is paused; the fence of the next holder is higher. A table that has seen the
higher fence must refuse the lower one, in the same transaction as the write that it protects.

The row's own column::

    UPDATE documents SET body = $1, fence = $2 WHERE id = $3 AND fence <= $2

or, where the table has none, the table of ``sources/migrations`` through :func:`check_fence`.

Take the connection from a pool, inside the lock's block. A lock that is lost cancels its block wherever it waits, also
within ``BEGIN``: the pool rolls back a transaction that is left open, a connection of one's own would go on inside it.
Source of the idea: Kleppmann, "How to do distributed locking" (2016).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from alacena.engine.base.arguments import check_part, exact, list_of
from alacena.engine.base.errors import NotOwnerError, UsageError, show
from alacena.engine.base.scope import identifier, tenant_text

if TYPE_CHECKING:
    from collections.abc import Sequence

# `<=` and not `<`: one owner writes in several transactions, all of them under the same fence.
FENCE_SQL: Final = """
INSERT INTO alacena_fences (tenant_id, resource, fence) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, resource) DO UPDATE SET fence = EXCLUDED.fence, seen_at = now()
WHERE alacena_fences.fence <= EXCLUDED.fence
RETURNING fence
""".strip()
"""Remembers the highest fence of a resource; returns no row where a higher one was seen."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?").fullmatch


class SqlConnection(Protocol):
    """A Postgres connection as :func:`check_fence` needs it; asyncpg's is one."""

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Returns the first value of the first row, or ``None``."""
        ...


async def check_fence(connection: SqlConnection, tenant_id: str, resource: str, fence: int) -> None:
    """Lets a transaction go on only if no later owner of the lock has been here.

    Call it first inside the transaction that writes. The row lock that it takes holds later owners back until the end.

    Cost: 1 round trip to Postgres. Atomicity: that of the transaction.

    Raises:
        NotOwnerError: A higher fence was seen: roll back.
    """
    check_part(connection, "connection", "fetchval", "a Postgres connection, such as asyncpg's")
    tenant_id, resource = tenant_text(tenant_id), identifier("resource", resource)
    fence = exact(fence, "fence", least=0)
    if await connection.fetchval(FENCE_SQL, tenant_id, resource, fence) is None:
        raise NotOwnerError(f"fence {fence} of {resource!r} is behind: a later owner has written, so roll back")


def fenced_update_sql(table: str, columns: Sequence[str], key: str = "id", fence: str = "fence") -> str:
    """Returns an ``UPDATE`` of one row that only the latest owner can make.

    The parameters are the columns' values in their order, then the fence, then the key. No row updated: refuse.

    Raises:
        UsageError: A name is not a plain SQL identifier.
    """
    # A name cannot be a parameter of a statement: it is checked before it becomes a part of the text.
    columns = list_of(columns, "columns", "columns")
    for name in (table, *columns, key, fence):
        if not isinstance(name, str) or not _NAME(name):
            raise UsageError(f"{show(name)} is not a plain SQL name: write a letter or _, then letters, digits and _")
    sets = "".join(f"{column} = ${place}, " for place, column in enumerate(columns, 1))
    at = len(columns) + 1
    return f"UPDATE {table} SET {sets}{fence} = ${at} WHERE {key} = ${at + 1} AND {fence} <= ${at}"  # noqa: S608 - checked
