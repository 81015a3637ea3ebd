"""Server-assisted client-side caching as Redis 7 and Valkey 9 do it, in default mode.

Every rule here was observed on a real server and is held to it by a differential test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.resp import Push

if TYPE_CHECKING:
    import random

    from tests.simulator.session import Session


def invalidation(key: bytes | None) -> Push:
    """The message that a key (``None``: everything) is no longer what the client read."""
    return Push([b"invalidate", None if key is None else [key]])


class TrackingTable:
    """Which sessions read which keys since they last changed.

    Args:
        chance: Chooses what goes when the table is too large.
        max_keys: ``tracking-table-max-keys``; 0 means no limit.
    """

    def __init__(self, chance: random.Random, max_keys: int = 1_000_000) -> None:
        self.max_keys = max_keys
        self._chance = chance
        self._readers: dict[bytes, dict[Session, None]] = {}
        self._pending: list[bytes | None] = []

    def remember(self, key: bytes, session: Session) -> None:
        """A session with tracking on read ``key``, whether it is there or not."""
        self._readers.setdefault(key, {})[session] = None

    def forget(self, session: Session) -> None:
        """The session is gone. Switching tracking off forgets nothing: it is told of it again once tracking is on."""
        for key in [key for key, readers in self._readers.items() if session in readers]:
            del self._readers[key][session]
            if not self._readers[key]:
                del self._readers[key]

    def tracks(self, key: bytes, session: Session) -> bool:
        """Whether a change of ``key`` would be told to the session."""
        return session in self._readers.get(key, {})

    def invalidate(self, key: bytes, current: Session | None, *, executing: bool) -> None:
        """A key changed: tell its readers once and forget them.

        The session whose command runs hears of it behind the reply; with ``NOLOOP`` it does not hear of it at all,
        even if an eviction and not the command changed the key.
        """
        for session in self._readers.pop(key, {}):
            if not session.tracking or (session is current and session.noloop):
                continue
            if session is not current:
                session.push(invalidation(key))
            elif executing:
                self._pending.append(key)
            else:
                session.push(invalidation(key))

    def invalidate_all(self, sessions: list[Session], current: Session | None) -> None:
        """Everything went: a null message to every session with tracking on, ``NOLOOP`` or not."""
        self._readers.clear()
        for session in sessions:
            if session.tracking and session is current:
                self._pending.append(None)
            elif session.tracking:
                session.push(invalidation(None))

    def enforce_limit(self, current: Session | None) -> None:
        """Give up random keys until the table has its size, before a command of ``current`` runs."""
        while self.max_keys and len(self._readers) > self.max_keys:
            self.invalidate(self._chance.choice(list(self._readers)), current, executing=False)

    def flush_pending(self, current: Session) -> None:
        """Send what the command that just answered changed under its own session."""
        pending, self._pending = self._pending, []
        for key in pending:
            current.push(invalidation(key))
