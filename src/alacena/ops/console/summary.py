"""The sum of several processes' snapshots, as the page shows it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.snapshot import REST, Latency

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alacena.engine import Row, Snapshot

_GROUPS: Final = ("reads", "misses", "refusals")
_TOTALS: Final = ("loads", "load_failures", "load_s", "fills", "rejected", "evictions", "expirations")
_NOW: Final = ("memory_bytes", "memory_max_bytes", "memory_entries", "loads_under_way", "backend_failures")
_COLUMNS: Final = ("entries", "bytes", "loads", "load_failures", "evictions", "expirations")
_TOKENS: Final = ("used", "saved", "calls", "saved_calls", "used_micros", "saved_micros")


def overview(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """Returns the counts of these processes together: a process that ends takes its counts with it."""
    totals = [seen.total for seen in snapshots]
    return {
        "processes": len(snapshots),
        **{group: _fields(getattr(total, group) for total in totals) for group in _GROUPS},
        "facts": {
            **{name: sum(getattr(seen, name) for seen in snapshots) for name in _NOW},
            **{name: sum(getattr(total, name) for total in totals) for name in _TOTALS},
        },
        "tokens": {name: sum(getattr(one, name) for seen in snapshots for one in seen.tokens) for name in _TOKENS},
        "latencies": _latencies(snapshots),
    }


def tenants(snapshots: Iterable[Snapshot]) -> list[dict[str, Any]]:
    """Returns the counts of each tenant and type, of all these processes together."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    for seen in snapshots:
        for row in seen.rows:
            sums.setdefault((row.tenant, row.kind), Counter()).update(_columns(row))
    # The busiest first, and what is summed up last; names break ties, so that rows keep their places.
    order = sorted(sums.items(), key=lambda row: (REST in row[0], -row[1]["hits"] - row[1]["misses"], row[0]))
    return [{"tenant_id": tenant, "data_type": kind, **counts} for (tenant, kind), counts in order]


def _columns(row: Row) -> dict[str, int]:
    hits = row.reads.memory + row.reads.redis
    return {"hits": hits, "misses": row.misses.total, **{name: getattr(row, name) for name in _COLUMNS}}


def _fields(groups: Iterable[Any]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for group in groups:
        # update() and not ``+``, which leaves out counts of 0.
        sums.update({name: getattr(group, name) for name in group.__struct_fields__})
    return dict(sums)


def _latencies(snapshots: Iterable[Snapshot]) -> list[dict[str, Any]]:
    sums: dict[str, Latency] = {}
    for seen in snapshots:
        for one in seen.latencies:
            before = sums.get(one.operation)
            # Buckets can be added up, and quantiles cannot: those are read from the sums.
            counts = one.counts if before is None else tuple(map(sum, zip(one.counts, before.counts, strict=True)))
            sums[one.operation] = Latency(one.operation, counts, one.sum_s + (0 if before is None else before.sum_s))
    return [
        {
            "operation": one.operation,
            "count": one.count,
            "mean_s": one.sum_s / one.count,
            "median_s": one.quantile(0.5),
            "p99_s": one.quantile(0.99),
        }
        for one in sums.values()
        if one.count
    ]
