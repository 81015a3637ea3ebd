"""A lock that is held: renewed while it lives, and known to be lost before the server could give it away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.errors import BackendError, LockLostError
from alacena.engine.remote.backend import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.coordination.background_tasks import BackgroundTasks
    from alacena.coordination.coordination_context import CoordinationContext

RENEW: Final = Script("lock_renew", idempotent=True)
RELEASE: Final = Script("lock_release", idempotent=True)

_DRIFT_RATIO: Final = 0.01
"""How much faster than ours the server's clock may run."""

HEAD_MS: Final = 6_000
"""For how long the first in line may be silent before the others pass it; longer than its pauses and a lost ring."""

_RENEW_RATIO: Final = 1 / 3
_RETRY_RATIO: Final = 1 / 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A lock as the server granted it.

    Attributes:
        name: The lock's name.
        keys: Its keys on the server.
        token: The owner's token.
        fence: The number of this ownership.
        ttl_ms: The length of its lease.
        sent: The instant at which it was asked for, on this process's clock.
    """

    name: str
    keys: list[str]
    token: str
    fence: int
    ttl_ms: int
    sent: float


class Lock:
    """A lock held by this process.

    It says *when* work may run, for efficiency: a process that was stopped, or a network that delivers late, can still
    act after its lease. Work is made *safe* by :attr:`fence`, checked by the resource itself: see
    :mod:`alacena.coordination.fences`.

    Attributes:
        name: The lock's name.
        token: 128 random bits that prove ownership.
        fence: A number that grows with every owner and never goes back.
        lost: Set when the lease could not be kept.
        on_lost: Called then.
        taker: The task that took it.
        is_block: Whether it is held until a block of that task ends.
    """

    def __init__(
        self,
        port: CoordinationContext,
        _background: BackgroundTasks,
        grant: Grant,
    ) -> None:
        self.name = grant.name
        self.token = grant.token
        self.fence = grant.fence
        self.lost = asyncio.Event()
        self.on_lost: Callable[[], object] | None = None
        self.taker: asyncio.Task[Any] | None = None
        self.is_block = False
        self._port = port
        self._background = _background
        self._keys = grant.keys
        self._ttl_ms = grant.ttl_ms
        self._deadline = lease_end(grant.sent, grant.ttl_ms)
        self._renewal = asyncio.get_running_loop().create_task(self._renew())

    @property
    def remaining_s(self) -> float:
        """Seconds for which the lock is surely held, if no renewal succeeds any more."""
        return 0.0 if self.lost.is_set() else max(self._deadline - self._port.environment.now(), 0.0)

    @property
    def is_kept(self) -> bool:
        """Whether it is renewed: it was neither given back nor lost."""
        # A task that was told to end takes a turn of the loop for it: a lock that was given back is not kept meanwhile.
        return not self._renewal.done() and not self._renewal.cancelling() and self.remaining_s > 0

    @property
    def key(self) -> str:
        """Its key on the server."""
        return self._keys[0]

    def is_of(self, keys: list[str]) -> bool:
        """Returns whether it is the lock of these keys."""
        return self._keys == keys

    def check(self) -> None:
        """Raises unless the lock is surely held now. Sends nothing.

        Raises:
            LockLostError: The lease is over.
        """
        if self.remaining_s <= 0:
            raise LockLostError(f"lock {self.name!r} (fence {self.fence}) is lost: stop its work, and acquire it again")

    async def release(self) -> bool:
        """Gives the lock back, if it is still this owner's, and wakes the next in line.

        Cost: 1 round trip. Cancellation: the release is finished in the background.
        If Redis fails: raises; the lock ends with its lease.

        Returns:
            True if it was held until now; False if the lease had ended.
        """
        # 1. A renewal is under way. 2. The release deletes the key. 3. The renewal hears that the token holds nothing.
        # Cancelled only after the release, the renewal would report a lock as lost that was given back.
        self._renewal.cancel()
        # Its deadline is not over yet: without a taker it is not taken for a lock that this task still holds.
        self.taker = None
        return bool(await self._background.finish(give_back(self._port, self._keys, self.token)))

    async def _renew(self) -> None:
        now = self._port.environment.now
        pause_s = self._ttl_ms / 1000 * _RENEW_RATIO
        while True:
            await asyncio.sleep(min(pause_s, max(self._deadline - now(), 0)))
            sent = now()
            if sent >= self._deadline:
                break
            held = await self._ask(self._deadline - sent)
            if held is False:
                break
            if held:
                self._deadline = lease_end(sent, self._ttl_ms)
            pause_s = self._ttl_ms / 1000 * (_RENEW_RATIO if held else _RETRY_RATIO)
        self._lose()

    def abandon(self) -> None:
        """Renews no more, because the cache is closed: the lock is lost, and ends with its lease."""
        # False if the renewal has ended: then the lock was given back, or its loss was told.
        if self._renewal.cancel():
            self._lose()

    def _lose(self) -> None:
        self.lost.set()
        if self.on_lost is not None:
            self.on_lost()

    async def _ask(self, timeout_s: float) -> bool | None:
        """Returns True: renewed. False: it belongs to another owner. None: no answer."""
        try:
            async with asyncio.timeout(timeout_s):
                return bool(await self._port.run(RENEW, self._keys[:2], [self.token, self._ttl_ms]))
        except (BackendError, TimeoutError):
            return None


def lease_end(sent: float, ttl_ms: int) -> float:
    """Returns until when a lease surely holds: the server counts from when it got the command, which is after ``sent``."""
    return sent + ttl_ms / 1000 * (1 - _DRIFT_RATIO)


async def give_back(port: CoordinationContext, keys: list[str], token: str) -> bool:
    """Releases a lock, or leaves the line for it; True if the token held it."""
    return bool(await port.run(RELEASE, keys, [token, HEAD_MS, bell_prefix(keys)]))


def bell_prefix(keys: list[str]) -> str:
    """Returns the head of the channels on which the waiters of a lock are woken; a waiter's token follows."""
    return f"{keys[0]}:bell:"
