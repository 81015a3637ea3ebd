"""The remote tier on Redis or Valkey. Values that it finds or stores go into memory inside the wire's parser."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from alacena.engine.base.remote_tier import Ended, Found, Unsettled
from alacena.engine.remote.redis.entries import Entries, values_of
from alacena.engine.remote.redis.inspection import Inspection
from alacena.engine.remote.redis.journal import endings
from alacena.engine.remote.redis.large_reads import LargeReads
from alacena.engine.remote.redis.leases import Leases, LeaseTimes
from alacena.engine.remote.redis.reading_starts import ReadingStarts
from alacena.engine.remote.redis.store_sender import StoreSender
from alacena.engine.remote.redis.write_holds import WriteHolds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.remote.backend import Reply
    from alacena.engine.remote.redis.journal import Removal
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.nodes import Nodes
    from alacena.engine.remote.redis.wire import Command
    from alacena.engine.remote.tier_parts import TierParts


class RedisTier:
    """Entries, leases, generations and holds on the server.

    Args:
        nodes: The servers.
        parts: The parts of the cache.
    """

    def __init__(self, nodes: Nodes, parts: TierParts) -> None:
        coherence, environment, settings = parts.coherence, parts.environment, parts.settings
        self._nodes = nodes
        self._owed = nodes.owed
        self._coherence = coherence
        self._entries = Entries(parts)
        # Bound once, for the most used way.
        self._node_of, self._generations, self._judge = nodes.of, coherence.generations, self._entries.judge
        self._shared = coherence.shared.get
        self._large_types, self._read = self._entries.large_types, LargeReads(nodes.owed).read
        self._environment = environment
        self._budget_s = settings.redis_budget_s
        self._timeout_s = settings.redis_timeout_s
        holds = WriteHolds(nodes, coherence, environment, self._timeout_s)
        self.hold, self.unhold = holds.hold, holds.unhold
        times = LeaseTimes(self._budget_s, self._timeout_s, max(1, round(settings.lease_s * 1000)))
        leases = Leases(nodes, self._entries, coherence, environment, times)
        self.mark = leases.mark
        self.lease, self.lease_many = leases.lease, leases.lease_many
        self.renew, self.release, self.discard = leases.renew, leases.release, leases.discard
        stores = StoreSender(nodes, self._entries, coherence, environment, self._timeout_s, self.release)
        self.store, self.store_many = stores.store, stores.store_many
        self.fill, self.fill_many = stores.fill, stores.fill_many
        self.begin = ReadingStarts(nodes, coherence, environment, self._timeout_s).begin
        self.inspect = Inspection(nodes, parts.keys, parts.codec, self._timeout_s).inspect

    @property
    def is_up(self) -> bool:
        """Whether it is worth waiting for."""
        return self._nodes.is_up

    @property
    def is_here(self) -> bool:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.is_here`."""
        return False

    def find(
        self, keys: Sequence[EntryKey], policy: Policy, keep: bool, unknown: Sequence[Generation] = ()
    ) -> Awaitable[Found | Unsettled | None]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.find`."""
        key = keys[0]
        entry = key.entry
        node = self._nodes.only or self._node_of(entry)
        generations = self._shared(key.generations) or self._generations(key.generations)
        # A plain entry rests on two generations, and this is asked at each hit; a scoped one rests on more.
        is_open = generations[0].nonce is None or generations[1].nonce is None
        if unknown or len(keys) > 1 or is_open or (len(generations) > 2 and not all(one.nonce for one in generations)):
            return self._find_among(node, keys, unknown, policy, keep=keep)
        settle = partial(self._judge, node, key, generations, policy, keep)
        budget_s = policy.redis_budget_s or self._budget_s
        if self._large_types and key.ident[1] in self._large_types:
            return self._read(node, key, settle, budget_s)
        return node.fetch(entry, settle, budget_s)

    async def _find_among(
        self, node: Node, keys: Sequence[EntryKey], unknown: Sequence[Generation], policy: Policy, *, keep: bool
    ) -> Found | Unsettled | None:
        """Looks at several keys, and learns the generations that are not known; the others are held meanwhile."""
        held = self._coherence.generations(keys[0].generations)
        asked = [*(generation for generation in held if generation.nonce is None), *unknown]
        command: Command = ("MGET", *(key.entry for key in keys), *(generation.name for generation in asked))

        def settle(answering: Node, replies: list[Reply]) -> Found | Unsettled | None:
            values = values_of(replies[0])
            # Learnt before the entries are judged, because they are compared with these nonces; forgotten after it,
            # where nobody would tell of their end.
            self._learn(asked, values[len(keys) :])
            # By the history of `node`, whoever answered: through a redirection, entries are misses until that server is
            # asked itself. Owed removals are asked in this step: one may be new since the command was sent.
            found = self._entries.first(node, keys, self._owed.readable(keys, values), policy, keep=keep)
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
            found = self._entries.judge_many(node, keys, self._owed.readable(keys, values), policy, keep=keep)
            answering.unlearn(asked)
            return found

        timeout_s = (policy.redis_budget_s or self._budget_s) * (1 + len(keys) / 100)
        answer = node.exchange(keys[0].entry, (command,), settle=settle, timeout_s=timeout_s)
        for key in keys:
            _ = key.digest  # Worked out while the server is at work.
        return await answer

    async def delete(self, keys: Sequence[EntryKey], *, told: bool = False) -> int:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.delete`."""
        if not told:
            return await self.invalidate((), keys)
        names = [(key.entry.decode(), key.journal, key.lease.decode()) for key in keys]
        self._forget((), keys)
        return await self._nodes.remove(list(endings(names)), (), keys, settled=lambda: self._forget((), keys))

    async def invalidate(self, generations: Sequence[Sequence[str]], keys: Sequence[EntryKey]) -> Ended:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.invalidate`."""
        names = [name for group in generations for name in group]
        # Now and when the server confirms: a read that was sent before may bring the old value back in between.
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
        return key.entry in self._owed or any(name in self._owed for name in key.generations)

    def guarantee(self) -> Mapping[str, Any]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.guarantee`."""
        return self._nodes.guarantee()

    def _forget(self, names: Iterable[str], keys: Iterable[EntryKey]) -> None:
        self._coherence.end(*names)
        for key in keys:
            self._coherence.drop(key.entry, key.ident)

    def _learn(self, generations: Sequence[Generation], nonces: Sequence[bytes | None]) -> None:
        for generation, nonce in zip(generations, nonces, strict=False):
            self._coherence.learn(generation, nonce)


def _removals(key: EntryKey) -> list[Removal]:
    """Returns the keys whose removal removes an entry: its lease first, so that a fill between the two commands is refused."""
    return [(key.entry, ("UNLINK", key.lease), False), (key.entry, ("UNLINK", key.entry), True)]
