"""The metrics of a snapshot: their names, units and labels, said once for every exporter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alacena.engine import Row, Snapshot

Kind: TypeAlias = Literal["counter", "gauge"]
Point: TypeAlias = "tuple[tuple[str, ...], float]"

DURATION: Final = "alacena.operation.duration"
"""The histogram of what is slower than memory; its one attribute is ``operation``."""

DURATION_WORDS: Final = "How long what is slower than memory took"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name with dots.
        kind: Whether it only grows.
        unit: Its unit, as OpenTelemetry writes it.
        words: A sentence about it.
        labels: The names of its labels.
        points: Reads it from a snapshot: values of the labels, and the figure.
    """

    name: str
    kind: Kind
    unit: str
    words: str
    labels: tuple[str, ...]
    points: Callable[[Snapshot], Iterable[Point]]


def _by_type(*figures: tuple[tuple[str, ...], Callable[[Row], float]]) -> Callable[[Snapshot], Iterator[Point]]:
    def points(snapshot: Snapshot) -> Iterator[Point]:
        for row in snapshot.types:
            for values, figure in figures:
                yield (row.kind, *values), figure(row)

    return points


def _fields(group: str) -> Callable[[Snapshot], Iterator[Point]]:
    """Yields each count of one group of a row, by type."""

    def points(snapshot: Snapshot) -> Iterator[Point]:
        for row in snapshot.types:
            counts = getattr(row, group)
            for name in counts.__struct_fields__:
                yield (row.kind, name), getattr(counts, name)

    return points


def _by_tenant(figure: Callable[[Row], float]) -> Callable[[Snapshot], Iterator[Point]]:
    def points(snapshot: Snapshot) -> Iterator[Point]:
        sums: dict[str, float] = {}
        for row in snapshot.rows:
            sums[row.tenant] = sums.get(row.tenant, 0) + figure(row)
        for tenant, total in sums.items():
            yield (tenant,), total

    return points


def _tenant_reads(snapshot: Snapshot) -> Iterator[Point]:
    sums: dict[tuple[str, str], int] = {}
    for row in snapshot.rows:
        for answer in row.reads.__struct_fields__:
            name = (row.tenant, answer)
            sums[name] = sums.get(name, 0) + getattr(row.reads, answer)
    yield from sums.items()


def _one(figure: Callable[[Snapshot], float]) -> Callable[[Snapshot], Iterator[Point]]:
    def points(snapshot: Snapshot) -> Iterator[Point]:
        yield (), figure(snapshot)

    return points


def _tokens(*figures: tuple[str, str], scale: int = 1) -> Callable[[Snapshot], Iterator[Point]]:
    def points(snapshot: Snapshot) -> Iterator[Point]:
        for kind, field in figures:
            yield (kind,), sum(getattr(one, field) for one in snapshot.tokens) / scale

    return points


def _tenant_tokens(snapshot: Snapshot) -> Iterator[Point]:
    for one in snapshot.tokens:
        yield (one.tenant, "used"), one.used
        yield (one.tenant, "saved"), one.saved


_TYPE: Final = ("data_type",)

METRICS: Final = (
    Metric("alacena.reads", "counter", "{read}", "Reads by where they were answered", ("data_type", "answer"),
           _fields("reads")),
    Metric("alacena.misses", "counter", "{read}", "Reads that no tier answered with something fresh, by why",
           ("data_type", "reason"), _fields("misses")),
    Metric("alacena.loads", "counter", "{load}", "Calls of the source that came back", _TYPE,
           _by_type(((), lambda row: row.loads))),
    Metric("alacena.load.failures", "counter", "{load}", "Loads that failed", _TYPE,
           _by_type(((), lambda row: row.load_failures))),
    Metric("alacena.load.time", "counter", "s", "Time that loads took, all together", _TYPE,
           _by_type(((), lambda row: row.load_s))),
    Metric("alacena.fills", "counter", "{value}", "Loaded values that were stored", _TYPE,
           _by_type(((), lambda row: row.fills))),
    Metric("alacena.refusals", "counter", "{value}", "Values that were not stored, by why", ("data_type", "reason"),
           _fields("refusals")),
    Metric("alacena.rejected_entries", "counter", "{entry}", "Entries of the server that could not be read", _TYPE,
           _by_type(((), lambda row: row.rejected))),
    Metric("alacena.memory.removals", "counter", "{entry}", "Entries that left memory, by why",
           ("data_type", "reason"),
           _by_type((("evicted",), lambda row: row.evictions), (("expired",), lambda row: row.expirations))),
    Metric("alacena.memory.entries", "gauge", "{entry}", "Entries in memory", _TYPE,
           _by_type(((), lambda row: row.entries))),
    Metric("alacena.memory.usage", "gauge", "By", "Bytes that the entries of a type take in memory", _TYPE,
           _by_type(((), lambda row: row.bytes))),
    Metric("alacena.memory.limit", "gauge", "By", "Bytes that memory may hold", (),
           _one(lambda snapshot: snapshot.memory_max_bytes)),
    Metric("alacena.memory.serving", "gauge", "1", "1 if memory may answer now", (),
           _one(lambda snapshot: snapshot.memory_serves)),
    Metric("alacena.server.connected", "gauge", "1", "1 if the server answers, or none is configured", (),
           _one(lambda snapshot: snapshot.connected)),
    Metric("alacena.server.failures", "counter", "{verb}", "Cache verbs that went on without the server", (),
           _one(lambda snapshot: snapshot.backend_failures)),
    Metric("alacena.loads.active", "gauge", "{load}", "Loads that are running", (),
           _one(lambda snapshot: snapshot.loads_under_way)),
    Metric("alacena.faults", "gauge", "{part}", "Parts in the background that have a fault", (),
           _one(lambda snapshot: len(snapshot.faults))),
    Metric("alacena.uptime", "gauge", "s", "Time since the cache was opened", (),
           _one(lambda snapshot: snapshot.uptime_s)),
    Metric("alacena.tokens", "counter", "{token}", "Tokens that were paid for, or saved by the cache", ("kind",),
           _tokens(("used", "used"), ("saved", "saved"))),
    Metric("alacena.token.calls", "counter", "{call}", "Calls that were paid for, or saved by the cache", ("kind",),
           _tokens(("used", "calls"), ("saved", "saved_calls"))),
    Metric("alacena.cost", "counter", "{currency}", "Money paid, or saved by the cache; without a price it is 0",
           ("kind",), _tokens(("used", "used_micros"), ("saved", "saved_micros"), scale=1_000_000)),
)  # fmt: skip
"""What every exporter exports, beside :data:`DURATION`."""

TENANT_METRICS: Final = (
    Metric("alacena.tenant.reads", "counter", "{read}", "Reads of a tenant by where they were answered",
           ("tenant", "answer"), _tenant_reads),
    Metric("alacena.tenant.misses", "counter", "{read}", "Reads of a tenant that no tier answered", ("tenant",),
           _by_tenant(lambda row: row.misses.total)),
    Metric("alacena.tenant.memory.usage", "gauge", "By", "Bytes that a tenant's entries take in memory", ("tenant",),
           _by_tenant(lambda row: row.bytes)),
    Metric("alacena.tenant.tokens", "counter", "{token}", "Tokens of a tenant, paid for or saved", ("tenant", "kind"),
           _tenant_tokens),
)  # fmt: skip
"""What is exported by tenant, if that is asked for: the listed tenants, and ``_other`` for the rest."""


def choose_metrics(*, tenants: bool) -> tuple[Metric, ...]:
    """Returns the metrics that are exported."""
    return (*METRICS, *TENANT_METRICS) if tenants else METRICS
