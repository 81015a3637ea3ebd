"""Postgres as the authority of the token ledger: a unique key decides which records are counted.

Needs the migrations beside this file, and asyncpg (extra ``postgres``), which is imported where it is used.
"""

from __future__ import annotations

import asyncio
import importlib.resources
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from alacena.engine.base.closing import finish
from alacena.engine.base.errors import BackendUnavailableError, OutcomeUnknownError, ServerReplyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.ledger.usage import Usage

_ABSORB = """
SELECT conflict_tenant_id, conflict_key FROM alacena_absorb_usage(CASE
    WHEN 'alacena_token_parts'::regclass IS NULL THEN NULL
    WHEN current_setting('synchronous_commit') <> 'off' THEN $1::text::jsonb
    WHEN set_config('synchronous_commit', 'on', true) = 'on' THEN $1::text::jsonb
END)
"""
"""A commit is waited for also where the database says otherwise: what is confirmed here is deleted elsewhere.

The records are text to the driver: a pool may have a codec of its own for ``jsonb``. The table is named because the
function of a schema without it takes records as well, and leaves their parts and their cost out.
"""


class AsyncpgPool(Protocol):
    """A pool or a connection as the authority needs it; asyncpg's are ones."""

    async def fetch(self, query: str, *args: Any) -> Any:
        """Returns the rows of a query."""
        ...

    async def close(self) -> None:
        """Ends it."""
        ...


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration.

    Attributes:
        name: Its file's name; migrations apply in the order of their names.
        sql: Its text; applying it again does no harm.
    """

    name: str
    sql: str


def migrations() -> list[Migration]:
    """Returns the migrations, in the order in which they apply, for plain Postgres (15 or newer) and Supabase alike."""
    folder = importlib.resources.files("alacena") / "sources" / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(file.name, file.read_text("utf-8")) for file in files]


class PostgresAuthority:
    """Keeps each use of tokens once, with totals by day, in one statement a batch.

    Args:
        pool: An asyncpg pool, or a connection. See :meth:`connect`.
        timeout_s: How long one batch may take, with the wait for a connection.
    """

    def __init__(self, pool: AsyncpgPool, *, timeout_s: float = 10.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    @classmethod
    async def connect(cls, dsn: str, **options: Any) -> PostgresAuthority:
        """Opens a pool of its own, until :meth:`close`; options go to ``asyncpg.create_pool``.

        It connects when it is first needed (``min_size=0``, unless given), so that a Postgres that is away is no error.
        Connecting takes 5 s at most and a statement 10 s, unless ``timeout`` and ``command_timeout`` say otherwise.

        Raises:
            UsageError: asyncpg is not installed.
        """
        waits = {"timeout": 5.0, "command_timeout": 10.0}
        return cls(await _asyncpg().create_pool(dsn, **{"min_size": 0, **waits, **options}))

    async def close(self, *, timeout_s: float = 5.0) -> None:
        """Closes the pool. After the caches that have this authority: their relays use it to the end.

        Connections that are not given back in ``timeout_s`` are cut. Closing twice is no error.

        Cancellation: they are cut at once.
        """
        closing = asyncio.ensure_future(self._pool.close())
        try:
            await finish((closing,), timeout_s)
        finally:
            if terminate := getattr(self._pool, "terminate", None):
                terminate()

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        """Keeps those with a new key and adds exactly those to the totals.

        Cost: 1 round trip to Postgres. Atomicity: one transaction. Idempotent by ``(tenant_id, idempotency_key)``.

        Returns:
            Those with a key that is known with other figures: not counted, noted in ``alacena_token_conflicts``.

        Raises:
            BackendUnavailableError: Postgres could not be reached.
            OutcomeUnknownError: The connection was lost: it may have been committed; absorb it again.
            ServerReplyError: Postgres refused, such as when the migrations are missing.
        """
        records = [{**msgspec.to_builtins(usage), "fingerprint": usage.fingerprint} for usage in usages]
        rows = await self._fetch(_ABSORB, msgspec.json.encode(records).decode())
        refused = {(row[0], row[1]) for row in rows}
        return [usage for usage in usages if (usage.tenant_id, usage.idempotency_key) in refused]

    async def _fetch(self, query: str, *args: Any) -> Any:
        asyncpg = _asyncpg()
        try:
            return await self._within(query, *args)
        # First those that have changed nothing for sure: they are subclasses of some that come later.
        except (asyncpg.CannotConnectNowError, ConnectionRefusedError, FileNotFoundError) as error:
            raise BackendUnavailableError(f"Postgres is away: {error}") from error
        except asyncpg.exceptions.TargetServerAttributeNotMatched as error:
            raise BackendUnavailableError(f"no Postgres that takes writes is there: {error}") from error
        except asyncpg.exceptions.ClientConfigurationError as error:
            raise UsageError(
                "the DSN or the options of the Postgres authority cannot be used: see the cause"
            ) from error
        except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, OSError, TimeoutError) as error:
            raise OutcomeUnknownError(f"Postgres was lost: {_words(error)}") from error
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError) as error:
            raise ServerReplyError(f"{error.sqlstate} {error}: {_MIGRATE}") from error
        except asyncpg.PostgresError as error:
            raise ServerReplyError(f"{error.sqlstate} {error}") from error
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise OutcomeUnknownError(f"asyncpg gave up: {_words(error)}") from error

    async def _within(self, query: str, *args: Any) -> Any:
        """Returns the rows, within the time. A connection to a silent server is cut, and a new one is made.

        The time is that of a task apart: giving such a connection back waits for the server, and would swallow the one
        cancellation that a timeout sends.
        """
        fetching = asyncio.ensure_future(self._rows(query, *args))
        try:
            await asyncio.wait((fetching,), timeout=self._timeout_s)
        finally:
            await finish((fetching,), 0.0)
        if fetching.cancelled() or not fetching.done():
            raise TimeoutError(f"no answer within {self._timeout_s:g} s")
        return fetching.result()

    async def _rows(self, query: str, *args: Any) -> Any:
        acquire = getattr(self._pool, "acquire", None)
        if acquire is None:
            return await self._pool.fetch(query, *args)
        # The pool keeps this time for the giving back too, which otherwise waits for ever for a server that is gone.
        async with acquire(timeout=self._timeout_s) as connection:
            return await connection.fetch(query, *args)


_MIGRATE = "the schema of the ledger is not there, or older: alacena db --apply DSN brings it"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()


def _asyncpg() -> Any:
    try:
        import asyncpg
    except ImportError as error:
        raise UsageError("the Postgres authority needs asyncpg: pip install 'alacena[postgres]'") from error
    return asyncpg
