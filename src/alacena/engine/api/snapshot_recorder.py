"""Makes the snapshot of a process: a little in each turn of a timer, a new one each second."""

from __future__ import annotations

import os
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.snapshot import Fault, Row, Snapshot

if TYPE_CHECKING:
    import asyncio

    from alacena.engine.base.health import Health
    from alacena.engine.loading.single_flight import SingleFlight
    from alacena.engine.memory import MemoryTier
    from alacena.engine.reading.reading_parts import ReadingParts

_TURN_S: Final = 0.1
_TURNS: Final = 10
# Summing and taking have a turn each: together they would hold the loop up for longer.
_SUMMED_AT: Final = _TURNS - 2
_TURNS_AN_ELECTION: Final = 100
_ENTRIES_A_TURN: Final = 2_000
_ENTRIES_A_STEP: Final = 250
_WALK_S: Final = 0.0005


class SnapshotRecorder:
    """Holds the snapshot that stands, and puts a new one in its place once a second.

    Each turn of its timer takes well below a millisecond, however many entries and tenants there are.

    Attributes:
        snapshot: The one that stands. Any thread may read it.
    """

    def __init__(
        self,
        common: ReadingParts,
        memory: MemoryTier,
        flights: SingleFlight,
        health: Health,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        environment, settings = common.environment, common.settings
        self._memory = memory
        self._remote = common.remote
        self._flights = flights
        self._counts = common.counts
        self._health = health
        self._environment = environment
        self._loop = loop
        self._turn = 0
        self._walked = False
        self._sums: tuple[Row, tuple[Row, ...]] = (Row(), ())
        started_at = environment.wall()
        self._who: dict[str, Any] = {
            "process": settings.process_name or f"{socket.gethostname()}:{os.getpid()}",
            "instance": "" if settings.fleet_every_s is None else common.remote.mark.hex(),
            "namespace": settings.namespace,
            "version": version("alacena"),
            "started_at": started_at,
            "memory_max_bytes": memory.max_bytes,
        }
        self.snapshot = self._take_snapshot()
        self._timer = loop.call_later(_TURN_S, self._work)

    def stop(self) -> None:
        """Stops, with a last snapshot."""
        self._timer.cancel()
        self.renew()

    def renew(self) -> Snapshot:
        """Puts a new snapshot in the place of the old at once. Cost: about a millisecond. Returns it."""
        self._walk()
        self._sums = self._counts.sums()
        self.snapshot = self._take_snapshot()
        return self.snapshot

    def _work(self) -> None:
        self._turn += 1
        turn = self._turn % _TURNS
        if turn == _SUMMED_AT:
            self._sums = self._counts.sums()
        elif turn > _SUMMED_AT:
            self.snapshot = self._take_snapshot()
            self._walked = False
        elif not self._walked and len(self._memory.entries) > (_SUMMED_AT - 1 - turn) * _ENTRIES_A_TURN:
            # As late as it can be, so that what it finds is new.
            self._walked = self._walk()
        if self._turn % _TURNS_AN_ELECTION == 0:
            self._counts.elect(self._memory.bytes_of, self._memory.held_bytes)
        self._timer = self._loop.call_later(_TURN_S, self._work)

    def _walk(self) -> bool:
        """Walks through some entries of memory. Returns whether all have been met."""
        end, left = self._environment.now() + _WALK_S, _ENTRIES_A_TURN
        # By number too: by a clock that stands still, as in tests, the time is never up.
        while left and self._environment.now() < end:
            if self._memory.collect(_ENTRIES_A_STEP):
                return True
            left -= _ENTRIES_A_STEP
        return False

    def _take_snapshot(self) -> Snapshot:
        total, types = self._sums
        promised = self._remote.guarantee()
        mode = str(promised["mode"])
        latencies = self._counts.latencies()
        # Each look at the tier is timed, whichever tier it is: without a server these times are of no server.
        if mode == "memory":
            latencies = tuple(one for one in latencies if one.operation != "redis_read")
        return Snapshot(
            **self._who,
            taken_at=self._environment.wall(),
            total=total,
            types=types,
            rows=self._counts.rows(),
            latencies=latencies,
            tokens=self._counts.tokens(),
            memory_bytes=self._memory.held_bytes,
            memory_entries=len(self._memory.entries),
            memory_tenants=self._memory.tenants,
            memory_serves=self._memory.serving_until > self._environment.now(),
            loads_under_way=len(self._flights),
            backend_failures=self._counts.backend_failures,
            connected=bool(promised.get("connected", True)),
            mode=mode,
            why=str(promised.get("why") or ""),
            faults=tuple([Fault(part, fault) for part, fault in self._health.faults().items()]),
        )
