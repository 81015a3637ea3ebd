"""Events, in the past tense, for observers: nothing is built while there is no observer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = logging.getLogger("alacena")

_SLOW_S: Final = 0.05
_MOST_SLOW: Final = 3
"""A busy machine makes anybody slow now and then."""
_MOST_WAITING: Final = 10_000
_IDLE_S: Final = 1.0


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
        what: The scope, resource or tag, in words.
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


@dataclass(frozen=True, slots=True)
class ServerLost(Event):
    """A connection that served was lost, or the first attempt to connect has failed: reads go to the source.

    Attributes:
        address: Which server.
        error: Why.
    """

    address: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ServerFound(Event):
    """A server answers that did not.

    Attributes:
        address: Which server.
    """

    address: str = ""


@dataclass(frozen=True, slots=True)
class LoadFinished(Event):
    """A source has answered.

    Attributes:
        resource_id: For which entry; of a batch, the first one.
        count: For how many entries.
        took_s: How long it took.
    """

    resource_id: str = ""
    count: int = 1
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadFailed(Event):
    """A load has failed; a cancelled one has too.

    Attributes:
        resource_id: Of which entry; of a batch, the first one.
        error: The type of the exception: its text may hold data of the source.
    """

    resource_id: str = ""
    error: str = ""


class Observer(Protocol):
    """Receives every event, on the event loop: keep it short and do not block.

    One that is slow again and again is called in a thread of its own from then on, and hears less than all if it cannot
    keep up.
    """

    def observe(self, event: Event) -> None:
        """Takes note of one event. An exception of it is logged and goes no further."""
        ...


class Events:
    """The observers of one cache.

    Args:
        observers: The observers that are told.
        now: The clock that shows if one of them is slow; ``None``: slowness goes unnoticed.
    """

    def __init__(self, observers: Iterable[Observer] = (), now: Callable[[], float] | None = None) -> None:
        self._observers = tuple(observers)
        self._now = now
        self._listeners: dict[int, _Listener] = {}

    def __bool__(self) -> bool:
        """Returns whether there is an observer."""
        return bool(self._observers)

    def emit(self, event: Event) -> None:
        """Tells every observer; neither a failing nor a slow one reaches the caller."""
        for observer in self._observers:
            listener = self._listeners.get(id(observer))
            if listener is None:
                listener = self._listeners[id(observer)] = _Listener(observer)
            if self._now is None:
                listener.tell(event)
            else:
                listener.tell_in_time(event, self._now)


class _Listener:
    """One observer, and how it behaves."""

    __slots__ = ("_fails", "_left_out", "_observer", "_slow", "_thread", "_waiting")

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._fails = False
        self._slow = 0
        self._left_out = False
        self._waiting: SimpleQueue[Event] | None = None
        self._thread: Thread | None = None

    def tell_in_time(self, event: Event, now: Callable[[], float]) -> None:
        """Tells it here, or, once it was too slow too often, in its thread."""
        if self._waiting is not None:
            self._put(event, self._waiting)
            return
        began = now()
        self.tell(event)
        took_s = now() - began
        if took_s < _SLOW_S:
            return
        self._slow += 1
        if self._slow >= _MOST_SLOW:
            self._waiting = SimpleQueue()
            _log.warning(
                "observer %r took %.2f s for %s, and the event loop stood still meanwhile: it is called in a thread of "
                "its own from now on. Let observe() put the event into a queue and return",
                self._observer, took_s, type(event).__name__,
            )  # fmt: skip

    def tell(self, event: Event) -> None:
        """Tells it now. That it fails is logged once, until it has succeeded again."""
        try:
            self._observer.observe(event)
        except Exception:  # noqa: BLE001 - an observer's fault must not become the reader's
            if not self._fails:
                _log.exception(
                    "observer %r failed on %s; nothing else is concerned. What it raises is said again only after it "
                    "has worked", self._observer, type(event).__name__,
                )  # fmt: skip
            self._fails = True
        else:
            self._fails = False

    def _put(self, event: Event, waiting: SimpleQueue[Event]) -> None:
        if waiting.qsize() >= _MOST_WAITING:
            if not self._left_out:
                self._left_out = True
                _log.warning("observer %r does not keep up: events are left out", self._observer)
            return
        waiting.put(event)
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._work, args=(waiting,), name="alacena: observer", daemon=True)
            self._thread.start()

    def _work(self, waiting: SimpleQueue[Event]) -> None:
        while True:
            try:
                event = waiting.get(timeout=_IDLE_S)
            except Empty:
                return
            self.tell(event)
