"""Reads of many entries at once: one command a node, one loader call for all that is missing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.remote_tier import Found, Lookup
from alacena.engine.base.ttl import UNSET, TtlOrUnset
from alacena.engine.loading.load import Request, reads_under_way
from alacena.engine.reading.batch_alignment import MOST_AT_ONCE, value_of
from alacena.engine.reading.load_futures import cancel_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.loading.single_flight import Flight, SingleFlight
    from alacena.engine.reading.batch_alignment import BatchLoader
    from alacena.engine.reading.filler import Filler
    from alacena.engine.reading.lease_acquirer import EntryLoad
    from alacena.engine.reading.load_runner import LoadRunner
    from alacena.engine.reading.reader import Reader, Wanted
    from alacena.engine.reading.reading_parts import ReadingParts
    from alacena.engine.reading.tiered_lookup import TieredLookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A read of many entries that may load.

    Attributes:
        keys: Where the values may lie, each at its own key only.
        loader: Asks the source for all that is missing.
        policy: How their type wants it.
        ttl: A time to live for this load.
        tags: Known tags of all of them.
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


class BatchReader:
    """Reads and loads of many entries.

    Args:
        common: Counts and the clock.
        tiers: Where to look.
        flights: The loads under way.
        runner: Loads the missing entries.
        fills: Says the fate of a value.
        reader: Decides, and makes answers and events.
    """

    def __init__(
        self,
        common: ReadingParts,
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

    async def look(
        self, keys: Sequence[EntryKey], policy: Policy, *, use_memory: bool, is_last: bool = True
    ) -> list[Any]:
        """Returns the tiers' entries, in the order of the keys, ``MISSING`` for nothing. Cost: at most 1 round trip a node.

        Unless it is the last look, a missing entry is neither counted nor reported: its load does both.
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
        """Returns the tiers' entries, and loads the rest in one call; in the order of the keys, ``MISSING`` for nothing.

        Cancellation: the load goes on and its values are stored: they are paid for.
        """
        started = self._environment.now()
        unique = {key.entry: key for key in batch.keys}
        keys = list(unique.values())
        found: list[Found | None] = []
        answers: dict[bytes, Lookup[Any]] = {}
        missing: list[Wanted] = []
        behind: list[Wanted] = []
        for at in range(0, len(keys), MOST_AT_ONCE):
            if at:
                await asyncio.sleep(0)
            some = keys[at : at + MOST_AT_ONCE]
            hits = await self._tiers.find_many(some, batch.policy, keep=batch.keep)
            self._judge(batch, some, hits, answers, missing, behind)
            found += hits
        if behind:
            # Not `find_flight`: nobody joins a renewal behind, and past memory it would not see the one under way.
            self._runner.start([one for one in behind if self._flights.get(one[0].key.entry) is None], batch.loader)
        # All before any of them is loaded: a refusal would leave the loads of the others without a caller.
        for request, _ in missing:
            self._reader.admit(request.key, batch.policy)
        answers |= await self._wait_for_loads(missing, batch.loader)
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

    async def _wait_for_loads(self, missing: Sequence[Wanted], loader: BatchLoader) -> dict[bytes, Lookup[Any]]:
        """Returns the outcomes of :meth:`alacena.engine.reading.reader.Reader.wait_for_loads`, of many in portions.

        Each portion joins and waits in a task of its own, so that the loop has turns in between. It is one load all the
        same, and whatever one portion brings, the others are waited for.
        """
        if len(missing) <= MOST_AT_ONCE:
            return await self._reader.wait_for_loads(missing, partial(self._runner.start, loader=loader))
        load = _LoadInPortions(self._reader, self._runner, loader)
        waits: list[asyncio.Task[dict[bytes, Lookup[Any]]]] = []
        try:
            try:
                for at in range(0, len(missing), MOST_AT_ONCE):
                    some = missing[at : at + MOST_AT_ONCE]
                    waits.append(asyncio.create_task(load.wait(some)))
                    # What is registered after the launch would be another call of the loader.
                    await load.registered.wait()
                    load.registered.clear()
            finally:
                # Also if the caller has left meanwhile: others may have joined what was registered.
                load.launch()
            await asyncio.wait(waits)
        finally:
            cancel_all([wait for wait in waits if not wait.done()])
        failed = [wait for wait in waits if wait.cancelled() or wait.exception() is not None]
        answers: dict[bytes, Lookup[Any]] = {}
        for wait in (*failed, *waits):
            answers |= wait.result()
        return answers

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
            # Most of a batch is one or the other: the decision is known, and asking for it would cost as much as the rest.
            if hit is None:
                self._counts.count_miss(key)
                missing.append((batch.request(key), None))
                continue
            if hit.fresh_for_s > 0 and not is_eager:
                self._counts.count_hit(hit)
                continue
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
        return self._filler.answer_with(outcome) if isinstance(outcome, Found) else outcome


class _LoadInPortions:
    """One load of many entries, which are registered some at a time.

    Args:
        reader: Waits for it.
        runner: Runs it.
        loader: Asks the source for all of them.

    Attributes:
        registered: Set when one more portion is registered.
    """

    def __init__(self, reader: Reader, runner: LoadRunner, loader: BatchLoader) -> None:
        self.registered = asyncio.Event()
        self._reader = reader
        self._runner = runner
        self._loader = loader
        self._loads: list[EntryLoad] = []
        self._is_launched = False

    async def wait(self, wanted: Sequence[Wanted]) -> dict[bytes, Lookup[Any]]:
        """Waits for the loads of one portion, which is registered in the first step: nothing is awaited before that."""
        self.registered.set()
        return await self._reader.wait_for_loads(wanted, self._start)

    def _start(self, wanted: Sequence[Wanted]) -> list[Flight]:
        """Registers more entries; of those that are asked for again when it runs already, it starts another load."""
        if self._is_launched:
            return self._runner.start(wanted, self._loader)
        loads = self._runner.register(wanted, self._loader)
        self._loads += loads
        return [one.flight for one in loads]

    def launch(self) -> None:
        """Runs it."""
        self._is_launched = True
        if self._loads:
            self._runner.launch(self._loads, self._loader)


async def _never(_: object) -> None:
    raise AssertionError("a batch is loaded by its batch loader")


_MISS: Final[Lookup[Any]] = Lookup(None, "none", found=False)
