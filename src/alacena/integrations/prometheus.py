"""Prometheus: a collector that reads the snapshot, and the figures of all processes of a namespace behind one port.

::

    REGISTRY.register(CacheCollector(cache))

Nothing is counted at a read for it, and nothing is asked of the event loop: a scrape reads the snapshot that stands.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from alacena.engine.base.arguments import check_part
from alacena.integrations.requirement import require_extra
from alacena.integrations.snapshot_metrics import DURATION, DURATION_WORDS, Metric, choose_metrics

with require_extra(__name__, "prometheus", ("prometheus-client", "0.20", "1")):
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.core import Metric as Family

    from alacena.engine import Cache, Snapshot

_UNITS: Final = {"s": "seconds", "By": "bytes"}


def metric_name(metric: Metric) -> str:
    """Returns the name of a metric without the ``_total`` that Prometheus gives to a counter."""
    words = metric.name.replace(".", "_")
    unit = _UNITS.get(metric.unit)
    return words if unit is None else f"{words}_{unit}"


DURATION_NAME: Final = f"{DURATION.replace('.', '_')}_seconds"
"""The name of the histogram."""


def list_exported_names(*, tenants: bool = True) -> set[str]:
    """Returns the names of all series that a collector exports, as queries write them."""
    names = {metric_name(one) + ("_total" if one.kind == "counter" else "") for one in choose_metrics(tenants=tenants)}
    return names | {f"{DURATION_NAME}_{part}" for part in ("bucket", "count", "sum")}


class SnapshotCollector(Collector):
    """The snapshots of some processes as metrics.

    Args:
        snapshots: Gives those that stand.
        tenants: Whether there are metrics by tenant too: each listed tenant is a series of its own, and they change.
        processes: Whether each series says which process it is of: needed if there is more than one.
    """

    def __init__(
        self, snapshots: Callable[[], Iterable[Snapshot]], *, tenants: bool = False, processes: bool = False
    ) -> None:
        self._snapshots = snapshots
        self._metrics = choose_metrics(tenants=tenants)
        self._head = ("namespace", "process") if processes else ("namespace",)

    def describe(self) -> Iterator[Family]:
        """Yields the metrics without figures: registering the collector takes no snapshot."""
        return self._families(())

    def collect(self) -> Iterator[Family]:
        """Yields the metrics of the snapshots that stand."""
        return self._families(tuple(self._snapshots()))

    def _families(self, snapshots: Sequence[Snapshot]) -> Iterator[Family]:
        heads = [tuple(getattr(snapshot, name) for name in self._head) for snapshot in snapshots]
        for metric in self._metrics:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric_name(metric), metric.words, labels=[*self._head, *metric.labels])
            for head, snapshot in zip(heads, snapshots, strict=True):
                for values, figure in metric.points(snapshot):
                    family.add_metric([*head, *values], float(figure))
            yield family
        durations = HistogramMetricFamily(DURATION_NAME, DURATION_WORDS, labels=[*self._head, "operation"])
        for head, snapshot in zip(heads, snapshots, strict=True):
            for one in snapshot.latencies:
                buckets, below = [], 0
                for bound, count in zip((*one.bounds_s, float("inf")), one.counts, strict=True):
                    below += count
                    buckets.append(("+Inf" if bound == float("inf") else repr(bound), below))
                durations.add_metric([*head, one.operation], buckets=buckets, sum_value=one.sum_s)
        yield durations


class CacheCollector(SnapshotCollector):
    """One cache of this process as metrics; nothing while it is not open.

    Args:
        cache: The cache; any thread may scrape.
        tenants: As for :class:`SnapshotCollector`.
    """

    def __init__(self, cache: Cache, *, tenants: bool = False) -> None:
        super().__init__(lambda: (cache.snapshot(),) if cache.is_open else (), tenants=tenants)


async def fleet_page(cache: Cache, accept: str = "", *, tenants: bool = False) -> tuple[bytes, str]:
    """Returns the page of metrics of all processes of the namespace, each with its name in the label ``process``.

    Put it behind the one address that is scraped if several workers share a port. Give each worker a
    ``process_name`` that it keeps over restarts, such as the host and the worker's number. If several have one name, the
    one that was opened last keeps it, and the others get a number behind it.

    Args:
        cache: Any open cache of the namespace.
        accept: The scraper's header ``Accept``.
        tenants: As for :class:`SnapshotCollector`.

    Returns:
        The page, and its type for the header ``Content-Type``.

    Cost: 2 round trips.
    """
    check_part(cache, "cache", "fleet", "an open Cache")
    members = await cache.fleet()
    registry = CollectorRegistry(auto_describe=False)
    snapshots = _tell_apart(
        member.snapshot for member in members if member.snapshot is not None and not member.is_stale
    )
    registry.register(SnapshotCollector(lambda: snapshots, tenants=tenants, processes=True))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _tell_apart(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Returns them with names that differ: the youngest of one name keeps it.

    1. A worker is restarted under its name. 2. Its record of before stands until it is missed. 3. Prometheus takes no
    page on which a series stands twice.
    """
    seen: Counter[str] = Counter()
    told = []
    for snapshot in sorted(snapshots, key=lambda one: one.uptime_s):
        seen[snapshot.process] += 1
        number = seen[snapshot.process]
        told.append(snapshot if number == 1 else replace(snapshot, process=f"{snapshot.process} ({number})"))
    return told
