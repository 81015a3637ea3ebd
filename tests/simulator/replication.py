"""Asynchronous replication between two simulated servers, and the failover that loses its tail."""

from __future__ import annotations

import contextvars
import copy
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from tests.simulator.server import SimServer

Change: TypeAlias = "tuple[float, bytes | None, Any, int | None]"
"""When it arrives, the key (``None``: everything was flushed), its new value and deadline."""


class Replication:
    """A replica follows a primary, late.

    Args:
        primary: Where the writes go.
        replica: Who follows; it becomes read-only and takes over the primary's data and replication id.
        lag_s: Shortest and longest delay of a change.

    Attributes:
        active: False after `fail_over`.
    """

    def __init__(self, primary: SimServer, replica: SimServer, *, lag_s: tuple[float, float] = (0.001, 0.01)) -> None:
        self.primary = primary
        self.replica = replica
        self.lag_s = lag_s
        self.active = True
        self._under_way: deque[Change] = deque()
        self._arrives_at = 0.0
        replica.role = "slave"
        replica.replid = primary.replid
        replica.load(primary.snapshot())
        primary.replications.append(self)

    @property
    def caught_up(self) -> bool:
        """Whether the replica has everything."""
        return not self._under_way

    def send(self, key: bytes | None) -> None:
        """Put a change of the primary under way (called by the primary)."""
        loop, chance = self.primary.simulation.loop, self.primary.chance
        self._arrives_at = max(self._arrives_at, loop.time() + chance.uniform(*self.lag_s))
        value, deadline_ms = None, None
        if key is not None:
            value = copy.deepcopy(self.primary.keyspace.peek(key))
            deadline_ms = self.primary.keyspace.deadline_ms(key)
        self._under_way.append((self._arrives_at, key, value, deadline_ms))
        loop.call_at(self._arrives_at, self._apply_due, context=contextvars.Context())

    def fail_over(self) -> int:
        """Kill the primary and promote the replica, which takes over the primary's address.

        What is still under way is lost although its writers were told that it was done.

        Returns:
            How many changes were lost.
        """
        address = self.primary.address
        self.active = False
        lost, self._under_way = len(self._under_way), deque()
        self.primary.replications.remove(self)
        self.primary.stop()
        self.promote()
        self.replica.listen(address)
        self.replica.simulation.trace.note("fault", self.replica.process.name, f"promoted, {lost} changes lost")
        return lost

    def promote(self) -> None:
        """Make the replica a primary with a replication id of its own, where it is."""
        self.active = False
        self.replica.role = "master"
        self.replica.replid = self.replica.new_replid()

    def _apply_due(self) -> None:
        now = self.replica.simulation.loop.time()
        while self.active and self._under_way and self._under_way[0][0] <= now:
            self._apply(self._under_way.popleft())
        self.replica.flush()

    def _apply(self, change: Change) -> None:
        _, key, value, deadline_ms = change
        if key is None:
            self.replica.flush_everything()
        elif value is None:
            self.replica.keyspace.delete(key)
        else:
            self.replica.keyspace.put(key, value, deadline_ms)
