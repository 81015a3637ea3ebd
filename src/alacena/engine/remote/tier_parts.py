"""The parts of a cache that a remote tier stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alacena.engine.base.counts import Counts
    from alacena.engine.base.environment import Environment
    from alacena.engine.base.events import Events
    from alacena.engine.base.health import Health
    from alacena.engine.base.keys import Keys
    from alacena.engine.base.settings import Settings
    from alacena.engine.codec import Codec
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.coherence.value_store import ValueStore
    from alacena.engine.loading.single_flight import SingleFlight


@dataclass(frozen=True, slots=True, kw_only=True)
class TierParts:
    """The parts of a cache that are there before its remote tier is opened.

    Attributes:
        keys: Renders names.
        coherence: The generations known to this process, and memory.
        values: Puts values into memory.
        codec: Seals and opens entries.
        flights: The loads under way; owns the background tasks.
        environment: Time and chance.
        events: Observers.
        counts: Counters.
        settings: How the cache is set up.
        health: Where faults of parts in the background are reported.
    """

    keys: Keys
    coherence: GenerationTable
    values: ValueStore
    codec: Codec
    flights: SingleFlight
    environment: Environment
    events: Events
    counts: Counts
    settings: Settings
    health: Health
