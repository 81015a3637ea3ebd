"""The fate of a loaded value: a new entry for the tiers, and an answer for each caller."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from msgspec import structs

from alacena.engine.base.errors import BackendError, EncodeError, UnsharableValueError, UsageError
from alacena.engine.base.events import FillRefused
from alacena.engine.base.lineage import list_dependencies
from alacena.engine.base.remote_tier import MISSING, NOT_FOUND, Found, Lookup, NewEntry
from alacena.engine.base.ttl import UNSET, TtlOrUnset, jitter, seconds
from alacena.engine.codec import is_immutable
from alacena.engine.loading.load import UNCHANGED
from alacena.engine.loading.one_shot import duplicate, refuse_one_shot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Fate, Lease, Refusal
    from alacena.engine.codec import Codec
    from alacena.engine.loading.load import LoadContext, Request
    from alacena.engine.loading.single_flight import Flight
    from alacena.engine.reading.reading_parts import ReadingParts
    from alacena.engine.reading.tiered_lookup import TieredLookup

_log = logging.getLogger("alacena")

_Life: TypeAlias = tuple[float | None, float, float]
"""Seconds that a value is fresh, the part of them that may be taken off, and seconds that it is kept after that."""


class Filler:
    """Turns values into new entries and answers, and redeems leases.

    Args:
        common: The remote tier, events, counts, chance, and the settings of the jitter.
        tiers: Notes failures.
        codec: Encodes values, and makes private copies of them.
    """

    def __init__(self, common: ReadingParts, tiers: TieredLookup, codec: Codec) -> None:
        self._tiers = tiers
        self._codec = codec
        self._remote = common.remote
        self._events = common.events
        self._counts = common.counts
        self._environment = common.environment
        self._jitter_ratio = common.settings.ttl_jitter_ratio
        self._chosen: tuple[Policy | None, TtlOrUnset, _Life] = (None, UNSET, (None, 0.0, 0.0))
        self._told: set[str] = set()

    def new_entry(
        self,
        value: Any,
        policy: Policy,
        ttl: TtlOrUnset,
        tags: tuple[str, ...],
        *,
        load_s: float = 0.0,
        usd: float = 0.0,
    ) -> NewEntry:
        """Makes a value ready for the tiers.

        It is encoded here unless that is sure to succeed, so that a value which cannot be stored is refused before anything
        is sent, and alike with and without a server.

        Raises:
            EncodeError: The value cannot be stored.
        """
        asked, ratio, stale_for_s = self._choose_lifetime(policy, ttl)
        payload = None if self._codec.is_sure(value) else self._codec.encode(value)
        if payload is not None and policy.shared and not is_immutable(value):
            # What memory hands to everybody must be what the server has, whatever the caller does with its own.
            value = self._codec.decode(payload)
        return NewEntry(
            value=value,
            payload=payload,
            fresh_for_s=jitter(asked, ratio, self._environment.random()),
            stale_for_s=stale_for_s,
            tags=tuple(dict.fromkeys(tags)) if len(tags) > 1 else tags,
            load_s=load_s,
            usd=usd,
            policy=policy,
        )

    def new_entries(
        self, values: Sequence[Any], tags: Iterable[tuple[str, ...]], policy: Policy, ttl: TtlOrUnset
    ) -> list[NewEntry]:
        """Makes values of one type ready for the tiers, as :meth:`new_entry` does each.

        Raises:
            EncodeError: One of them cannot be stored.
        """
        asked, ratio, stale_for_s = self._choose_lifetime(policy, ttl)
        is_shared, random = policy.shared, self._environment.random
        made = []
        for value, own, payload in zip(values, tags, self._codec.encode_unsure(values), strict=True):
            kept = value
            if is_shared and payload is not None and not is_immutable(value):
                # What memory hands to everybody must be what the server has, whatever the caller does with its own.
                kept = self._codec.decode(payload)
            made.append(
                NewEntry(
                    value=kept,
                    payload=payload,
                    fresh_for_s=jitter(asked, ratio, random()),
                    stale_for_s=stale_for_s,
                    tags=tuple(dict.fromkeys(own)) if len(own) > 1 else own,
                    policy=policy,
                )
            )
        return made

    def _choose_lifetime(self, policy: Policy, ttl: TtlOrUnset) -> _Life:
        """Returns the life of a value of a type, with the time to live asked for or the type's own.

        The last one is remembered: the entries of a batch ask one after the other.
        """
        last_policy, last_ttl, chosen = self._chosen
        if policy is last_policy and ttl is last_ttl:
            return chosen
        chosen = self._work_out_lifetime(policy, ttl)
        self._chosen = policy, ttl, chosen
        return chosen

    def _work_out_lifetime(self, policy: Policy, ttl: TtlOrUnset) -> _Life:
        stale_for_s = min(policy.stale_s, _LONGEST_S)
        asked = policy.ttl_s if ttl is UNSET else seconds(ttl)
        if asked is not None and asked > _LONGEST_S:
            return _LONGEST_S, 0.0, stale_for_s
        return asked, self._jitter_ratio if policy.jitter_ratio is None else policy.jitter_ratio, stale_for_s

    def evaluate(
        self, request: Request, context: LoadContext, value: Any, load_s: float, lease: Lease | None, *, replaces: bool
    ) -> tuple[NewEntry | None, Lookup[Any]]:
        """Returns a new entry, unless the value is not to be stored, and an answer for the callers.

        Args:
            request: The entry asked for.
            context: The loader's words about the value.
            value: The result of the source.
            load_s: How long it took.
            lease: The permission to store it.
            replaces: Whether there is an older entry: then that the source has nothing is stored in any case, as dead
                at once if it is not to be remembered, and the older entry is gone.

        Raises:
            UsageError: It is ``UNCHANGED``, and there is nothing that could be unchanged.
        """
        if value is UNCHANGED:
            if context.previous is MISSING:
                raise UsageError(
                    f"the source of {request.key.data_type} {request.key.resource_id!r} returned UNCHANGED, and there is no "
                    "previous value: return UNCHANGED only if `context.previous` holds one, else the value"
                )
            value = context.previous
            context.tags += context.previous_tags
        policy = request.policy if request.keep else _past_memory(request.policy)
        if lease is None or not lease.storable:
            context.refuse("lease" if lease is None else "hold")
        may_store = context.stored
        # For a value that is not stored, too: a load around this one depends on all that it was made from.
        tags = list_dependencies(request.key, value, (*context.tags, *context.reads.tags()))
        if value is None:
            remember = may_store and (replaces or policy.negative_ttl_s > 0)
            nothing = NewEntry(
                value=NOT_FOUND, fresh_for_s=min(policy.negative_ttl_s, _LONGEST_S), tags=tags, policy=policy
            )
            lookup: Lookup[Any] = Lookup(
                None,
                "none",
                None,
                context.origin,
                found=False,
                stored=may_store and policy.negative_ttl_s > 0,
                reason=_READER if context.refusal == _READER else None,
                tags=tags,
            )
            return nothing if remember else None, lookup
        new_entry = None
        if may_store:
            ttl = request.ttl if context.ttl is UNSET else context.ttl
            try:
                new_entry = self.new_entry(value, policy, ttl, tags, load_s=load_s, usd=context.usd)
            except EncodeError as error:
                self._note_unstorable(request.key, value, error)
        if new_entry is None:  # what was encoded holds nothing that is used up by being read
            refuse_one_shot(value, f"{request.key.data_type} {request.key.resource_id!r}")
            context.refuse("value")
        return new_entry, Lookup(
            value,
            "loader",
            origin=context.origin,
            stored=new_entry is not None,
            reason=context.refusal or None,
            tags=tags,
        )

    def answer_with(self, found: Found) -> Lookup[Any]:
        """Returns an entry of a tier as an answer."""
        if found.value is NOT_FOUND:
            return Lookup(None, "cache", found.tier, found=False, tags=found.tags)
        return Lookup(found.value, "cache", found.tier, tags=found.tags)

    def private(self, found: Found, policy: Policy) -> Found:
        """Returns the same entry with a value of its own, for a second receiver."""
        if self._is_shared(found.value, policy):
            return found
        own = self._codec.decode(self._codec.encode(found.value))
        return structs.replace(found, value=own)

    def resolve(
        self,
        flight: Flight,
        lookup: Lookup[Any],
        policy: Policy,
        new_entry: NewEntry | None = None,
    ) -> None:
        """Gives the callers their answer, each a private copy if the value could be changed.

        Args:
            flight: The flight they are on.
            lookup: The answer.
            policy: Whether the value may be shared.
            new_entry: The value's new entry, if it has one.
        """
        # Nobody shares it: what it would cost to tell whether it may be shared is saved.
        if flight.waiting < 2:
            flight.resolve(lookup)
            return
        # Before it is asked whether the value may be shared: a text is immutable, and still one reader's.
        if lookup.reason == _READER:
            flight.resolve(lookup, _refuse_copy)
            return
        if self._is_shared(lookup.value, policy):
            flight.resolve(lookup)
            return
        payload = None if new_entry is None else new_entry.payload

        def copy(original: Lookup[Any]) -> Lookup[Any]:
            nonlocal payload
            try:
                payload = payload or self._codec.encode(original.value)
            except EncodeError:
                return structs.replace(original, value=duplicate(original.value))
            return structs.replace(original, value=self._codec.decode(payload))

        flight.resolve(lookup, copy)

    async def fill_many(self, fills: Sequence[Fill]) -> list[bool]:
        """Redeems leases by one call, or gives back those for which there is nothing to store.

        Returns:
            For each, whether the remote tier said that it has stored the new entry.

        Whatever goes wrong is said by events, counts and the log: the callers have their answer, so no one else hears.
        """
        leases: list[Lease] = []
        new_entries: list[NewEntry] = []
        for fill in fills:
            if fill.lease is not None and fill.new_entry is not None:
                leases.append(fill.lease)
                new_entries.append(fill.new_entry)
        fates, failure = await self._send(leases, new_entries) if leases else ((), None)
        if failure is not None and len(leases) > 1:  # one value's fault must not take the others with it
            return [(await self.fill_many((fill,)))[0] for fill in fills]
        told, stored = iter(fates), []
        for fill in fills:
            fate = None if fill.lease is None or fill.new_entry is None else next(told)
            if fate == "":
                self._counts.count_fill(fill.key)
            else:
                await self._conclude(fill, fate, failure)
            stored.append(fate == "")
        return stored

    def give_up(self, fills: Sequence[Fill]) -> None:
        """Gives back the leases of fills that were not sent, or are not known to have arrived."""
        for fill in fills:
            if fill.lease is not None:
                self._remote.release(fill.lease)

    async def _send(
        self, leases: Sequence[Lease], new_entries: Sequence[NewEntry]
    ) -> tuple[Sequence[Fate | None], Exception | None]:
        """Redeems leases by one call; returns the outcome of each, and why the call failed, if it did."""
        fates: Sequence[Fate | None] = (None,) * len(leases)
        failure: Exception | None = None
        answered = False
        began = self._environment.now()
        try:
            fates = told = await self._remote.fill_many(leases, new_entries)
            self._counts.count_store(told, self._environment.now() - began)
            answered = True
        except Exception as error:  # noqa: BLE001 - what fails after the landing has no caller to be raised to
            failure = error
        finally:
            # Several that failed together are sent again one by one: they need their leases.
            if answered or len(leases) == 1 or failure is None:
                for lease, fate in zip(leases, fates, strict=True):
                    if fate not in _SETTLED:
                        self._remote.release(lease)
        return fates, failure

    async def _conclude(self, fill: Fill, fate: Fate | None, failure: Exception | None) -> None:
        """Logs and counts why one new entry was not stored, and ends the older value."""
        lease = fill.lease
        if lease is None or fill.new_entry is None:
            await self._end_older(fill.key, lease, replaces=fill.replaces)
            return
        if isinstance(fate, BackendError):
            self._tiers.report_failure("fill", lease.key, fate)
            self._log_failure(lease.key, "backend", fate)
        elif failure is not None:
            self._log_failure(lease.key, "value", failure)
        elif fate:
            self._note_refusal(lease.key, fate)
        if fate not in _TAKEN_CARE_OF:
            await self._end_older(fill.key, None, replaces=fill.replaces)

    async def _end_older(self, key: EntryKey, lease: Lease | None, *, replaces: bool) -> None:
        """Removes the older value that a newer one was to replace; a value that was stored since stays."""
        if not replaces:
            if lease is not None:
                self._remote.release(lease)
            return
        try:
            if lease is None:
                await self._remote.delete((key,))
            else:
                await self._remote.discard(lease)
        except BackendError as error:
            self._tiers.report_failure("fill", key, error)

    def _note_unstorable(self, key: EntryKey, value: Any, error: EncodeError) -> None:
        """Notes that a value cannot be stored; the log says it once a type.

        Raises:
            OneShotValueError: It can be read only once.
        """
        refuse_one_shot(value, f"{key.data_type} {key.resource_id!r}")
        if self._says_first(f"value {key.data_type}"):
            _log.warning(
                "%s/%s is served but cannot be cached: %s. Later ones of this type are not logged",
                key.data_type, key.resource_id, str(error).rstrip("."),
            )  # fmt: skip
        self._note_refusal(key, "value")
        self._counts.note_too_large(key)

    def _log_failure(self, key: EntryKey, reason: Refusal, error: Exception) -> None:
        """Notes that a fill was not answered, or could not be sent; the log says it once a type."""
        self._note_refusal(key, reason)
        if self._says_first(f"fill {key.data_type}"):
            _log.warning(
                "%s/%s was served and not stored: %r. Later ones of this type are not logged",
                key.data_type, key.resource_id, error,
            )  # fmt: skip

    def _says_first(self, what: str) -> bool:
        if what in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told.add(what)
        return True

    def _note_refusal(self, key: EntryKey, reason: Refusal) -> None:
        self._counts.count_refusal(key, reason)
        if self._events:
            self._events.emit(FillRefused(key.tenant_id, key.data_type, key.resource_id, reason))

    @staticmethod
    def _is_shared(value: Any, policy: Policy) -> bool:
        return policy.shared or value is NOT_FOUND or is_immutable(value)


@lru_cache(maxsize=1_024)
def _past_memory(policy: Policy) -> Policy:
    """Returns a policy of the same words that keeps no copy in memory: to make and check one costs more than a look-up."""
    return policy.but(use_memory=False)


def _refuse_copy(_: Lookup[Any]) -> Lookup[Any]:
    raise UnsharableValueError("this value is one reader's: the others ask the source themselves")


class Fill(NamedTuple):
    """The outcome of a load, on its way into the remote tier.

    Attributes:
        key: The entry.
        lease: The permission; ``None``: the tier gave none.
        new_entry: The loaded value; ``None``: it is not to be stored.
        replaces: Whether it was to replace an older entry. That one is not served any more if it was not replaced.
    """

    key: EntryKey
    lease: Lease | None
    new_entry: NewEntry | None
    replaces: bool


_READER: Final = "reader"
_MOST_TOLD = 1_000

_LONGEST_S = 1_000 * 365.25 * 24 * 3600
"""A thousand years. What is to live longer is kept for so long: no server counts the milliseconds of more."""

_SETTLED = frozenset({"", "lease", "generation", "hold"})
"""Outcomes of a fill after which the server has no lease of ours any more."""

_TAKEN_CARE_OF = frozenset({"", "lease"})
"""Outcomes of a fill after which the older value is not there any more, or is for somebody else to replace."""
