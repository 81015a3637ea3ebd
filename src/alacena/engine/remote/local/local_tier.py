"""The remote tier if there is no server: this process's memory is all there is, under the same rules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from alacena.engine.base.keys import MANY
from alacena.engine.base.remote_tier import LEASE_MARK_BYTES, Beginning, Ended, Found, Held, Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.errors import BackendError
    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Fate, LeaseRequest, NewEntry, Permit, Refusal
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.coherence.value_store import ValueStore

_NONCE_BYTES = 8

_NOTED_TAGS = 10_000
"""Endings of tags that are remembered: how many may come during a load that names its tags late."""


_SHARED = 2
"""How many generations a tenant's own entry has: those that it shares with all of its type."""

_REMEMBERED_S = 7 * 24 * 3600.0
"""How long a hold is remembered that has come to its end by itself."""


class _Journal:
    """The tags that ended in this process, in their order, for loads that name their tags only when they are done.

    Attributes:
        position: How many endings it has noted.
    """

    def __init__(self) -> None:
        self.position = 0
        self._forgotten = 0
        self._has_ended: dict[str, int] = {}

    def note(self, name: str) -> None:
        """Notes that a tag ended."""
        self.position += 1
        # Out and in again: an assignment alone would leave it in its old place, and the oldest would not be the first.
        self._has_ended.pop(name, None)
        self._has_ended[name] = self.position
        if len(self._has_ended) > _NOTED_TAGS:
            oldest = next(iter(self._has_ended))
            # From here on nobody can tell: whoever began before this position hears that any may have ended.
            self._forgotten = self._has_ended.pop(oldest)

    def tells_of(self, name: str, since: int) -> bool:
        """Returns whether a tag may have ended since a position."""
        return since < self._forgotten or self._has_ended.get(name, 0) > since


def _are_alike(keys: Sequence[EntryKey], new_entries: Sequence[NewEntry]) -> bool:
    """Returns whether entries are of one type, and depend on no more than their neighbours."""
    names = keys[0].generations if keys else ()
    return len(names) == _SHARED and all(
        key.generations is names and not new_entry.tags for key, new_entry in zip(keys, new_entries, strict=True)
    )


class LocalTier:
    """Leases, generations and holds kept in this process. Nothing here waits for anything.

    Args:
        coherence: Generations and memory.
        copies: How values are kept.
        environment: Nonces and time.
    """

    def __init__(self, coherence: GenerationTable, copies: ValueStore, environment: Environment) -> None:
        self._coherence = coherence
        self._values = copies
        self._environment = environment
        self._leases: dict[bytes, Lease] = {}
        self._holds: dict[bytes, dict[bytes, float]] = {}
        self._journal = _Journal()
        self.mark = environment.token(LEASE_MARK_BYTES)
        self.is_up = self.is_here = True
        coherence.memory.serving_until = math.inf

    async def find(
        self,
        keys: Sequence[EntryKey],
        policy: Policy,  # noqa: ARG002
        keep: bool,  # noqa: ARG002
        unknown: Sequence[Generation] = (),  # noqa: ARG002
    ) -> Found | None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.find`. Memory is the only tier, so it is looked at here."""
        for key in keys:
            found = self._look(key)
            if found is not None:
                return found
        return None

    async def find_many(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> list[Found | None]:  # noqa: ARG002
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.find_many`."""
        return [self._look(key) for key in keys]

    async def lease(
        self,
        key: EntryKey,
        tags: Sequence[str],
        settled: Callable[[Lease | Found | Held], None],
        *,
        force: bool = False,  # noqa: ARG002 - nobody else fills
    ) -> Lease | Found | Held:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.lease`. A lease that does not stand any more has no owner."""
        return self._lease(key, tags, settled)

    async def lease_many(self, asked: Sequence[LeaseRequest]) -> list[Permit | BackendError]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.lease_many`."""
        return [self._lease(one.key, one.tags, one.settled) for one in asked]

    def _lease(self, key: EntryKey, tags: Sequence[str], settled: Callable[[Permit], None]) -> Permit:
        held = self._leases.get(key.entry)
        if held is not None and held.stands:
            names = [generation.name for generation, _ in held.stamps]
            permit = Held(self._coherence.watch(key.entry, names), math.inf, is_told=True)
            settled(permit)
            return permit
        depends = self._coherence.generations(key.generations)
        if tags:
            depends = (*depends, *self._coherence.intern_tags(key, tags))
        stamps = tuple([(generation, generation.nonce or self._nonce(generation)) for generation in depends])
        journal = self._coherence.generation(key.journal)
        lease = self._leases[key.entry] = Lease(
            key,
            b"",  # Nobody but this process is shown it, and here a lease is told from another by being it.
            stamps,
            (journal, self._nonce(journal)),
            self._journal.position,
            storable=not (self._holds and self._is_held(key)),
            previous=self._look(key),
        )
        settled(lease)
        return lease

    def renew(self, lease: Lease) -> None:
        """Leases of this process last as long as their load."""

    def release(self, lease: Lease) -> None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.release`."""
        if self._leases.get(lease.key.entry) is lease:
            del self._leases[lease.key.entry]
            self._coherence.wake(lease.key.entry, filled=True)

    async def fill(self, lease: Lease, new_entry: NewEntry) -> Refusal:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.fill`."""
        return self._fill(lease, new_entry)

    async def fill_many(self, leases: Sequence[Lease], new_entries: Sequence[NewEntry]) -> list[Fate]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.fill_many`."""
        return [self._fill(lease, new_entry) for lease, new_entry in zip(leases, new_entries, strict=True)]

    def _fill(self, lease: Lease, new_entry: NewEntry) -> Refusal:
        key = lease.key
        if self._leases.get(key.entry) is not lease:
            return "lease"
        # Given back whatever comes of it: those who wait behind a fill that is refused must not wait on.
        self.release(lease)
        # A hold of the time at which the lease was given counts though it has ended since: the value may have been read
        # before the commit.
        if not lease.storable or (self._holds and self._is_held(key)):
            return "hold"
        if not lease.stands:
            return "generation"
        if new_entry.tags:
            known = {generation.name for generation, _ in lease.stamps}
            # Tags that the load named only at its end have no stamp in the lease: the journal tells whether one ended
            # meanwhile.
            late = [tag for tag in new_entry.tags if key.tag_name(tag) not in known]
            if any(self._has_ended(key, tag, lease.noted) for tag in late):
                return "generation"
        return self._keep(key, new_entry)

    async def discard(self, lease: Lease) -> None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.discard`."""
        if self._leases.get(lease.key.entry) is lease:
            self._drop(lease.key)

    async def store(self, key: EntryKey, new_entry: NewEntry, began: Beginning | None = None) -> Refusal:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.store`."""
        return self._store(key, new_entry, began)

    async def store_many(
        self,
        keys: Sequence[EntryKey],
        new_entries: Sequence[NewEntry],
        beginnings: Sequence[Beginning | None] | None = None,
    ) -> list[Fate]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.store_many`."""
        if beginnings is None and not self._holds and _are_alike(keys, new_entries):
            return self._store_alike(keys, new_entries)
        begun = beginnings or [None] * len(keys)
        return [self._store(*one) for one in zip(keys, new_entries, begun, strict=True)]

    def _store_alike(self, keys: Sequence[EntryKey], new_entries: Sequence[NewEntry]) -> list[Fate]:
        """Stores entries that nothing holds and that depend on the same generations; see :meth:`_store`."""
        leases, coherence = self._leases, self._coherence
        for key in keys:
            if leases:
                leases.pop(key.entry, None)
            coherence.close_load(key.entry)
            coherence.memory.discard(key.ident)
        generations = coherence.generations(keys[0].generations)
        stamps = tuple([generation.nonce or self._nonce(generation) for generation in generations])
        kept = self._values.keep_new(keys, new_entries, generations, stamps)
        for key in keys:
            coherence.wake(key.entry, filled=True)
        return [
            "" if is_kept or new_entry.fresh_for_s == 0 else "value"
            for is_kept, new_entry in zip(kept, new_entries, strict=True)
        ]

    def _store(self, key: EntryKey, new_entry: NewEntry, began: Beginning | None) -> Refusal:
        # The lease goes first: a load that is under way read before this store, and its fill must find no lease.
        self._leases.pop(key.entry, None)
        self._coherence.close_load(key.entry)
        # The older value goes too, whatever becomes of the new one: a refusal must not leave it.
        self._coherence.memory.discard(key.ident)
        refusal = self._refuse(key, new_entry, began) or self._keep(key, new_entry)
        # Those whom `_keep` has told that there is an entry are gone; to the others only the lease has changed.
        self._coherence.wake(key.entry, filled=False)
        return refusal

    def _refuse(self, key: EntryKey, new_entry: NewEntry, began: Beginning | None) -> Refusal:
        """Returns the reason for which an entry is not stored; empty if there is none."""
        if self._holds and self._is_held(key, began):
            return "hold"
        if began is not None:
            if any(generation.nonce != nonce for generation, nonce in began.stamps):
                return "generation"
            names = (*key.endings, *map(key.tag_name, new_entry.tags))
            if any(self._journal.tells_of(name, began.noted) for name in names):
                return "generation"
        return ""

    async def begin(self, buckets: Sequence[Sequence[str]], wide: int) -> tuple[Beginning, ...]:  # noqa: ARG002
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.begin`."""
        begun = []
        for names in buckets:
            journal, *generations = (self._coherence.generation(name) for name in names)
            stamps = tuple((generation, self._nonce(generation)) for generation in generations)
            noted, began_ms = self._journal.position, round(self._environment.now() * 1000)
            begun.append(Beginning(stamps, (journal, self._nonce(journal)), noted, began_ms=began_ms))
        return tuple(begun)

    async def delete(self, keys: Sequence[EntryKey], *, told: bool = False) -> int:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.delete`."""
        if told:
            for key in keys:
                self._journal.note(key.entry.decode())
        return sum(self._drop(key) for key in keys)

    async def invalidate(self, generations: Sequence[Sequence[str]], keys: Sequence[EntryKey]) -> Ended:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.invalidate`."""
        there: list[str | bytes] = [key.entry for key in keys if self._drop(key)]
        for name, *others in generations:
            if self._coherence.generation(name).nonce is not None:
                there.append(name)
            for one in (name, *others):
                self._coherence.end(one)
            if others:
                self._journal.note(name)
        return Ended(len(there), there)

    def owe(self, generations: Sequence[Sequence[str]], keys: Sequence[EntryKey]) -> None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.owe`. Nothing can be owed here: it is removed."""
        for group in generations:
            for name in group:
                self._coherence.end(name)
        for key in keys:
            self._coherence.drop(key.entry, key.ident)

    async def hold(self, keys: Sequence[EntryKey], resources: Sequence[str], hold_s: float) -> bytes:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.hold`."""
        token = self._environment.token(16)
        for name in resources:
            self._coherence.end(name)
        for key in keys:
            self._holds.setdefault(key.hold, {})[token] = self._environment.now() + hold_s
            # With its lease: a load that is under way has read before the block, and its fill must find none.
            self._drop(key)
        return token

    async def unhold(self, keys: Sequence[EntryKey], token: bytes) -> None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.unhold`."""
        for key in keys:
            holds = self._holds.get(key.hold, {})
            # Blocks on one resource overlap: each ends its own hold, and readers come in when the last has.
            holds.pop(token, None)
            if not holds:
                self._holds.pop(key.hold, None)
            # Also if the hold had come to its end by itself: what was stored since may be from before the commit.
            self._drop(key)

    async def inspect(self, key: EntryKey, wider: Sequence[EntryKey] = ()) -> dict[str, Any]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.inspect`."""
        return {
            "tier": "this process only",
            "lease": key.entry in self._leases,
            "hold": self._is_held(key),
            "wider": [other.scope.parts for other in wider if other.ident in self._coherence.memory.entries],
        }

    def owes(self, key: EntryKey) -> bool:  # noqa: ARG002 - there is nobody to owe it to
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.owes`."""
        return False

    def guarantee(self) -> Mapping[str, Any]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.guarantee`."""
        return {
            "mode": "memory",
            "server": None,
            "connected": True,
            "no_stale_fill": True,
            "memory": True,
            "staleness_bound_s": 0.0,
            "lost_state_fails_closed": True,
            "one_load": "per process",
            "coordination": "this process only",
            "eviction_policy": None,
            "persistence": None,
            "missing_rights": [],
            "removals_owed": 0,
            "why": "no redis_url is set: every promise holds within this process and none beyond it",
        }

    def _look(self, key: EntryKey) -> Found | None:
        memory = self._coherence.memory
        if key.ident not in memory.entries:
            return None
        now = self._environment.now()
        slot = memory.get(key.ident, now) or memory.get_stale(key.ident, now)
        if slot is None:
            return None
        return self._values.hand_out_as_found(key, slot)

    def _keep(self, key: EntryKey, new_entry: NewEntry) -> Refusal:
        generations = self._coherence.generations(key.generations)
        if new_entry.tags:
            generations = (*generations, *self._coherence.intern_tags(key, new_entry.tags))
        stamps = tuple([generation.nonce or self._nonce(generation) for generation in generations])
        kept = self._values.keep(
            key,
            new_entry.value,
            new_entry.payload,
            generations,
            stamps,
            fresh_for_s=new_entry.life_s,
            stale_for_s=new_entry.stale_for_s,
            load_s=new_entry.load_s,
            usd=new_entry.usd,
            policy=new_entry.policy,
        )
        self._coherence.wake(key.entry, filled=True)
        return "" if kept or new_entry.fresh_for_s == 0 else "value"

    def _has_ended(self, key: EntryKey, tag: str, since: int) -> bool:
        """Returns whether what a tag stands for may have ended since a position of the journal; :data:`MANY` stands for all."""
        return self._journal.position > since if tag == MANY else self._journal.tells_of(key.tag_name(tag), since)

    def _drop(self, key: EntryKey) -> bool:
        known = self._leases.pop(key.entry, None) is not None or key.ident in self._coherence.memory.entries
        self._coherence.drop(key.entry, key.ident)
        return known

    def _is_held(self, key: EntryKey, began: Beginning | None = None) -> bool:
        """Returns whether a hold lasts, or has come to its end by itself since a reading began."""
        holds = self._holds.get(key.hold)
        if holds is None:
            return False
        now = self._environment.now()
        for token in [token for token, until in holds.items() if until < now - _REMEMBERED_S]:
            del holds[token]
        if not holds:
            del self._holds[key.hold]
        # A hold that came to its end by itself was of a block that died, perhaps behind its commit: what was read
        # before that end may be older.
        since = now if began is None else min(now, began.began_ms / 1000)
        return any(until > since for until in holds.values())

    def _nonce(self, generation: Generation) -> bytes:
        if generation.nonce is None:
            generation.nonce = self._environment.token(_NONCE_BYTES)
        return generation.nonce
