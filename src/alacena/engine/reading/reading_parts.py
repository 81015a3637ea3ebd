"""The parts that every part of the reading room is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alacena.engine.base.counts import Counts
    from alacena.engine.base.environment import Environment
    from alacena.engine.base.events import Events
    from alacena.engine.base.keys import Keys
    from alacena.engine.base.remote_tier import RemoteTier
    from alacena.engine.base.settings import Settings


@dataclass(frozen=True, slots=True)
class ReadingParts:
    """The parts that all parts of one cache share.

    Attributes:
        remote: The remote tier.
        keys: Renders names.
        events: Receives the events.
        counts: Counts it.
        environment: Time and chance.
        settings: How the cache is set up.
    """

    remote: RemoteTier
    keys: Keys
    events: Events
    counts: Counts
    environment: Environment
    settings: Settings
