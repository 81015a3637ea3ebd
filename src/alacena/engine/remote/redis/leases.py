"""Leases on the server: asked for, many at once, renewed, given back, or used to end the entries to be replaced."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from alacena.engine.base.errors import BackendError
from alacena.engine.base.policy import UNKEPT
from alacena.engine.base.remote_tier import LEASE_MARK_BYTES, Found, Held, Lease, LeaseRequest
from alacena.engine.remote.redis.cache_scripts import DISCARD, LEASE, RELEASE, RENEW
from alacena.engine.remote.redis.journal import NAME_BYTES, NARROW_LIFE_MS, state
from alacena.engine.remote.redis.store_items import MOST_GENERATIONS, MOST_TOGETHER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Permit
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.remote.backend import Argument, Reply
    from alacena.engine.remote.redis.entries import Entries
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.nodes import Nodes

    _Gathered: TypeAlias = list[tuple[LeaseRequest, asyncio.Future[Permit | BackendError]]]


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The times of leases: for an answer, for a script, and of a lease itself.

    Attributes:
        budget_s: The longest that a request for a lease waits for its answer.
        timeout_s: The longest that a script may take, if its work must not be left undone.
        lease_ms: The life of a lease.
    """

    budget_s: float
    timeout_s: float
    lease_ms: int


_NAME_OF: Final = attrgetter("name")


class _Terms(msgspec.Struct, eq=False):
    """The terms on which the leases of one call are asked for.

    Attributes:
        token: Their scope; the server's history, as far as it is known, is part of it.
        epoch: That history.
        journal: Stands for the bucket's journal.
        noted: The journal's state when the leases were given.
        length: Its length then.
    """

    token: bytes
    epoch: bytes
    journal: Generation
    noted: bytes = b""
    length: int = 0


class _LeaseBatch(msgspec.Struct, eq=False):
    """Requests for one call: their entries are of one bucket, no entry stands in it twice, and they are not too many.

    Attributes:
        bucket: The name of the bucket's journal.
        indexes: Where the requests stand among all.
        depends: The generations that each depends on.
        entries: Their entries.
    """

    bucket: str
    indexes: list[int] = []
    depends: list[tuple[Generation, ...]] = []
    entries: set[bytes] = set()


class Leases:
    """Asks for leases; renews, releases and spends those that a process holds.

    Args:
        nodes: The servers.
        entries: Judges the entries there instead.
        coherence: Memory, which forgets entries that a lease has ended.
        environment: Chance.
        times: How long answers may take, and leases last.
    """

    def __init__(
        self,
        nodes: Nodes,
        entries: Entries,
        coherence: GenerationTable,
        environment: Environment,
        times: LeaseTimes,
    ) -> None:
        self._nodes = nodes
        self._owed = nodes.owed
        self._entries = entries
        self._coherence = coherence
        self._environment = environment
        self._budget_s = times.budget_s
        self._timeout_s = times.timeout_s
        self._lease_ms = times.lease_ms
        self._under_way = 0
        self._gathered: _Gathered = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        # Each token begins with it: an operator can be told whose lease it is, and no byte more is sent.
        self.mark = environment.token(LEASE_MARK_BYTES)

    async def lease(
        self,
        key: EntryKey,
        tags: Sequence[str],
        settled: Callable[[Permit], None],
        *,
        force: bool = False,
    ) -> Permit:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.lease`."""
        answer = (await self.lease_many((LeaseRequest(key, tuple(tags), settled, force),)))[0]
        if isinstance(answer, BackendError):
            raise answer
        return answer

    async def lease_many(self, asked: Sequence[LeaseRequest]) -> Sequence[Permit | BackendError]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.lease_many`.

        While an answer is waited for, single requests that come in one turn of the loop leave together at its end: the
        server is as busy with one call as with a few requests.
        """
        if len(asked) == 1 and self._under_way:
            return [await self._gather(asked[0])]
        self._under_way += 1
        try:
            return await self._ask_all(asked)
        finally:
            self._under_way -= 1

    def _gather(self, one: LeaseRequest) -> asyncio.Future[Permit | BackendError]:
        # In Python 3.11, which loop runs takes a system call to ask; a cache has one all its life.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        gathered = self._gathered
        if not gathered:
            # In a task of its own: a caller who is cancelled must not take along what the others ask for.
            task = loop.create_task(self._ask_for_gathered(gathered))
            self._tasks.add(task)
            task.add_done_callback(partial(self._end_gathered, gathered))
        waiter: asyncio.Future[Permit | BackendError] = loop.create_future()
        gathered.append((one, waiter))
        return waiter

    async def _ask_for_gathered(self, gathered: _Gathered) -> None:
        self._gathered = []
        wanted = [(one, waiter) for one, waiter in gathered if not waiter.done()]
        if not wanted:
            return
        self._under_way += 1
        try:
            answers = await self._ask_all([one for one, _ in wanted])
        finally:
            self._under_way -= 1
        for (_, waiter), answer in zip(wanted, answers, strict=True):
            if not waiter.done():
                waiter.set_result(answer)

    def _end_gathered(self, gathered: _Gathered, task: asyncio.Task[None]) -> None:
        """Leaves no caller waiting, however the call ended; one that was cancelled at once has not even begun."""
        self._tasks.discard(task)
        if self._gathered is gathered:
            self._gathered = []
        error = None if task.cancelled() else task.exception()
        for _, waiter in gathered:
            if not waiter.done():
                waiter.cancel() if error is None else waiter.set_exception(error)

    async def _ask_all(self, asked: Sequence[LeaseRequest]) -> Sequence[Permit | BackendError]:
        batches = self._batches(asked)
        timeout_s = self._budget_s * (1 + (len(asked) - 1) / 100)
        if len(batches) == 1:
            try:
                return await self._ask(asked, batches[0], timeout_s)
            except BackendError as error:
                return [error] * len(asked)
        calls: list[asyncio.Task[Sequence[Permit | BackendError]]] = []
        answers: dict[int, Permit | BackendError] = {}
        try:
            for batch in batches:
                some = [asked[index] for index in batch.indexes]
                calls.append(asyncio.create_task(self._ask_batch(some, batch, timeout_s)))
                await asyncio.sleep(0)  # It leaves now; the server is at work while the next ones are written.
            for batch, call in zip(batches, calls, strict=True):
                answers.update(zip(batch.indexes, await call, strict=True))
        finally:
            for call in calls:
                call.cancel()
        return [answers[index] for index in range(len(asked))]

    def _batches(self, asked: Sequence[LeaseRequest]) -> list[_LeaseBatch]:
        """Returns requests in batches, with the generations that each request depends on."""
        full: list[_LeaseBatch] = []
        open_: dict[str, _LeaseBatch] = {}
        last: tuple[str, ...] | None = None
        depends: tuple[Generation, ...] = ()
        journal = ""
        for index, one in enumerate(asked):
            # Entries of one type mostly have the very same names of generations: what they rest on is looked up once.
            if one.tags or one.key.generations is not last:
                journal, depends = one.key.journal, self._coherence.generations(one.key.generations)
                if one.tags:
                    depends = (*depends, *self._coherence.intern_tags(one.key, one.tags))
                last = None if one.tags else one.key.generations
            batch = open_.get(journal) or open_.setdefault(journal, _LeaseBatch(journal))
            generations = sum(map(len, batch.depends)) + len(depends) if len(depends) > 2 else 0
            if len(batch.indexes) >= MOST_TOGETHER or generations > MOST_GENERATIONS or one.key.entry in batch.entries:
                full.append(batch)
                batch = open_[journal] = _LeaseBatch(journal)
            batch.indexes.append(index)
            batch.depends.append(depends)
            batch.entries.add(one.key.entry)
        return [*full, *open_.values()]

    async def _ask_batch(
        self, asked: Sequence[LeaseRequest], batch: _LeaseBatch, timeout_s: float
    ) -> Sequence[Permit | BackendError]:
        try:
            return await self._ask(asked, batch, timeout_s)
        except BackendError as error:
            return [error] * len(asked)

    def _ask(self, asked: Sequence[LeaseRequest], batch: _LeaseBatch, timeout_s: float) -> Awaitable[list[Permit]]:
        """Asks for leases in one bucket by one script; the answer takes effect in the parser."""
        node, depends = self._nodes.of(asked[0].key.entry), batch.depends
        epoch = node.replication_id
        token = self.mark + self._environment.token(16 - LEASE_MARK_BYTES) + epoch
        terms = _Terms(token, epoch, self._coherence.generation(batch.bucket))
        # One token for all that the script may have to make, the journal too: none is compared with another.
        mint = self._environment.token(NAME_BYTES)
        generations, wide = _list_generations(depends)
        places = dict(zip(generations, count(1), strict=False))
        names: list[str | bytes] = [batch.bucket]
        leases: list[bytes] = []
        wanted: list[int] = []
        before: tuple[int, tuple[Generation, ...]] | None = None
        for one, own in zip(asked, depends, strict=True):
            key, lease = one.key, one.key.lease
            leases.append(lease)
            names += (key.entry, lease, key.hold)
            rests_on = (len(key.generations), own)
            if rests_on == before:
                wanted.append(0)
            else:
                before = rests_on
                wanted += (len(own), rests_on[0], *map(places.__getitem__, map(_NAME_OF, own)))

        def settle(answering: Node, reply: list[Any]) -> list[Permit]:
            name, terms.length, nonces, *found = reply
            # Both in the parser, before the next byte:
            # 1. The script minted a generation, and read it again; the push about our own write is right behind this reply.
            # 2. Expected after an await, the push has been applied by then: it ended the generation that was just learnt.
            # 3. The expectation is then left over, and swallows the next push, which is another's invalidation.
            # This script is never sent twice: a second run finds its own nonce, writes nothing, and would expect a push.
            for generation, nonce in zip(generations.values(), nonces, strict=True):
                self._coherence.learn(generation, nonce)
            learnt = (*generations.values(), terms.journal)
            answering.expect_minted(learnt, (*nonces, name), mint)
            # Nothing in memory depends on a journal: its nonce may change without a word to memory.
            terms.journal.nonce = terms.noted = state(name, terms.length)
            said = dict(zip(generations, nonces, strict=True))
            permits = self._judge_all(node, answering, zip(asked, depends, leases, *found, strict=True), terms, said)
            # Last: the leases above carry the nonces as stamps. Forgotten before, they would be stamps of nothing.
            answering.unlearn(learnt)
            for one, permit in zip(asked, permits, strict=True):
                one.settled(permit)
            return permits

        args: tuple[Argument, ...] = (
            len(asked), terms.token, self._lease_ms, mint, wide, NARROW_LIFE_MS, mint, *wanted,
        )  # fmt: skip
        return node.evaluate(LEASE, (*names, *generations), args, settle, timeout_s)

    def _judge_all(
        self,
        node: Node,
        answering: Node,
        answers: Iterable[tuple[Any, ...]],
        terms: _Terms,
        said: Mapping[str, bytes],
    ) -> list[Permit]:
        """Turns the server's answers into permits.

        Args:
            node: The server that was asked.
            answering: The server that answered.
            answers: For each entry: the request, its generations, the key of its lease, and what the server says of it.
            terms: The terms on which the leases were asked for.
            said: The nonces of generations, by name.
        """
        # One object for all that rest on the same, of which most are next to each other.
        last: Sequence[Generation] | None = None
        stamps: tuple[tuple[Generation, bytes], ...] = ()
        permits: list[Permit] = []
        given: list[bytes] = []
        journal, token = (terms.journal, terms.noted), terms.token
        for one, own, lease, value, holder, left_ms, holds in answers:
            if own is not last:
                last, stamps = own, tuple(zip(own, map(said.__getitem__, map(_NAME_OF, own)), strict=True))
            # Most often nothing is there, and the lease is given: what `_judge` would say of it, without the call.
            if value is None and holder.startswith(token):
                given.append(lease)
                permits.append(Lease(one.key, holder, stamps, journal, terms.length, terms.epoch, not holds))
            else:
                permits.append(self._judge(node, answering, one, terms, stamps, value, holder, left_ms, holds))
        answering.expect(*given)
        return permits

    def _judge(
        self,
        node: Node,
        answering: Node,
        one: LeaseRequest,
        terms: _Terms,
        stamps: tuple[tuple[Generation, bytes], ...],
        value: bytes | None,
        holder: bytes,
        left_ms: int,
        holds: int,
    ) -> Permit:
        """Turns the server's answer for one entry into a permit."""
        key = one.key
        owed = self._owed and key.entry in self._owed
        there = None if value is None or owed else self._entries.judge_fully(node, key, value, UNKEPT, keep=False)
        previous = there if isinstance(there, Found) else None
        mine = holder.startswith(terms.token)
        if mine:
            answering.expect(key.lease)
        if previous is not None and not one.force and previous.fresh_for_s > 0:
            # A fresh entry was there although the script gave us the lease: it goes back in this step. Given back after
            # an await, other processes would wait for a load that nobody makes.
            if mine:
                answering.tell(RELEASE, (key.lease,), (holder,))
            return previous
        if mine:
            journal = (terms.journal, terms.noted)
            return Lease(key, holder, stamps, journal, terms.length, terms.epoch, not holds, previous)
        for_ms = self._lease_ms if left_ms < 0 else left_ms + 1
        change = self._coherence.watch(key.entry, [generation.name for generation, _ in stamps])
        return Held(change, for_ms / 1000, is_told=answering.tracked)

    def renew(self, lease: Lease) -> None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.renew`."""
        try:
            node = self._nodes.of(lease.key.entry)
        except BackendError:  # Nobody has the slot now: the lease ends by itself.
            return

        def settle(reply: Reply) -> None:
            if reply == 1:
                node.expect(lease.key.lease)

        node.tell(RENEW, (lease.key.lease,), (lease.token, self._lease_ms), settle)

    def release(self, lease: Lease) -> None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.release`."""
        with suppress(BackendError):  # Nobody has the slot now: the lease ends by itself.
            self._nodes.of(lease.key.entry).tell(RELEASE, (lease.key.lease,), (lease.token,))

    async def discard(self, lease: Lease) -> None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.discard`."""
        key = lease.key
        node = self._nodes.of(key.entry)
        self._coherence.memory.discard(key.ident)

        def settle(_: Node, reply: Reply) -> None:
            if reply == 1:
                self._coherence.drop(key.entry, key.ident)

        try:
            await node.evaluate(DISCARD, (key.entry, key.lease), (lease.token,), settle, self._timeout_s)
        except BackendError as error:
            self._nodes.owe((), (key,), error)
            raise


def _list_generations(depends: Sequence[tuple[Generation, ...]]) -> tuple[dict[str, Generation], int]:
    """Returns all that some entries depend on, by name, those of tenants and types first; and how many of them are these."""
    grounds = dict.fromkeys(depends)
    generations: dict[str, Generation] = {}
    for own in grounds:
        for generation in own[:2]:
            generations[generation.name] = generation
    wide = len(generations)
    for own in grounds:
        for generation in own[2:]:
            generations[generation.name] = generation
    return generations, wide
