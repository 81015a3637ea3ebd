"""Stores entries on the server: many by one script, each with a fate of its own; one entry is the case of one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from alacena.engine.base.errors import BackendError
from alacena.engine.remote.redis.cache_scripts import LATE, MINT, STORE
from alacena.engine.remote.redis.journal import NAME_BYTES, NARROW_LIFE_MS, tells_of
from alacena.engine.remote.redis.large_writes import LargeWrites
from alacena.engine.remote.redis.store_batches import (
    MOST_GENERATIONS,
    MOST_TOGETHER,
    Ground,
    StoreItem,
    all_batches,
    is_large,
    life_ms,
    questions,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Beginning, Fate, Lease, NewEntry, Refusal
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.remote.backend import Argument
    from alacena.engine.remote.redis.entries import Entries
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.nodes import Nodes

_Pick: TypeAlias = "Callable[[Sequence[Any]], Sequence[Any]]"

_Known: TypeAlias = "dict[str, tuple[Generation, bytes]]"
"""Generations with their nonces, by name."""


class Stores:
    """Stores entries under generations that stand.

    Args:
        nodes: The servers.
        entries: Seals, and keeps copies in memory.
        coherence: Generations and memory.
        environment: Chance.
        timeout_s: How long a script may take.
        release: Gives a lease back unused.
    """

    def __init__(
        self,
        nodes: Nodes,
        entries: Entries,
        coherence: GenerationTable,
        environment: Environment,
        timeout_s: float,
        release: Callable[[Lease], None],
    ) -> None:
        self._nodes = nodes
        self._owed = nodes.owed
        self._entries = entries
        self._coherence = coherence
        self._environment = environment
        self._timeout_s = timeout_s
        self._release = release
        self._large_writes = LargeWrites(environment, timeout_s)

    async def fill(self, lease: Lease, new_entry: NewEntry) -> Refusal:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.fill`."""
        return _result_of(await self.fill_many((lease,), (new_entry,)))

    async def store(self, key: EntryKey, new_entry: NewEntry, began: Beginning | None = None) -> Refusal:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.store`."""
        return _result_of(await self.store_many((key,), (new_entry,), (began,)))

    async def fill_many(self, leases: Sequence[Lease], new_entries: Sequence[NewEntry]) -> list[Fate]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.fill_many`."""
        # The copies in memory go before the fills are sent:
        # 1. A fill is sent; its reply is lost.
        # 2. The server stored it, or did not: nobody here knows.
        # 3. A copy that had stayed would be served as if it were the server's.
        for lease in leases:
            self._coherence.memory.discard(lease.key.ident)

        def fill(slot: _Pick) -> Awaitable[list[Fate]]:
            return self._fill(slot(leases), slot(new_entries))

        return await self._each_slot([lease.key for lease in leases], fill)

    async def store_many(
        self,
        keys: Sequence[EntryKey],
        new_entries: Sequence[NewEntry],
        beginnings: Sequence[Beginning | None] | None = None,
    ) -> list[Fate]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.store_many`."""
        self._coherence.memory.discard_all([key.ident for key in keys])
        begun = [None] * len(keys) if beginnings is None else beginnings

        def store(slot: _Pick) -> Awaitable[list[Fate]]:
            return self._store(slot(keys), slot(new_entries), slot(begun))

        fates = await self._each_slot(keys, store)
        if any(fates):
            for key, fate in zip(keys, fates, strict=True):
                if isinstance(fate, BackendError):
                    self._nodes.owe((), (key,), fate)
        return fates

    async def _each_slot(self, keys: Sequence[EntryKey], act: Callable[[_Pick], Awaitable[list[Fate]]]) -> list[Fate]:
        """Acts on entries, those that may share a call together, and returns the outcome of each.

        If a call fails, it failed for all entries that it was for. ``act`` is given a function that picks, of things by
        entry, those of one slot.
        """
        if not keys:
            return []
        if not self._nodes.by_slot:
            try:
                return await act(lambda all_of_them: all_of_them)
            except BackendError as error:
                return [error] * len(keys)

        async def guard(indexes: Sequence[int]) -> list[Fate]:
            try:
                return await act(lambda all_of_them: [all_of_them[i] for i in indexes])
            except BackendError as error:
                return [error] * len(indexes)

        groups: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            groups.setdefault(self._nodes.group(key.entry), []).append(index)
        fates: list[Fate] = [""] * len(keys)
        answers = await asyncio.gather(*map(guard, groups.values()))
        for indexes, answer in zip(groups.values(), answers, strict=True):
            for index, fate in zip(indexes, answer, strict=True):
                fates[index] = fate
        return fates

    async def _fill(self, leases: Sequence[Lease], new_entries: Sequence[NewEntry]) -> list[Fate]:
        node = self._nodes.of(leases[0].key.entry)
        keys, known = [lease.key for lease in leases], _collect_nonces(leases, new_entries)
        tags = [new_entry.tags for new_entry in new_entries]
        fates = await self._know_all_late(node, leases, keys, tags, known)
        for index, lease in enumerate(leases):
            if fates[index]:
                self._release(lease)
            elif node.replication_id != lease.epoch:
                fates[index] = "replication"
        tokens = [lease.token for lease in leases]
        await self._send_rest(node, fates, keys, tokens, known, new_entries, [None] * len(leases))
        return fates

    async def _store(
        self, keys: Sequence[EntryKey], new_entries: Sequence[NewEntry], beginnings: Sequence[Beginning | None]
    ) -> list[Fate]:
        node = self._nodes.of(keys[0].entry)
        # Taken down before anything is asked: the values are not newer than this call, and what ends from now on ended
        # after they were read.
        depends, known = self._take_down(keys, new_entries, beginnings)
        fates: list[Fate] = [""] * len(keys)
        begun = [index for index, began in enumerate(beginnings) if began is not None]
        if begun:
            await self._know_begun(node, fates, begun, keys, new_entries, beginnings, known)
        left = [index for index, fate in enumerate(fates) if not fate]
        asked = {id(known[index]): (depends[index], known[index]) for index in left}.values()
        for wide, lasts_ms in ((True, 0), (False, NARROW_LIFE_MS)):
            unknown = {
                generation.name: generation
                for own, nonces in asked
                for generation in (own[:2] if wide else own[2:])
                if generation.name not in nonces
            }
            if unknown:
                minted = await self._mint(node, list(unknown.values()), lasts_ms)
                for _, nonces in asked:
                    nonces.update({**minted, **nonces})
        # Asking for the stamps may have shown that the entries' slot has moved.
        node = self._nodes.of(keys[0].entry)
        await self._send_rest(node, fates, keys, [b""] * len(keys), known, new_entries, beginnings)
        for index in left if any(fates) else ():
            if fates[index] == "generation":
                # One of them ended while the value was on its way, or what was known here was not current. The value was
                # read before either: it is not stored under what is current now.
                for generation in depends[index]:
                    self._coherence.learn(generation, None)
        return fates

    def _take_down(
        self, keys: Sequence[EntryKey], new_entries: Sequence[NewEntry], beginnings: Sequence[Beginning | None]
    ) -> tuple[list[tuple[Generation, ...]], list[_Known]]:
        """Returns the generations that each entry is to rest on, and the nonces that are known of them.

        Entries that rest on the same, and were read since the same, have the same objects.
        """
        taken: dict[Any, tuple[tuple[Generation, ...], _Known]] = {}
        depends, known = [], []
        for key, new_entry, began in zip(keys, new_entries, beginnings, strict=True):
            mark = (key.generations, new_entry.tags, id(began))
            one = taken.get(mark)
            if one is None:
                own = (*self._coherence.generations(key.generations), *self._coherence.intern_tags(key, new_entry.tags))
                if began is None:
                    nonces = {g.name: (g, nonce) for g in own if (nonce := g.nonce) is not None}
                else:
                    nonces = {generation.name: (generation, nonce) for generation, nonce in began.stamps}
                one = taken[mark] = (own, nonces)
            depends.append(one[0])
            known.append(one[1])
        return depends, known

    async def _know_begun(
        self,
        node: Node,
        fates: list[Fate],
        begun: Sequence[int],
        keys: Sequence[EntryKey],
        new_entries: Sequence[NewEntry],
        beginnings: Sequence[Beginning | None],
        known: Sequence[dict[str, tuple[Generation, bytes]]],
    ) -> None:
        """Judges the entries that a reading brought by the nonces with which it began."""
        since = [began for began in beginnings if began is not None]
        late = await self._know_all_late(
            node, since, [keys[i] for i in begun], [new_entries[i].tags for i in begun], [known[i] for i in begun]
        )
        for index, began, fate in zip(begun, since, late, strict=True):
            fates[index] = "replication" if node.replication_id != began.epoch else fate

    async def _know_all_late(
        self,
        node: Node,
        since: Sequence[Lease | Beginning],
        keys: Sequence[EntryKey],
        tags: Sequence[Sequence[str]],
        known: Sequence[dict[str, tuple[Generation, bytes]]],
    ) -> list[Fate]:
        """Learns the nonces of all tags that were not named from the beginning; ``generation`` if one may have ended."""
        fates: list[Fate] = [""] * len(keys)
        late = {
            index: names
            for index, key in enumerate(keys)
            if tags[index] and (names := [tag for tag in tags[index] if key.tag_name(tag) not in known[index]])
        }
        if late:
            # Those that share what is known name the same tags and were read since the same: one question for all of them.
            firsts = {id(known[i]): i for i in reversed(late)}
            asked = (self._know_late(node, since[i], keys[i], late[i], known[i]) for i in firsts.values())
            stand = dict(zip(firsts, await asyncio.gather(*asked), strict=True))
            for index in late:
                fates[index] = "" if stand[id(known[index])] else "generation"
        return fates

    async def _know_late(
        self,
        node: Node,
        since: Lease | Beginning,
        key: EntryKey,
        late: Sequence[str],
        known: dict[str, tuple[Generation, bytes]],
    ) -> bool:
        """Learns the nonces of tags that were not named from the beginning; ``False`` if one may have ended since then.

        Should one end after this was read, its nonce is another one, and the entry is dead.
        """
        generations = self._coherence.intern_tags(key, late)
        _, remembered = since.journal
        mint = self._environment.token(8)
        names = [generation.name for generation in generations]

        def settle(answering: Node, reply: list[bytes]) -> bool:
            name, written, *nonces = reply
            answering.learn(generations, nonces, mint)
            known.update(zip(names, zip(generations, nonces, strict=True), strict=True))
            return not tells_of(name, written, remembered, names)

        args = (mint, NARROW_LIFE_MS, NAME_BYTES, since.noted)
        return await node.evaluate(LATE, (key.journal, *names), args, settle, self._timeout_s)

    async def _mint(
        self, node: Node, generations: Sequence[Generation], life_ms: int
    ) -> dict[str, tuple[Generation, bytes]]:
        """Reads the nonces of generations, makes those that are missing, and returns them by name.

        The nonces are those of the reply, not those of the table: by the time that the caller reads the table, a push
        may have made one unknown again.
        """
        minted: dict[str, tuple[Generation, bytes]] = {}
        for at in range(0, len(generations), MOST_GENERATIONS):
            some = generations[at : at + MOST_GENERATIONS]
            mint = self._environment.token(8)

            def settle(
                answering: Node, reply: list[bytes], some: Sequence[Generation] = some, mint: bytes = mint
            ) -> dict[str, tuple[Generation, bytes]]:
                answering.learn(some, reply, mint)
                return {g.name: (g, nonce) for g, nonce in zip(some, reply, strict=True)}

            names = [generation.name for generation in some]
            minted |= await node.evaluate(MINT, names, (mint, life_ms), settle, self._timeout_s)
        return minted

    async def _send_rest(
        self,
        node: Node,
        fates: list[Fate],
        keys: Sequence[EntryKey],
        tokens: Sequence[bytes],
        known: Sequence[Mapping[str, tuple[Generation, bytes]]],
        new_entries: Sequence[NewEntry],
        beginnings: Sequence[Beginning | None],
    ) -> None:
        """Stores the entries that are not refused yet, and writes their fates down."""
        left = [index for index, fate in enumerate(fates) if not fate]
        if not left:
            return
        timeout_s = self._timeout_s * (1 + (len(left) - 1) / MOST_TOGETHER)
        seal = self._entries.sealer(node)
        grounds: dict[int, Ground] = {}

        def item(i: int) -> StoreItem:
            key, new_entry = keys[i], new_entries[i]
            ground = grounds.get(id(known[i]))
            if ground is None:
                stamps = [known[i][name] for name in key.generations]
                tags = [known[i][key.tag_name(tag)] for tag in new_entry.tags]
                own = tuple([nonce for _, nonce in stamps])
                ground = grounds[id(known[i])] = Ground(own, b"".join(own), tags, [*stamps, *tags])
            return StoreItem(key, tokens[i], ground, new_entry, seal(key, ground, new_entry), beginnings[i])

        sent: list[asyncio.Task[Sequence[Fate]]] = []
        last: list[StoreItem] = []
        try:
            async for some in all_batches(left, new_entries, item):
                if last:
                    sent.append(asyncio.create_task(self._send(node, last, timeout_s)))
                    if is_large(last):  # Pieces take longer: a later value of the same entry would overtake them.
                        await asyncio.wait(sent[-1:])
                    else:
                        await asyncio.sleep(0)  # It leaves now; the server is at work while the next ones are sealed.
                last = some
            told = await self._send(node, last, timeout_s)
            before = [fate for task in sent for fate in await task]
        finally:  # whoever is cancelled takes along what has not left
            for task in sent:
                task.cancel()
        for index, fate in zip(left, (*before, *told), strict=True):
            fates[index] = fate

    async def _send(self, node: Node, items: Sequence[StoreItem], timeout_s: float) -> Sequence[Fate]:
        """Stores by one script, and keeps the copies in memory in the step in which the server confirms."""
        parts: tuple[str, ...] = ()
        length = 0
        if is_large(items):
            try:
                parts = (await self._large_writes.send(node, items[0].key, items[0].sealed),)
            except BackendError as error:
                return [error]
            length = len(items[0].sealed)
            self._entries.note_size(items[0].key, length)
        places: dict[tuple[str, bytes], int] = {}
        names: list[str | bytes] = []
        wanted: list[Argument] = []
        last: Ground | None = None
        leases = [item.key.lease for item in items]
        for item, lease in zip(items, leases, strict=True):
            key, ground = item.key, item.ground
            names += (key.entry, lease, key.hold)
            wanted += (item.token, life_ms(item.new_entry), b"" if parts else item.sealed)
            if ground is last:
                wanted.append(0)
                continue
            last = ground
            stamps = [(generation.name, nonce) for generation, nonce in ground.stamps]
            wanted += (len(stamps), *[places.setdefault(one, len(places) + 1) for one in stamps])

        def settle(answering: Node, reply: list[bytes]) -> list[Refusal]:
            return self._settle(node, answering, items, leases, reply)

        names += [name for name, _ in places]
        journals, asked = questions(items)
        names += (*journals, *parts)
        nonces = [nonce for _, nonce in places]
        # A fill has its lease; a value without one must not arrive after its caller was told that it failed.
        latest_ms = 0 if items[0].token else node.within_ms(timeout_s)
        args = (len(items), NARROW_LIFE_MS, latest_ms, len(journals), length, *nonces, *wanted, *asked)
        try:
            return await node.evaluate(STORE, names, args, settle, timeout_s)
        except BackendError as error:
            return [error] * len(items)

    def _settle(
        self,
        node: Node,
        answering: Node,
        items: Sequence[StoreItem],
        leases: Sequence[bytes],
        reply: Sequence[bytes],
    ) -> list[Refusal]:
        fates: list[Refusal] = [("" if fate == b"ok" else fate.decode()) for fate in reply]  # type: ignore[misc]
        taken = [item for item, fate in zip(items, fates, strict=True) if not fate]
        stored = [item.key for item in taken]
        # Where the slot has moved, the push comes from the server that answered; and that one is asked for a copy.
        answering.expect(*[key.entry for key in stored])
        # The script has deleted the lease of each fill that it took. `drop_all` says all that its push would.
        deleted = [lease for item, lease, fate in zip(items, leases, fates, strict=True) if item.token and not fate]
        answering.expect(*deleted)
        # Before the new copies come: it drops the older ones.
        self._coherence.drop_all(stored)
        # Without its pushes memory is off, and what comes into it goes when it is switched on.
        if answering is node and node.tracked:
            kept: dict[int, list[StoreItem]] = {}
            owed = self._owed or ()
            for item in taken:
                if item.new_entry.policy.use_memory and item.key.entry not in owed:
                    kept.setdefault(id(item.ground), []).append(item)
            for alike in kept.values():
                keys, new_entries = [item.key for item in alike], [item.new_entry for item in alike]
                self._entries.keep(keys, new_entries, alike[0].ground.stamps)
        return fates


def _collect_nonces(leases: Sequence[Lease], new_entries: Sequence[NewEntry]) -> list[_Known]:
    """Returns the nonces that each fill's lease vouches for; one object for those that were given alike and depend alike."""
    taken: dict[Any, _Known] = {}
    known = []
    for lease, new_entry in zip(leases, new_entries, strict=True):
        mark = (lease.stamps, lease.journal, lease.noted, lease.key.generations, new_entry.tags)
        one = taken.get(mark)
        if one is None:
            one = taken[mark] = {generation.name: (generation, nonce) for generation, nonce in lease.stamps}
        known.append(one)
    return known


def _result_of(fates: Sequence[Fate]) -> Refusal:
    """Returns the outcome of one entry.

    Raises:
        BackendError: The server did not confirm.
    """
    fate = fates[0]
    if isinstance(fate, BackendError):
        raise fate
    return fate
