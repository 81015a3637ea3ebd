"""The guide's list verbs, on a plain list of the server."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Final

from alacena.coordination.element_codec import all_read
from alacena.coordination.per_tenant import PerTenant
from alacena.engine.base.errors import ArgumentError, BackendError, DecodeError, show

_FURTHEST: Final = 2**53 - 1


class Lists(PerTenant):
    """Plain lists of values. A value comes out as it went in: a dictionary as a dictionary, ``0`` as ``0``.

    ``lpop`` takes an element off for good: if the caller dies, or the reply is lost, so is the element. Work that must
    not be lost belongs into :class:`~alacena.coordination.queues.Queues`.
    If Redis fails: every verb raises; after :class:`~alacena.engine.base.errors.OutcomeUnknownError` nothing was re-sent.
    """

    async def rpush(self, name: str, *values: Any, tenant_id: str | None = None) -> int:
        """Appends values.

        Cost: 1 round trip. Atomicity: all or none.

        Returns:
            The length of the list.
        """
        if not values:
            return await self.llen(name, tenant_id=tenant_id)
        tenant_id = self._tenant(tenant_id)
        key = self._key(name, tenant_id)
        encode = self._port.elements.of(tenant_id, key).encode
        length: int = await self._port.call("RPUSH", key, *(encode(value) for value in values))
        return length

    async def lpop(self, name: str, *, tenant_id: str | None = None, raw: bool = False) -> Any:
        """Takes the first value off; ``None`` if the list is empty. At most once: see the class.

        A value that cannot be read here is put back, so that another version may read it.

        Cost: 1 round trip, and 1 if it is put back. Cancellation: a value may be taken off and lost.

        Args:
            name: The list.
            tenant_id: The tenant.
            raw: Take it off as its bytes, unread: for an element that cannot be read any more.

        Raises:
            DecodeError: It cannot be read here; ``raw`` of the error are its bytes.
        """
        tenant_id = self._tenant(tenant_id)
        key = self._key(name, tenant_id)
        element = await self._port.call("LPOP", key)
        if element is None or raw:
            return element
        try:
            return self._port.elements.of(tenant_id, key).decode(element)
        except DecodeError as error:
            words = f"the first element of list {name!r} cannot be read: {error}"
            try:
                # Finished even if the caller is cancelled: at this moment the element is in this process alone.
                await self._port._background.finish(self._port.call("LPUSH", key, element))
            except BackendError:
                words += "; it could not be put back, and is the error's raw"
            else:
                words += "; it is first again: register its class, or take it off with lpop(..., raw=True)"
            raise DecodeError(words, raw=element) from error

    async def lrange(self, name: str, start: int = 0, end: int = -1, *, tenant_id: str | None = None) -> list[Any]:
        """Returns the values from ``start`` to ``end``, both included; negative places count from the end.

        In place of a value that cannot be read here stands an
        :class:`~alacena.coordination.element_codec.Unreadable` with its bytes.

        Cost: 1 round trip.
        """
        tenant_id = self._tenant(tenant_id)
        key = self._key(name, tenant_id)
        rows = await self._port.call("LRANGE", key, _place(start, "start"), _place(end, "end"))
        return all_read(self._port.elements.of(tenant_id, key).decode, rows)

    async def llen(self, name: str, *, tenant_id: str | None = None) -> int:
        """Returns how many values there are. Cost: 1 round trip."""
        length: int = await self._port.call("LLEN", self._key(name, self._tenant(tenant_id)))
        return length

    async def delete(self, name: str, *, tenant_id: str | None = None) -> bool:
        """Deletes the list; True if it was there. Cost: 1 round trip."""
        return bool(await self._port.call("UNLINK", self._key(name, self._tenant(tenant_id))))

    def _key(self, name: str, tenant_id: str) -> str:
        return self._port.key("list", tenant_id, name)


def _place(given: Any, name: str) -> int:
    """Returns a place that the server can read. One beyond every list, such as ``sys.maxsize``, is brought within its range."""
    if isinstance(given, bool) or not isinstance(given, Integral):
        raise ArgumentError(f"{name} must be a place in the list: 0 is the first, -1 the last one, not {show(given)}")
    return max(-_FURTHEST, min(int(given), _FURTHEST))
