"""The locks that a process holds, as it tells the others of its namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_TOKENS: Final = 10_000


class HeldLock(msgspec.Struct, frozen=True, array_like=True):
    """A lock, as the process that holds it says.

    Attributes:
        key: Its key on the server, from which its tenant and name are read.
        fence: The number of this ownership.
        left_s: Seconds until it ends by itself if it is not renewed.
    """

    key: str
    fence: int
    left_s: float


class LockState(msgspec.Struct, frozen=True):
    """A lock that is held now, as the server says.

    Attributes:
        key: Its key on the server.
        left_s: Seconds until it ends by itself if it is not renewed.
        fence: The number of this ownership.
        waiting: How many wait for it.
        process: The name of the process that holds it; ``None`` if none says so.
    """

    key: str
    left_s: float
    fence: int | None
    waiting: int
    process: str | None = None


class HeldTokens:
    """The locks that were taken by token and without renewal: nothing else in the process knows of them.

    10,000 are remembered at most; beyond that the oldest are left out.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[int, float]] = {}

    def keep(self, key: str, token: str, fence: int, until: float) -> None:
        """Notes that a token holds a lock until an instant."""
        # Taken out first: a key that is set again keeps its old place, and the first in the dict is the one given up.
        self._held.pop((key, token), None)
        self._held[key, token] = (fence, until)
        if len(self._held) > _MOST_TOKENS:
            del self._held[next(iter(self._held))]

    def prolong(self, key: str, token: str, until: float) -> None:
        """Notes that a lease was lengthened."""
        if found := self._held.get((key, token)):
            self._held[key, token] = (found[0], until)

    def drop(self, key: str, token: str) -> None:
        """Notes that a token holds a lock no more."""
        self._held.pop((key, token), None)

    def list_held(self, now: float) -> Iterator[HeldLock]:
        """Gives those that have time left; the others are forgotten."""
        for name in [name for name, (_, until) in self._held.items() if until <= now]:
            del self._held[name]
        for (key, _), (fence, until) in self._held.items():
            yield HeldLock(key, fence, until - now)
