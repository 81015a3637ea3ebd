"""Counts of events, by data type and kind, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alacena.constants import (
    METRIC_CACHE_HIT,
    METRIC_CACHE_INVALIDATION,
    METRIC_CACHE_MISS,
    METRIC_CACHE_SIZE,
    METRIC_LATENCY,
)
from alacena.engine.base.errors import ArgumentError, show
from alacena.engine.base.scope import identifier
from alacena.engine.base.ttl import is_finite, real_number

if TYPE_CHECKING:
    from collections.abc import Mapping

_OTHER: Final = ("other", "other")


@dataclass(slots=True)
class Tally:
    """One kind of event: how often it came, and the sum of its values (milliseconds, bytes, entries)."""

    count: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """The mean value; 0 if nothing came."""
        return self.total / self.count if self.count else 0.0


class Metrics:
    """Tallies by ``(data type, kind)``.

    Args:
        max_tallies: How many are kept apart; later ones are counted under ``("other", "other")``, so that names
            made up at run time cannot fill the memory.
    """

    def __init__(self, max_tallies: int = 4096) -> None:
        self._max_tallies = max_tallies
        self._tallies: dict[tuple[str, str], Tally] = {}

    def add(self, data_type: str, kind: str, value: float = 1.0) -> None:
        """Counts one event."""
        name = (data_type, kind)
        if name not in self._tallies and len(self._tallies) >= self._max_tallies:
            name = _OTHER
        tally = self._tallies.setdefault(name, Tally())
        tally.count += 1
        tally.total += value

    def get(self, data_type: str, kind: str) -> Tally:
        """Returns a copy of the tally of one kind; zeros if nothing came."""
        tally = self._tallies.get((data_type, kind), Tally())
        return Tally(tally.count, tally.total)

    def clear(self) -> None:
        """Begins anew."""
        self._tallies.clear()


METRICS: Final = Metrics()
"""What `track_cache_metrics` and `track_chunk_cache_metrics` have counted in this process."""

_OPERATIONS: Final = {"invalidate": METRIC_CACHE_INVALIDATION, "size": METRIC_CACHE_SIZE}


async def track_cache_metrics(
    data_type: str,
    tenant_id: str | None = None,  # noqa: ARG001 - tallies are kept by type; events carry tenants
    metric_type: str = METRIC_CACHE_HIT,
    value: float | bool = 1,
    agent_id: str | None = None,  # noqa: ARG001
    conversation_id: str | None = None,  # noqa: ARG001
    collection_id: str | None = None,  # noqa: ARG001
    token_type: str | None = None,  # noqa: ARG001
    metadata: Mapping[str, Any] | None = None,  # noqa: ARG001
    *,
    operation: str | None = None,
    hit: bool | None = None,
    latency_ms: float | None = None,
    cache_size: float | None = None,
) -> None:
    """Counts a cache event of the application's own. Reads through this library are counted by it already.

    Two ways of saying it: by kind (``metric_type`` and ``value``), or by operation (``operation="get", hit=True,
    latency_ms=3``). An event counts under the kind that it names, with any value.

    Args:
        data_type: Its data type.
        tenant_id: Accepted; tallies are not kept by tenant. The same holds for the ids and the metadata.
        metric_type: Its kind: one of the ``METRIC_...`` constants or a word of one's own.
        value: Milliseconds, bytes or a number; ``True`` is 1.
        agent_id: Accepted.
        conversation_id: Accepted.
        collection_id: Accepted.
        token_type: Accepted.
        metadata: Accepted.
        operation: ``"get"``, ``"set"``, ``"size"``, ``"add"`` or ``"invalidate"``.
        hit: Whether a get was a hit.
        latency_ms: How long the operation took.
        cache_size: How many bytes it was about.

    Cost: 0 round trips.
    """
    data_type = identifier("data_type", data_type)
    if operation is None:
        METRICS.add(data_type, identifier("metric_type", metric_type), _number(value, "value"))
        return
    operation = identifier("operation", operation)
    latency_ms = None if latency_ms is None else _number(latency_ms, "latency_ms")
    cache_size = None if cache_size is None else _number(cache_size, "cache_size")
    if hit is not None:
        METRICS.add(data_type, METRIC_CACHE_HIT if hit else METRIC_CACHE_MISS)
    else:
        METRICS.add(data_type, _OPERATIONS.get(operation, f"cache_{operation}"), cache_size or 1.0)
    if latency_ms is not None:
        METRICS.add(data_type, METRIC_LATENCY, latency_ms)
    if cache_size is not None and operation != "size":
        METRICS.add(data_type, METRIC_CACHE_SIZE, cache_size)


async def track_chunk_cache_metrics(
    tenant_id: str,  # noqa: ARG001 - tallies are kept by kind
    chunk_id: str,  # noqa: ARG001
    metric_type: str,
    collection_id: str | None = None,  # noqa: ARG001
    document_id: str | None = None,  # noqa: ARG001
    model_name: str | None = None,  # noqa: ARG001
    value: float | bool = True,
    extra_metadata: Mapping[str, Any] | None = None,  # noqa: ARG001
) -> None:
    """Counts an event of a chunk: ``METRIC_CHUNK_CACHE_HIT``, ``..._MISS``, ``METRIC_CHUNK_EMBEDDING_GENERATION``.

    Cost: 0 round trips.
    """
    METRICS.add("chunk", identifier("metric_type", metric_type), _number(value, "value"))


def _number(given: float | bool, name: str) -> float:
    """Returns a number that can be added up; ``True`` is 1.

    Raises:
        ArgumentError: It is none.
    """
    number = float(given) if isinstance(given, bool) else real_number(given)
    # One that is infinite or NaN would make every sum after it so.
    if number is None or not is_finite(number):
        raise ArgumentError(f"{name} must be a finite number, not {show(given)}")
    return number
