"""Locks that are fair, fenced and renewed; waiters are woken, they do not poll.

Ownership by random token and compare-and-delete after the documented pattern for one Redis node; fencing after
Kleppmann, "How to do distributed locking" (2016); the line of waiters and its bells are this library's own.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from alacena.coordination.lock import RENEW, Grant, Lock, give_back
from alacena.coordination.lock_acquisition import LockAcquisition
from alacena.coordination.lock_block import LockBlock
from alacena.coordination.lock_states import HeldLock, HeldTokens, LockState
from alacena.coordination.per_tenant import PerTenant
from alacena.engine.base.arguments import milliseconds, text_id, wait_seconds
from alacena.engine.base.errors import (
    BackendError,
    LockLostError,
    LockTimeoutError,
    UsageError,
)

if TYPE_CHECKING:
    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.engine.base.closing import Deadline
    from alacena.engine.remote.backend import Argument

_LEAST_TTL_MS: Final = 50

_log = logging.getLogger("alacena")


class Locks(PerTenant):
    """Locks by name and tenant. They are not re-entrant: a task that takes its own lock again would wait for itself.

    If Redis fails: acquiring raises; a lock that is held is lost when its lease can no longer be proved.
    """

    def __init__(self, port: CoordinationContext) -> None:
        super().__init__(port)
        self._background = port._background
        self._held: WeakSet[Lock] = WeakSet()
        self._tokens = HeldTokens()

    def acquire(
        self, name: str, *, tenant_id: str | None = None, ttl_s: float = 30.0, wait_s: float | None = None
    ) -> LockBlock:
        """Returns a block that runs while the lock is held: ``async with locks.acquire(...) as lock``.

        The lock is renewed every ``ttl_s / 3`` while the block runs. If it cannot be, the block's task is cancelled
        before the server could give the lock away, and the block ends with :class:`LockLostError`.

        Cost: 1 round trip to acquire if it is free, 1 to release, 1 each ``ttl_s / 3``.
        A waiter sends 4 commands in all (+ subscribe and unsubscribe), and 1 each 5 s (first in line: 2 s) to show
        that it lives.
        Atomicity: owner, fence and line in one step. Cancellation: leaves the line, or releases, in the background.

        Args:
            name: The name of the lock.
            tenant_id: The tenant; not needed if these locks are bound to a tenant.
            ttl_s: For how long the lock outlives its holder's death.
            wait_s: For how long to wait; ``None`` = as long as it takes, 0 = not at all.

        Raises:
            UsageError: This task holds the lock already, and would wait for itself without an end.
            LockTimeoutError: It was not had within ``wait_s``.
            LockLostError: It was lost while the block ran, or before it could begin.
            BackendError: The store could not be asked.
        """
        tenant_id = self._tenant(tenant_id)
        return LockBlock(partial(self.take, name, tenant_id=tenant_id, ttl_s=ttl_s, wait_s=wait_s))

    async def take(
        self, name: str, *, tenant_id: str | None = None, ttl_s: float = 30.0, wait_s: float | None = None
    ) -> Lock:
        """Takes a lock without a block. It is renewed until :meth:`Lock.release`; watch :attr:`Lock.lost` yourself.

        Raises:
            UsageError: This task holds the lock in a block, and would wait for itself without an end.
            LockTimeoutError: It was not had within ``wait_s``.
            LockLostError: Its lease was over when the server's answer came.
            BackendError: The store could not be asked.
        """
        tenant_id = self._tenant(tenant_id)
        attempt = LockAcquisition(
            self._port, self._keys(name, tenant_id), milliseconds(ttl_s, "ttl_s", least=_LEAST_TTL_MS)
        )
        wait_s = None if wait_s is None else wait_seconds(wait_s)
        deadline = None if wait_s is None else self._port.environment.now() + wait_s
        hint = ""
        try:
            # Not in line at first: a free lock costs one round trip and no subscription.
            granted = await attempt.ask(in_line=False)
            if granted is None and wait_s != 0:
                hint = self._own_hint(name, tenant_id, is_patient=wait_s is None)
                granted = await attempt.stand_in_line(deadline)
        except (BackendError, LockLostError, asyncio.CancelledError):
            self._background.start(attempt.withdraw())
            raise
        if granted is None:
            # Only an attempt that stood in line has a place to leave.
            if wait_s != 0:
                self._background.start(attempt.withdraw())
            raise LockTimeoutError(f"lock {name!r} of tenant {tenant_id!r} was not free within {wait_s} s{hint}")
        fence, sent = granted
        grant = Grant(name=name, keys=attempt.keys, token=attempt.token, fence=fence, ttl_ms=attempt.ttl_ms, sent=sent)
        lock = Lock(self._port, self._background, grant)
        lock.taker = asyncio.current_task()
        self._held.add(lock)
        return lock

    def _own_hint(self, name: str, tenant_id: str, *, is_patient: bool) -> str:
        """Returns words for a task that waits for a lock of its own.

        Raises:
            UsageError: It would wait for ever, for its own block to end.
        """
        task, keys = asyncio.current_task(), self._keys(name, tenant_id)
        for lock in self._held:
            if lock.taker is task and lock.is_of(keys) and lock.remaining_s > 0:
                hint = "this task holds it already, and locks are not re-entrant"
                # Any other wait can end: at its deadline, or because another task releases a lock that has no block.
                if lock.is_block and is_patient:
                    raise UsageError(
                        f"lock {name!r} of tenant {tenant_id!r}: {hint}: pass on the lock that its block gave"
                    )
                _log.warning("lock %r of tenant %r: %s: it waits until another task releases it", name, tenant_id, hint)
                return f": {hint}"
        return ""

    async def try_acquire(
        self, name: str, *, tenant_id: str | None = None, ttl_s: float = 30.0, token: str | None = None
    ) -> int | None:
        """Takes a lock under a token of the caller's if it is free, without renewal. Idempotent by token.

        Cost: 1 round trip. Cancellation: it may be taken; then :meth:`withdraw` the token, or ask again with it.

        Returns:
            The fence, or ``None`` if another caller holds the lock or is next in line.

        Raises:
            LockLostError: Its lease was over when the server's answer came.
            BackendError: The store could not be asked.
        """
        ttl_ms = milliseconds(ttl_s, "ttl_s", least=_LEAST_TTL_MS)
        token = None if token is None else text_id("token", token)
        attempt = LockAcquisition(self._port, self._keys(name, self._tenant(tenant_id)), ttl_ms, token)
        try:
            granted = await attempt.ask(in_line=False)
        except (BackendError, LockLostError, asyncio.CancelledError):
            if token is None:  # Nobody knows the one that was made.
                self._background.start(attempt.withdraw())
            raise
        if granted is None:
            return None
        fence, sent = granted
        self._tokens.keep(attempt.keys[0], attempt.token, fence, sent + ttl_ms / 1000)
        return fence

    def withdraw(self, name: str, *, tenant_id: str | None = None, token: str, ttl_s: float = 30.0) -> None:
        """Gives a lock back in the background that :meth:`try_acquire` may have taken, although it raised.

        Do not use the token again.
        """
        ttl_ms = milliseconds(ttl_s, "ttl_s", least=_LEAST_TTL_MS)
        keys, token = self._keys(name, self._tenant(tenant_id)), text_id("token", token)
        self._tokens.drop(keys[0], token)
        self._background.start(LockAcquisition(self._port, keys, ttl_ms, token).withdraw())

    async def renew(self, name: str, *, tenant_id: str | None = None, token: str, ttl_s: float = 30.0) -> bool:
        """Lengthens the lease of a token; False if it does not hold the lock. Cost: 1 round trip."""
        ttl_ms = milliseconds(ttl_s, "ttl_s", least=_LEAST_TTL_MS)
        words: list[Argument] = [text_id("token", token), ttl_ms]
        keys = self._keys(name, self._tenant(tenant_id))[:2]
        # Read before the command is sent: the server counts from later, so the lease lasts until then at least.
        until = self._port.environment.now() + ttl_ms / 1000
        if not await self._port.run(RENEW, keys, words):
            return False
        self._tokens.prolong(keys[0], token, until)
        return True

    async def release(self, name: str, *, tenant_id: str | None = None, token: str) -> bool:
        """Gives a lock back; False if the token does not hold it. Cost: 1 round trip. Idempotent."""
        keys = self._keys(name, self._tenant(tenant_id))
        token = text_id("token", token)
        self._tokens.drop(keys[0], token)
        return await self._background.finish(give_back(self._port, keys, token))

    def list_held(self) -> list[HeldLock]:
        """Returns the locks that this process holds, of every tenant. Nothing is sent."""
        kept = [HeldLock(lock.key, lock.fence, lock.remaining_s) for lock in list(self._held) if lock.is_kept]
        return [*kept, *self._tokens.list_held(self._port.environment.now())]

    async def look_up(self, key: str) -> LockState | None:
        """Returns the lock of a key as the server says; ``None`` if it is free. Cost: 3 round trips at once."""
        key = text_id("key", key)
        state, line = (key.removesuffix("owner") + part for part in ("state", "line"))
        questions = (("PTTL", key), ("HGET", state, "f"), ("ZCARD", line))
        left_ms, fence, waiting = await asyncio.gather(*(self._port.call(*words) for words in questions))
        if left_ms <= 0:
            return None
        return LockState(key, left_ms / 1000, None if fence is None else int(fence), waiting)

    async def close(self, deadline: Deadline | None = None) -> None:
        """Waits until everything given up has been given back; locks still held are renewed no more, and so lost."""
        self._refuse_bound("close()")
        try:
            await self._background.close(deadline)
        finally:
            for lock in list(self._held):
                lock.abandon()

    def _keys(self, name: str, tenant_id: str) -> list[str]:
        return [self._port.key("lock", tenant_id, name, part) for part in ("owner", "state", "line", "alive")]
