"""Stand-ins for what the cache injects, and a store that loses replies."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from alacena.coordination.coordination_context import CoordinationContext
from alacena.engine.base.errors import OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from alacena.engine.api.cache import Cache
    from alacena.engine.remote.backend import Argument, Backend, Notification, Reply, Script


class PlainKeys:
    """Injective keys with the tenant as hash tag."""

    def render(self, kind: str, tenant_id: str, *parts: str) -> str:
        tail = ":".join(quote(part, safe="") for part in parts)
        return f"alacena:{kind}:{{{quote(tenant_id, safe='')}.0}}:{tail}"


def port_of(cache: Cache, store: Backend | None = None) -> CoordinationContext:
    """A port like that of an open cache's own objects, over its store or another one."""
    own = cache.locks._port
    return CoordinationContext(own.store if store is None else store, own._keys, own.environment, own.elements)


class LossyStore:
    """Passes everything on; loses the replies that it is told to.

    Attributes:
        lose: How many replies to lose yet, by the name of a command or script.
        lose_first: Names of scripts of which the reply to every request is lost once.
        sent: What was sent, by name.
    """

    def __init__(self, store: Backend) -> None:
        self._store = store
        self.lose: dict[str, int] = {}
        self.lose_first: set[str] = set()
        self.sent: list[str] = []
        self._lost: set[int] = set()

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Reply:
        reply = await self._store.call(*command, timeout_s=timeout_s)
        return self._deliver(str(command[0]), reply)

    async def script(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument], *, timeout_s: float | None = None
    ) -> Reply:
        reply = await self._store.script(script, keys, args, timeout_s=timeout_s)
        request = hash((script, *keys, *args))
        if script.name in self.lose_first and request not in self._lost:
            self._lost.add(request)
            self.lose[script.name] = self.lose.get(script.name, 0) + 1
        return self._deliver(script.name, reply)

    def _deliver(self, name: str, reply: Reply) -> Reply:
        self.sent.append(name)
        if self.lose.get(name, 0) > 0:
            self.lose[name] -= 1
            raise OutcomeUnknownError(f"the reply of {name} was lost")
        return reply

    def listen(self, channel: str) -> AbstractAsyncContextManager[Notification]:
        self.sent.append("SUBSCRIBE")
        return self._store.listen(channel)

    async def require_safe(self) -> None:
        await self._store.require_safe()

    async def wait_aof(self, key: str, *, replicas: int = 0, timeout_s: float = 5.0) -> bool:
        return await self._store.wait_aof(key, replicas=replicas, timeout_s=timeout_s)
