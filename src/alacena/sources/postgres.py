"""Postgres as a source of truth, through asyncpg: a pool, the rows of one tenant, and a loader for the cache."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager, suppress
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from alacena.engine.base.arguments import check_part, exact, finite_seconds, text_id
from alacena.engine.base.errors import ArgumentError, SettingsError
from alacena.engine.base.scope import identifier
from alacena.sources.call_arguments import check_name, check_tenant, split_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncpg import Connection, Pool

CLAIMS = "request.jwt.claims"
"""Where PostgREST puts the claims of a token, and where policies written for Supabase read them."""
# Postgres cuts a longer name off without an error, and would read another table.


async def create_pool(
    dsn: str,
    *,
    min_size: int = 1,
    max_size: int = 10,
    connect_timeout_s: float = 5.0,
    command_timeout_s: float = 10.0,
    statement_cache_size: int = 100,
    init: Callable[[Connection], Awaitable[object]] | None = None,
) -> Pool:
    """Returns a pool of asyncpg connections on which ``json`` and ``jsonb`` are Python values; the caller closes it.

    If the application has imported ``pgvector.asyncpg``, and the database has its types, vectors are values too.

    Cost: ``min_size`` connections.

    Args:
        dsn: ``postgresql://user:password@host:5432/database``, or ``postgresql://user@/database?host=/socket/folder``.
        min_size: Connections opened at once and kept.
        max_size: The most connections.
        connect_timeout_s: How long the first connections may take, seconds.
        command_timeout_s: How long a statement may take, seconds.
        statement_cache_size: How many prepared statements each connection keeps. 0 behind a pooler that gives each
            transaction another connection (PgBouncer's transaction mode, Supabase's port 6543).
        init: Called with each new connection, such as ``pgvector.asyncpg.register_vector``.

    Raises:
        SettingsError: The DSN, its user, password or database is wrong, or the ``postgres`` extra is not installed.
        OSError: The server cannot be reached (as asyncpg says it, with a note of where it was looked for).
        TimeoutError: It did not answer in ``connect_timeout_s``.
    """
    asyncpg = _import_asyncpg()
    if not isinstance(dsn, str):
        raise SettingsError(f"the DSN must be text, not a {type(dsn).__name__}: {_DSN_MEND}")
    _check_dsn(dsn)
    min_size, max_size = exact(min_size, "min_size", least=0), exact(max_size, "max_size", least=1)
    statement_cache_size = exact(statement_cache_size, "statement_cache_size", least=0)
    finite_seconds(connect_timeout_s, "connect_timeout_s")
    finite_seconds(command_timeout_s, "command_timeout_s")
    if not 0 <= min_size <= max_size or max_size < 1:
        raise SettingsError(f"min_size ({min_size}) must be between 0 and max_size ({max_size}), which is at least 1")

    async def prepare(connection: Connection) -> None:
        await _speak_json(connection)
        await _speak_vectors(connection)
        # The application's own comes last: it may replace a codec that was set above.
        if init is not None:
            await init(connection)

    try:
        pool: Pool = await asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=connect_timeout_s,
            command_timeout=command_timeout_s,
            statement_cache_size=statement_cache_size,
            init=prepare,
        )
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise SettingsError(f"Postgres at {_without_password(dsn)} refused the log-in: {error}") from error
    except (asyncpg.exceptions.ClientConfigurationError, ValueError) as error:
        # Their text quotes what they could not read.
        raise SettingsError(
            f"the DSN {_without_password(dsn)} cannot be used ({type(error).__name__}): {_DSN_MEND}"
        ) from None
    except OSError as error:
        error.add_note(f"while connecting to {_without_password(dsn)}")
        raise
    return pool


def _import_asyncpg() -> Any:
    try:
        import asyncpg
    except ModuleNotFoundError as error:
        raise SettingsError("asyncpg is not installed: pip install 'alacena[postgres]'") from error
    return asyncpg


async def _speak_json(connection: Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=_to_json, decoder=_from_json, format="text")


async def _speak_vectors(connection: Connection) -> None:
    pgvector = sys.modules.get("pgvector.asyncpg")
    if pgvector is not None:
        with suppress(ValueError):  # the database does not have its types
            await pgvector.register_vector(connection)


def _to_json(value: object) -> str:
    text = msgspec.json.encode(value)
    if b"null" in text and _holds_no_number(value):
        raise ArgumentError("JSON has no NaN and no infinity: pass None, or text, in their place")
    return text.decode()


def _holds_no_number(value: object) -> bool:
    """Returns True if a float in it is no finite number: it would be written as null."""
    if isinstance(value, float):
        return not isfinite(value)
    if isinstance(value, dict):
        return any(map(_holds_no_number, value.values()))
    return isinstance(value, list | tuple | set | frozenset) and any(map(_holds_no_number, value))


def _from_json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        # A column of type json keeps what is no text, such as half of a surrogate pair.
        return json.loads(text)


_DSN_MEND = (
    "write postgresql://user:password@host:5432/database, and percent-encode the password "
    "(urllib.parse.quote(password, safe=''))"
)


def _check_dsn(dsn: str) -> None:
    """Refuses a DSN with a password that was cut at one of its own characters, before a driver quotes the rest of it."""
    scheme, separator, rest = dsn.partition("://")
    before, _, query = rest.partition("?")
    credentials, at, _ = before.partition("/")[0].rpartition("@")
    if not separator or scheme not in ("postgres", "postgresql"):
        raise SettingsError(f"the DSN must look like postgresql://user:password@host:5432/database: {_DSN_MEND}")
    # A "/" or "?" in a password ends the part before the host: its "@" then stands in the path or the query.
    cut = "@" in before.partition("/")[2] or ("@" in query and not at and "=" not in query.partition("@")[0])
    if cut or "#" in rest or {"[", "]"} & set(credentials):
        raise SettingsError(f"the DSN holds '/', '?', '#', '[' or ']' before its last '@': {_DSN_MEND}")


def _without_password(dsn: str) -> str:
    """Returns user, host and database of a DSN; nothing of its password, and none of its options, which may hold one too."""
    scheme, _, rest = dsn.partition("?")[0].partition("://")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{place}"


@asynccontextmanager
async def as_tenant(pool: Pool, tenant_id: str, *, role: str = "authenticated") -> AsyncIterator[Connection]:
    """Yields a connection in a transaction that is limited to one tenant by the database's own row-level security.

    Sets the role and the claims as PostgREST does, for this transaction only; policies that compare
    ``current_setting('request.jwt.claims', true)::json ->> 'tenant_id'`` hold.

    Cost: three round trips around the block's own.
    Cancellation: the transaction is rolled back.

    Args:
        pool: From ``create_pool``.
        tenant_id: The tenant of the visible rows.
        role: The database role that the policies are written for; the pool's user must be a member of it.

    Raises:
        MissingTenantError: The tenant is blank.
        TenantMismatchError: The code runs for another tenant.
    """
    check_part(pool, "pool", "acquire", "a pool of asyncpg's, as create_pool() gives it")
    role = text_id("role", role)
    claims = _to_json({"role": role, "tenant_id": text_id("tenant_id", check_tenant(tenant_id))})
    async with pool.acquire() as connection, connection.transaction():
        # `true`: for this transaction only. The pool gives the connection to another tenant next.
        await connection.execute("select set_config($1, $2, true), set_config('role', $3, true)", CLAIMS, claims, role)
        yield connection


def row_loader(
    pool: Pool, table: str, *, id_column: str = "id", tenant_column: str = "tenant_id"
) -> Callable[[str, str], Awaitable[dict[str, Any] | None]]:
    """Returns a loader for ``get_with_cache_aside(fetch_from_db_func=...)``: one row of a table by id and tenant, as a dict.

    Cost: one round trip a call.

    Args:
        pool: From ``create_pool``.
        table: ``"table"`` or ``"schema.table"``.
        id_column: The column that the resource id is compared with, as text.
        tenant_column: The column that the tenant is compared with, as text.

    Raises:
        ValueError: A name is not one that Postgres could have.
    """
    name = ".".join(_identifier(part) for part in split_name(table))
    # Columns are cast and ids are not: an id that is no number or UUID finds no row, in place of a server's error.
    conditions = f"{_identifier(id_column)}::text = $1 and {_identifier(tenant_column)}::text = $2"
    statement = f"select * from {name} where {conditions} limit 1"  # noqa: S608 - quoted identifiers, bound values

    async def load_row(resource_id: str, tenant_id: str) -> dict[str, Any] | None:
        tenant, resource = check_tenant(tenant_id), identifier("resource_id", resource_id)
        row = await pool.fetchrow(statement, resource, tenant)
        return None if row is None else dict(row)

    return load_row


def _identifier(name: str) -> str:
    return '"' + check_name(name).replace('"', '""') + '"'
