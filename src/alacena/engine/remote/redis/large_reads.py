"""Large entries on their way from the server: in pieces, so that what others ask for comes in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from alacena.engine.base.errors import BackendUnavailableError, ServerReplyError
from alacena.engine.codec import FIXED_BYTES, read_length
from alacena.engine.remote.redis import large_writes

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.owed_removals import OwedRemovals
    from alacena.engine.remote.redis.wire import Command, Reply

    Judge = Callable[[Reply], Any]

_TRANSFER_S: Final = 2.0
"""How much longer than a small entry a large one may take in all."""


class LargeReads:
    """Reads large entries piece by piece.

    The pieces are of one entry: its header is asked for again beside the last piece, and each store writes another one.
    An entry that was replaced meanwhile is asked for once more, in one piece.

    Args:
        owed: Removals that are owed: such an entry is not read.
    """

    def __init__(self, owed: OwedRemovals) -> None:
        self._owed = owed
        # Servers of a cluster come and go: what is kept for one goes with it.
        self._turns: WeakKeyDictionary[Node, asyncio.Lock] = WeakKeyDictionary()

    async def read(self, node: Node, key: EntryKey, judge: Judge, budget_s: float) -> Any:
        """Returns what ``judge`` makes of an entry, or of ``None``; it runs in the parser, at the last piece.

        Args:
            node: The server.
            key: Which entry.
            judge: Is given the entry's bytes, ``None`` if there is none, or an error of the server.
            budget_s: How long a small entry may take, or a piece.

        Raises:
            BackendError: The server did not answer in time.

        Cost: 1 round trip for each :data:`~alacena.engine.remote.redis.large_writes.PIECE_BYTES`; a small entry has one.
        """
        try:
            async with asyncio.timeout(budget_s + _TRANSFER_S):
                is_judged, answer = await self._read(node, key, judge, budget_s)
                return answer if is_judged else await node.fetch(key.entry, judge, budget_s)
        except TimeoutError:
            raise BackendUnavailableError("a large entry was not read in time") from None

    async def _read(self, node: Node, key: EntryKey, judge: Judge, budget_s: float) -> tuple[bool, Any]:
        """Returns whether the entry was judged, and the answer."""
        download = _LargeRead(key, judge, self._owed)
        is_judged, answer = await node.exchange(
            key.entry, download.ask(), settle=download.take_first, timeout_s=budget_s
        )
        turn = self._turns.setdefault(node, asyncio.Lock())
        while not is_judged and download.is_alike:
            # A turn for a piece, not for an entry: of two large entries, neither waits for the whole of the other.
            async with turn:
                is_judged, answer = await node.exchange(
                    key.entry, download.ask(), settle=download.take, timeout_s=budget_s
                )
        return is_judged, answer


class _LargeRead:
    """One entry on its way.

    Attributes:
        is_alike: Whether all pieces so far are of one entry, as far as their lengths and headers tell.
    """

    def __init__(self, key: EntryKey, judge: Judge, owed: OwedRemovals) -> None:
        self.is_alike = True
        self._key = key
        self._judge_bytes = judge
        self._owed = owed
        self._size = large_writes.PIECE_BYTES
        self._length = 0
        self._pieces: list[bytes] = []

    def ask(self) -> list[Command]:
        """Returns the commands for the next piece."""
        entry, at = self._key.entry, len(self._pieces) * self._size
        commands: list[Command] = [("GETRANGE", entry, at, at + self._size - 1)]
        if at and at + self._size >= self._length:
            commands.append(("GETRANGE", entry, 0, FIXED_BYTES - 1))
        return commands

    def take_first(self, _: Node, replies: list[Reply]) -> tuple[bool, Any]:
        """Takes the first piece: the answer, if it is the whole entry."""
        head = _bytes_of(replies[0])
        length = read_length(head)
        if len(head) < self._size or length is None or length <= len(head):
            return self._judge(head)
        self._pieces, self._length = [head], length
        return False, None

    def take(self, _: Node, replies: list[Reply]) -> tuple[bool, Any]:
        """Takes another piece: the answer, if it is the last one."""
        piece = _bytes_of(replies[0])
        self._pieces.append(piece)
        if len(replies) == 1:
            self.is_alike = len(piece) == self._size
            return False, None
        # 1. A piece is read. 2. Another process replaces the entry. 3. The next piece is the new entry's.
        # The check over all bytes would find that too, and report an accident.
        self.is_alike = _bytes_of(replies[1]) == self._pieces[0][:FIXED_BYTES]
        return self._judge(b"".join(self._pieces)) if self.is_alike else (False, None)

    def _judge(self, data: bytes) -> tuple[bool, Any]:
        return True, self._judge_bytes(self._owed.readable((self._key,), (data or None,))[0])


def _bytes_of(reply: Reply) -> bytes:
    """Returns the bytes that a node answered with.

    Raises:
        ServerReplyError: It answered with an error.
    """
    if isinstance(reply, ServerReplyError):
        raise reply
    return reply  # type: ignore[no-any-return]
