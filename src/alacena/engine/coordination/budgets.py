"""Budgets by tenant: set an amount aside before the work, settle it after. Never more is promised than there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from alacena.engine.coordination.port import exact, milliseconds
from alacena.engine.errors import LimitExceededError, NotOwnerError
from alacena.engine.store import Script

if TYPE_CHECKING:
    from alacena.engine.coordination.port import Port
    from alacena.engine.store import Argument

RESERVE: Final = Script("budget_reserve", idempotent=True)
SETTLE: Final = Script("budget_settle", idempotent=True)
EXTEND: Final = Script("budget_extend", idempotent=True)
STATE: Final = Script("budget_state", idempotent=True)
_REMEMBER_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget at one instant.

    Attributes:
        limit: What there was.
        spent: What was committed.
        reserved: What is set aside and has not run out.
        open_reservations: In how many reservations.
    """

    limit: int
    spent: int
    reserved: int
    open_reservations: int

    @property
    def remaining(self) -> int:
        """What can still be reserved."""
        return self.limit - self.spent - self.reserved


class Reservation:
    """An amount set aside until it is committed, refunded, or runs out.

    As a context manager it is refunded at the end of the block unless it was committed in it.

    Attributes:
        id: Its id.
        amount: What was set aside.
        remaining: What the budget had left right after.
    """

    def __init__(self, port: Port, keys: list[str], reservation_id: str, amount: int, remaining: int) -> None:
        self.id = reservation_id
        self.amount = amount
        self.remaining = remaining
        self._port = port
        self._keys = keys
        self._settled = False

    async def commit(self, actual: int | None = None) -> None:
        """Spend what was really used (left out: all of it); the rest is free again.

        Cost: 1 round trip. Idempotent.

        Raises:
            ValueError: More than was set aside: reserve the upper bound of what the work may cost.
            NotOwnerError: The reservation ran out: give it a ``ttl_s`` above the longest work, or :meth:`extend` it.
            IdempotencyConflictError: It was settled before at another amount.
        """
        spent = exact(self.amount if actual is None else actual, "actual", least=0)
        if spent > self.amount:
            raise ValueError(f"{spent} is more than the {self.amount} set aside: reserve the upper bound")
        await self._port.run(SETTLE, self._keys, [self.id, spent, _REMEMBER_MS])
        self._settled = True

    async def refund(self) -> None:
        """Give all of it back. Cost: 1 round trip. Idempotent; harmless where it ran out.

        Raises:
            IdempotencyConflictError: It was committed before.
        """
        try:
            await self._port.run(SETTLE, self._keys, [self.id, 0, _REMEMBER_MS])
        except NotOwnerError:
            return
        finally:
            self._settled = True

    async def extend(self, ttl_s: float) -> None:
        """Let it run out ``ttl_s`` seconds from now. Cost: 1 round trip.

        Raises:
            NotOwnerError: It ran out or was settled.
        """
        if not await self._port.run(EXTEND, self._keys[1:2], [self.id, milliseconds(ttl_s, "ttl_s")]):
            raise NotOwnerError(f"reservation {self.id} ran out or was settled")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._settled:
            await self.refund()


class Budget:
    """One budget of one tenant. For budgets by period, put the period into the name (``"tokens:2025-01"``).

    Invariant: spent + reserved never exceeds the limit that a reservation was made under.
    If Redis fails: raises; every verb carries an id, so it was asked again before that.

    Args:
        port: Where it is.
        name: Its name.
        tenant_id: Whose.
        limit: How much there is.
    """

    def __init__(self, port: Port, name: str, tenant_id: str, limit: int) -> None:
        self._port = port
        self._limit = exact(limit, "limit", least=0)
        self._keys = [port.key("budget", tenant_id, name, part) for part in ("data", "open", "done")]

    async def reserve(self, amount: int, *, ttl_s: float = 300.0, reservation_id: str | None = None) -> Reservation:
        """Set an amount aside for ``ttl_s`` seconds.

        Cost: 1 round trip. Atomicity: look and set aside in one step. Idempotent by ``reservation_id``.

        Raises:
            LimitExceededError: It does not fit; ``retry_after_s`` says when the next reservation runs out.
            IdempotencyConflictError: The id holds another amount.
        """
        exact(amount, "amount", least=0)
        own_id = reservation_id or self._port.token()
        words: list[Argument] = [self._limit, own_id, amount, milliseconds(ttl_s, "ttl_s")]
        fits, remaining, wait_ms = await self._port.run(RESERVE, self._keys, words)
        if not fits:
            wait_s = None if wait_ms < 0 else wait_ms / 1000
            raise LimitExceededError(f"{amount} does not fit: {max(remaining, 0)} of {self._limit} left", wait_s)
        return Reservation(self._port, self._keys, own_id, amount, remaining)

    async def state(self) -> BudgetState:
        """The budget now. Cost: 1 round trip."""
        spent, reserved, opened = await self._port.run(STATE, self._keys[:2], [])
        return BudgetState(self._limit, spent, reserved, opened)

    async def reset(self) -> None:
        """Forget what was spent and reserved. Cost: 1 round trip."""
        await self._port.call("UNLINK", *self._keys)


class Budgets:
    """Gives budgets by name.

    Args:
        port: Where they are.
    """

    def __init__(self, port: Port) -> None:
        self._port = port

    def __call__(self, name: str, *, tenant_id: str, limit: int) -> Budget:
        """The budget ``name`` of a tenant. Nothing is sent."""
        return Budget(self._port, name, tenant_id, limit)
