"""Stores entries on the server: many by one script, each with a fate of its own; one entry is the case of one."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from alacena.engine.base.errors import BackendError
from alacena.engine.remote.redis.cache_scripts import LATE, MINT, STORE
from alacena.engine.remote.redis.journal import NAME_BYTES, NARROW_LIFE_MS, tells_of
from alacena.engine.remote.redis.large_writes import LargeWrites
from alacena.engine.remote.redis.store_items import (
    MOST_GENERATIONS,
    MOST_TOGETHER,
    StoreItem,
    all_batches,
    ground_of,
    is_large,
    life_ms,
    questions,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Beginning, Fate, Lease, NewEntry, Refusal
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.remote.backend import Argument
    from alacena.engine.remote.redis.entries import Entries
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.nodes import Nodes
    from alacena.engine.remote.redis.store_items import Ground, Known

_Act: TypeAlias = "Callable[[Sequence[StoreItem], list[Fate]], Awaitable[None]]"

_IDENT_OF: Final = attrgetter("ident")
_SINCE_OF: Final = attrgetter("since")
_TAGS_OF: Final = attrgetter("new_entry.tags")


class StoreSender:
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
        items: list[StoreItem] = []
        taken: dict[Any, Known] = {}
        for place, (lease, new_entry) in enumerate(zip(leases, new_entries, strict=True)):
            key = lease.key
            # The copies in memory go before the fills are sent:
            # 1. A fill is sent; its reply is lost.
            # 2. The server stored it, or did not: nobody here knows.
            # 3. A copy that had stayed would be served as if it were the server's.
            self._coherence.memory.discard(key.ident)
            # What the lease vouches for: one object for those that were given alike and depend alike.
            mark = (lease.stamps, lease.journal, lease.noted, key.generations, new_entry.tags)
            known = taken.get(mark)
            if known is None:
                known = taken[mark] = {}
                for stamp in lease.stamps:
                    known[stamp[0].name] = stamp
            items.append(StoreItem(place, key, new_entry, lease, lease.token, known))
        return await self._each_slot(items, self._fill)

    async def store_many(
        self,
        keys: Sequence[EntryKey],
        new_entries: Sequence[NewEntry],
        beginnings: Sequence[Beginning | None] | None = None,
    ) -> list[Fate]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.store_many`."""
        items: list[StoreItem] = []
        taken: dict[Any, tuple[tuple[Generation, ...], Known]] = {}
        begun = repeat(None, len(keys)) if beginnings is None else beginnings
        # Taken down before anything is asked: the values are not newer than this call, and what ends from now on ended
        # after they were read. Entries that rest on the same, and were read since the same, have the same objects.
        for place, (key, new_entry, began) in enumerate(zip(keys, new_entries, begun, strict=True)):
            mark = (key.generations, new_entry.tags, id(began))
            one = taken.get(mark)
            if one is None:
                one = taken[mark] = self._take_down(key, new_entry, began)
            items.append(StoreItem(place, key, new_entry, began, b"", one[1], one[0]))
        self._coherence.memory.discard_all(list(map(_IDENT_OF, keys)))
        fates = await self._each_slot(items, self._store)
        if any(fates):
            for key, fate in zip(keys, fates, strict=True):
                if isinstance(fate, BackendError):
                    self._nodes.owe((), (key,), fate)
        return fates

    def _take_down(
        self, key: EntryKey, new_entry: NewEntry, began: Beginning | None
    ) -> tuple[tuple[Generation, ...], Known]:
        """Returns the generations that an entry is to rest on, and the nonces that are known of them."""
        depends, known = self._coherence.generations(key.generations), {}
        if new_entry.tags:
            depends = (*depends, *self._coherence.intern_tags(key, new_entry.tags))
        if began is None:
            for generation in depends:
                if (nonce := generation.nonce) is not None:
                    known[generation.name] = (generation, nonce)
        else:
            for stamp in began.stamps:
                known[stamp[0].name] = stamp
        return depends, known

    async def _each_slot(self, items: Sequence[StoreItem], act: _Act) -> list[Fate]:
        """Acts on entries, those that may share a call together, and returns the outcome of each.

        If a call fails, it failed for all entries that it was for.
        """
        fates: list[Fate] = [""] * len(items)
        groups: dict[int, list[StoreItem]] = {}
        if self._nodes.by_slot:
            for item in items:
                groups.setdefault(self._nodes.group(item.key.entry), []).append(item)
        if len(groups) > 1:
            await asyncio.gather(*[_act_together(act, group, fates) for group in groups.values()])
        elif items:
            await _act_together(act, items, fates)
        return fates

    async def _fill(self, items: Sequence[StoreItem], fates: list[Fate]) -> None:
        node = self._nodes.of(items[0].key.entry)
        if any(map(_TAGS_OF, items)):
            await self._know_all_late(node, items, fates)
        for item in items:
            lease = cast("Lease", item.since)
            if fates[item.place]:
                self._release(lease)
            elif node.replication_id != lease.epoch:
                fates[item.place] = "replication"
        await self._send_rest(node, items, fates)

    async def _store(self, items: Sequence[StoreItem], fates: list[Fate]) -> None:
        node = self._nodes.of(items[0].key.entry)
        left = items
        if any(map(_SINCE_OF, items)):
            await self._know_all_late(node, items, fates)
            for item in items:
                if item.since is not None and node.replication_id != item.since.epoch:
                    fates[item.place] = "replication"
            left = [item for item in items if not fates[item.place]]
        await self._know_rest(node, left)
        # Asking for the stamps may have shown that the entries' slot has moved.
        node = self._nodes.of(items[0].key.entry)
        await self._send_rest(node, items, fates)
        for item in left:
            if fates[item.place] == "generation":
                # One of them ended while the value was on its way, or what was known here was not current. The value was
                # read before either: it is not stored under what is current now.
                for generation in item.depends:
                    self._coherence.learn(generation, None)

    async def _know_rest(self, node: Node, items: Sequence[StoreItem]) -> None:
        """Learns the nonces of all generations that entries are to rest on, and that are not known yet."""
        shared: dict[int, Known] = {}
        wide: dict[str, Generation] = {}
        narrow: dict[str, Generation] = {}
        for item in items:
            known = item.known
            if id(known) not in shared:
                shared[id(known)] = known
                for place, generation in enumerate(item.depends):
                    if generation.name not in known:
                        # The first two are the tenant's and the type's.
                        (wide if place < 2 else narrow)[generation.name] = generation
        for unknown, lasts_ms in ((wide, 0), (narrow, NARROW_LIFE_MS)):
            if unknown:
                minted = await self._mint(node, list(unknown.values()), lasts_ms)
                for known in shared.values():
                    known.update({**minted, **known})

    async def _know_all_late(self, node: Node, items: Sequence[StoreItem], fates: list[Fate]) -> None:
        """Learns the nonces of all tags that were not named from the beginning; ``generation`` if one may have ended."""
        late: dict[int, Awaitable[bool]] = {}
        for item in items:
            # Those that share what is known name the same tags and were read since the same: one question for all of them.
            if item.new_entry.tags and item.since is not None and id(item.known) not in late:
                names = [tag for tag in item.new_entry.tags if item.key.tag_name(tag) not in item.known]
                if names:
                    late[id(item.known)] = self._know_late(node, item.since, item.key, names, item.known)
        if late:
            stand = dict(zip(late, await asyncio.gather(*late.values()), strict=True))
            for item in items:
                if not stand.get(id(item.known), True):
                    fates[item.place] = "generation"

    async def _know_late(
        self,
        node: Node,
        since: Lease | Beginning,
        key: EntryKey,
        late: Sequence[str],
        known: Known,
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

    async def _mint(self, node: Node, generations: Sequence[Generation], life_ms: int) -> Known:
        """Reads the nonces of generations, makes those that are missing, and returns them by name.

        The nonces are those of the reply, not those of the table: by the time that the caller reads the table, a push
        may have made one unknown again.
        """
        minted: Known = {}
        for at in range(0, len(generations), MOST_GENERATIONS):
            some = generations[at : at + MOST_GENERATIONS]
            mint = self._environment.token(8)

            def settle(
                answering: Node, reply: list[bytes], some: Sequence[Generation] = some, mint: bytes = mint
            ) -> Known:
                answering.learn(some, reply, mint)
                return {g.name: (g, nonce) for g, nonce in zip(some, reply, strict=True)}

            names = [generation.name for generation in some]
            minted |= await node.evaluate(MINT, names, (mint, life_ms), settle, self._timeout_s)
        return minted

    async def _send_rest(self, node: Node, items: Sequence[StoreItem], fates: list[Fate]) -> None:
        """Stores the entries that are not refused yet, and writes their fates down."""
        left = [item for item in items if not fates[item.place]] if any(fates) else items
        if not left:
            return
        timeout_s = self._timeout_s * (1 + (len(left) - 1) / MOST_TOGETHER)
        seal = self._entries.sealer(node)
        grounds: dict[int, Ground] = {}

        def seal_item(item: StoreItem) -> None:
            ground = grounds.get(id(item.known))
            if ground is None:
                ground = grounds[id(item.known)] = ground_of(item)
            item.ground, item.sealed = ground, seal(item.key, ground, item.new_entry)

        sent: list[asyncio.Task[None]] = []
        last: list[StoreItem] = []
        try:
            async for some in all_batches(left, seal_item):
                if last:
                    sent.append(asyncio.create_task(self._send(node, last, fates, timeout_s)))
                    if is_large(last):  # Pieces take longer: a later value of the same entry would overtake them.
                        await asyncio.wait(sent[-1:])
                    else:
                        await asyncio.sleep(0)  # It leaves now; the server is at work while the next ones are sealed.
                last = some
            await self._send(node, last, fates, timeout_s)
            for task in sent:
                await task
        finally:  # whoever is cancelled takes along what has not left
            for task in sent:
                task.cancel()

    async def _send(self, node: Node, items: Sequence[StoreItem], fates: list[Fate], timeout_s: float) -> None:
        """Stores by one script, and keeps the copies in memory in the step in which the server confirms."""
        try:
            parts: tuple[str, ...] = ()
            length = 0
            if is_large(items):
                parts = (await self._large_writes.send(node, items[0].key, items[0].sealed),)
                length = len(items[0].sealed)
                self._entries.note_size(items[0].key, length)
            names: list[str | bytes] = []
            wanted: list[Argument] = []
            places: dict[tuple[str, bytes], int] = {}
            last: Ground | None = None
            for item in items:
                key, ground = item.key, item.ground
                names += (key.entry, key.lease, key.hold)
                wanted += (item.token, life_ms(item.new_entry), b"" if parts else item.sealed)
                if ground is last:
                    wanted.append(0)
                    continue
                last = ground
                wanted.append(len(ground.named))
                for one in ground.named:
                    wanted.append(places.setdefault(one, len(places) + 1))

            generations, nonces = zip(*places, strict=True)
            is_fill = bool(items[0].token)
            journals, asked = ((), ()) if is_fill else questions(items)
            names += (*generations, *journals, *parts)
            # A fill has its lease; a value without one must not arrive after its caller was told that it failed.
            latest_ms = 0 if is_fill else node.within_ms(timeout_s)
            args = (len(items), NARROW_LIFE_MS, latest_ms, len(journals), length, *nonces, *wanted, *asked)
            settle = partial(self._settle, node, items)
            told: Sequence[Fate] = await node.evaluate(STORE, names, args, settle, timeout_s)
        except BackendError as error:
            told = [error] * len(items)
        for item, fate in zip(items, told, strict=True):
            fates[item.place] = fate

    def _settle(self, node: Node, items: Sequence[StoreItem], answering: Node, reply: Sequence[bytes]) -> list[Refusal]:
        fates: list[Refusal] = []
        stored: list[EntryKey] = []
        written: list[bytes] = []
        kept: dict[int, tuple[Ground, list[EntryKey], list[NewEntry]]] = {}
        # Without its pushes memory is off, and what comes into it goes when it is switched on.
        keeps, owed = answering is node and node.tracked, self._owed or ()
        for item, said in zip(items, reply, strict=True):
            if said != b"ok":
                fates.append(said.decode())  # type: ignore[arg-type]
                continue
            key, ground = item.key, item.ground
            fates.append("")
            stored.append(key)
            written.append(key.entry)
            if item.token:  # The script has deleted the lease. `drop_all` says all that its push would.
                written.append(key.lease)
            if keeps and item.new_entry.policy.use_memory and key.entry not in owed:
                alike = kept.get(id(ground)) or kept.setdefault(id(ground), (ground, [], []))
                alike[1].append(key)
                alike[2].append(item.new_entry)
        # Where the slot has moved, the push comes from the server that answered; and that one is asked for a copy.
        answering.expect(*written)
        # Before the new copies come: it drops the older ones.
        self._coherence.drop_all(stored)
        for ground, keys, new_entries in kept.values():
            self._entries.keep(keys, new_entries, ground.stamps)
        return fates


async def _act_together(act: _Act, items: Sequence[StoreItem], fates: list[Fate]) -> None:
    try:
        await act(items, fates)
    except BackendError as error:
        for item in items:
            fates[item.place] = error


def _result_of(fates: Sequence[Fate]) -> Refusal:
    """Returns the outcome of one entry.

    Raises:
        BackendError: The server did not confirm.
    """
    fate = fates[0]
    if isinstance(fate, BackendError):
        raise fate
    return fate
