"""The token ledger: every use of tokens counted once, with totals at hand and Postgres as the authority.

One script counts a use in Redis and puts it into an outbox; a :class:`~alacena.ledger.relay.Relay` carries
the outbox to an :class:`Authority`, if a unique key decides. Die anywhere, retry anything: counted once.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import structs

from alacena.coordination.failure_streak import FailureStreak
from alacena.coordination.ready_tenants import ReadyTenants
from alacena.engine.base.arguments import exact, milliseconds
from alacena.engine.base.closing import Deadline
from alacena.engine.base.errors import (
    AlacenaError,
    ArgumentError,
    BackendError,
    BackendUnavailableError,
    DecodeError,
    EncodeError,
    IdempotencyConflictError,
    LimitExceededError,
    OutcomeUnknownError,
    ServerReplyError,
    UsageError,
    show,
)
from alacena.engine.loading.load import in_source
from alacena.engine.remote.backend import Script
from alacena.ledger.authority import Authority
from alacena.ledger.group_commit import GroupCommit
from alacena.ledger.pending_usage import PendingUsage
from alacena.ledger.relay import Relay
from alacena.ledger.totals import Totals, day_of, month_of, totals_from
from alacena.ledger.usage import Usage, check_usage, key_of, micros, plain, unpack_usage, whole, whole_parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.engine.remote.backend import Argument
    from alacena.ledger.spool import Spool

_log = logging.getLogger("alacena")

_AWAY: Final = frozenset(
    {"OOM", "NOREPLICAS", "MISCONF", "READONLY", "NOPERM", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"}
    | {"NOAUTH", "WRONGPASS"}
)
"""Refusals of a server that will take the same words later, or on another server."""
_MOST_STUCK: Final = 100
"""Lines that a server may refuse for themselves in one drain before it is taken to refuse everything."""
_REFUSALS: Final = (AlacenaError, ValueError, TypeError)
"""What bad figures, and keys in conflict, end with."""

RECORD: Final = Script("ledger_record", idempotent=True)
KIND: Final = "tokens"
_ASKED_AT_ONCE: Final = 100
_FSYNC_S: Final = 5.0
"""How long the server's file may take: two questions, with room for a slow disk."""

__all__ = ["KIND", "Authority", "Ledger", "Mode"]

Mode = Literal["fast", "safe", "durable"]


class Ledger:
    """Counts tokens by tenant, day, month, model, type and operation.

    =========  ==========================================  ===========================================================
    mode       returns when                                may be lost then
    =========  ==========================================  ===========================================================
    fast       Redis has counted it                        its last writes if the machine dies: 1 s (``everysec``)
    safe       it is on disk: Redis's file, or the spill   nothing, short of a lost disk or an unreplicated failover
    durable    the authority has committed it              nothing
    =========  ==========================================  ===========================================================

    If Redis fails, or refuses to write: with a spill file the use is kept there, on disk, and counted by :meth:`drain`,
    which an open cache calls every few seconds; without: raises. Inside a source (a loader, a provider) nothing is
    raised in ``fast`` mode, because the answer is paid for: the use waits in this process until it can be counted.

    Args:
        port: The coordination context.
        outbox: True if a relay carries usage to an authority; without one the outbox would only grow.
        authority: Needed for ``mode="durable"``.
        spill: The spool in which usage waits while Redis is away.
        remember_s: For how long Redis knows a key. After that the authority alone refuses to count it again.
    """

    def __init__(
        self,
        port: CoordinationContext,
        *,
        outbox: bool = False,
        authority: Authority | None = None,
        spill: Spool | None = None,
        remember_s: float = 7 * 86_400.0,
    ) -> None:
        self._port = port
        self._commits = None if authority is None else GroupCommit(authority, self._take_committed)
        self._spill = spill
        self._remember_ms = milliseconds(remember_s, "remember_s")
        self._outbox = outbox or authority is not None
        self._ready_tenants = ReadyTenants(port, KIND, "outbox")
        self._pending = PendingUsage(self._count_or_spill, port.environment, port.health)
        self._spilling = FailureStreak(
            "token usage goes to the spill file", "it is counted from there; see that Redis takes writes"
        )
        self._conflicts = 0

    async def record(
        self,
        tenant_id: str,
        tokens: int | None = None,
        *,
        model: str,
        token_type: str = "llm",  # noqa: S107 - not that kind of token
        operation: str = "query",
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        saved: bool = False,
        mode: Mode = "fast",
        parts: Mapping[str, int] | None = None,
        cost: Decimal | float | str | None = None,
    ) -> bool:
        """Counts one use of tokens.

        Cost: 1 round trip; ``safe``: + the fsync; ``durable``: + one transaction of the authority and 1 round trip,
        shared with the other waiting callers at the same time.
        Atomicity: receipt, totals and outbox in one step. Cancellation: it may have been counted; repeat with the key.
        If Redis fails: see :class:`Ledger`.

        Args:
            tenant_id: The tenant.
            tokens: The number of tokens; 0 (with a cost of 0) is nothing to count, and does not use the key up. Left out:
                the parts ``input`` and ``output`` together.
            model: Of which model.
            token_type: ``"llm"`` or ``"embedding"`` for a whole call; another word, such as ``"prompt"``, for a part of
                one: parts of one call share its key, and each counts once.
            operation: Such as ``"query"``.
            agent_id: For which agent. The first record of the call decides it; so for the next three.
            conversation_id: In which conversation.
            collection_id: On which collection.
            metadata: Kept with it; JSON values, and objects that tell their fields, such as a provider's usage.
            idempotency_key: Names the provider's call: its response id, or one made before the call. The same key
                counts once. Left out, every call of this method counts; one is made so that the library's own retries
                do not double. It never depends on the time.
            saved: True if the cache answered: counted apart.
            mode: The promise at its return.
            parts: Tokens by kind: ``"input"``, ``"output"``, ``"cached"`` (of the input), ``"reasoning"`` (of
                the output), ``"cache_write"``, or words of your own; totalled apart, beside ``tokens``.
            cost: Money, in one currency throughout; counted exactly, in millionths.

        Returns:
            True: it is accounted for, by this call or an earlier one. False, inside a source only: it is not yet, and
            waits in this process; or its figures cannot be counted, and are in the log.

        Raises:
            IdempotencyConflictError: The key was used with other figures; the error names both.
            ValueError: Negative or missing tokens; a model, type or operation that is blank or too long.
            EncodeError: The metadata holds something that cannot be stored.
            BackendError: It is not known to be accounted for: repeat with the same key.
        """
        # Not a set: a list in the place of the word has no hash, and would fail as that.
        if mode not in ("fast", "safe", "durable"):
            raise ArgumentError(f'mode must be "fast", "safe" or "durable", not {show(mode)}')
        if mode == "durable" and self._commits is None:
            raise UsageError("mode='durable' needs an authority: give the ledger one, or use 'safe'")
        paid = mode == "fast" and in_source()
        try:
            parts = whole_parts(parts)
            if tokens is None and parts is not None:
                tokens = parts.get("input", 0) + parts.get("output", 0)
            usage = check_usage(
                Usage(
                    tenant_id=tenant_id,
                    idempotency_key=key_of(
                        self._port.token() if idempotency_key is None else idempotency_key, token_type
                    ),
                    tokens=whole(tokens, "tokens"),
                    model=model,
                    token_type=token_type,
                    operation=operation,
                    at=self._port.environment.wall(),
                    saved=saved,
                    agent_id=agent_id,
                    conversation_id=conversation_id,
                    collection_id=collection_id,
                    metadata=self._plain(metadata, paid=paid),
                    parts=parts,
                    cost_micros=micros(cost),
                )
            )
            # After the checks: a use of nothing is refused as any other if its figures or names are wrong.
            if not usage.tokens and not usage.cost_micros:
                return True
            if paid:
                return await self._record_paid(usage)
            await self._record(usage, mode)
        except _REFUSALS as error:
            if not paid:
                raise
            what = f"{show(tenant_id)}, {show(idempotency_key)}: {show(tokens)} tokens of {show(model)}, {show(token_type)}"
            self._pending.refuse(what, error)
            return False
        return True

    def _plain(self, metadata: Mapping[str, Any] | None, *, paid: bool) -> dict[str, Any] | None:
        try:
            return plain(metadata)
        except EncodeError as error:
            if not paid:
                raise
            _log.error("token usage is counted without its metadata: %s", error)
            return None

    async def _record_paid(self, usage: Usage) -> bool:
        """Counts a use of an answer that must reach its caller in any case."""
        try:
            usage.pack()
        except EncodeError as error:  # What cannot be packed could not be counted later either.
            _log.error("token usage is counted without its metadata: %s", error)
            usage = structs.replace(usage, metadata=None)
            usage.pack()
        if len(self._pending):  # No answer waits for a server that is known to be away.
            self._pending.keep(usage)
            return False
        try:
            await self._record(usage, "fast")
        except BackendError as error:
            self._pending.keep(usage, error)
            return False
        return True

    async def _record(self, usage: Usage, mode: Mode) -> None:
        if mode == "fast":
            await self._count_or_spill(usage)
            return
        record = usage.pack()
        if await self._count_or_spill(usage) and mode == "safe":
            await self._confirm(usage, record)
        if mode == "durable":
            assert self._commits is not None
            # Counted before: if the commit fails, the use is in the outbox or in the spill file, and is brought later.
            await self._commits.commit(usage)

    async def _count_or_spill(self, usage: Usage) -> bool:
        """Counts a use, or has it on disk; returns whether it is counted."""
        record = usage.pack()
        try:
            await self._count(usage, record)
        except BackendError as error:
            if self._spill is None:
                raise
            try:
                await self._spill.append(record)
            except OSError as full:
                # The server's error goes on: it is what callers retry on, and what paid usage waits for.
                note = f"and the spill file cannot be written: {full}"
                if note not in getattr(error, "__notes__", ()):
                    error.add_note(note)
                raise error from full
            self._spilling.record(error)
            return False
        self._spilling.over()
        return True

    async def _count(self, usage: Usage, record: bytes) -> None:
        tenant = usage.tenant_id
        if self._outbox:
            await self._ready_tenants.ensure(tenant)
        # The day of the use and not of this count: a use may wait in the spill file beyond midnight.
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
            usage.figures,
            *(word for amount in usage.amounts for word in amount),
        ]
        outcome, tell = await self._port.run(RECORD, keys, words)
        if outcome < 0:
            self._conflicts += 1
            known = bytes(tell)[len(usage.fingerprint) :].decode("utf-8", "replace")
            raise IdempotencyConflictError(
                f"key {usage.idempotency_key!r} of tenant {usage.tenant_id!r} was used before with other figures: "
                f"then {known}; now {usage.figures}. Use a key that names one provider call, such as its response id"
            )
        if outcome:
            self._port.counts.count_tokens(tenant, usage.tokens, usage.cost_micros, saved=usage.saved)
        if tell and self._outbox:
            # It may raise although the use is counted: the repeat finds the receipt, and is told again of what waits.
            await self._ready_tenants.announce(tenant)

    async def _confirm(self, usage: Usage, record: bytes) -> None:
        # Any key of the tenant will do: it names the server that has counted.
        if await self._port.store.wait_aof(self._key(usage.tenant_id, "ever"), timeout_s=_FSYNC_S):
            return
        if self._spill is None:
            raise OutcomeUnknownError(
                f"counted under key {usage.idempotency_key!r}, but the server did not confirm it on disk: "
                "set appendonly yes (Valkey, or Redis 7.2 or newer; the user needs WAITAOF, INFO and BLPOP), give a spill "
                "path, or repeat with this key"
            )
        try:
            await self._spill.append(record)
        except OSError as full:
            raise OutcomeUnknownError(
                f"counted under key {usage.idempotency_key!r}, but neither the server nor the spill file has it on disk "
                f"({full}): repeat with this key"
            ) from full

    async def _take_committed(self, usages: Sequence[Usage]) -> None:
        """Takes records that the authority has out of the outboxes."""
        by_tenant: dict[str, list[bytes]] = {}
        for usage in usages:
            # The outbox holds these very bytes, and a member is removed by its bytes.
            by_tenant.setdefault(usage.tenant_id, []).append(usage.pack())
        await asyncio.gather(*(self._take_out(tenant, records) for tenant, records in by_tenant.items()))

    async def _take_out(self, tenant_id: str, records: Sequence[bytes]) -> None:
        try:
            await self._port.call("ZREM", self.outbox_key(tenant_id), *records)
        except (BackendUnavailableError, OutcomeUnknownError):
            return  # The relay will bring them once more, and the authority will know them.

    async def close(self, deadline: Deadline | None = None) -> None:
        """Has the waiting usage counted or committed, in 5 s or by the deadline. Uses that could not be are in the log."""
        deadline = deadline or Deadline(5.0)
        try:
            await self._pending.close(deadline)
        finally:
            if self._commits is not None:
                await self._commits.close(deadline)

    async def drain(self) -> int:
        """Counts the usage in the spill file. Safe to repeat; each line is counted once.

        Returns:
            How many were counted. Those that the ledger refuses are in the file's ``.rejected``.

        Raises:
            BackendError: The server is (still) away, or refuses to write; the rest waits on.
            OSError: The disk is full or gone; everything waits on.
        """
        if self._spill is None or not self._spill.holds_any:
            return 0
        lines = await self._spill.take()
        if lines is None:
            return 0
        counted, done = 0, 0
        stuck: list[bytes] = []
        refusal: ServerReplyError | None = None
        try:
            for line in lines:
                try:
                    counted += await self._drain(self._spill, line)
                except ServerReplyError as error:
                    if error.code in _AWAY or len(stuck) >= _MOST_STUCK:
                        raise
                    refusal = error
                    stuck.append(line)
                done += 1
        finally:
            await self._spill.keep(stuck + lines[done:])
        if refusal is not None:
            raise refusal
        return counted

    async def _drain(self, spill: Spool, line: bytes) -> int:
        try:
            # The line as it was written: packed anew it would lose fields that only a newer version knows.
            await self._count(unpack_usage(line), line)
        except (DecodeError, IdempotencyConflictError, LimitExceededError, UsageError) as error:
            await spill.reject(line)
            _log.error("a spilled use of tokens cannot be counted, and is in the file's .rejected: %s", error)
            return 0
        return 1

    def health(self) -> dict[str, Any]:
        """Returns how many uses wait in this process, were given up or refused, and how many keys were in conflict."""
        return {**self._pending.health(), "conflicts": self._conflicts}

    @property
    def failing(self) -> str | None:
        """The kind of the failure that keeps the waiting usage of this process from being counted."""
        return self._pending.failing

    async def totals(self, tenant_id: str, *, day: date | str | None = None, month: date | str | None = None) -> Totals:
        """Returns the totals of one day, one month, or ever (UTC).

        Cost: 1 round trip.

        Args:
            tenant_id: The tenant.
            day: A date, or ``"2025-01-31"``. A datetime with a zone stands for its day in UTC.
            month: A date in it, or ``"2025-01"``.

        Raises:
            ValueError: It is no day or month, or both are given.
        """
        if day is not None and month is not None:
            raise ArgumentError("give a day or a month, not both")
        key = self._key(tenant_id, "ever")
        if day is not None:
            key = self._key(tenant_id, "day", day_of(day))
        if month is not None:
            key = self._key(tenant_id, "month", month_of(month))
        return totals_from(await self._port.call("HGETALL", key))

    async def backlog(self, tenant_id: str) -> int:
        """Returns how many uses of a tenant wait for the relay. Cost: 1 round trip."""
        return exact(await self._port.call("ZCARD", self.outbox_key(tenant_id)), "backlog")

    async def backlogs(self, limit: int = 10_000) -> dict[str, int]:
        """Returns how many uses wait for a relay, by tenant, of those tenants with any: 10,000 tenants at most.

        Cost: 1 round trip, and 1 for each tenant that used tokens within the last hour or has any that wait.
        """
        tenants = await self._ready_tenants.list_all(exact(limit, "limit", least=1))
        found: dict[str, int] = {}
        for at in range(0, len(tenants), _ASKED_AT_ONCE):
            some = tenants[at : at + _ASKED_AT_ONCE]
            counts = await asyncio.gather(*map(self.backlog, some))
            found |= {tenant: count for tenant, count in zip(some, counts, strict=True) if count}
        return found

    def relay(self, authority: Authority) -> Relay:
        """Returns a relay that carries the outboxes of all tenants to an authority; nothing is carried yet.

        A cache that has an authority runs one by itself. Another may run beside it: a use that arrives twice is kept once.
        """
        return Relay(self._port, self, authority)

    def outbox_key(self, tenant_id: str) -> str:
        """Returns the key of a tenant's outbox."""
        return self._key(tenant_id, "outbox")

    @property
    def ready_tenants(self) -> ReadyTenants:
        """The tenants that may have something in the outbox."""
        return self._ready_tenants

    def _key(self, tenant_id: str, part: str, *more: str) -> str:
        return self._port.key(KIND, tenant_id, part, *more)
