"""Large values on their way to the server: in pieces, so that other commands go in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from alacena.engine.remote.redis.cache_scripts import PIECE

if TYPE_CHECKING:
    from alacena.engine.base.environment import Environment
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.wire import Reply

PIECE_BYTES: Final = 1 << 18
"""The bytes that are sent at a time: a small command waits for no more on the connection that it shares with a large one."""

_LIFE_MS: Final = 60_000
"""How long pieces lie on the server whose sender has gone."""


class LargeWrites:
    """Sends large entries piece by piece to keys of their own, from which ``store.lua`` takes them in one step.

    An entry is changed by that script alone, like a small one, and by a command of the same connection. The pieces of a sender
    that has gone expire.

    Args:
        environment: Chance.
        timeout_s: How long a piece may take.
    """

    def __init__(self, environment: Environment, timeout_s: float) -> None:
        self._environment = environment
        self._timeout_s = timeout_s
        # Servers of a cluster come and go: what is kept for one goes with it.
        self._turns: WeakKeyDictionary[Node, asyncio.Lock] = WeakKeyDictionary()

    async def send(self, node: Node, key: EntryKey, sealed: bytes) -> str:
        """Sends the bytes of an entry, and returns the name of the key under which they lie, if they are all there yet.

        Raises:
            BackendError: A piece was not confirmed.

        Cost: 1 round trip for each :data:`PIECE_BYTES`. One piece is on its way to a server at a time, for all senders.
        """
        # A name for this upload alone: the pieces of two senders must not mix.
        name = key.name_parts(self._environment.token(16))
        turn = self._turns.setdefault(node, asyncio.Lock())
        for at in range(0, len(sealed), PIECE_BYTES):
            args = (sealed[at : at + PIECE_BYTES], at, _LIFE_MS)
            # A turn for a piece, not for a value: of two large values, neither waits for the whole of the other.
            async with turn:
                await node.evaluate(PIECE, (name,), args, _ignore, self._timeout_s)
        return name


def _ignore(_: Node, __: Reply) -> None:
    """Leaves it to the script that stores the entry to see whether all pieces are there."""
