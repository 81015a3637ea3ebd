"""The token ledger: every use of tokens counted once, with totals at hand and Postgres as the authority.

One script counts a use in Redis and puts it into an outbox; a :class:`~alacena.engine.coordination.relay.Relay` carries
the outbox to an :class:`Authority`, where a unique key decides. Die anywhere, retry anything: counted once.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from alacena.engine.coordination.commits import Commits
from alacena.engine.coordination.port import exact, milliseconds
from alacena.engine.coordination.roster import Roster
from alacena.engine.coordination.totals import Totals, totals_from
from alacena.engine.coordination.usage import Usage, checked, short_key, unpacked
from alacena.engine.errors import (
    BackendUnavailableError,
    DecodeError,
    IdempotencyConflictError,
    LimitExceededError,
    OutcomeUnknownError,
    UsageError,
)
from alacena.engine.store import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.coordination.port import Port
    from alacena.engine.coordination.spill import Spill
    from alacena.engine.store import Argument

RECORD: Final = Script("ledger_record", idempotent=True)
KIND: Final = "tokens"
_FSYNC_S: Final = 5.0
"""How long the server's file may take: two questions, with room for a slow disk."""

Mode = Literal["fast", "safe", "durable"]


class Authority(Protocol):
    """Where usage is kept for good, each key once."""

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        """Keep those whose key is new, and total them, in one transaction.

        Returns:
            Those whose key is known with other figures: not counted.

        Raises:
            BackendError: It is not known to be kept: absorb it again.
        """
        ...


class Ledger:
    """Counts tokens by tenant, day, month, model, type and operation.

    =========  ==========================================  ===========================================================
    mode       returns when                                may be lost then
    =========  ==========================================  ===========================================================
    fast       Redis has counted it                        what Redis loses in a crash: about 1 s with ``everysec``
    safe       it is on disk: Redis's file, or the spill   nothing, short of a lost disk or an unreplicated failover
    durable    the authority has committed it              nothing
    =========  ==========================================  ===========================================================

    If Redis fails: with a spill file the use is kept there, on disk, and counted by :meth:`drain`, which an open cache
    calls every few seconds; without: raises.

    Args:
        port: Where the counts are.
        outbox: True where a relay carries usage to an authority; without one the outbox would only grow.
        authority: Needed for ``mode="durable"``.
        spill: Where usage waits while Redis is away.
        remember_s: For how long Redis knows a key. After that the authority alone refuses to count it again.
    """

    def __init__(
        self,
        port: Port,
        *,
        outbox: bool = False,
        authority: Authority | None = None,
        spill: Spill | None = None,
        remember_s: float = 7 * 86_400.0,
    ) -> None:
        self._port = port
        self._commits = None if authority is None else Commits(authority, self._committed)
        self._spill = spill
        self._remember_ms = milliseconds(remember_s, "remember_s")
        self._outbox = outbox or authority is not None
        self._roster = Roster(port, KIND, "outbox")

    async def record(
        self,
        tenant_id: str,
        tokens: int,
        *,
        model: str,
        token_type: str = "llm",  # noqa: S107 - not that kind of token
        operation: str = "query",
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        saved: bool = False,
        mode: Mode = "fast",
    ) -> bool:
        """Count one use of tokens.

        Cost: 1 round trip; ``safe``: + the fsync; ``durable``: + one transaction of the authority and 1 round trip,
        shared with whoever waits at the same time.
        Atomicity: receipt, totals and outbox in one step. Cancellation: it may have been counted; repeat with the key.

        Args:
            tenant_id: Whose.
            tokens: How many; 0 is nothing to count, and does not use the key up.
            model: Of which model.
            token_type: Such as ``"llm"`` or ``"embedding"``.
            operation: Such as ``"query"``.
            agent_id: For which agent.
            conversation_id: In which conversation.
            collection_id: On which collection.
            metadata: Kept with it; JSON values.
            idempotency_key: Names the provider's call: its response id, or one made before the call. The same key
                counts once. Left out, every call of this method counts; one is made so that the library's own retries
                do not double. It never depends on the time.
            saved: True where the cache answered: counted apart.
            mode: What must be true when this returns.

        Returns:
            True: it is accounted for, by this call or an earlier one.

        Raises:
            IdempotencyConflictError: The key was used with other figures.
            ValueError: Negative tokens; a model, type or operation that is blank or too long.
            BackendError: It is not known to be accounted for: repeat with the same key.
        """
        usage = checked(
            Usage(
                tenant_id=tenant_id,
                idempotency_key=self._port.token() if idempotency_key is None else short_key(idempotency_key),
                tokens=tokens,
                model=model,
                token_type=token_type,
                operation=operation,
                at=self._port.environment.wall(),
                saved=saved,
                agent_id=agent_id,
                conversation_id=conversation_id,
                collection_id=collection_id,
                metadata=metadata,
            )
        )
        if mode == "durable" and self._commits is None:
            raise UsageError("mode='durable' needs an authority: give the ledger one, or use 'safe'")
        if tokens:
            await self._record(usage, mode)
        return True

    async def _record(self, usage: Usage, mode: Mode) -> None:
        record = usage.packed()
        try:
            await self._count(usage, record)
        except (BackendUnavailableError, OutcomeUnknownError):
            if self._spill is None:
                raise
            await self._spill.append(record)
        else:
            if mode == "safe":
                await self._confirm(usage, record)
        if mode == "durable":
            assert self._commits is not None
            await self._commits.commit(usage)

    async def _count(self, usage: Usage, record: bytes) -> None:
        tenant = usage.tenant_id
        if self._outbox:
            await self._roster.ensure(tenant)
        at = datetime.fromtimestamp(usage.at, UTC)
        keys = [
            self._key(tenant, "receipt", usage.idempotency_key),
            self._key(tenant, "ever"),
            self._key(tenant, "month", f"{at:%Y-%m}"),
            self._key(tenant, "day", f"{at:%Y-%m-%d}"),
            self.outbox_key(tenant),
        ]
        words: list[Argument] = [
            usage.fingerprint,
            self._remember_ms,
            usage.tokens,
            usage.field,
            record if self._outbox else b"",
        ]
        _, tell = await self._port.run(RECORD, keys, words)
        if tell and self._outbox:
            await self._roster.announce(tenant)

    async def _confirm(self, usage: Usage, record: bytes) -> None:
        if await self._port.store.wait_aof(self._key(usage.tenant_id, "ever"), timeout_s=_FSYNC_S):
            return
        if self._spill is None:
            raise OutcomeUnknownError(
                f"counted under key {usage.idempotency_key!r}, but the server did not confirm it on disk: "
                "set appendonly yes (Valkey, or Redis 7.2 or newer; the user needs WAITAOF, INFO and BLPOP), give a spill "
                "path, or repeat with this key"
            )
        await self._spill.append(record)

    async def _committed(self, usages: Sequence[Usage]) -> None:
        """Take out of the outboxes what the authority has."""
        by_tenant: dict[str, list[bytes]] = {}
        for usage in usages:
            by_tenant.setdefault(usage.tenant_id, []).append(usage.packed())
        await asyncio.gather(*(self._take_out(tenant, records) for tenant, records in by_tenant.items()))

    async def _take_out(self, tenant_id: str, records: Sequence[bytes]) -> None:
        try:
            await self._port.call("ZREM", self.outbox_key(tenant_id), *records)
        except (BackendUnavailableError, OutcomeUnknownError):
            return  # The relay will bring them once more, and the authority will know them.

    async def close(self) -> None:
        """Wait until the transactions that were begun have come to their end."""
        if self._commits is not None:
            await self._commits.close()

    async def drain(self) -> int:
        """Count what waits in the spill file. Safe to repeat; each line is counted once.

        Returns:
            How many were counted. Those that the ledger refuses are in the file's ``.rejected``.

        Raises:
            BackendError: The server is (still) away; the rest waits on.
        """
        if self._spill is None or not self._spill.holds_any:
            return 0
        rest = await self._spill.take()
        if rest is None:
            return 0
        counted = 0
        try:
            while rest:
                counted += await self._drain(self._spill, rest[0])
                rest = rest[1:]
        finally:
            await self._spill.keep(rest)
        return counted

    async def _drain(self, spill: Spill, line: bytes) -> int:
        try:
            await self._count(unpacked(line), line)
        except (DecodeError, IdempotencyConflictError, LimitExceededError):
            await spill.reject(line)
            return 0
        return 1

    async def totals(self, tenant_id: str, *, day: date | str | None = None, month: date | str | None = None) -> Totals:
        """The totals of one day, one month, or ever (UTC).

        Cost: 1 round trip.

        Args:
            tenant_id: Whose.
            day: A date, or ``"2025-01-31"``.
            month: A date in it, or ``"2025-01"``.
        """
        if day is not None and month is not None:
            raise ValueError("give a day or a month, not both")
        key = self._key(tenant_id, "ever")
        if day is not None:
            key = self._key(tenant_id, "day", f"{day:%Y-%m-%d}" if isinstance(day, date) else day)
        if month is not None:
            key = self._key(tenant_id, "month", f"{month:%Y-%m}" if isinstance(month, date) else month)
        return totals_from(await self._port.call("HGETALL", key))

    async def backlog(self, tenant_id: str) -> int:
        """How many uses of a tenant wait for the relay. Cost: 1 round trip."""
        return exact(await self._port.call("ZCARD", self.outbox_key(tenant_id)), "backlog")

    def outbox_key(self, tenant_id: str) -> str:
        """The key of a tenant's outbox."""
        return self._key(tenant_id, "outbox")

    @property
    def roster(self) -> Roster:
        """The tenants whose outbox may hold something."""
        return self._roster

    def _key(self, tenant_id: str, part: str, *more: str) -> str:
        return self._port.key(KIND, tenant_id, part, *more)
