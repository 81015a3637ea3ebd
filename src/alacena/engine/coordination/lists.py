"""The guide's list verbs, on a plain list of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alacena.engine.coordination.port import Port


class Lists:
    """Plain lists of values. What goes in comes out: a dictionary as a dictionary, ``0`` as ``0``.

    ``lpop`` takes an element off for good: if the caller dies, or the reply is lost, so is the element. Work that must
    not be lost belongs into :class:`~alacena.engine.coordination.queues.Queues`.
    If Redis fails: every verb raises; after :class:`~alacena.engine.errors.OutcomeUnknownError` nothing was re-sent.

    Args:
        port: Where the lists are.
    """

    def __init__(self, port: Port) -> None:
        self._port = port

    async def rpush(self, name: str, *values: Any, tenant_id: str) -> int:
        """Append values.

        Cost: 1 round trip. Atomicity: all or none.

        Returns:
            The length of the list.
        """
        if not values:
            return await self.llen(name, tenant_id=tenant_id)
        key = self._key(name, tenant_id)
        encode = self._port.elements.of(tenant_id, key).encode
        length: int = await self._port.call("RPUSH", key, *(encode(value) for value in values))
        return length

    async def lpop(self, name: str, *, tenant_id: str) -> Any:
        """Take the first value off; ``None`` if the list is empty. At most once: see the class.

        Cost: 1 round trip.
        """
        key = self._key(name, tenant_id)
        raw = await self._port.call("LPOP", key)
        return None if raw is None else self._port.elements.of(tenant_id, key).decode(raw)

    async def lrange(self, name: str, start: int = 0, end: int = -1, *, tenant_id: str) -> list[Any]:
        """The values from ``start`` to ``end``, both included; negative places count from the end.

        Cost: 1 round trip.
        """
        key = self._key(name, tenant_id)
        decode = self._port.elements.of(tenant_id, key).decode
        return [decode(row) for row in await self._port.call("LRANGE", key, start, end)]

    async def llen(self, name: str, *, tenant_id: str) -> int:
        """How many values there are. Cost: 1 round trip."""
        length: int = await self._port.call("LLEN", self._key(name, tenant_id))
        return length

    async def delete(self, name: str, *, tenant_id: str) -> bool:
        """Delete the list; True if it was there. Cost: 1 round trip."""
        return bool(await self._port.call("UNLINK", self._key(name, tenant_id)))

    def _key(self, name: str, tenant_id: str) -> str:
        return self._port.key("list", tenant_id, name)
