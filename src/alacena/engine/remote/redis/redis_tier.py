"""The remote tier on Redis or Valkey. Values that it finds or stores go into memory inside the wire's parser."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from alacena.engine.base.errors import BackendError
from alacena.engine.base.policy import UNKEPT, Policy
from alacena.engine.base.remote_tier import Ended, Found, Held, Lease, Unsettled
from alacena.engine.remote.redis.beginnings import Beginnings
from alacena.engine.remote.redis.cache_scripts import LATE, LEASE, MINT, RELEASE, STORE
from alacena.engine.remote.redis.entries import Entries, values_of
from alacena.engine.remote.redis.holds import Holds
from alacena.engine.remote.redis.inspection import Inspection
from alacena.engine.remote.redis.journal import NAME_BYTES, NARROW_LIFE_MS, endings, new_name, state, tells_of
from alacena.engine.remote.redis.leases import Leases

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Beginning, NewEntry, Refusal
    from alacena.engine.base.settings import Settings
    from alacena.engine.remote.backend import Argument, Reply
    from alacena.engine.remote.redis.entries import EntryContext
    from alacena.engine.remote.redis.journal import Removal
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.nodes import Nodes
    from alacena.engine.remote.redis.wire import Command


class RedisTier:
    """Entries, leases, generations and holds on the server.

    Args:
        nodes: The servers.
        context: The parts of the cache.
        settings: Budgets.
    """

    def __init__(self, nodes: Nodes, context: EntryContext, settings: Settings) -> None:
        coherence, environment = context.coherence, context.environment
        self._nodes = nodes
        self._debts = nodes.debts
        self._keys = context.keys
        self._coherence = coherence
        self._entries = Entries(context)
        self._environment = environment
        self._budget_s = settings.redis_budget_s
        self._timeout_s = settings.redis_timeout_s
        self._lease_ms = max(1, round(settings.lease_s * 1000))
        holds = Holds(nodes, coherence, environment, self._timeout_s)
        self.hold, self.unhold = holds.hold, holds.unhold
        leases = Leases(nodes, coherence, self._timeout_s, self._lease_ms)
        self.renew, self.release, self.discard = leases.renew, leases.release, leases.discard
        self.begin = Beginnings(nodes, coherence, environment, self._timeout_s).begin
        self.inspect = Inspection(nodes, context.keys, context.codec, self._timeout_s).inspect

    @property
    def is_up(self) -> bool:
        """Whether it is worth waiting for."""
        return self._nodes.is_up

    def find(
        self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool, unknown: Sequence[Generation] = ()
    ) -> Awaitable[Found | Unsettled | None]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.find`."""
        key = keys[0]
        entry = key.entry
        node = self._nodes.of(entry)
        generations = self._coherence.generations(key.generations)
        if unknown or len(keys) > 1 or generations[0].nonce is None or generations[1].nonce is None:
            return self._find_among(node, keys, unknown, policy, keep=keep)
        settle = partial(self._entries.judge, node, key, generations, policy, keep)
        return node.fetch(entry, settle, policy.redis_budget_s or self._budget_s)

    def seek(self, data_type: str, resource_id: str, tenant_id: str) -> Awaitable[Any] | None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.seek`."""
        place = self._keys.place(data_type, resource_id, tenant_id)
        if place is None:
            return None
        family, name = place
        generations = self._coherence.generations(family.generations)
        if generations[0].nonce is None or generations[1].nonce is None:
            return None
        entry = family.entry + name
        node = self._nodes.of(entry)
        ident = (tenant_id, data_type, resource_id)
        settle = partial(self._entries.judge_value, node, ident, place, generations)
        return node.fetch(entry, settle, self._budget_s)

    async def _find_among(
        self, node: Node, keys: Sequence[EntryKey], unknown: Sequence[Generation], policy: Policy, *, keep: bool
    ) -> Found | Unsettled | None:
        """Looks at several keys, and learns the generations that are not known; the others are held meanwhile."""
        held = self._coherence.generations(keys[0].generations)
        asked = [*(generation for generation in held if generation.nonce is None), *unknown]
        command: Command = ("MGET", *(key.entry for key in keys), *(generation.name for generation in asked))

        def settle(answering: Node, replies: list[Reply]) -> Found | Unsettled | None:
            values = values_of(replies[0])
            self._learn(asked, values[len(keys) :])
            found = self._entries.first(node, keys, self._debts.readable(keys, values), policy, keep=keep)
            answering.unlearn(asked)
            return found

        budget_s = policy.redis_budget_s or self._budget_s
        return await node.exchange(keys[0].entry, (command,), settle=settle, timeout_s=budget_s)

    async def find_many(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> list[Found | None]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.find_many`."""
        outcomes: list[Found | Unsettled | None] = [None] * len(keys)
        groups = self._nodes.group_keys([key.entry for key in keys])
        asked = [(node, [keys[index] for index in indexes]) for node, indexes in groups]
        answers = await asyncio.gather(*(self._find_group(node, some, policy, keep=keep) for node, some in asked))
        for (_, indexes), answer in zip(groups, answers, strict=True):
            for index, outcome in zip(indexes, answer, strict=True):
                outcomes[index] = outcome
        again = {index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, Unsettled)}
        singles = await asyncio.gather(
            *(self.find((keys[index],), policy, keep=keep, unknown=open_.unknown) for index, open_ in again.items())
        )
        for index, single in zip(again, singles, strict=True):
            outcomes[index] = single
        return [outcome if isinstance(outcome, Found) else None for outcome in outcomes]

    async def _find_group(
        self, node: Node, keys: Sequence[EntryKey], policy: Policy, *, keep: bool
    ) -> list[Found | Unsettled | None]:
        """Looks at keys of one slot, and learns the generations that are not known; the others are held meanwhile."""
        names = dict.fromkeys(name for group in dict.fromkeys(key.generations for key in keys) for name in group)
        held = [self._coherence.generation(name) for name in names]
        asked = [generation for generation in held if generation.nonce is None]
        command: Command = ("MGET", *[key.entry for key in keys], *[generation.name for generation in asked])

        def settle(answering: Node, replies: list[Reply]) -> list[Found | Unsettled | None]:
            values = values_of(replies[0])
            self._learn(asked, values[len(keys) :])
            found = self._entries.judge_many(node, keys, self._debts.readable(keys, values), policy, keep=keep)
            answering.unlearn(asked)
            return found

        timeout_s = (policy.redis_budget_s or self._budget_s) * (1 + len(keys) / 100)
        answer = node.exchange(keys[0].entry, (command,), settle=settle, timeout_s=timeout_s)
        for key in keys:
            _ = key.digest  # Worked out while the server is at work.
        return await answer

    async def lease(
        self,
        key: EntryKey,
        tags: Sequence[str],
        settled: Callable[[Lease | Found | Held], None],
        *,
        force: bool = False,
        among: int = 1,
    ) -> Lease | Found | Held:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.lease`."""
        node = self._nodes.of(key.entry)
        depends = (*self._coherence.generations(key.generations), *self._coherence.intern_tags(key, tags))
        token = self._environment.token(16) + node.replication_id
        epoch = node.replication_id
        mint = self._environment.token(8)
        mint_name = new_name(self._environment)
        journal = self._coherence.generation(key.journal)

        def settle(answering: Node, reply: list[Any]) -> Lease | Found | Held:
            entry, (holder, left_ms), hold, (name, length), *nonces = reply
            # Both in the parser, before the next byte:
            # 1. The script minted a generation, and read it again; the push about our own write is right behind this reply.
            # 2. Expected after an await, the push has been applied by then: it ended the generation that was just learnt.
            # 3. The expectation is then left over, and swallows the next push, which is another's invalidation.
            # This script is never sent twice: a second run finds its own nonce, writes nothing, and would expect a push.
            self._learn(depends, nonces)
            self._expect_minted(answering, depends, nonces, mint)
            # Nothing in memory depends on a journal: its nonce may change without a word to memory.
            journal.nonce = noted = state(name, length)
            self._expect_minted(answering, (journal,), (name,), mint_name)
            owed = self._debts and key.entry in self._debts
            there = None if entry is None or owed else self._entries.judge_fully(node, key, entry, UNKEPT, keep=False)
            previous = there if isinstance(there, Found) else None
            permit: Lease | Found | Held | None = None
            if previous is not None and not force and previous.fresh_for_s > 0:
                permit = previous
            mine = holder.startswith(token)
            if mine:
                answering.expect(key.lease)
            # A fresh entry was there although the script gave us the lease: it goes back in this step. Given back after
            # an await, other processes would wait for a load that nobody makes.
            if permit is not None and mine:
                answering.tell(RELEASE, (key.lease,), (holder,))
            elif permit is None and mine:
                stamps = tuple(zip(depends, nonces, strict=True))
                permit = Lease(key, holder, stamps, (journal, noted), length, epoch, not hold, previous)
            elif permit is None:
                for_ms = self._lease_ms if left_ms < 0 else left_ms + 1
                change = self._coherence.watch(key.entry, [generation.name for generation in depends])
                permit = Held(change, for_ms / 1000, is_told=answering.tracked)
            # Last: the lease above carries the nonces as stamps. Forgotten before, they would be stamps of nothing.
            answering.unlearn((*depends, journal))
            settled(permit)
            return permit

        names = (generation.name for generation in depends)
        keys: tuple[str | bytes, ...] = (key.entry, key.lease, key.hold, key.journal, *names)
        args = (token, self._lease_ms, mint, NARROW_LIFE_MS, mint_name, len(key.generations))
        return await node.evaluate(LEASE, keys, args, settle, self._budget_s * (1 + (among - 1) / 100))

    async def fill(self, lease: Lease, new_entry: NewEntry) -> Refusal:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.fill`."""
        key = lease.key
        # The copy in memory goes before the fill is sent:
        # 1. The fill is sent; its reply is lost.
        # 2. The server stored it, or did not: nobody here knows.
        # 3. A copy that had stayed would be served as if it were the server's.
        self._coherence.memory.discard_wire(key.entry)
        node = self._nodes.of(key.entry)
        known = {generation.name: (generation, nonce) for generation, nonce in lease.stamps}
        if not await self._know_late(node, lease, key, new_entry.tags, known):
            self.release(lease)
            return "generation"
        if node.replication_id != lease.epoch:
            return "replication"
        return await self._send(node, key, lease.token, self._stamps(key, new_entry.tags, known), new_entry)

    async def store(self, key: EntryKey, new_entry: NewEntry, began: Beginning | None = None) -> Refusal:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.store`."""
        self._coherence.memory.discard_wire(key.entry)
        try:
            return await self._store(key, new_entry, began)
        except BackendError as error:
            self._nodes.owe((), (key,), error)
            raise

    async def _store(self, key: EntryKey, new_entry: NewEntry, began: Beginning | None) -> Refusal:
        node = self._nodes.of(key.entry)
        depends = (*self._coherence.generations(key.generations), *self._coherence.intern_tags(key, new_entry.tags))
        # Taken down before anything is asked: the value is not newer than this call, and what ends from now on ended after
        # the value was read.
        known = {g.name: (g, nonce) for g in depends if (nonce := g.nonce) is not None}
        if began is not None:
            known = {generation.name: (generation, nonce) for generation, nonce in began.stamps}
            if node.replication_id != began.epoch:
                return "replication"
            if not await self._know_late(node, began, key, new_entry.tags, known):
                return "generation"
        for generations, life_ms in ((depends[:2], 0), (depends[2:], NARROW_LIFE_MS)):
            unknown = [generation for generation in generations if generation.name not in known]
            if unknown:
                known.update(await self._mint(node, unknown, life_ms))
        # Asking for the stamps may have shown that the entry's slot has moved.
        node = self._nodes.of(key.entry)
        refusal = await self._send(node, key, b"", self._stamps(key, new_entry.tags, known), new_entry)
        if refusal == "generation":
            # One of them ended while the value was on its way, or what was known here was not current. The value was read
            # before either: it is not stored under what is current now.
            for generation in depends:
                self._coherence.learn(generation, None)
        return refusal

    async def delete(self, keys: Sequence[EntryKey]) -> int:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.delete`."""
        return await self.invalidate((), keys)

    async def invalidate(self, generations: Sequence[Sequence[str]], keys: Sequence[EntryKey]) -> Ended:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.invalidate`."""
        names = [name for group in generations for name in group]
        self._forget(names, keys)
        removals: list[Removal] = [
            *endings([group for group in generations if len(group) > 1]),
            *((group[0].encode(), ("UNLINK", *group), True) for group in generations if len(group) == 1),
            *(removal for key in keys for removal in _removals(key)),
        ]
        return await self._nodes.remove(removals, generations, keys, settled=lambda: self._forget(names, keys))

    def owe(self, generations: Sequence[Sequence[str]], keys: Sequence[EntryKey]) -> None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.owe`."""
        self._nodes.owe(generations, keys)

    def owes(self, key: EntryKey) -> bool:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.owes`."""
        return key.entry in self._debts or any(name in self._debts for name in key.generations)

    def guarantee(self) -> Mapping[str, Any]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.guarantee`."""
        return self._nodes.guarantee()

    def _forget(self, names: Iterable[str], keys: Iterable[EntryKey]) -> None:
        for name in names:
            self._coherence.end(name)
        for key in keys:
            self._coherence.drop(key.entry)

    def _learn(self, generations: Sequence[Generation], nonces: Sequence[bytes | None]) -> None:
        for generation, nonce in zip(generations, nonces, strict=False):
            self._coherence.learn(generation, nonce)

    def _expect_minted(
        self, node: Node, generations: Sequence[Generation], nonces: Sequence[bytes | None], mint: bytes
    ) -> None:
        for generation, nonce in zip(generations, nonces, strict=False):
            if nonce == mint:
                node.expect(generation.name.encode())

    async def _mint(
        self, node: Node, generations: Sequence[Generation], life_ms: int
    ) -> dict[str, tuple[Generation, bytes]]:
        """Reads the generations' nonces, making those that are missing; by name.

        The server's nonces are returned, not those noted here: by the time that this is read, a push may have made it
        unknown again.
        """
        mint = self._environment.token(8)

        def settle(answering: Node, reply: list[bytes]) -> dict[str, tuple[Generation, bytes]]:
            self._learn(generations, reply)
            answering.unlearn(generations)
            self._expect_minted(answering, generations, reply, mint)
            return {generation.name: (generation, nonce) for generation, nonce in zip(generations, reply, strict=True)}

        names = [generation.name for generation in generations]
        return await node.evaluate(MINT, names, (mint, life_ms), settle, self._timeout_s)

    async def _know_late(
        self,
        node: Node,
        since: Lease | Beginning,
        key: EntryKey,
        tags: Sequence[str],
        known: dict[str, tuple[Generation, bytes]],
    ) -> bool:
        """Learns the nonces of tags that were not named from the beginning; ``False`` if one may have ended since then.

        Should one end after this was read, its nonce is another one, and the entry is dead.
        """
        late = [tag for tag in tags if key.tag_name(tag) not in known]
        if not late:
            return True
        generations = self._coherence.intern_tags(key, late)
        _, remembered = since.journal
        mint = self._environment.token(8)
        names = [generation.name for generation in generations]

        def settle(answering: Node, reply: list[bytes]) -> bool:
            name, written, *nonces = reply
            self._learn(generations, nonces)
            answering.unlearn(generations)
            self._expect_minted(answering, generations, nonces, mint)
            known.update(zip(names, zip(generations, nonces, strict=True), strict=True))
            return not tells_of(name, written, remembered, names)

        args = (mint, NARROW_LIFE_MS, NAME_BYTES, since.noted)
        return await node.evaluate(LATE, (key.journal, *names), args, settle, self._timeout_s)

    @staticmethod
    def _stamps(
        key: EntryKey, tags: Sequence[str], known: Mapping[str, tuple[Generation, bytes]]
    ) -> list[tuple[Generation, bytes]]:
        """Returns the stamps under which an entry is stored: its own generations', then its tags'."""
        return [known[name] for name in (*key.generations, *map(key.tag_name, tags))]

    async def _send(
        self,
        node: Node,
        key: EntryKey,
        token: bytes,
        stamps: Sequence[tuple[Generation, bytes]],
        new_entry: NewEntry,
    ) -> Refusal:
        """Stores one entry by script, and keeps the copy in memory in the step in which the server said so."""
        own = len(key.generations)
        life_s = None if new_entry.fresh_for_s is None else new_entry.fresh_for_s + new_entry.stale_for_s
        sealed = self._entries.seal(
            node, key, stamps[:own], list(zip(new_entry.tags, (n for _, n in stamps[own:]), strict=True)), new_entry
        )

        def settle(answering: Node, reply: bytes) -> Refusal:
            if reply == b"ok":
                # Where the slot has moved, the push comes from the server that answered; and that one is asked for a copy.
                answering.expect(key.entry)
                self._coherence.drop(key.entry)
                if new_entry.policy.use_memory and answering is node and key.entry not in self._debts:
                    self._entries.keep(key, new_entry, stamps)
                return ""
            return reply.decode()  # type: ignore[return-value]

        held = (generation.name for generation, _ in stamps)
        names: tuple[str | bytes, ...] = (key.entry, key.lease, key.hold, *held)
        life_ms = 0 if life_s is None else max(1, math.ceil(life_s * 1000))
        # A fill has its lease; a value without one must not arrive after its caller was told that it failed.
        latest_ms = 0 if token else node.within_ms(self._timeout_s)
        nonces = (nonce for _, nonce in stamps)
        args: tuple[Argument, ...] = (token, life_ms, sealed, NARROW_LIFE_MS, latest_ms, *nonces)
        return await node.evaluate(STORE, names, args, settle, self._timeout_s)


def _removals(key: EntryKey) -> list[Removal]:
    """Returns the keys whose removal removes an entry: its lease first, so that a fill between the two commands is refused."""
    return [(key.entry, ("UNLINK", key.lease), False), (key.entry, ("UNLINK", key.entry), True)]
