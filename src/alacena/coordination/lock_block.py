"""The block that holds a lock: it takes the lock, cancels its task if the lock is lost, and gives the lock back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from alacena.engine.base.errors import BackendError, LockLostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from alacena.coordination.lock import Lock


class LockBlock:
    """The context manager of `Locks.acquire`. Use each once.

    Args:
        take: Takes the lock, or raises.
    """

    def __init__(self, take: Callable[[], Awaitable[Lock]]) -> None:
        self._take = take
        self._lock: Lock | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._interrupted = False

    async def __aenter__(self) -> Lock:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._lock = await self._take()
        # No await between taking it and listening for its loss: a loss in between would interrupt nobody.
        self._lock.is_block = True
        self._lock.on_lost = self._interrupt
        return self._lock

    def __await__(self) -> NoReturn:
        raise UsageError(
            "a lock is taken by a block: write `async with locks.acquire(...) as lock:`, or `await locks.take(...)`"
        )

    def _interrupt(self) -> None:
        assert self._task is not None
        self._interrupted = True
        self._task.cancel("the lock was lost")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lock is not None
        assert self._task is not None
        # From here on a loss has no block left to interrupt: it must not cancel the code that follows.
        self._lock.on_lost = None
        if not self._interrupted:
            if not await self._release_or_prove(self._lock) and error is None:
                raise LockLostError(
                    f"lock {self._lock.name!r} (fence {self._lock.fence}) had ended before its block: give it a longer ttl_s"
                )
            return
        # Our own request is taken back. If one is left that came since the block began, somebody else cancelled the
        # task: that goes on as a cancellation, and does not become a LockLostError.
        others = self._task.uncancel() > self._cancelling
        if error is None or (kind is asyncio.CancelledError and not others):
            raise LockLostError(f"lock {self._lock.name!r} (fence {self._lock.fence}) could not be renewed") from error

    async def _release_or_prove(self, lock: Lock) -> bool:
        """Returns False if the lock was no longer held. If the backend is away, the lease that we can prove decides."""
        # Read before the release: the round trip takes time in which the lease may run out, although it stood at the
        # block's end.
        proved = lock.remaining_s > 0
        try:
            return await lock.release()
        except BackendError:
            return proved
