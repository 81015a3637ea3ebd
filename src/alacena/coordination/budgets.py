"""Budgets by tenant: set an amount aside before the work, settle it after. Never more is promised than there is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from alacena.coordination.per_tenant import PerTenant
from alacena.engine.base.arguments import exact, milliseconds, text_id
from alacena.engine.base.errors import (
    BackendError,
    IdempotencyConflictError,
    LimitExceededError,
    NotOwnerError,
    OutcomeUnknownError,
    show,
)
from alacena.engine.loading.load import in_source
from alacena.engine.remote.backend import Script

if TYPE_CHECKING:
    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.engine.remote.backend import Argument

RESERVE: Final = Script("budget_reserve", idempotent=True)
SETTLE: Final = Script("budget_settle", idempotent=True)
EXTEND: Final = Script("budget_extend", idempotent=True)
STATE: Final = Script("budget_state", idempotent=True)
_REMEMBER_MS: Final = 86_400_000
_DAY_S: Final = 86_400.0
_NO_ROOM, _NEW, _ASK_AGAIN = 0, 1, 3

_log = logging.getLogger("alacena")


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget at one instant.

    Attributes:
        limit: The whole amount.
        spent: The committed amount.
        reserved: Amounts set aside that have not run out.
        open_reservations: In how many reservations.
    """

    limit: int
    spent: int
    reserved: int
    open_reservations: int

    @property
    def remaining(self) -> int:
        """The amount that can still be reserved; below 0 by as much as was spent over the limit."""
        return self.limit - self.spent - self.reserved


class Reservation:
    """An amount set aside until it is committed, refunded, or runs out.

    As a context manager it is refunded at the end of the block, unless a commit was begun in it: the amount spent stays
    spent, also if it is unknown whether the commit arrived. A commit that names no amount spends all that was set aside.

    Attributes:
        id: Its id.
        amount: The amount set aside.
        remaining: The rest of the budget right after.
    """

    def __init__(
        self, port: CoordinationContext, keys: list[str], reservation_id: str, amount: int, remaining: int, keep_ms: int
    ) -> None:
        self.id = reservation_id
        self.amount = amount
        self.remaining = remaining
        self._port = port
        self._keys = keys
        self._keep_ms = keep_ms
        self._is_settled = False
        self._was_spent = False

    async def commit(self, actual: int | None = None) -> None:
        """Spends the amount really used (left out: all that was set aside); the rest is free again.

        It counts in full, also if it is more than was set aside, or the reservation has run out: then the budget
        may be overdrawn, and the next reservation is refused.

        Inside a source it never takes the answer down, which is paid for by then: if the server is away, the commit goes
        on in the background until it has arrived, and an amount that is none counts as the amount set aside.

        Cost: 1 round trip. Idempotent for a day: after an error, commit the same amount again.
        Cancellation: the commit goes on in the background.

        Raises:
            IdempotencyConflictError: It was settled before at another amount. Outside of a source; so for the next two.
            ValueError: ``actual`` is no amount.
            BackendError: The server is away.
        """
        try:
            spent = exact(self.amount if actual is None else actual, "actual", least=0)
        except ValueError as error:
            # Something was spent, though not this: the block's end counts what was set aside, unless the amount comes.
            self._was_spent = True
            if not in_source():
                raise
            _log.error("a commit's amount is none, and what was set aside is counted: %s: %s", self._what(), error)
            spent = self.amount
        # Before it is sent: if its outcome stays unknown, the block's end must not refund what may have been spent.
        self._is_settled = True
        try:
            _, _, was_late = await self._port._background.finish(self._settle(spent))
        except (BackendError, IdempotencyConflictError) as error:
            if not in_source():
                raise
            self._go_on(spent, error)
            return
        if was_late and spent and self._port.says_first(f"budget {self._keys[0]}: late"):
            _log.warning(
                "a reservation had run out before its commit, which was counted: give it a ttl_s above the longest work"
            )

    def _go_on(self, spent: int, error: Exception) -> None:
        what = f"{self._what()}: {spent} were spent and are not counted ({error})"
        waits = isinstance(error, BackendError)
        # Only a server that is away is asked again: a conflict stays one, however often it is sent.
        if not (waits and self._port._background.keep_trying(lambda: self._settle(spent), what)):
            _log.error("a commit does not count: %s", what)
        elif self._port.says_first(f"budget {self._keys[0]}: away"):
            _log.warning(
                "a commit waits for the server, and is sent until it is taken: %s. Later ones are not logged", what
            )

    def _what(self) -> str:
        return f"reservation {show(self.id)} of {show(self._keys[0])}"

    async def refund(self) -> None:
        """Gives all of it back. Cost: 1 round trip. Idempotent; harmless where it ran out.

        Cancellation: the refund goes on in the background.

        Raises:
            IdempotencyConflictError: It was committed before.
        """
        self._is_settled = True
        await self._port._background.finish(self._settle(0))

    async def extend(self, ttl_s: float) -> None:
        """Lets it run out ``ttl_s`` seconds from now. Cost: 1 round trip.

        Raises:
            NotOwnerError: It ran out or was settled.
        """
        words: list[Argument] = [self.id, milliseconds(ttl_s, "ttl_s"), self._keep_ms]
        if not await self._port.run(EXTEND, self._keys, words):
            raise NotOwnerError(f"reservation {self.id} ran out or was settled: reserve again")

    async def _settle(self, spent: int) -> list[int]:
        words: list[Argument] = [self.id, spent, _REMEMBER_MS, self._keep_ms]
        settled: list[int] = await self._port.run(SETTLE, self._keys, words)
        return settled

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._is_settled:
            return
        try:
            await (self.commit() if self._was_spent else self.refund())
        except BackendError:
            if kind is None and not in_source():
                raise
            # The block's own error says more, or its answer is worth more; the reservation runs out by itself.


class Budget:
    """One budget of one tenant. For budgets by period, put the period into the name (``"tokens:2025-01"``).

    Amounts are integers: count in the smallest unit (tokens, cents, millionths of a dollar).
    Invariant: nothing is reserved unless spent + reserved stays within the limit. An amount that was spent counts in full.
    If Redis fails: raises; every verb carries an id, so it was asked again before that.

    Args:
        port: The coordination context.
        name: Its name.
        tenant_id: The tenant.
        limit: How much there is.
        keep_s: For how long it is kept while it is not used; ``None``: for ever.
    """

    def __init__(self, port: CoordinationContext, name: str, tenant_id: str, limit: int, keep_s: float | None) -> None:
        self._port = port
        self._limit = exact(limit, "limit", least=0)
        self._keep_ms = 0 if keep_s is None else milliseconds(keep_s, "keep_s")
        self._keys = [port.key("budget", tenant_id, name, part) for part in ("data", "open", "done")]

    async def reserve(self, amount: int, *, ttl_s: float = 300.0, reservation_id: str | None = None) -> Reservation:
        """Sets an amount aside for ``ttl_s`` seconds.

        Cost: 1 round trip; 1 more for each 500 reservations that ran out meanwhile, if it does not fit before.
        Atomicity: look and set aside in one step. Idempotent by ``reservation_id``.
        Cancellation: the amount set aside is given back in the background.
        If Redis fails: raises; without a ``reservation_id``, an amount that may have been set aside is given back.

        Raises:
            LimitExceededError: It does not fit; ``retry_after_s`` says when the next reservation runs out.
            IdempotencyConflictError: The id holds another amount.
            NotOwnerError: The id was settled within the last day.
            InvalidKeyError: The id is blank, or neither text nor a number nor a UUID.
        """
        amount = exact(amount, "amount", least=0)
        own_id = self._port.token() if reservation_id is None else text_id("reservation_id", reservation_id)
        held = Reservation(self._port, self._keys, own_id, amount, 0, self._keep_ms)
        words: list[Argument] = [self._limit, own_id, amount, milliseconds(ttl_s, "ttl_s"), self._keep_ms]

        async def give_back(reply: list[int] | None) -> None:
            # Under an id of the caller's, an earlier request may have set it aside: that is not ours to give back.
            if reply is None and reservation_id is None:
                await held.refund()
            elif reply is not None and reply[0] == _NEW:
                # With an id of the caller's, the same request may come again: then it must not be known as settled.
                await self._port.run(
                    SETTLE, self._keys, [own_id, 0, 0 if reservation_id else _REMEMBER_MS, self._keep_ms]
                )

        try:
            fits, remaining, wait_ms = await self._port._background.finish(self._reserve(words), give_back)
        except OutcomeUnknownError:
            # Nobody else knows this id. A lost command that runs after its refund finds the id settled, and is refused.
            if reservation_id is None:
                self._port._background.start(held.refund())
            raise
        if fits == _NO_ROOM:
            wait_s = None if wait_ms < 0 else wait_ms / 1000
            remedy = "reserve less" if wait_s is None else f"reserve less, or wait {wait_s:g} s"
            left = f"{max(remaining, 0)} of {self._limit} left"
            raise LimitExceededError(f"{amount} does not fit, {left}: {remedy}", wait_s)
        held.remaining = remaining
        return held

    async def _reserve(self, words: list[Argument]) -> list[int]:
        while True:
            reply: list[int] = await self._port.run(RESERVE, self._keys, words)
            if reply[0] != _ASK_AGAIN:
                return reply

    async def state(self) -> BudgetState:
        """Returns the budget now. Cost: 1 round trip, and 1 more for each 500 reservations that ran out meanwhile."""
        while True:
            spent, reserved, opened, has_more = await self._port.run(STATE, self._keys, [])
            if not has_more:
                return BudgetState(self._limit, spent, reserved, opened)

    async def reset(self) -> None:
        """Forgets the amounts spent and reserved. Cost: 1 round trip."""
        await self._port.call("UNLINK", *self._keys)


class Budgets(PerTenant):
    """Gives budgets by name."""

    def __call__(
        self, name: str, *, tenant_id: str | None = None, limit: int, keep_s: float | None = 400 * _DAY_S
    ) -> Budget:
        """Returns the budget ``name`` of a tenant. Nothing is sent.

        Args:
            name: Its name.
            tenant_id: The tenant.
            limit: How much there is, in whole units.
            keep_s: For how long it is kept without reservations and commits; then it is whole again. ``None``: for
                ever. Give an hour to budgets of single requests, which would fill the server.
        """
        return Budget(self._port, name, self._tenant(tenant_id), limit, keep_s)
