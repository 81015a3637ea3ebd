"""OpenTelemetry: observable instruments over the snapshot. Only the API is needed; the SDK is the application's.

::

    instruments = observe_cache(cache)

There is no convention for caches yet, so the names are our own, under ``alacena.``; units and kinds follow the rules of
the conventions. A read costs nothing more: a reader of the SDK calls back, from its thread, and reads the snapshot.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from alacena.engine.base.arguments import check_part
from alacena.integrations.requirement import require_extra
from alacena.integrations.snapshot_metrics import DURATION, DURATION_WORDS, Metric, choose_metrics

with require_extra(__name__, "opentelemetry", ("opentelemetry-api", "1.25", "2")):
    from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alacena.engine import Cache


def observe_cache(cache: Cache, *, meter: Meter | None = None, tenants: bool = False) -> Sequence[Any]:
    """Makes one observable instrument for each metric of a cache.

    The durations, which no observable instrument can carry as a histogram, are three counters: how many took up to a
    bound (``le``), how many there were, and their sum.

    Args:
        cache: The cache. While it is not open, the instruments report nothing.
        meter: Makes the instruments; ``None``: the global provider's meter for ``alacena``.
        tenants: Whether there are metrics by tenant too: the listed tenants and ``_other``.

    Returns:
        The instruments.
    """
    check_part(cache, "cache", "snapshot", "a Cache")
    meter = get_meter("alacena") if meter is None else meter
    check_part(meter, "meter", "create_observable_counter", "a Meter of OpenTelemetry's")
    made: list[Any] = []
    for metric in choose_metrics(tenants=tenants):
        make = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
        made.append(make(metric.name, [partial(_points, cache, metric)], unit=metric.unit, description=metric.words))
    for part, unit in (("bucket", "{operation}"), ("count", "{operation}"), ("sum", "s")):
        words = f"{DURATION_WORDS}: {part}"
        callbacks = [partial(_durations, cache, part)]
        made.append(meter.create_observable_counter(f"{DURATION}.{part}", callbacks, unit=unit, description=words))
    return made


def _points(cache: Cache, metric: Metric, _: CallbackOptions) -> Iterator[Observation]:
    if not cache.is_open:
        return
    snapshot = cache.snapshot()
    for values, figure in metric.points(snapshot):
        attributes = dict(zip(metric.labels, values, strict=True))
        yield Observation(figure, {"alacena.namespace": snapshot.namespace, **attributes})


def _durations(cache: Cache, part: str, _: CallbackOptions) -> Iterator[Observation]:
    if not cache.is_open:
        return
    snapshot = cache.snapshot()
    for one in snapshot.latencies:
        attributes = {"alacena.namespace": snapshot.namespace, "operation": one.operation}
        if part == "sum":
            yield Observation(one.sum_s, attributes)
        elif part == "count":
            yield Observation(one.count, attributes)
        else:
            below = 0
            # Not strict: there is one count more, of what took longer than all bounds, and `count` has that.
            for bound, count in zip(one.bounds_s, one.counts, strict=False):
                below += count
                yield Observation(below, {**attributes, "le": repr(bound)})
