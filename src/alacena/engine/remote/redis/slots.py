"""Slots of a cluster: which key is in which, and which server has it."""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass
from itertools import count, groupby
from typing import TYPE_CHECKING, TypeAlias

from alacena.engine.remote.redis.endpoint import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alacena.engine.base.errors import ServerReplyError
    from alacena.engine.remote.redis.wire import Reply

Key: TypeAlias = str | bytes

SLOTS = 16_384


def slot_of(key: Key) -> int:
    """Returns the slot of a key: that of its hash tag, if it has one that is not empty."""
    raw = key.encode() if isinstance(key, str) else key
    start = raw.find(b"{")
    if start >= 0:
        end = raw.find(b"}", start + 1)
        if end > start + 1:
            raw = raw[start + 1 : end]
    return crc_hqx(raw, 0) % SLOTS


class SlotMap:
    """The known owner of each slot."""

    def __init__(self) -> None:
        self._owners: list[Address | None] = [None] * SLOTS
        self._distinct: frozenset[Address] | None = frozenset()

    def owner(self, slot: int) -> Address | None:
        """Returns the owner of the slot; ``None`` while none is known."""
        return self._owners[slot]

    def owners(self) -> frozenset[Address]:
        """Returns every server with a slot. Found out once a change of the map: heartbeats ask for it."""
        if self._distinct is None:
            self._distinct = frozenset(owner for owner, _ in groupby(self._owners) if owner is not None)
        return self._distinct

    def tag_at(self, owner: Address) -> str | None:
        """Returns the least number that, as a hash tag, falls into a slot of this owner; ``None`` if it has no slot."""
        if owner not in self.owners():
            return None
        tags = (f"{number}" for number in count())
        return next(tag for tag in tags if self._owners[slot_of(tag)] == owner)

    def move(self, slot: int, owner: Address) -> frozenset[int]:
        """Gives one slot another owner; the slots that changed hands."""
        former, self._owners[slot] = self._owners[slot], owner
        self._distinct = None
        return frozenset() if former in (None, owner) else frozenset({slot})

    def adopt(self, ranges: Iterable[Range]) -> frozenset[int]:
        """Takes a server's word for all slots; the slots that changed hands."""
        former = self._owners
        # Who was there before stays the same object: what is identical is not compared field by field.
        known = {owner: owner for owner in self.owners()}
        self._owners = [None] * SLOTS
        self._distinct = None
        for one in ranges:
            self._owners[one.first : one.last + 1] = [known.get(one.owner, one.owner)] * (one.last + 1 - one.first)
        return frozenset(slot for slot in range(SLOTS) if former[slot] not in (None, self._owners[slot]))


@dataclass(frozen=True, slots=True)
class Range:
    """Slots ``first`` to ``last``, both included, and the master that has them."""

    first: int
    last: int
    owner: Address


def read_slots(reply: Reply, asked: Address) -> list[Range]:
    """Reads the answer to ``CLUSTER SLOTS`` of the server at ``asked``.

    Raises:
        ValueError: It is no such answer.
    """
    try:
        return [Range(first, last, _node(master, asked)) for first, last, master, *_ in reply]
    except (TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"this is no answer to CLUSTER SLOTS: {reply!r:.200}") from error


def _node(node: list[Reply], asked: Address) -> Address:
    """Returns a server's address; one that does not know its own name means the one under which it was asked."""
    host = b"" if node[0] is None else node[0]
    return Address(asked.host if host in (b"", b"?") else host.decode(), int(node[1]))


@dataclass(frozen=True, slots=True)
class Redirection:
    """The address to which the server redirects a slot.

    Attributes:
        slot: The slot.
        address: The server that has it, or is about to.
        passing: Only this once (``ASK``): the slot is on its way there.
    """

    slot: int
    address: Address
    passing: bool

    @classmethod
    def read(cls, error: ServerReplyError, asked: Address) -> Redirection | None:
        """Reads ``MOVED slot host:port`` or ``ASK slot host:port``; ``None`` for any other error."""
        if error.code not in ("MOVED", "ASK"):
            return None
        _, slot, place = str(error).split(" ")[:3]
        host, _, port = place.rpartition(":")
        return cls(int(slot), Address(host or asked.host, int(port)), error.code == "ASK")
