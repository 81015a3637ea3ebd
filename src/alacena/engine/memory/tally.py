"""Counts of one data type of one tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from alacena.engine.memory.compartment import Compartment


class Tally:
    """Running counts; the hits of slots that are still in memory are not in it yet."""

    __slots__ = ("bytes", "compartment", "entries", "evictions", "expirations", "hits")

    def __init__(self, compartment: Compartment) -> None:
        self.compartment = compartment
        self.entries = 0
        self.bytes = 0
        self.hits = 0
        self.evictions = 0
        self.expirations = 0


class MemoryCounts(NamedTuple):
    """What ``Memory.stats`` says about one data type of one tenant.

    ``entries`` and ``bytes`` (with the overhead of the slots) are what is held now; the others count since the tenant
    was first seen.
    """

    entries: int
    bytes: int
    hits: int
    evictions: int
    expirations: int
