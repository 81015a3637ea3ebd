"""Holds on the server: readers bypass entries while a source transaction changes their source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alacena.engine.base.errors import BackendError
from alacena.engine.remote.redis.cache_scripts import HOLD, UNHOLD
from alacena.engine.remote.redis.journal import NARROW_LIFE_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.remote.backend import Argument, Reply, Script
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.nodes import Nodes


class WriteHolds:
    """Begins and ends holds.

    Args:
        nodes: The servers.
        coherence: Memory and generations, which forget the held entries.
        environment: Tokens.
        timeout_s: How long a script may take.
    """

    def __init__(self, nodes: Nodes, coherence: GenerationTable, environment: Environment, timeout_s: float) -> None:
        self._nodes = nodes
        self._coherence = coherence
        self._environment = environment
        self._timeout_s = timeout_s

    async def hold(self, keys: Sequence[EntryKey], resources: Sequence[str], hold_s: float) -> bytes:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.hold`."""
        token = self._environment.token(16)
        args = (token, max(1, round(hold_s * 1000)), NARROW_LIFE_MS)
        asked = [self._run(HOLD, key, (name,), args) for key, name in zip(keys, resources, strict=True)]
        try:
            # All are heard before any is undone: a script that is asked again behind its `UNHOLD` would hold until its
            # own end.
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        except asyncio.CancelledError:
            self._undo(keys, token)
            raise
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            self._undo(keys, token)
            raise failures[0]
        return token

    async def unhold(self, keys: Sequence[EntryKey], token: bytes) -> None:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.unhold`."""
        await asyncio.gather(*(self._run(UNHOLD, key, (), (token,)) for key in keys))

    def _undo(self, keys: Sequence[EntryKey], token: bytes) -> None:
        """Ends the holds of a block that does not have all of them. One whose end gets lost comes to its own."""
        for key in keys:
            self._nodes.of(key.entry).tell(UNHOLD, (key.hold, key.entry, key.lease), (token,))

    async def _run(self, script: Script, key: EntryKey, resource: Sequence[str], args: Sequence[Argument]) -> None:
        def forget() -> None:
            self._coherence.end(*resource)
            self._coherence.drop(key.entry, key.ident)

        def settle(_: Node, __: Reply) -> None:
            forget()

        # 1. Memory forgets before the script is sent: from here on it shows nothing old.
        # 2. A read that is under way may bring the old entry back, as long as the server has it.
        # 3. So it is forgotten again in the step in which the server says that it is gone.
        forget()
        keys: list[bytes | str] = [key.hold, key.entry, key.lease, *resource]
        try:
            await self._nodes.of(key.entry).evaluate(script, keys, args, settle, self._timeout_s)
        except BackendError as error:
            self._nodes.owe([(name,) for name in resource], (key,), error)  # The script removes these too.
            raise
