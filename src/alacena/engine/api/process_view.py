"""The view of a process from outside: its snapshot, its answers, the others of its namespace."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alacena.coordination.fleet import Fleet, Presence
from alacena.engine.api.process_facts import ProcessFacts
from alacena.engine.api.snapshot_recorder import SnapshotRecorder

if TYPE_CHECKING:
    from alacena.coordination.locks import Locks
    from alacena.engine.base.health import Health
    from alacena.engine.coherence.recent_ends import RecentEnds
    from alacena.engine.loading.single_flight import SingleFlight
    from alacena.engine.loading.source_backoff import SourceBackoff
    from alacena.engine.memory import MemoryTier
    from alacena.engine.reading.reading_parts import ReadingParts
    from alacena.engine.remote.backend import Backend


@dataclass(slots=True)
class ProcessView:
    """The parts by which a process is seen.

    Attributes:
        recorder: Holds the snapshot.
        answers: Answers questions about this process.
        fleet: Tells the others, and asks them.
    """

    recorder: SnapshotRecorder
    process_facts: ProcessFacts
    fleet: Fleet


def observe(
    common: ReadingParts,
    *,
    memory: MemoryTier,
    flights: SingleFlight,
    source_backoff: SourceBackoff,
    health: Health,
    store: Backend,
    locks: Locks,
    ends: RecentEnds,
    is_shared: bool,
) -> ProcessView:
    """Begins to record, and to tell the others if the store is shared with any."""
    recorder = SnapshotRecorder(common, memory, flights, health, asyncio.get_running_loop())
    process_facts = ProcessFacts(common, memory, flights, source_backoff, recorder, ends)
    presence = Presence(
        recorder.renew,
        process_facts.by_question(),
        # Without a shared store there is nobody to tell.
        every_s=common.settings.fleet_every_s if is_shared else None,
        is_seen=common.settings.fleet_every_s is not None,
        locks=locks.list_held,
    )
    fleet = Fleet(store, common.keys, common.environment, health, presence)
    fleet.start()
    return ProcessView(recorder, process_facts, fleet)
