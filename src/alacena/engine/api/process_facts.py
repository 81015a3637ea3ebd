"""Answers that only this process can give, as plain facts: its memory, its loads, its counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from alacena.engine.base.scope import make_scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from alacena.engine.api.snapshot_recorder import SnapshotRecorder
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.coherence.recent_ends import RecentEnds
    from alacena.engine.loading.single_flight import SingleFlight
    from alacena.engine.loading.source_backoff import SourceBackoff
    from alacena.engine.memory import MemoryTier
    from alacena.engine.reading.reading_parts import ReadingParts

_MOST_LOADS: Final = 100


class ProcessFacts:
    """Answers questions about this process. No answer holds a value.

    Args:
        common: The parts that all share: the names, the second tier, the memory of why entries have gone, the clock.
        memory: The memory tier.
        flights: The loads under way.
        source_backoff: Sources that are left alone.
        recorder: Gives the newest snapshot.
        ends: When generations have ended.
    """

    def __init__(
        self,
        common: ReadingParts,
        memory: MemoryTier,
        flights: SingleFlight,
        source_backoff: SourceBackoff,
        recorder: SnapshotRecorder,
        ends: RecentEnds,
    ) -> None:
        self._ends = ends
        self._keys = common.keys
        self._memory = memory
        self._remote = common.remote
        self._reasons = common.counts.reasons
        self._flights = flights
        self._source_backoff = source_backoff
        self._recorder = recorder
        self._environment = common.environment

    def by_question(self) -> Mapping[str, Callable[..., Awaitable[Any]]]:
        """Returns the questions by name."""
        return {"explain": self._explain, "loads": self._loads, "snapshot": self._snapshot, "tenant": self._tenant}

    def facts(self, key: EntryKey) -> dict[str, Any]:
        """Returns this process's knowledge of one entry."""
        now = self._environment.now()
        # Not `memory.get`, which counts a hit and drops what has ended: a question must change nothing.
        kept = self._memory.entries.get(key.ident)
        in_memory = None
        if kept is not None:
            in_memory = {
                "fresh_for_s": kept.fresh_until - now,
                "hits": kept.hits,
                "bytes": kept.size,
                "alive": all(g.nonce == stamp for g, stamp in zip(*kept.ground, strict=True)),
                "copied_on_read": kept.thaw is not None,
            }
        flight, last = self._flights.get(key.entry), self._reasons.last(key.ident)
        return {
            "key": key.entry.decode(),
            "entry": None,
            "memory": in_memory,
            "memory_serves_for_s": self._memory.serving_until - now,
            "loading": flight is not None,
            "loading_for_s": None if flight is None else now - flight.began_at,
            "last_outcome": None if last is None else {"reason": last[0], "age_s": last[1]},
            "removal_owed": self._remote.owes(key),
            "source_left_alone": self._source_backoff.is_active(key.entry),
        }

    def find_end_age(self, generations: Iterable[str]) -> float | None:
        """Returns for how long the first of some generations has been over; ``None`` if this process saw none of them end."""
        return self._ends.age_s(generations)

    async def _explain(self, data_type: str, resource_id: str, tenant_id: str, **scope: Any) -> dict[str, Any]:
        parts = (scope.get(name) for name in ("agent_id", "conversation_id", "collection_id", "user_id", "permissions"))
        facts = self.facts(self._keys.entry(data_type, resource_id, make_scope(tenant_id, *parts)))
        return {**facts, "ended_for_s": self.find_end_age(scope.get("generations", ()))}

    async def _loads(self) -> dict[str, Any]:
        """Returns the loads that are running, the oldest first, a hundred at most: each by its key and age."""
        running = self._flights.ages(self._environment.now())
        oldest = sorted(running, key=lambda load: -load[1])[:_MOST_LOADS]
        loads = [{"key": entry.decode("utf-8", "replace"), "age_s": age_s} for entry, age_s in oldest]
        return {"count": len(running), "loads": loads}

    async def _snapshot(self) -> Any:
        return msgspec.to_builtins(self._recorder.renew())

    async def _tenant(self, tenant_id: str) -> dict[str, Any]:
        """Returns the entries and counts of one tenant in memory, by type: also of one that is summed up.

        ``is_listed`` says whether its reads and loads are counted one by one; if not, they are not known.
        """
        held = {str(kind): counts for kind, counts in self._memory.stats_of(tenant_id).items()}
        rows = {str(row.data_type): row for row in self._recorder.renew().rows if row.tenant_id == tenant_id}
        types = {}
        for kind in dict.fromkeys((*held, *rows)):
            counts, row = held.get(kind), rows.get(kind)
            types[kind] = {
                "entries": 0 if counts is None else counts.entries,
                "bytes": 0 if counts is None else counts.bytes,
                "hits": row.reads.memory + row.reads.redis if row else counts.hits if counts else 0,
                "misses": None if row is None else row.misses.total,
                "loads": None if row is None else row.loads,
                "load_failures": None if row is None else row.load_failures,
                "evictions": 0 if counts is None else counts.evictions,
                "expirations": 0 if counts is None else counts.expirations,
            }
        return {"is_listed": bool(rows), "types": types}
