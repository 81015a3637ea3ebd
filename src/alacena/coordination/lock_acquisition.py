"""One attempt to have a lock: it asks, stands in line, and leaves the line.

The line of waiters, and that each is woken in its turn, are this library's own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from alacena.coordination.lock import HEAD_MS, bell_prefix, give_back, lease_end
from alacena.engine.base.errors import BackendError, BackendUnavailableError, LockLostError
from alacena.engine.remote.backend import Script

if TYPE_CHECKING:
    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.engine.remote.backend import Argument

ACQUIRE: Final = Script("lock_acquire", idempotent=True)

WAITER_S: Final = 15.0
"""How long a waiter that has died may stand in line; less once it is first (:data:`HEAD_MS`)."""

# A third of WAITER_S, and of HEAD_MS for the first in line, so that two heartbeats may be lost.
_HEARTBEAT_S: Final = 5.0
_HEAD_HEARTBEAT_S: Final = 2.0
_WITHDRAW_S: Final = 5.0
_WITHDRAW_AGAIN_S: Final = 0.1


class LockAcquisition:
    """One attempt to have a lock, under one token."""

    def __init__(self, port: CoordinationContext, keys: list[str], ttl_ms: int, token: str | None = None) -> None:
        self.keys = keys
        self.ttl_ms = ttl_ms
        self.token = token or port.token()
        self._port = port
        self._pause_s = _HEARTBEAT_S

    async def ask(self, *, in_line: bool) -> tuple[int, float] | None:
        """Returns the fence and when it was asked for, or ``None``; then :attr:`_pause_s` says when to look again."""
        sent = self._port.environment.now()
        waiter_ms = round(WAITER_S * 1000) if in_line else 0
        words: list[Argument] = [self.token, self.ttl_ms, waiter_ms, HEAD_MS, bell_prefix(self.keys)]
        reply = await self._port.run(ACQUIRE, self.keys, words)
        if reply[0] == 1:
            if self._port.environment.now() >= lease_end(sent, self.ttl_ms):
                raise LockLostError("the lock had ended before the server's answer came: give it a longer ttl_s")
            return reply[1], sent
        _, left_ms, place = reply
        chance = self._port.environment.random()
        self._pause_s = (_HEARTBEAT_S if place else _HEAD_HEARTBEAT_S) * (0.8 + 0.2 * chance)
        # 1. The holder dies. Its lease runs out on the server, and no script runs to tell anybody.
        # 2. The first in line would sleep until its next heartbeat.
        if place == 0 and left_ms >= 0:
            # The first in line watches the holder's lease: if the holder died, nobody will ring.
            self._pause_s = min(self._pause_s, left_ms / 1000 + 0.001 + 0.009 * chance)
        return None

    async def stand_in_line(self, deadline: float | None) -> tuple[int, float] | None:
        """Waits for the turn, until ``deadline``. A head waiter that stopped its heartbeat is skipped."""
        now = self._port.environment.now
        # Listening begins before the first question:
        # 1. Asked first, the answer is "not yet".
        # 2. The holder releases, and rings: nobody listens.
        # 3. The waiter listens, for a ring that was.
        async with self._port.store.listen(bell_prefix(self.keys) + self.token) as bell:
            while True:
                granted = await self.ask(in_line=True)
                if granted is not None:
                    return granted
                left_s = self._pause_s if deadline is None else deadline - now()
                if left_s <= 0:
                    return None
                await bell.wait(min(self._pause_s, left_s))

    async def withdraw(self) -> None:
        """Leaves the line; gives the lock back if a lost reply had granted it. Asks again for as long as that may help.

        A cache that is being closed does not wait for a server that is away: the lock ends with its lease.
        """
        now = self._port.environment.now
        # A lost reply may have granted the lock under this token. Left alone, it would be held for its whole lease by
        # nobody.
        deadline = now() + min(self.ttl_ms / 1000, _WITHDRAW_S)
        while True:
            try:
                await give_back(self._port, self.keys, self.token)
            except BackendError as error:
                is_away = isinstance(error, BackendUnavailableError)
                if now() >= deadline or (is_away and self._port._background.is_closing):
                    return
                await asyncio.sleep(_WITHDRAW_AGAIN_S)
            else:
                return
