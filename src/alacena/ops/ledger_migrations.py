"""The ledger's migrations of a Postgres, as ``alacena db`` applies and checks them."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from alacena.engine import ServerReplyError
from alacena.ops.command_runner import FINDING
from alacena.ops.output import Cell, CommandResult
from alacena.sources.ledger import migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_MADE: Final = re.compile(r"CREATE (?:TABLE IF NOT EXISTS|OR REPLACE FUNCTION) (\w+)")


@asynccontextmanager
async def _open_pool(dsn: str) -> AsyncIterator[Any]:
    """Yields a pool of connections to a Postgres. Its refusals are errors of ours, so that the command line reports them."""
    from alacena.sources.postgres import create_pool

    pool = await create_pool(dsn, statement_cache_size=0)
    # Only once the pool is there: the error that asyncpg is missing has a message of its own.
    import asyncpg

    async with pool:
        try:
            yield pool
        except asyncpg.PostgresError as error:
            raise ServerReplyError(f"{error.sqlstate} {error}") from error


async def apply_migrations(dsn: str) -> list[str]:
    """Applies the migrations to a Postgres. Returns their names."""
    async with _open_pool(dsn) as pool:
        for one in migrations():
            await pool.execute(one.sql)
    return [one.name for one in migrations()]


async def check_migrations(dsn: str) -> CommandResult:
    """Returns which migrations a Postgres has: those with all their tables and functions. Nothing is changed."""
    query = "SELECT to_regclass($1) IS NOT NULL OR EXISTS (SELECT FROM pg_proc WHERE proname = $1)"
    missing: dict[str, list[str]] = {}
    async with _open_pool(dsn) as pool:
        for one in migrations():
            made = _MADE.findall(one.sql)
            missing[one.name] = [name for name in made if not await pool.fetchval(query, name)]
    cells = [
        Cell(f"{name}: missing {', '.join(lost)}", "bad") if lost else Cell(f"{name}: there", "good")
        for name, lost in missing.items()
    ]
    return CommandResult(missing, cells, code=FINDING if any(missing.values()) else 0)
