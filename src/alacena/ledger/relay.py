"""Carries usage from the outboxes to the authority: at least once, and counted there once."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from alacena.coordination.background_task_end import ends_a_task
from alacena.coordination.coordination_context import pause_s
from alacena.coordination.failure_streak import FailureStreak
from alacena.engine.base.errors import BackendError, DecodeError
from alacena.ledger.delivery import hand_over
from alacena.ledger.usage import Usage, unpack_usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.coordination.ready_tenants import ReadyTenants, Turn
    from alacena.ledger.authority import Authority

PART: Final = "alacena: relay"
"""Its name among the parts that have faults."""

_TURNS_AT_ONCE: Final = 16


class Outboxes(Protocol):
    """The outboxes of a ledger."""

    @property
    def ready_tenants(self) -> ReadyTenants:
        """The tenants that may have something in the outbox."""
        ...

    def outbox_key(self, tenant_id: str) -> str:
        """Returns the key of a tenant's outbox."""
        ...


@dataclass(slots=True)
class RelayCounts:
    """Counters of a relay.

    Attributes:
        carried: Records that the authority has, and that left the outbox.
        conflicts: Of those, records with a key that it knew with other figures.
        unreadable: Records set aside because they cannot be read, or the authority can never take them.
        outages: Times that the store or the authority could not be reached, or failed in another way.
    """

    carried: int = 0
    conflicts: int = 0
    unreadable: int = 0
    outages: int = 0


class Relay:
    """Moves the outboxes of all tenants, in turn, in batches. Any number may run.

    A record leaves its outbox only after the authority has committed it; die in between, and it is brought again to an
    authority that knows it.

    Args:
        port: The coordination context.
        ledger: The ledger with the outboxes.
        authority: The authority that keeps usage.
        batch: How many records a transaction.
        retry_s: How long to wait after a first failure; longer after each further one.

    Attributes:
        counts: The counters so far.
    """

    def __init__(
        self,
        port: CoordinationContext,
        ledger: Outboxes,
        authority: Authority,
        *,
        batch: int = 500,
        retry_s: float = 1.0,
    ) -> None:
        self.counts = RelayCounts()
        self._port = port
        self._ledger = ledger
        self._authority = authority
        self._batch = batch
        self._stopping = asyncio.Event()
        self._failures = FailureStreak(
            "token usage is not carried to the authority",
            "it waits in the outboxes and is tried again; see that the authority and Redis answer",
            retry_s,
            health=port.health,
            part=PART,
        )

    def stop(self) -> None:
        """Lets :meth:`run` return after the batch in hand."""
        self._stopping.set()

    async def run(self) -> RelayCounts:
        """Carries until :meth:`stop`. Nothing but that, or a cancellation, ends it: a failed carry is tried again."""
        while not self._stopping.is_set():
            try:
                # Listening begins before the first look: an announcement in between is heard.
                async with self._ledger.ready_tenants.bell() as bell:
                    while not self._stopping.is_set():
                        next_s = await self.run_once()
                        self._failures.over()
                        await self._until(asyncio.ensure_future(bell.wait(pause_s(self._port.environment, next_s))))
            except BaseException as error:  # an authority may be anybody's code, and raise whatever its driver does
                if ends_a_task(error):
                    raise
                self.counts.outages += 1
                pause = self._failures.record(error) * (0.5 + self._port.environment.random())
                await self._until(asyncio.ensure_future(asyncio.sleep(pause)))
        return self.counts

    def health(self) -> dict[str, Any]:
        """Returns the records carried, and the failure if there is one."""
        return {**asdict(self.counts), "failing": self._failures.kind}

    async def run_once(self) -> float | None:
        """Carries the waiting records; returns the seconds until it is worth looking again.

        Cost: 1 round trip for the turns; for each batch of a tenant 2, and one transaction of the authority.
        """
        while not self._stopping.is_set():
            turns, next_s = await self._ledger.ready_tenants.turns(_TURNS_AT_ONCE)
            if not turns:
                return next_s
            await self._carry_all(turns)
        return None

    async def _carry_all(self, turns: Sequence[Turn]) -> None:
        """Carries one batch of each tenant. A batch that the authority breaks on holds up none of the others."""
        failed: BaseException | None = None
        for turn in turns:
            try:
                await self._carry(turn)
            except BackendError:
                raise
            except BaseException as error:
                if ends_a_task(error):
                    raise
                failed = error
        if failed is not None:
            raise failed

    async def _carry(self, turn: Turn) -> None:
        key = self._ledger.outbox_key(turn.tenant_id)
        records = await self._port.call("ZRANGE", key, 0, self._batch - 1)
        if not records:
            await self._ledger.ready_tenants.put_off(turn, None)
            return
        self._ledger.ready_tenants.note_work(turn)
        usages = await self._readable(key, records)
        if usages:
            await self._absorb(key, usages)
        # 1. Two relays read the same records. 2. One removes them. 3. Removed by rank, the other would take out the
        # next ones, which nobody has carried: so each is removed by its bytes.
        self.counts.carried += await self._port.call("ZREM", key, *records)

    async def _absorb(self, key: str, usages: Sequence[Usage]) -> None:
        handed = await hand_over(self._authority, usages)
        self.counts.conflicts += len(handed.conflicts)
        for usage, _ in handed.unfit:
            await self._set_aside(key, usage.pack())

    async def _readable(self, key: str, records: Sequence[bytes]) -> list[Usage]:
        usages = []
        for record in records:
            try:
                usages.append(unpack_usage(record))
            except DecodeError:
                await self._set_aside(key, record)
        return usages

    async def _set_aside(self, key: str, record: bytes) -> None:
        # Before the record leaves the outbox: if this process dies in between, it is in both places, and not in none.
        await self._port.call("RPUSH", f"{key}:unreadable", record)
        self.counts.unreadable += 1

    async def _until(self, event: asyncio.Future[bool] | asyncio.Future[None]) -> None:
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([stop, event], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            event.cancel()
        if event.done() and not event.cancelled():
            event.result()
