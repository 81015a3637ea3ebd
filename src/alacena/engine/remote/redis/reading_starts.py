"""Beginnings of readings on the server: the state before the source is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.engine.base.remote_tier import Beginning
from alacena.engine.remote.redis.cache_scripts import BEGIN
from alacena.engine.remote.redis.journal import NAME_BYTES, NARROW_LIFE_MS, state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.nodes import Nodes


class ReadingStarts:
    """Notes the grounds of readings.

    Args:
        nodes: The servers.
        coherence: This process's knowledge of generations.
        environment: Nonces.
        timeout_s: How long a script may take.
    """

    def __init__(self, nodes: Nodes, coherence: GenerationTable, environment: Environment, timeout_s: float) -> None:
        self._nodes = nodes
        self._coherence = coherence
        self._environment = environment
        self._timeout_s = timeout_s

    async def begin(self, buckets: Sequence[Sequence[str]], wide: int) -> tuple[Beginning, ...]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.begin`."""
        return tuple(await asyncio.gather(*(self._begin(journal, names, wide) for journal, *names in buckets)))

    async def _begin(self, journal_name: str, names: Sequence[str], wide: int) -> Beginning:
        node = self._nodes.of(journal_name.encode())
        # Noted before the question: if another server is promoted meanwhile, what the reading brings is refused.
        epoch = node.replication_id
        generations = [self._coherence.generation(name) for name in names]
        journal = self._coherence.generation(journal_name)
        mint = self._environment.token(NAME_BYTES)

        def settle(answering: Node, reply: list[Any]) -> Beginning:
            name, length, now_ms, *nonces = reply
            # In the parser: the pushes about our own writes are right behind this reply. Expected later, they would end
            # what was just learnt.
            answering.learn(generations, nonces, mint)
            answering.expect_minted((journal,), (name,), mint)
            journal.nonce = noted = state(name, length)
            answering.unlearn((journal,))
            stamps = tuple(zip(generations, nonces, strict=True))
            return Beginning(stamps, (journal, noted), length, epoch, now_ms)

        args = (mint, wide, NARROW_LIFE_MS, mint)
        return await node.evaluate(BEGIN, (journal_name, *names), args, settle, self._timeout_s)
