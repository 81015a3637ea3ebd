"""Plain sets of values."""

from __future__ import annotations

from typing import Any, Final

from alacena.coordination.element_codec import all_read
from alacena.coordination.per_tenant import PerTenant
from alacena.engine.base.arguments import milliseconds
from alacena.engine.remote.backend import Script

# Not sent again after a lost reply: the members would be there, but the answer would say that none is new.
ADD: Final = Script("set_add", idempotent=False)


class Sets(PerTenant):
    """Plain sets of values. Equal values of one type are one member: the order of a dict or a set does not count.

    If Redis fails: every verb raises. After :class:`~alacena.engine.base.errors.OutcomeUnknownError` each can be repeated.
    """

    async def add(self, name: str, *values: Any, tenant_id: str | None = None, ttl_s: float | None = None) -> int:
        """Adds values, and lets the whole set expire ``ttl_s`` seconds from now if that is given.

        Cost: 1 round trip. Atomicity: members and expiry in one step.

        Returns:
            How many are new.
        """
        ttl_ms = 0 if ttl_s is None else milliseconds(ttl_s, "ttl_s")
        tenant_id = self._tenant(tenant_id)
        key = self._key(name, tenant_id)
        members = self._port.elements.members(tenant_id, key)
        added: int = await self._port.run(ADD, [key], [ttl_ms, *map(members.encode, values)])
        return added

    async def remove(self, name: str, *values: Any, tenant_id: str | None = None) -> int:
        """Removes values; returns how many were there. Cost: 1 round trip."""
        if not values:
            return 0
        tenant_id = self._tenant(tenant_id)
        key = self._key(name, tenant_id)
        members = self._port.elements.members(tenant_id, key)
        words = [word for value in values for word in members.forms(value)]
        removed: int = await self._port.call("SREM", key, *words)
        return removed

    async def members(self, name: str, *, tenant_id: str | None = None) -> list[Any]:
        """Returns all values, in no order. Cost: 1 round trip.

        In place of a value that cannot be read here stands an
        :class:`~alacena.coordination.element_codec.Unreadable` with its bytes.
        """
        tenant_id = self._tenant(tenant_id)
        key = self._key(name, tenant_id)
        rows = await self._port.call("SMEMBERS", key)
        return all_read(self._port.elements.members(tenant_id, key).decode, list(rows))

    async def contains(self, name: str, value: Any, *, tenant_id: str | None = None) -> bool:
        """Returns True if the value is a member. Cost: 1 round trip; with a keyring up to 1 for each of its keys, and 1 more."""
        tenant_id = self._tenant(tenant_id)
        key = self._key(name, tenant_id)
        for word in self._port.elements.members(tenant_id, key).forms(value):
            if await self._port.call("SISMEMBER", key, word):
                return True
        return False

    async def delete(self, name: str, *, tenant_id: str | None = None) -> bool:
        """Deletes the set; True if it was there. Cost: 1 round trip."""
        return bool(await self._port.call("UNLINK", self._key(name, self._tenant(tenant_id))))

    def _key(self, name: str, tenant_id: str) -> str:
        return self._port.key("set", tenant_id, name)
