"""Events, in the past tense, for observers: nothing is built while there is no observer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger("alacena")


@dataclass(frozen=True, slots=True)
class Event:
    """Root of the events.

    Attributes:
        tenant_id: The tenant; ``None`` if no tenant is concerned.
        data_type: Of which type; ``None`` if it concerns more than one.
    """

    tenant_id: str | None = None
    data_type: str | None = None


@dataclass(frozen=True, slots=True)
class LookupFinished(Event):
    """A read that did not end in memory came to its end.

    Attributes:
        resource_id: Which entry.
        source: ``"cache"``, ``"loader"``, ``"stale"`` or ``"none"``.
        tier: ``"memory"``, ``"redis"`` or ``None``.
        latency_s: From the call to the answer.
    """

    resource_id: str = ""
    source: str = ""
    tier: str | None = None
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FillRefused(Event):
    """A loaded value was not stored, because its permission was gone: the answer itself was served.

    Attributes:
        resource_id: Which entry.
        reason: ``"lease"``, ``"generation"``, ``"hold"``, ``"replication"``, ``"backend"`` or ``"value"``.
    """

    resource_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EntryRejected(Event):
    """Bytes under our key were not a valid entry: treated as a miss.

    Attributes:
        resource_id: Which entry.
        reason: ``"truncated"``, ``"checksum"``, ``"version"``, ``"foreign"``, ``"key"``, ``"size"``, ``"cipher"``,
            ``"compression"`` or ``"value"``. ``"key"`` means that another key's entry was found: an alarm.
    """

    resource_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Invalidated(Event):
    """A scope, a resource or a tag was invalidated.

    Attributes:
        what: In words.
        count: Keys that the server removed for all that was invalidated in the same turn of the loop.
    """

    what: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True)
class BackendFailed(Event):
    """Redis did not answer a cache verb, which went on without it.

    Attributes:
        verb: Such as ``"get"`` or ``"set"``.
        error: The error's text.
    """

    verb: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class MemorySwitched(Event):
    """The memory tier was switched on or off by the coherence protocol.

    Attributes:
        on: Whether it serves now.
        reason: Why.
    """

    on: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ItemRejected(Event):
    """An item of a queue could not be read here: it was given back, to be tried again or, at last, dead.

    Attributes:
        queue: The queue's name.
        item_id: Which item.
        attempt: Which attempt this was.
        reason: Why it could not be read.
    """

    queue: str = ""
    item_id: str = ""
    attempt: int = 0
    reason: str = ""


class Observer(Protocol):
    """Receives every event, synchronously: keep it short and do not block."""

    def observe(self, event: Event) -> None:
        """Takes note of one event. An exception of it is logged and goes no further."""
        ...


class Events:
    """The observers of one cache."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def __bool__(self) -> bool:
        """Returns whether there is an observer."""
        return bool(self._observers)

    def emit(self, event: Event) -> None:
        """Tells every observer; a failing observer never reaches the caller."""
        for observer in self._observers:
            try:
                observer.observe(event)
            except Exception:  # noqa: BLE001 - an observer's fault must not become the reader's
                _log.exception("observer %r failed on %r", observer, event)
