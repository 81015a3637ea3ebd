"""The counts of a process, as one immutable object that any thread may read."""

from __future__ import annotations

from typing import Final

import msgspec

REST: Final = "_other"
"""What readers call the tenants and types that a snapshot does not list one by one."""

BOUNDS_S: Final = tuple(float(f"{digit}e{power}") for power in range(-5, 2) for digit in (1, 2, 5))
"""Upper bounds of the buckets of every :class:`Latency`, in seconds: 10 µs to 50 s in steps of 1, 2, 5."""


class Reads(msgspec.Struct, frozen=True, omit_defaults=True):
    """Reads by where they were answered; each read counts once.

    Attributes:
        memory: In this process's memory. A hit counts itself in its entry and is collected from there: within two
            seconds if there are some thousand entries, within a few minutes if there are a million.
        redis: On the server.
        load: By a load that the read itself began.
        waited: By a load of another caller, in this process or another.
        stale: With an expired entry.
        none: Nowhere: there was nothing, and no source was asked.
    """

    memory: int = 0
    redis: int = 0
    load: int = 0
    waited: int = 0
    stale: int = 0
    none: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.memory + self.redis + self.load + self.waited + self.stale + self.none


class Misses(msgspec.Struct, frozen=True, omit_defaults=True):
    """Reads that no tier could answer with something fresh, by why, as far as this process knows.

    Attributes:
        absent: There was no entry, and this process remembers none.
        expired: Its time was over.
        invalidated: It was removed, or something that it depends on was.
        evicted: It had to make room.
        too_large: It was not kept, because it was too large or could not be encoded.
        server_away: The server did not answer.
    """

    absent: int = 0
    expired: int = 0
    invalidated: int = 0
    evicted: int = 0
    too_large: int = 0
    server_away: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.absent + self.expired + self.invalidated + self.evicted + self.too_large + self.server_away


class Refusals(msgspec.Struct, frozen=True, omit_defaults=True):
    """Values that were not stored, by :data:`alacena.engine.base.remote_tier.Refusal`.

    Attributes:
        lease: It took longer than its permission, or never had one.
        generation: A generation that it depends on ended meanwhile.
        hold: A source transaction was under way.
        late: It arrived too late.
        replication: The server lost its state.
        backend: The server did not answer.
        value: It cannot be encoded, or is too large.
        skip: Its source said so.
        ttl: Its source gave a time to live that means nothing.
        tags: Its source gave documents or tags that mean nothing.
    """

    lease: int = 0
    generation: int = 0
    hold: int = 0
    late: int = 0
    replication: int = 0
    backend: int = 0
    value: int = 0
    skip: int = 0
    ttl: int = 0
    tags: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(getattr(self, name) for name in self.__struct_fields__)


class Fault(msgspec.Struct, frozen=True):
    """A fault of a part that works in the background.

    Attributes:
        part: Which part, such as ``"connection to 10.0.0.1:6379"``.
        fault: The fault, in words.
    """

    part: str
    fault: str


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """The counts of one data type of one tenant.

    Counts only grow; ``entries`` and ``bytes`` are the present contents.

    Attributes:
        tenant_id: The tenant; ``None``: all tenants that are not listed, or all tenants, as the place says.
        data_type: Of which type; ``None``: all types that are not listed, or all types.
        reads: By where they were answered.
        misses: By why.
        loads: Calls of the source that came back; one for a whole batch.
        load_failures: Loads that failed.
        load_s: Seconds that the loads took, all together.
        fills: Loaded values that were stored.
        refusals: Values that were not stored, by why.
        rejected: Entries of the server that could not be read.
        evictions: Entries that left memory to make room.
        expirations: Entries that left memory because their time was over.
        entries: Entries in memory.
        bytes: Bytes that they take there.
    """

    tenant_id: str | None = None
    data_type: str | None = None
    reads: Reads = Reads()
    misses: Misses = Misses()
    loads: int = 0
    load_failures: int = 0
    load_s: float = 0.0
    fills: int = 0
    refusals: Refusals = Refusals()
    rejected: int = 0
    evictions: int = 0
    expirations: int = 0
    entries: int = 0
    bytes: int = 0

    @property
    def tenant(self) -> str:
        """The tenant as a label; ``"_other"`` for those that are not listed."""
        return REST if self.tenant_id is None else self.tenant_id

    @property
    def kind(self) -> str:
        """The data type as a label; ``"_other"`` for those that are not listed."""
        return REST if self.data_type is None else self.data_type


class Latency(msgspec.Struct, frozen=True):
    """The durations of one operation.

    Attributes:
        operation: ``"redis_read"``, ``"load"``, ``"store"`` or ``"invalidate"``.
        counts: How many took up to each of :data:`BOUNDS_S`, not cumulative; the last: longer than all of them.
        sum_s: Seconds, all together.
    """

    operation: str
    counts: tuple[int, ...]
    sum_s: float

    @property
    def bounds_s(self) -> tuple[float, ...]:
        """The upper bounds of all buckets but the last, in seconds."""
        return BOUNDS_S

    @property
    def count(self) -> int:
        """The number of operations."""
        return sum(self.counts)

    def quantile(self, part: float) -> float:
        """Returns the upper bound, in seconds, under which a part of them (0.99 for 99 %) stayed; 0 if there were none."""
        wanted, seen = part * self.count, 0
        for bound, count in zip((*BOUNDS_S, float("inf")), self.counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return bound
        return 0.0


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """The usage that this process brought to the token ledger for one tenant, each key once.

    Attributes:
        tenant_id: The tenant; ``None``: all tenants that are not listed.
        used: Tokens that a provider was paid for.
        saved: Tokens of calls that the cache answered, as the application recorded them.
        calls: Calls that were paid for.
        saved_calls: Calls that were saved.
        used_micros: Money paid, in millionths of the currency; calls without a known price are not in it.
        saved_micros: Money saved, likewise.
    """

    tenant_id: str | None = None
    used: int = 0
    saved: int = 0
    calls: int = 0
    saved_calls: int = 0
    used_micros: int = 0
    saved_micros: int = 0

    @property
    def tenant(self) -> str:
        """The tenant as a label; ``"_other"`` for those that are not listed."""
        return REST if self.tenant_id is None else self.tenant_id


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """The counts of one process since its cache was opened.

    A new one takes the place of the old once a second; nothing in it changes. It is plain data: ``msgspec.json.encode``
    and ``msgspec.msgpack.encode`` take it as it is. It holds no value, no id of an entry and no password.

    Tenants are listed one by one as long as there are at most
    :data:`alacena.engine.base.counts.MOST_TENANTS`; then those with the most reads and bytes are, chosen anew every ten
    seconds. The others are summed up in rows with the ``tenant_id`` ``None``. A tenant's counts begin when it is listed;
    ``types`` and ``total`` hold everything since the start, for listed and unlisted ones.

    Attributes:
        process: The process's name: ``process_name`` of its settings, else its host and number.
        instance: Tells caches of one name apart: another for each opening. Empty if none is seen by others.
        namespace: The namespace that it shares with others.
        version: The version of the library.
        started_at: When the cache was opened, in seconds since the epoch.
        taken_at: When this was taken, likewise.
        total: Everything.
        types: By data type, for all tenants.
        rows: By tenant and data type.
        latencies: By operation.
        tokens: By tenant.
        memory_bytes: Bytes that memory holds now.
        memory_max_bytes: The most bytes that it may hold.
        memory_entries: How many entries.
        memory_tenants: Of how many tenants.
        memory_serves: Whether memory may answer now.
        loads_under_way: Loads that are running.
        backend_failures: Cache verbs that went on without the server.
        connected: Whether the server answers; ``True`` without a server.
        mode: ``"memory"``, or how the server is reached.
        why: Why a promise does not hold, or the promises of this mode.
        faults: Faults in the background.
    """

    process: str
    instance: str = ""
    namespace: str = ""
    version: str = ""
    started_at: float = 0.0
    taken_at: float = 0.0
    total: Row = Row()
    types: tuple[Row, ...] = ()
    rows: tuple[Row, ...] = ()
    latencies: tuple[Latency, ...] = ()
    tokens: tuple[Tokens, ...] = ()
    memory_bytes: int = 0
    memory_max_bytes: int = 0
    memory_entries: int = 0
    memory_tenants: int = 0
    memory_serves: bool = True
    loads_under_way: int = 0
    backend_failures: int = 0
    connected: bool = True
    mode: str = "memory"
    why: str = ""
    faults: tuple[Fault, ...] = ()

    @property
    def uptime_s(self) -> float:
        """Seconds from the opening to this snapshot."""
        return max(0.0, self.taken_at - self.started_at)
