"""How a process is seen: by its snapshot, by what it answers, by the others of its namespace."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alacena.coordination.fleet import Fleet
from alacena.engine.api.answers import Answers
from alacena.engine.api.recorder import Recorder

if TYPE_CHECKING:
    from alacena.engine.base.counts import Counts
    from alacena.engine.base.environment import Environment
    from alacena.engine.base.health import Health
    from alacena.engine.base.keys import Keys
    from alacena.engine.base.remote_tier import RemoteTier
    from alacena.engine.base.settings import Settings
    from alacena.engine.loading.single_flight import SingleFlight
    from alacena.engine.loading.source_backoff import SourceBackoff
    from alacena.engine.memory import MemoryTier
    from alacena.engine.remote.backend import Backend


@dataclass(slots=True)
class Observation:
    """The parts by which a process is seen.

    Attributes:
        recorder: Holds the snapshot.
        answers: Answers questions about this process.
        fleet: Tells the others, and asks them.
    """

    recorder: Recorder
    answers: Answers
    fleet: Fleet


def observe(
    *,
    settings: Settings,
    environment: Environment,
    keys: Keys,
    memory: MemoryTier,
    remote: RemoteTier,
    flights: SingleFlight,
    source_backoff: SourceBackoff,
    counts: Counts,
    health: Health,
    store: Backend,
    is_shared: bool,
) -> Observation:
    """Begins to record, and to tell the others if the store is shared with any."""
    recorder = Recorder(
        memory=memory,
        remote=remote,
        flights=flights,
        counts=counts,
        health=health,
        environment=environment,
        settings=settings,
        loop=asyncio.get_running_loop(),
    )
    answers = Answers(keys, memory, flights, source_backoff, recorder, environment)
    fleet = Fleet(
        store,
        keys,
        environment,
        health,
        recorder.renew,
        every_s=settings.fleet_every_s if is_shared else None,
        is_seen=settings.fleet_every_s is not None,
        answers=answers.by_question(),
    )
    fleet.start()
    return Observation(recorder, answers, fleet)
