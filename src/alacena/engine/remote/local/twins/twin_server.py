"""The registry of twins, which are given the same words and the same calls as their scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from alacena.engine.base.errors import ServerReplyError

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Argument, Reply
    from alacena.engine.remote.local.keyspace import Keyspace

MOST_EXACT = 9_007_199_254_740_991
"""The largest integer up to which a script counts exactly: 2^53 - 1."""


class TwinServer:
    """The ``redis`` of a twin: calls on the keyspace, and its clock, which stands still while the script runs."""

    __slots__ = ("_micros", "_space")

    def __init__(self, space: Keyspace) -> None:
        self._space = space
        self._micros = int(space.clock() * 1_000_000)

    def call(self, *words: Argument) -> Reply:
        """Runs one command."""
        return self._space.execute([word if isinstance(word, bytes) else str(word).encode() for word in words])

    @property
    def now_us(self) -> int:
        """The clock in microseconds."""
        return self._micros

    @property
    def now_ms(self) -> int:
        """The clock in milliseconds."""
        return self._micros // 1000

    def number(self, *words: Argument) -> int:
        """Returns the reply of a command as an integer; 0 for null."""
        return int(self.call(*words) or 0)

    def due(self, key: bytes, limit: int, now: int | None = None) -> list[bytes]:
        """Returns the members of a sorted set with a score that is not in the future, ``limit`` of them at most."""
        until = self.now_ms if now is None else now
        found: list[bytes] = self.call("ZRANGEBYSCORE", key, "-inf", until, "LIMIT", 0, limit)
        return found

    def own_clock(self, key: bytes, wall: int, prefix: str = "") -> tuple[int, int]:
        """Returns an object's own clock, which goes on where the server's is set back: its time, and how far it is ahead."""
        last, before = self.call("HMGET", key, f"{prefix}clock", f"{prefix}ahead")
        # If the clock was set back since the last look, the difference is added for good: the object's own time never
        # goes back.
        ahead = int(before or 0) + max(int(last or 0) - wall, 0)
        return wall + ahead, ahead

    def keep_clock(self, key: bytes, wall: int, ahead: int, prefix: str = "") -> None:
        """Keeps an object's own clock."""
        self.call("HSET", key, f"{prefix}clock", wall, f"{prefix}ahead", ahead)

    def first(self, key: bytes) -> bytes | None:
        """Returns the member of lowest score."""
        found = self.call("ZRANGE", key, 0, 0)
        return found[0] if found else None

    def lowest(self, key: bytes) -> float | None:
        """Returns the lowest score."""
        found = self.call("ZRANGE", key, 0, 0, "WITHSCORES")
        return found[0][1] if found else None


Twin: TypeAlias = Callable[[TwinServer, list[bytes], list[bytes]], "Reply"]

TWINS: dict[str, Twin] = {}
"""Every twin, by the name of its script."""


def twin(run: Twin) -> Twin:
    """Enters a function as the twin of the script that has its name."""
    TWINS[run.__name__] = run
    return run


def refuse(message: str) -> ServerReplyError:
    """Returns the error reply of a script."""
    return ServerReplyError(message)
