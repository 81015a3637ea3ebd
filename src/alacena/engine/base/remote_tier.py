"""The remote tier as the reader and the writer see it: its questions and its answers.

Two tiers keep this contract: :class:`alacena.engine.remote.redis.redis_tier.RedisTier` and, if there is no server,
:class:`alacena.engine.remote.local.local_tier.LocalTier`. Both put entries that they find or store
into memory themselves, in the step in which this becomes true. A step later, a cache would store a value that was
invalidated in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, Self, TypeAlias, TypeVar

import msgspec

from alacena.engine.base.errors import BackendError
from alacena.engine.base.lineage import tag_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy

V = TypeVar("V")


class Nothing(Enum):
    """The kinds of nothing, none of which is a value."""

    MISSING = "MISSING"
    NOT_FOUND = "NOT_FOUND"
    ABSENT = "ABSENT"

    def __repr__(self) -> str:
        return self.value


MISSING: Final = Nothing.MISSING
"""No value, as distinct from every value, ``None`` included."""

NOT_FOUND: Final = Nothing.NOT_FOUND
"""What a remembered "the source has nothing" holds in place of a value."""

ABSENT: Final = Nothing.ABSENT
"""What memory holds for a scope at which the server has no entry: look at the next more general one."""

Source: TypeAlias = Literal["cache", "loader", "stale", "none"]
Tier: TypeAlias = Literal["memory", "redis"]


class Lookup(msgspec.Struct, Generic[V], frozen=True):
    """The outcome of a read.

    Attributes:
        value: The value; ``None`` if there is none.
        source: The one that answered: a tier (``"cache"``), the loader, an expired copy (``"stale"``) or none (``"none"``).
        tier: The tier that answered, or ``None``.
        origin: The loader's name for itself (``context.origin``), such as ``"supabase"``.
        found: Whether there is a value. ``False`` also for a remembered "the source has nothing".
        stored: Whether a loaded value had the permission to be stored when the answer was given.
        reason: Why a loaded value was not to be stored; ``None`` if it was, and if nothing was loaded.
        latency_s: From the call to the answer, in seconds.
        tags: Tags of the value besides its scope. Those that begin with
            :data:`alacena.engine.base.keys.MARK` name the generation of another entry that it was made from.
    """

    value: V | None
    source: Source
    tier: Tier | None = None
    origin: str | None = None
    found: bool = True
    stored: bool = False
    latency_s: float = 0.0
    reason: Refusal | None = None
    tags: tuple[str, ...] = ()

    @property
    def hit(self) -> bool:
        """Whether a tier answered with a value."""
        return self.found and self.source in {"cache", "stale"}

    def within(self, latency_s: float) -> Lookup[V]:
        """Returns the same outcome with its latency."""
        return Lookup(
            self.value,
            self.source,
            self.tier,
            self.origin,
            self.found,
            self.stored,
            latency_s,
            self.reason,
            self.tags,
        )


class Found(msgspec.Struct, eq=False, gc=False):
    """An entry that is alive.

    Attributes:
        key: Under which key.
        value: The value, private to the receiver (or immutable); ``NOT_FOUND`` for a remembered absence.
        tier: Where.
        fresh_for_s: Seconds it stays fresh; negative: stale for that long; ``inf``: for ever.
        load_s: How long its load took, in seconds; 0 if it is not known.
        generations: The generations that it depends on.
        stamps: Their nonces when it was made; both are empty if they were not kept.
    """

    key: EntryKey
    value: Any
    tier: Tier
    fresh_for_s: float
    load_s: float = 0.0
    generations: tuple[Generation, ...] = ()
    stamps: tuple[bytes, ...] = ()

    @property
    def stands(self) -> bool:
        """Whether, as far as this process knows, nothing that it depends on has ended since it was found."""
        pairs = zip(self.generations, self.stamps, strict=True)
        return bool(self.stamps) and all(generation.nonce == stamp for generation, stamp in pairs)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that it depends on."""
        own = len(self.key.generations)
        return tuple(map(tag_of, self.generations[own:])) if len(self.generations) > own else ()


def value_or(found: Found | None, default: Any) -> Any:
    """Returns the value of an entry, or the default if there is none, or if it says that the source has nothing."""
    return default if found is None or found.value is NOT_FOUND else found.value


@dataclass(slots=True)
class Unsettled:
    """An entry of which it cannot be told yet whether it is alive.

    Attributes:
        unknown: The generations that it depends on and that this process has not met.
    """

    unknown: list[Generation]


class Lease(msgspec.Struct, eq=False, gc=False):
    """The permission to fill one entry once.

    Attributes:
        key: Which entry.
        token: Unique to the request that asked for it.
        stamps: The generations that the value will depend on, with their nonces when the lease was given.
        journal: The generation of the bucket's journal of ended tags in this process, with its nonce at that moment.
        noted: How far that journal had come by then.
        epoch: The server's replication id at that moment; empty without a server.
        storable: ``False`` while a source transaction holds the entry: the value is served, never stored.
        previous: The entry that was there at that moment, alive but not fresh enough; an entry found before may have ended.
    """

    key: EntryKey
    token: bytes
    stamps: tuple[tuple[Generation, bytes], ...]
    journal: tuple[Generation, bytes]
    noted: int
    epoch: bytes = b""
    storable: bool = True
    previous: Found | None = None

    @property
    def stands(self) -> bool:
        """Whether, as far as this process knows, nothing that the lease rests on has ended."""
        for generation, nonce in self.stamps:  # noqa: SIM110 - asked at each load, for which a generator is dear
            if nonce != generation.nonce and not generation.stands(nonce):
                return False
        return True

    @property
    def is_current(self) -> bool:
        """Whether it is sure that nothing of this has ended, nor a tag that the load might name when it is done.

        If the server does not tell of changes, it never is: a later caller waits for the entry that the load stores.
        """
        pairs = (self.journal, *self.stamps)
        return all(generation.nonce == nonce for generation, nonce in pairs)


@dataclass(frozen=True, slots=True)
class Beginning:
    """The generations, of one bucket, that a reading of the source rests on: its results are stored under none later.

    Attributes:
        stamps: Generations with their nonces when it began.
        journal: As for a :class:`Lease`.
        noted: As for a :class:`Lease`.
        epoch: As for a :class:`Lease`.
        began_ms: When it began, on the clock by which holds end.
    """

    stamps: tuple[tuple[Generation, bytes], ...]
    journal: tuple[Generation, bytes]
    noted: int
    epoch: bytes = b""
    began_ms: int = 0


class Held(msgspec.Struct, frozen=True, eq=False):
    """A lease that another caller has.

    Attributes:
        change: Tells, once, that the entry may have been filled since (``True``), or that only the lease has changed
            (``False``). Its receiver cancels it when it is not waited for any more.
        for_s: How long the lease lasts, in seconds, unless it is prolonged, which is a change.
        is_told: Whether changes are sure to be told of; otherwise one may pass unheard.
    """

    change: asyncio.Future[bool]
    for_s: float
    is_told: bool


Permit: TypeAlias = Lease | Found | Held
"""What is answered to the question for a lease."""


class LeaseRequest(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One of the leases that are asked for at once.

    Attributes:
        key: Which entry.
        tags: Names it is known to depend on before it is loaded.
        settled: Told the outcome in the step in which it becomes true.
        force: Give the lease though a fresh entry is there: it is about to be renewed.
    """

    key: EntryKey
    tags: tuple[str, ...]
    settled: Callable[[Permit], None]
    force: bool = False


class NewEntry(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """A value on its way to the tiers.

    Attributes:
        value: The value, or ``NOT_FOUND``.
        payload: The value encoded, if that was done already.
        fresh_for_s: Seconds until it is stale; ``None``: it never is.
        stale_for_s: Seconds after that during which it is kept.
        tags: Names it depends on besides its scope.
        load_s: How long its load took.
        usd: The price of its load, in dollars.
        policy: How its type wants to be kept.
    """

    value: Any
    payload: bytes | None = None
    fresh_for_s: float | None
    stale_for_s: float = 0.0
    tags: tuple[str, ...] = ()
    load_s: float = 0.0
    usd: float = 0.0
    policy: Policy

    @property
    def life_s(self) -> float:
        """Seconds until it is stale; ``inf``: it never is."""
        return math.inf if self.fresh_for_s is None else self.fresh_for_s


class Ended(int):
    """The outcome of an invalidation: more than 0 if it was confirmed or anything was there, else 0.

    Attributes:
        names: Of the generations and entries that were named, those that there were.
    """

    names: frozenset[str | bytes]

    def __new__(cls, count: int, names: Iterable[str | bytes] = ()) -> Self:
        """Returns a count with the names that it is about."""
        ended = super().__new__(cls, count)
        ended.names = frozenset(names)
        return ended

    @property
    def known(self) -> int:
        """The number of them that were known: with 0, no entry that may still be alive was ever stored as depending on any."""
        return len(self.names)


Refusal: TypeAlias = Literal[
    "",
    "lease",
    "generation",
    "hold",
    "late",
    "replication",
    "backend",
    "value",
    "skip",
    "ttl",
    "tags",
    "truncated",
    "reader",
]
"""Why a value was not stored; empty if it was.

``lease``: it took longer than its permission, or never had one. ``generation``: what it depends on ended meanwhile.
``hold``: a source transaction was under way. ``late``: it arrived too late. ``replication``: the server lost its state.
``backend``: the server did not answer. ``value``: it cannot be encoded, or is too large. ``skip``: its source said so.
``ttl``, ``tags``: its source gave a time to live, or documents, that mean nothing. ``truncated``: its source was given a
page and not the whole. ``reader``: its source asked who the user is, and its entry names nobody.
"""


Fate: TypeAlias = Refusal | BackendError
"""What became of one of many entries: empty where it was stored, else why it was not."""


LEASE_MARK_BYTES: Final = 4
"""The size of :attr:`RemoteTier.mark`."""


class RemoteTier(Protocol):
    """The remote tier."""

    @property
    def mark(self) -> bytes:
        """The bytes by which people tell the leases of this tier from those of other processes."""
        ...

    @property
    def is_up(self) -> bool:
        """Whether it is worth waiting for."""
        ...

    @property
    def is_here(self) -> bool:
        """Whether it is in this process: nothing is waited for, and leases last as long as their loads."""
        ...

    def find(
        self, keys: Sequence[EntryKey], policy: Policy, keep: bool, unknown: Sequence[Generation] = ()
    ) -> Awaitable[Found | Unsettled | None]:
        """Returns the first of the keys (most specific first) that holds an entry which is alive, fresh or stale.

        Not a coroutine, which would be one more step on the way of every read that memory does not answer.

        Args:
            keys: The candidates, all of one bucket.
            policy: How the copy in memory is kept.
            keep: Whether a copy is put into memory.
            unknown: Generations to ask for along with the entry: those of an answer that was not settled.

        Raises:
            BackendError: The server did not answer.

        Cost: 1 round trip; one for each 256 KiB of an entry, if entries of its type have been larger than that.
        """
        ...

    async def find_many(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> list[Found | None]:
        """Returns the same for many entries, each at its own key only. Cost: 1 round trip a node."""
        ...

    async def lease(
        self,
        key: EntryKey,
        tags: Sequence[str],
        settled: Callable[[Lease | Found | Held], None],
        *,
        force: bool = False,
    ) -> Lease | Found | Held:
        """Asks for the permission to fill an entry.

        Args:
            key: Which entry.
            tags: Names it is known to depend on before it is loaded.
            settled: Told the outcome in the step in which it becomes true.
            force: Give the lease though a fresh entry is there: it is about to be renewed.

        Returns:
            The lease; or the entry, if another caller filled it meanwhile; or its owner, while that is another request.

        Cost: 1 round trip.
        """
        ...

    async def lease_many(self, asked: Sequence[LeaseRequest]) -> Sequence[Permit | BackendError]:
        """Works like :meth:`lease` for each of many; nothing is raised.

        Args:
            asked: Which entries; all are waited for longer the more there are.

        Returns:
            The outcomes in their order, or for each the server's failure.

        Atomicity: up to 100 leases in one bucket are asked for in one step, each with a fate of its own.
        Cost: 1 round trip.
        """
        ...

    def renew(self, lease: Lease) -> None:
        """Prolongs a lease while its load is running. Sent and not waited for."""
        ...

    async def fill(self, lease: Lease, new_entry: NewEntry) -> Refusal:
        """Stores a loaded value, if everything the lease rests on still stands. Cost: 1 round trip; 2 with new tags."""
        ...

    async def fill_many(self, leases: Sequence[Lease], new_entries: Sequence[NewEntry]) -> list[Fate]:
        """Works like :meth:`fill` for each of many; nothing is raised.

        Returns:
            The outcome of each, in their order.

        Atomicity: up to 100 entries that share a bucket are stored in one step, each with a fate of its own.
        Cost: 1 round trip; 2 with new tags.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Gives a lease back unused, so that the next request need not wait for its end. Sent and not waited for."""
        ...

    async def discard(self, lease: Lease) -> None:
        """Removes the entry that a load was to replace, and gives the lease back; nothing if the lease is another's by now.

        Raises:
            BackendError: The server did not confirm; the removal is owed.

        Cost: 1 round trip.
        """
        ...

    async def store(self, key: EntryKey, new_entry: NewEntry, began: Beginning | None = None) -> Refusal:
        """Stores a value that the caller vouches for: a fill in flight loses to it.

        Args:
            key: Where.
            new_entry: The entry.
            began: The ground of the reading that brought the value: it is refused if any of that has ended since.

        Raises:
            BackendError: The server did not confirm; the removal of the entry to be replaced is owed.

        Cost: 1 round trip; 2 with scopes not met.
        """
        ...

    async def store_many(
        self,
        keys: Sequence[EntryKey],
        new_entries: Sequence[NewEntry],
        beginnings: Sequence[Beginning | None] | None = None,
    ) -> list[Fate]:
        """Works like :meth:`store` for each of many; nothing is raised.

        Args:
            keys: Where.
            new_entries: The entries.
            beginnings: The grounds of the readings that brought the values, ``None`` for one of no reading.

        Returns:
            The outcome of each, in their order.

        Atomicity: up to 100 entries that share a bucket are stored in one step, each with a fate of its own.
        Cost: 1 round trip; 2 with scopes not met.
        """
        ...

    async def begin(self, buckets: Sequence[Sequence[str]], wide: int) -> tuple[Beginning, ...]:
        """Notes the ground of a reading of the source.

        Args:
            buckets: For each bucket, the name of its journal, then those of generations.
            wide: How many of these generations, the first ones, are a tenant's or a type's.

        Raises:
            BackendError: The server did not answer.

        Cost: 1 round trip.
        """
        ...

    async def delete(self, keys: Sequence[EntryKey], *, told: bool = False) -> int:
        """Removes the entries named, in memory first.

        Args:
            keys: Which entries.
            told: Whether readings that are under way are told, so that they do not store earlier reads.

        Cost: 1 round trip a node.
        """
        ...

    async def invalidate(self, generations: Sequence[Sequence[str]], keys: Sequence[EntryKey]) -> Ended:
        """Ends generations and removes entries, in memory first.

        Args:
            generations: Groups of names, each of one bucket: a generation, followed by the journal and the generation of
                entries that depend on too much to name, if entries that it does not cover may depend on it.
            keys: Entries.

        Returns:
            How many of them existed on the server, and which; without a server, the known ones.

        Cost: 1 round trip a node, for any number of entries.
        """
        ...

    def owe(self, generations: Sequence[Sequence[str]], keys: Sequence[EntryKey]) -> None:
        """Owes the removal of entries that may be out of date and could not be removed or replaced; memory forgets it at once.

        It is removed as soon as the server takes that, and nothing that it covers is read before. Arguments as those of
        :meth:`invalidate`.
        """
        ...

    async def hold(self, keys: Sequence[EntryKey], resources: Sequence[str], hold_s: float) -> bytes:
        """Removes entries and ends their resources' generations, and makes readers bypass them while a transaction runs.

        Args:
            keys: The entries.
            resources: The generation of each one's resource.
            hold_s: Seconds after which the hold ends by itself, even if others hold the same.

        Returns:
            The hold's token.

        Raises:
            BackendError: Not all are held; those that are held already are given back.

        Cost: 1 round trip a node.
        """
        ...

    async def unhold(self, keys: Sequence[EntryKey], token: bytes) -> None:
        """Ends a hold and removes the entries once more. Cost: 1 round trip a node."""
        ...

    async def inspect(self, key: EntryKey, wider: Sequence[EntryKey] = ()) -> dict[str, Any]:
        """Returns the tier's knowledge of an entry, for people.

        Args:
            key: Which entry.
            wider: Entries of more general scopes, of which it is told which are there.

        Cost: 1 round trip; 2 for an entry that depends on tags.
        """
        ...

    def owes(self, key: EntryKey) -> bool:
        """Returns whether a removal that concerns an entry is not confirmed yet. Cost: none, the server is not asked."""
        ...

    def guarantee(self) -> Mapping[str, Any]:
        """Returns the promises that hold now, and a reason for each that does not."""
        ...
