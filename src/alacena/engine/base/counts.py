"""The counts of a process: by tenant and type within bounds, and in all."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

import msgspec

from alacena.engine.base.errors import BackendError
from alacena.engine.base.miss_reasons import EXPIRED, NAMES, SERVER_AWAY, TOO_LARGE, MissReasons
from alacena.engine.base.snapshot import BOUNDS_S, Latency, Misses, Reads, Refusals, Row, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Found, Lookup

MOST_TENANTS: Final = 20
"""Tenants that are counted one by one."""

MOST_TYPES: Final = 60
"""Data types that are counted one by one."""

MOST_ROWS: Final = 200
"""Pairs of tenant and type that are counted one by one."""

_MOST_RIVALS: Final = 256
_CLEARLY: Final = 1.5
"""How much more an unlisted tenant must read and hold than a listed one, to take its place: equals do not take turns."""


class CountedRow(msgspec.Struct, gc=False, eq=False):
    """Counts of one type of one tenant as they grow. See :class:`alacena.engine.base.snapshot.Row`."""

    tenant_id: Any = None
    data_type: Any = None
    memory: int = 0
    redis: int = 0
    load: int = 0
    waited: int = 0
    stale: int = 0
    none: int = 0
    absent: int = 0
    expired: int = 0
    invalidated: int = 0
    evicted: int = 0
    too_large: int = 0
    server_away: int = 0
    loads: int = 0
    load_failures: int = 0
    load_s: float = 0.0
    fills: int = 0
    rejected: int = 0
    refused: dict[str, int] | None = None
    evictions: int = 0
    expirations: int = 0
    entries: int = 0
    bytes: int = 0
    entries_met: int = 0
    bytes_met: int = 0

    @property
    def reads(self) -> int:
        """Reads in all."""
        return self.memory + self.redis + self.load + self.waited + self.stale + self.none

    def refuse(self, reason: str) -> None:
        """Counts a value that was not stored."""
        if self.refused is None:
            self.refused = {}
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def add(self, other: CountedRow) -> None:
        """Adds the counts of another row."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in (other.refused or {}).items():
            self.refused = self.refused or {}
            self.refused[reason] = self.refused.get(reason, 0) + count

    def frozen(self) -> Row:
        """Returns the counts as they are now."""
        return Row(
            self.tenant_id,
            self.data_type,
            Reads(self.memory, self.redis, self.load, self.waited, self.stale, self.none),
            Misses(self.absent, self.expired, self.invalidated, self.evicted, self.too_large, self.server_away),
            self.loads,
            self.load_failures,
            self.load_s,
            self.fills,
            _NONE_REFUSED if self.refused is None else Refusals(**self.refused),
            self.rejected,
            self.evictions,
            self.expirations,
            self.entries,
            self.bytes,
        )


_UNSUMMED: Final = frozenset({"tenant_id", "data_type", "refused", "entries_met", "bytes_met"})
_SUMMED: Final = tuple(name for name in CountedRow.__struct_fields__ if name not in _UNSUMMED)
_NONE_REFUSED: Final = Refusals()


class Histogram:
    """The durations of one operation, in the buckets of :data:`alacena.engine.base.snapshot.BOUNDS_S`."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, took_s: float) -> None:
        """Counts one."""
        self.counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s


class Counts:
    """The counts of one cache since it was opened.

    Attributes:
        redis_hits: Entries that the server had.
        misses: Reads that no tier could answer with something fresh.
        loads: Calls of sources.
        load_failures: Loads that failed.
        shared_loads: Reads that joined another's load.
        stale_served: Answers with an expired entry.
        fills: Loaded values that were stored.
        backend_failures: Cache verbs that went on without the server.
        slips: Wrong instructions of sources.
        rejected_entries: Entries of the server that could not be read.
        refused_fills: Values that were not stored, by reason.
        version: Changes whenever other tenants are listed: a row that was asked for before may be out of use.
        reasons: Why there is nothing under a key.

    Args:
        now: The clock, in seconds, by which reasons age; left out: they do not.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self.redis_hits = self.misses = self.loads = self.load_failures = self.shared_loads = 0
        self.stale_served = self.fills = self.backend_failures = self.slips = self.rejected_entries = 0
        self.refused_fills: dict[str, int] = {}
        self.version = 0
        self.reasons = MissReasons(now)
        self.redis_read, self.load, self.store, self.invalidate = (Histogram() for _ in range(4))
        self._rows: dict[tuple[Any, Any], CountedRow] = {}
        self._listed: dict[Any, int] = {}
        self._rivals: dict[Any, int] = {}
        self._types: set[Any] = set()
        self._retired: dict[Any, CountedRow] = {}
        self._tokens: dict[Any, list[int]] = {}

    def stats(self) -> dict[str, Any]:
        """Returns the counts over all tenants and types, for people."""
        counts = {name: getattr(self, name) for name in _TOTALS}
        return {**counts, "refused_fills": dict(self.refused_fills)}

    def of(self, tenant_id: Any, data_type: Any) -> CountedRow:
        """Returns the row in which a type of a tenant is counted."""
        row = self._rows.get((tenant_id, data_type))
        return self._place(tenant_id, data_type) if row is None else row

    def _of_key(self, key: EntryKey) -> CountedRow:
        return self._rows.get(key.ident[:2]) or self._place(key.tenant_id, key.data_type)

    def count_miss(self, key: EntryKey, expired: Found | None = None) -> None:
        """Counts a read that no tier could answer with something fresh, but perhaps with an expired entry."""
        self.misses += 1
        reason = self.reasons.why(key.ident) if expired is None else NAMES[EXPIRED]
        row = self._rows.get(key.ident[:2]) or self._place(key.tenant_id, key.data_type)
        setattr(row, reason, getattr(row, reason) + 1)

    def count_unanswered(self, key: EntryKey, expired: Found | None = None) -> None:
        """Counts a read that no tier could answer, and that asked no source."""
        self.count_miss(key, expired)
        self._of_key(key).none += 1

    def count_hit(self, found: Found) -> None:
        """Counts a read that a tier answered with something fresh; a hit in memory has counted itself."""
        if found.tier == "redis":
            ident = found.key.ident
            row = self._rows.get((ident[0], ident[1])) or self._place(ident[0], ident[1])
            row.redis += 1

    def count_loaded_read(self, key: EntryKey, lookup: Lookup[Any], *, waited: bool) -> None:
        """Counts a read that a load answered, if no expired entry stood in for it: that is counted where it does."""
        if lookup.source == "stale":
            return
        row = self._rows.get(key.ident[:2]) or self._place(key.tenant_id, key.data_type)
        if waited or lookup.source == "cache":
            row.waited += 1
        else:
            row.load += 1

    def count_stale(self, key: EntryKey) -> None:
        """Counts an answer with an expired entry."""
        self.stale_served += 1
        self._of_key(key).stale += 1

    def count_load(self, key: EntryKey, took_s: float) -> None:
        """Counts a source that has answered."""
        row = self._rows.get(key.ident[:2]) or self._place(key.tenant_id, key.data_type)
        row.loads += 1
        row.load_s += took_s
        self.load.observe(took_s)

    def count_failure(self, key: EntryKey) -> None:
        """Counts a load that failed."""
        self.load_failures += 1
        self._of_key(key).load_failures += 1

    def count_fill(self, key: EntryKey) -> None:
        """Counts a loaded value that was stored."""
        self.fills += 1
        row = self._rows.get(key.ident[:2]) or self._place(key.tenant_id, key.data_type)
        row.fills += 1

    def count_store(self, fates: Iterable[object], took_s: float) -> None:
        """Counts a call that stored entries, if anything of it was answered."""
        for fate in fates:
            if not isinstance(fate, BackendError):
                self.store.observe(took_s)
                return

    def count_refusal(self, key: EntryKey, reason: str) -> None:
        """Counts a value that was not stored."""
        self.refused_fills[reason] = self.refused_fills.get(reason, 0) + 1
        self._of_key(key).refuse(reason)

    def count_rejection(self, key: EntryKey) -> None:
        """Counts an entry of the server that could not be read."""
        self.rejected_entries += 1
        self._of_key(key).rejected += 1

    def note_too_large(self, key: EntryKey) -> None:
        """Notes that a value is not kept because of its size."""
        self.reasons.note(key.ident, TOO_LARGE)

    def note_unreached(self, keys: Iterable[EntryKey]) -> None:
        """Notes that the server did not answer for some keys."""
        for key in keys:
            self.reasons.note(key.ident, SERVER_AWAY)

    def count_tokens(self, tenant_id: str, tokens: int, micros: int, *, saved: bool) -> None:
        """Counts a use of tokens that the ledger has counted."""
        whose = tenant_id if tenant_id in self._tokens or len(self._tokens) < MOST_TENANTS else None
        sums = self._tokens.setdefault(whose, [0] * 6)
        for at, amount in ((0, tokens), (2, 1), (4, micros)):
            sums[at + saved] += amount

    def met_all(self) -> None:
        """Takes over the values of each row, from a walk through all entries that has come to its end."""
        for row in self._rows.values():
            row.entries, row.bytes = row.entries_met, row.bytes_met
            row.entries_met = row.bytes_met = 0

    def reset_entries(self) -> None:
        """Forgets the entries that were counted, and those that a walk has met so far, because memory was cleared."""
        for row in self._rows.values():
            row.entries = row.bytes = row.entries_met = row.bytes_met = 0

    def elect(self, bytes_of: Callable[[Any], int], held_bytes: int) -> None:
        """Lists the tenants with the most reads since the last time and the most bytes, one exchange at a time.

        Args:
            bytes_of: A tenant's bytes in memory.
            held_bytes: The bytes of all.

        Cost: linear in the number of rows and of rivals, which are bounded.
        """
        reads = dict.fromkeys(self._listed, 0)
        for (tenant, _), row in self._rows.items():
            if tenant is not None:
                reads[tenant] += row.reads
        recent = {tenant: count - self._listed[tenant] for tenant, count in reads.items()}
        self._listed = reads
        rivals, self._rivals = self._rivals, {}
        if not rivals:
            return
        all_reads = sum(recent.values()) + sum(rivals.values())

        def weight(tenant: Any, count: int) -> float:
            return count / max(all_reads, 1) + bytes_of(tenant) / max(held_bytes, 1)

        best, gain = max(((t, weight(t, n)) for t, n in rivals.items()), key=_second)
        worst, loss = min(((t, weight(t, n)) for t, n in recent.items()), key=_second)
        if gain > loss * _CLEARLY:
            self._retire(worst)
            self._listed[best] = 0

    def rows(self) -> tuple[Row, ...]:
        """Returns the counts by tenant and type."""
        return tuple([row.frozen() for row in self._rows.values()])

    def sums(self) -> tuple[Row, tuple[Row, ...]]:
        """Returns the counts in all and by type, those included of tenants that are not listed any more."""
        everything = CountedRow()
        sums: dict[Any, CountedRow] = {}
        for rows in (self._rows.values(), self._retired.values()):
            for row in rows:
                total = sums.get(row.data_type)
                if total is None:
                    total = sums[row.data_type] = CountedRow(None, row.data_type)
                total.add(row)
        for total in sums.values():
            everything.add(total)
        return everything.frozen(), tuple([row.frozen() for row in sums.values()])

    def latencies(self) -> tuple[Latency, ...]:
        """Returns how long operations took."""
        return tuple([Latency(name, tuple(one.counts), one.sum_s) for name in _TIMED for one in (getattr(self, name),)])

    def tokens(self) -> tuple[Tokens, ...]:
        """Returns the usage brought to the token ledger, by tenant."""
        return tuple([Tokens(tenant, *sums) for tenant, sums in self._tokens.items()])

    def _place(self, tenant_id: Any, data_type: Any) -> CountedRow:
        """Returns the row of a type of a tenant that has none of its own yet, or is not to have one."""
        tenant = tenant_id
        if tenant is not None and tenant not in self._listed:
            if len(self._listed) < MOST_TENANTS:
                self._listed[tenant] = 0
            else:
                self._compete(tenant)
                tenant = None
        if data_type not in self._types:
            if len(self._types) < MOST_TYPES:
                self._types.add(data_type)
            else:
                data_type = None
        row = self._rows.get((tenant, data_type))
        if row is None and tenant is not None and len(self._rows) >= MOST_ROWS:
            tenant = None
            row = self._rows.get((tenant, data_type))
        if row is None:
            row = self._rows[tenant, data_type] = CountedRow(tenant, data_type)
        return row

    def compete(self, tenant_id: Any, reads: int) -> None:
        """Counts reads of a tenant that is not listed, for the next election."""
        if tenant_id not in self._listed:
            self._compete(tenant_id, reads)

    def _compete(self, tenant_id: Any, reads: int = 1) -> None:
        rivals = self._rivals
        if tenant_id not in rivals and len(rivals) >= _MOST_RIVALS:
            # A tenant that reads but now and then makes room for the others.
            self._rivals = rivals = {tenant: count // 2 for tenant, count in rivals.items() if count > 1}
            if len(rivals) >= _MOST_RIVALS:
                return
        rivals[tenant_id] = rivals.get(tenant_id, 0) + reads

    def _retire(self, tenant_id: Any) -> None:
        del self._listed[tenant_id]
        for name in [name for name in self._rows if name[0] == tenant_id]:
            row = self._rows.pop(name)
            row.entries = row.bytes = 0
            kept = self._retired.get(name[1])
            if kept is None:
                kept = self._retired[name[1]] = CountedRow(None, name[1])
            kept.add(row)
        self.version += 1


def _second(pair: tuple[Any, float]) -> float:
    return pair[1]


_TOTALS: Final = (
    "redis_hits", "misses", "loads", "load_failures", "shared_loads", "stale_served", "fills", "backend_failures",
    "slips", "rejected_entries",
)  # fmt: skip
_TIMED: Final = ("redis_read", "load", "store", "invalidate")
