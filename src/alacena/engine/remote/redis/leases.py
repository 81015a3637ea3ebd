"""Leases on the server after they were given: renewed, given back, or used to end what they were to replace."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from alacena.engine.base.errors import BackendError
from alacena.engine.remote.redis.cache_scripts import DISCARD, RELEASE, RENEW

if TYPE_CHECKING:
    from alacena.engine.base.remote_tier import Lease
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.remote.backend import Reply
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.nodes import Nodes


class Leases:
    """Renews, releases and spends the leases that a process holds.

    Args:
        nodes: The servers.
        coherence: Memory, which forgets what a lease has ended.
        timeout_s: How long a script may take.
        lease_ms: How long a lease lasts.
    """

    def __init__(self, nodes: Nodes, coherence: GenerationTable, timeout_s: float, lease_ms: int) -> None:
        self._nodes = nodes
        self._coherence = coherence
        self._timeout_s = timeout_s
        self._lease_ms = lease_ms

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
