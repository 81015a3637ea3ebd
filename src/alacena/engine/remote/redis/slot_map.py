"""Slots of a cluster: which key is in which, and which server has it."""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass
from itertools import count, groupby
from typing import TYPE_CHECKING, Final, TypeAlias

from alacena.engine.remote.redis.endpoint import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alacena.engine.base.errors import ServerReplyError
    from alacena.engine.remote.redis.wire import Reply

Key: TypeAlias = str | bytes

SLOTS = 16_384

_NO_HOST: Final = ("", "?")
"""The host of a server that does not know its own name, as that one gives it; the map of slots may know its IP."""


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
    """Returns a server's address.

    Without a host it is the one under which it was asked; one that is to have a name, and has none, gives its IP besides.
    """
    host = node[0] or b""
    if host == b"?" and len(node) > 3:
        host = _facts(node[3]).get(b"ip", host)
    return Address(_host(host.decode(), asked), int(node[1]))


def _facts(given: Reply) -> dict[bytes, bytes]:
    """Returns the further facts of a server: a map, or names and values in turn."""
    return given if isinstance(given, dict) else dict(zip(given[::2], given[1::2], strict=False))


def _host(said: str, asked: Address) -> str:
    return asked.host if said in _NO_HOST else said


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
        return cls(int(slot), Address(_host(host, asked), int(port)), error.code == "ASK")
