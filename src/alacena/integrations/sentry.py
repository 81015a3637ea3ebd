"""Sentry: the cache's events as spans and breadcrumbs, by Sentry's conventions for caches.

::

    configure(observers=[SentryObserver()])

A hit in memory makes no event, so it makes no span. A slower read does, if a span of the caller's is recorded.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from alacena.engine import BackendFailed, EntryRejected, FillRefused, Invalidated, LookupFinished, MemorySwitched
from alacena.integrations.requirement import require_extra

with require_extra(__name__, "sentry", ("sentry-sdk", "2.20", "3")):
    import sentry_sdk

if TYPE_CHECKING:
    from alacena.engine import Event

_LEVELS: Final = {EntryRejected: "error", BackendFailed: "warning", FillRefused: "info", MemorySwitched: "info"}


class SentryObserver:
    """Tells Sentry the work of the cache.

    Reads become spans ``cache.get`` and invalidations ``cache.remove``, with ``cache.hit``, ``cache.key`` (the data type
    and the id) and ``network.peer.address`` left out: nothing secret is sent, and no value. The rest becomes breadcrumbs.

    Args:
        resource_ids: Whether ids of entries are sent; without them ``cache.key`` is the data type.
    """

    def __init__(self, *, resource_ids: bool = False) -> None:
        self._resource_ids = resource_ids

    def observe(self, event: Event) -> None:
        """Makes a span or a breadcrumb of an event."""
        if isinstance(event, LookupFinished):
            self._read(event)
        elif isinstance(event, Invalidated):
            self._note_removal(event)
        elif type(event) in _LEVELS:
            self._crumb(event)

    def _read(self, event: LookupFinished) -> None:
        parent = sentry_sdk.get_current_span()
        if parent is None or not parent.sampled:
            return
        key = self._key(event.data_type, event.resource_id)
        ended = datetime.now(UTC)
        started = ended - timedelta(seconds=event.latency_s)
        # The event comes when the read is over, so the span is told when it began and when it ended.
        span = parent.start_child(op="cache.get", name=key, origin="auto.cache.alacena", start_timestamp=started)
        span.set_data("cache.hit", event.source in {"cache", "stale"})
        span.set_data("cache.key", [key])
        span.set_data("alacena.answer", event.tier or event.source)
        span.finish(end_timestamp=ended)

    def _note_removal(self, event: Invalidated) -> None:
        parent = sentry_sdk.get_current_span()
        if parent is None or not parent.sampled:
            return
        key = self._key(event.data_type or "*", "")
        with parent.start_child(op="cache.remove", name=key, origin="auto.cache.alacena") as span:
            span.set_data("cache.key", [key])

    def _crumb(self, event: Event) -> None:
        said = {"data_type": event.data_type}
        for name in ("reason", "verb", "on"):
            if hasattr(event, name):
                said[name] = getattr(event, name)
        message = type(event).__name__
        sentry_sdk.add_breadcrumb(category="cache", level=_LEVELS[type(event)], message=message, data=said)

    def _key(self, data_type: str | None, resource_id: str) -> str:
        return f"{data_type}/{resource_id}" if self._resource_ids and resource_id else str(data_type)
