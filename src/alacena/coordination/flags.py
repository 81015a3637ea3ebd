"""Values that are set once: the guide's ``set_nx``."""

from __future__ import annotations

from typing import Any

from alacena.coordination.per_tenant import PerTenant
from alacena.engine.base.arguments import milliseconds


class Flags(PerTenant):
    """Values that the first one to set them decides, until they expire or are deleted.

    This is no lock: it has no owner, is not renewed and gives no fence. Use
    :class:`~alacena.coordination.locks.Locks` to keep others out.
    """

    async def set_nx(self, name: str, value: Any, *, tenant_id: str | None = None, ttl_s: float | None = None) -> bool:
        """Sets a value if there is none.

        Cost: 1 round trip. Atomicity: value and expiry in one step.
        If Redis fails: raises; it may have been set where the error is
        :class:`~alacena.engine.base.errors.OutcomeUnknownError` (:meth:`get` tells).

        Returns:
            True if this call set it.
        """
        lifetime = () if ttl_s is None else ("PX", milliseconds(ttl_s, "ttl_s"))
        tenant_id = self._tenant(tenant_id)
        key = self._port.key("flag", tenant_id, name)
        word = self._port.elements.of(tenant_id, key).encode(value)
        return await self._port.call("SET", key, word, "NX", *lifetime) is not None

    async def get(self, name: str, *, tenant_id: str | None = None) -> Any:
        """Returns the value, or ``None``. Cost: 1 round trip."""
        tenant_id = self._tenant(tenant_id)
        key = self._port.key("flag", tenant_id, name)
        raw = await self._port.call("GET", key)
        return None if raw is None else self._port.elements.of(tenant_id, key).decode(raw)

    async def delete(self, name: str, *, tenant_id: str | None = None) -> bool:
        """Deletes the value, set by any caller; True if it was there. Cost: 1 round trip."""
        return bool(await self._port.call("UNLINK", self._port.key("flag", self._tenant(tenant_id), name)))
