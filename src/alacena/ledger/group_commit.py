"""Usage that is committed before its caller is told: concurrent callers share a transaction.

The idea is the group commit of databases (DeWitt et al., "Implementation techniques for main memory database
systems", 1984).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

from alacena.engine.base.closing import finish
from alacena.engine.base.errors import IdempotencyConflictError
from alacena.ledger.delivery import hand_over

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.engine.base.closing import Deadline
    from alacena.engine.base.errors import AlacenaError
    from alacena.ledger.authority import Authority
    from alacena.ledger.usage import Usage

    Settled: TypeAlias = Callable[[Sequence[Usage]], Awaitable[None]]

_MOST: Final = 1_000
"""Uses a transaction."""

_Place: TypeAlias = tuple[str, str]
"""Tenant and key of a use."""


class GroupCommit:
    """Commits usage with the authority, one transaction at a time; later callers share the next one.

    Args:
        authority: The authority that keeps usage.
        settled: Given the records that the authority has decided on, before the callers are told.
    """

    def __init__(self, authority: Authority, settled: Settled) -> None:
        self._authority = authority
        self._settled = settled
        self._waiting: dict[_Place, Usage] = {}
        self._next: asyncio.Task[dict[_Place, AlacenaError]] | None = None
        self._open: asyncio.Task[dict[_Place, AlacenaError]] | None = None

    async def commit(self, usage: Usage) -> None:
        """Has a use committed. Each caller learns the outcome of its own.

        Cost: one transaction of the authority, shared with the other waiting callers; up to one more that is under way.
        Cancellation: it may be committed or not.

        Raises:
            IdempotencyConflictError: The authority knows the key with other figures.
            ServerReplyError: The authority can never take it, or is not set up.
            BackendError: It is not known to be kept: commit it again.
        """
        place = _place(usage)
        while self._next is not None and not self._may_join(place, usage):
            # Waited for and not awaited: its failure is raised to its own callers, and not to this one.
            await asyncio.wait((self._next,))
        self._waiting[place] = usage
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._commit())
            self._next.add_done_callback(_mark_heard)
        # Shielded: one caller's cancellation must not cancel the transaction of all.
        refused = (await asyncio.shield(self._next)).get(place)
        if refused is not None:
            raise refused

    def _may_join(self, place: _Place, usage: Usage) -> bool:
        """Returns False if one with the same key and other figures waits: of the two, one will have to be refused."""
        known = self._waiting.get(place)
        return known is None or known.fingerprint == usage.fingerprint

    async def _commit(self) -> dict[_Place, AlacenaError]:
        """Commits one round: all that has come until the one before has ended. Returns those that are refused."""
        # 1. A round is open; its transaction took its rows when it began.
        # 2. A use that comes now waits in ``_next``: joined to the open round, it would be told of a commit that lacks
        #    it.
        # 3. The swap is one step, without an await: a use is in exactly one round.
        if self._open is not None:
            await asyncio.wait((self._open,))
        self._open, self._next = self._next, None
        usages, self._waiting = list(self._waiting.values()), {}
        refused: dict[_Place, AlacenaError] = {}
        for start in range(0, len(usages), _MOST):
            refused |= await self._commit_some(usages[start : start + _MOST])
        return refused

    async def _commit_some(self, usages: list[Usage]) -> dict[_Place, AlacenaError]:
        handed = await hand_over(self._authority, usages)
        unfit: dict[_Place, AlacenaError] = {_place(usage): words for usage, words in handed.unfit}
        # After the commit, never before: a use that is taken out of the outbox first, and whose commit then fails, is
        # lost. Twice is harmless, as the authority knows the key.
        await self._settled([usage for usage in usages if _place(usage) not in unfit])
        conflicts: dict[_Place, AlacenaError] = {_place(usage): _conflict(usage) for usage in handed.conflicts}
        return conflicts | unfit

    async def close(self, deadline: Deadline | None = None) -> None:
        """Waits until the work begun has come to its end, or the deadline; the rest is cancelled."""
        while rest := {task for task in (self._open, self._next) if task is not None and not task.done()}:
            await finish(rest, None if deadline is None else deadline.left_s())


def _conflict(usage: Usage) -> IdempotencyConflictError:
    return IdempotencyConflictError(
        f"key {usage.idempotency_key!r} of tenant {usage.tenant_id!r} is known to the authority with other figures than "
        f"{usage.figures}: see its row in alacena_token_usage. Use a key that names one provider call"
    )


def _place(usage: Usage) -> _Place:
    return usage.tenant_id, usage.idempotency_key


def _mark_heard(task: asyncio.Task[dict[_Place, AlacenaError]]) -> None:
    """Marks the exception as retrieved: each waiter has it already, and if all were cancelled there is none."""
    if not task.cancelled():
        task.exception()
