"""Many entries at once: one command a node, one loader call for all that is missing."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.errors import BackendError
from alacena.engine.base.remote_tier import Found, Held, Lookup
from alacena.engine.base.ttl import UNSET, TtlOrUnset
from alacena.engine.loading.load import LoadContext, Request, reads_under_way
from alacena.engine.loading.one_shot import refuse_generator_function
from alacena.engine.loading.single_flight import ended, is_ended, is_order
from alacena.engine.reading.answers import align, value_of
from alacena.engine.reading.filler import Fill, Filler
from alacena.engine.reading.reader import cancel_all, error_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Permit
    from alacena.engine.loading.single_flight import Flight, SingleFlight
    from alacena.engine.reading.answers import BatchLoader
    from alacena.engine.reading.common_parts import CommonParts
    from alacena.engine.reading.load_runner import LoadRunner
    from alacena.engine.reading.reader import Reader, Wanted
    from alacena.engine.reading.tiered_lookup import TieredLookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A read of many entries that may load.

    Attributes:
        keys: Where the values may lie, each at its own key only.
        loader: Asks the source for all that is missing.
        policy: How their type wants it.
        ttl: A time to live for this load.
        tags: What all of them are known to depend on.
        use_memory: Whether memory may answer and keep copies.
    """

    keys: Sequence[EntryKey]
    loader: BatchLoader
    policy: Policy
    ttl: TtlOrUnset = UNSET
    tags: tuple[str, ...] = ()
    use_memory: bool = True

    @property
    def keep(self) -> bool:
        """Whether copies are put into memory."""
        return self.use_memory and self.policy.use_memory

    def request(self, key: EntryKey, *, renew: bool = False) -> Request:
        """Returns the part of the batch that is about one entry."""
        return Request(
            keys=(key,),
            loader=_never,
            policy=self.policy,
            ttl=self.ttl,
            tags=self.tags,
            use_memory=self.use_memory,
            renew=renew,
        )


@dataclass(slots=True)
class _Place:
    """One entry that a batch loads.

    Attributes:
        request: What is asked for.
        flight: Who waits for it; it holds the lease.
        replaces: Whether an older entry is there.
        held: Who else loads it already.
    """

    request: Request
    flight: Flight
    replaces: bool
    held: Held | None = None

    @property
    def key(self) -> EntryKey:
        """The entry."""
        return self.request.key


class BatchRunner:
    """Reads and loads of many entries.

    Args:
        common: Counts and the clock.
        tiers: Where to look.
        flights: The loads under way.
        runner: Gets permissions and places, and notes how sources answer.
        fills: Says what becomes of a value.
        reader: Decides, and makes answers and events.
    """

    def __init__(
        self,
        common: CommonParts,
        tiers: TieredLookup,
        flights: SingleFlight,
        runner: LoadRunner,
        fills: Filler,
        reader: Reader,
    ) -> None:
        self._tiers = tiers
        self._flights = flights
        self._runner = runner
        self._filler = fills
        self._reader = reader
        self._counts = common.counts
        self._environment = common.environment
        self._is_here = common.remote.is_here

    async def look(
        self, keys: Sequence[EntryKey], policy: Policy, *, use_memory: bool, is_last: bool = True
    ) -> list[Any]:
        """Returns what the tiers hold, in the order of the keys, ``MISSING`` for nothing. Cost: at most 1 round trip a node.

        Unless it is the last look, what was not found is neither counted nor reported: its load does both.
        """
        started = self._environment.now()
        found = await self._tiers.find_many(keys, policy, keep=use_memory and policy.use_memory)
        hits = [hit if hit is not None and hit.fresh_for_s > 0 else None for hit in found]
        told = [at for at, hit in enumerate(hits) if is_last or hit is not None]
        self._count((keys[at], found[at]) for at in told)
        self._reader.report(((keys[at], self._report(hits[at] or _MISS)) for at in told), started)
        self._note(keys, hits)
        return [value_of(hit) for hit in hits]

    async def load(self, batch: Batch) -> list[Any]:
        """Returns what the tiers hold, and loads the rest in one call; in the order of the keys, ``MISSING`` for nothing.

        Cancellation: the load goes on and its values are stored: they are paid for.
        """
        started = self._environment.now()
        unique = {key.entry: key for key in batch.keys}
        keys = list(unique.values())
        found = await self._tiers.find_many(keys, batch.policy, keep=batch.keep)
        answers: dict[bytes, Lookup[Any]] = {}
        missing: list[Wanted] = []
        behind: list[Wanted] = []
        self._judge(batch, keys, found, answers, missing, behind)
        if behind:
            # Not `find_flight`: nobody joins a renewal behind, and past memory it would not see the one under way.
            self._start([one for one in behind if self._flights.get(one[0].key.entry) is None], batch)
        # All before any of them is loaded: a refusal would leave the loads of the others without a caller.
        for request, _ in missing:
            self._reader.admit(request.key, batch.policy)
        answers |= await self._reader.wait_for_loads(missing, partial(self._start, batch=batch))
        outcomes = [answers.get(entry) or hit for entry, hit in zip(unique, found, strict=True)]
        self._reader.report(
            ((key, self._report(outcome)) for key, outcome in zip(keys, outcomes, strict=True)), started
        )
        self._note(keys, outcomes)
        values = [value_of(outcome) for outcome in outcomes]
        if len(values) == len(batch.keys):
            return values
        by_entry = dict(zip(unique, values, strict=True))
        return [by_entry[key.entry] for key in batch.keys]

    def _judge(
        self,
        batch: Batch,
        keys: Sequence[EntryKey],
        found: Sequence[Found | None],
        answers: dict[bytes, Lookup[Any]],
        missing: list[Wanted],
        behind: list[Wanted],
    ) -> None:
        """Puts each entry where it belongs: served as an answer, loaded now, loaded behind an answer."""
        is_eager = batch.policy.early_refresh_beta > 0
        for key, hit in zip(keys, found, strict=True):
            if hit is not None and hit.fresh_for_s > 0 and not is_eager:
                self._counts.count_hit(hit)
                continue  # most of a batch; the decision is known, and asking for it would cost as much as the rest
            answer, renews = self._reader.settle(key, hit, batch.policy)
            if answer is None:
                missing.append((batch.request(key), hit))
                continue
            answers[key.entry] = answer
            if renews:
                behind.append((batch.request(key, renew=True), hit))

    def _count(self, told: Iterable[tuple[EntryKey, Found | None]]) -> None:
        for key, hit in told:
            if hit is None or hit.fresh_for_s <= 0:
                self._counts.count_unanswered(key, hit)
            else:
                self._counts.count_hit(hit)

    @staticmethod
    def _note(keys: Sequence[EntryKey], outcomes: Sequence[Lookup[Any] | Found | None]) -> None:
        """Notes the entries that a load under way in this task depends on from now on."""
        reads = reads_under_way()
        if reads is not None:
            for key, outcome in zip(keys, outcomes, strict=True):
                reads.note(key.ident, () if outcome is None else outcome.tags)

    def _report(self, outcome: Lookup[Any] | Found | None) -> Lookup[Any]:
        """Returns the look-up that a read's event is made from."""
        assert outcome is not None
        return self._filler.found(outcome) if isinstance(outcome, Found) else outcome

    def _start(self, wanted: Sequence[Wanted], batch: Batch) -> list[Flight]:
        """Starts one load of many entries at once: a later caller joins it, and nobody's leaving cancels it."""
        places = [
            _Place(
                request,
                self._flights.solo() if request.alone else self._flights.register(request.key.entry),
                replaces=stale is not None,
            )
            for request, stale in wanted
        ]
        if places:
            self._flights.own(self._run(places, batch.loader, batch.policy))
        return [place.flight for place in places]

    # Loading

    async def _run(self, places: list[_Place], loader: BatchLoader, policy: Policy) -> None:
        """Loads a batch to its end. However it ends, those who wait are told and no lease is left."""
        task = asyncio.current_task()
        assert task is not None
        self._runner.renewals.begin(carriers := tuple([place.flight for place in places]))
        try:
            await self._load(places, loader, policy)
        except BaseException as error:
            self._fail(places, policy, error)
            if is_order(task, error):
                raise
        finally:
            self._runner.renewals.end(carriers)
            for place in places:
                self._leave(place)

    def _fail(self, places: Sequence[_Place], policy: Policy, error: BaseException) -> None:
        """Fails the entries that are not there yet, for all callers that wait for them."""
        task = asyncio.current_task()
        assert task is not None
        failed = [place for place in places if not place.flight.is_over]
        if failed:
            reason = ended(task, error, f"a batch of {len(failed)} {failed[0].key.data_type!r} entries")
            self._runner.note_failure(failed[0].key, reason)
        for place in failed:
            if not is_ended(task, error):
                self._runner.leave_alone(place.key, policy, place.flight, error, stands_in=place.replaces)
            self._flights.give_up(place.key.entry, place.flight, reason)
            self._leave(place)

    def _leave(self, place: _Place) -> None:
        """Gives back what is left of a place."""
        self._runner.give_back(place.flight)
        if place.held is not None:
            place.held.change.cancel()

    async def _load(self, places: list[_Place], loader: BatchLoader, policy: Policy) -> None:
        permits = await self._ask(places)
        mine, theirs = [], []
        for place, permit in zip(places, permits, strict=True):
            if isinstance(permit, Found):
                self._settle(place, permit, policy)
            elif isinstance(permit, Held):
                theirs.append(place)
            else:
                mine.append(place)
        if not (mine and theirs):
            await self._call(mine, loader, policy)
            await self._await_others(theirs, loader, policy)
            return
        # At the same time: the loader may ask for one of those that others load, and must not wait for its own end.
        call = self._flights.own(self._call(mine, loader, policy))
        others = self._flights.own(self._await_others(theirs, loader, policy))
        try:
            await call  # what it loads is paid for, whatever becomes of the others
            await others
        finally:
            cancel_all((call, others))

    async def _ask(self, places: Sequence[_Place]) -> list[Permit | BackendError | None]:
        """Returns what the remote tier says at once; without it, the entries are loaded and not stored."""
        asking = [place for place in places if not place.request.alone]
        if not asking:
            return [None] * len(places)
        answers = iter(await self._runner.ask_many([(place.flight, place.request) for place in asking]))
        permits: list[Permit | BackendError | None] = []
        for place in places:
            permit = None if place.request.alone else next(answers)
            if isinstance(permit, BackendError):
                place.flight.unleased = "backend"
            elif isinstance(permit, Held):
                place.held = permit
            permits.append(permit)
        return permits

    async def _await_others(self, places: list[_Place], loader: BatchLoader, policy: Policy) -> None:
        """Entries that other processes are loading: take each as it comes, and load what does not come."""
        waits: dict[asyncio.Future[Any], _Place] = {
            self._flights.own(self._runner.acquire(place.flight, place.request, place.held)): place for place in places
        }
        calls: dict[asyncio.Future[Any], list[_Place]] = {}
        failure: BaseException | None = None
        try:
            while waits or calls:
                done, _ = await asyncio.wait((*waits, *calls), return_when=asyncio.FIRST_COMPLETED)
                left = self._take(waits, done, policy)
                for call in done & calls.keys():
                    called, error = calls.pop(call), error_of(call)
                    if error is not None:
                        # It is told now and not when all is over: the call of another part may wait for one of these.
                        self._fail((*called, *left, *waits.values()), policy, error)
                        cancel_all(waits)
                        waits, left, failure = {}, [], failure or error
                if left:
                    # Not after the call before: its loader may ask for one of these, or wait for somebody who does.
                    calls[self._flights.own(self._call(left, loader, policy))] = left
            if failure is not None:
                raise failure
        finally:
            cancel_all((*waits, *calls))

    def _take(
        self, waits: dict[asyncio.Future[Any], _Place], done: set[asyncio.Future[Any]], policy: Policy
    ) -> list[_Place]:
        """Hands out the entries that others have brought, and returns the places of the rest."""
        left = []
        for wait in done & waits.keys():
            place, permit = waits.pop(wait), wait.result()
            if isinstance(permit, Found):
                self._settle(place, permit, policy)
            else:
                left.append(place)
        return left

    async def _call(self, places: list[_Place], loader: BatchLoader, policy: Policy) -> None:
        """Calls the loader for entries that nobody else will bring."""
        if not places:
            return
        keys = [place.key for place in places]
        ids = [key.resource_id for key in keys]

        async def ask(_: LoadContext) -> list[Any]:
            refuse_generator_function(loader)
            # A list of its own: a loader may sort or empty it, and the answer is compared with `ids`.
            answer = loader(list(ids))
            return align(ids, await answer if inspect.isawaitable(answer) else answer)

        shared = LoadContext(keys[0])  # what the loader reads and says is about all of its values
        flights = [place.flight for place in places]
        values, took_s = await self._runner.call_source(keys, policy, flights, ask, shared, source=loader)
        self._runner.note(keys[0], shared)
        each_s, tags = took_s / len(places), (*shared.tags, *shared.reads.tags())
        contexts = [shared.part(place.key, (*place.request.tags, *tags), 1 / len(places)) for place in places]
        fills: list[Fill] = []
        # In a task of its own: cancelled before its first step, it would store nothing and give no lease back. It is made
        # before the callers have their answers: what they ask the server for next comes to it behind the fills.
        storing = None if self._is_here else self._flights.own(self._filler.fill_many(fills))
        fills += [self._deliver(p, v, each_s, policy, c) for p, v, c in zip(places, values, contexts, strict=True)]
        if storing is None:
            await self._filler.fill_many(fills)  # without a server nothing in it waits: it is done in this step
        else:
            # Not `await storing`, which would pass a cancellation of this task on to it.
            await asyncio.wait([storing])

    def _deliver(self, place: _Place, value: Any, load_s: float, policy: Policy, context: LoadContext) -> Fill:
        """Lands one value now; what is returned is to be stored. A value that cannot be handed out fails its own entry alone."""
        request, flight = place.request, place.flight
        self._runner.note_success(request.key)
        lease, new_entry = flight.lease, None
        if lease is None:
            context.refuse(flight.unleased)
        try:
            new_entry, lookup = self._filler.evaluate(request, context, value, load_s, lease, replaces=place.replaces)
            self._filler.resolve(flight, lookup, policy, new_entry)
        except Exception as error:  # noqa: BLE001 - one value's fault must not take the others with it
            flight.fail(error)
        self._flights.remove(request.key.entry, flight)
        flight.lease = None
        theirs = lease is None and place.held is not None  # then it is for the holder to replace
        replaces = place.replaces and not theirs
        return Fill(request.key, lease, new_entry, replaces)

    def _settle(self, place: _Place, found: Found, policy: Policy) -> None:
        self._filler.resolve(place.flight, self._filler.found(found), policy)
        self._flights.remove(place.key.entry, place.flight)


async def _never(_: object) -> None:
    raise AssertionError("a batch is loaded by its batch loader")


_MISS: Final[Lookup[Any]] = Lookup(None, "none", found=False)
