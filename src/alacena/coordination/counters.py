"""Counters that count each increment once."""

from __future__ import annotations

from typing import Final

from alacena.coordination.per_tenant import PerTenant
from alacena.engine.base.arguments import exact, milliseconds
from alacena.engine.remote.backend import Script

# One script, two promises: only with a receipt does a second run change nothing, so only then is it sent again.
ADD: Final = Script("counter_add", idempotent=False)
ADD_ONCE: Final = Script("counter_add", idempotent=True)
_RECEIPT_S: Final = 86_400.0


class Counters(PerTenant):
    """Integers between -(2^53 - 1) and 2^53 - 1.

    If Redis fails: every verb raises. An increment of unknown outcome is sent again only if it has an id.
    """

    async def increment(
        self,
        name: str,
        amount: int = 1,
        *,
        tenant_id: str | None = None,
        ttl_s: float | None = None,
        idempotency_id: str | None = None,
        remember_s: float = _RECEIPT_S,
    ) -> int:
        """Adds to a counter, which starts at 0.

        Cost: 1 round trip. Atomicity: value, expiry and receipt in one step.

        Args:
            name: The counter.
            amount: The amount to add; may be negative.
            tenant_id: The tenant.
            ttl_s: Seconds until the counter starts again, counted from its first increment; later ones leave it, or
                shorten the rest of its life to theirs.
            idempotency_id: Names this one increment: the same id counts once, and answers the same.
            remember_s: For how long the id is known.

        Returns:
            The new value.

        Raises:
            ValueError: The amount is no integer or too large.
            LimitExceededError: The counter would leave its range; nothing was added.
            IdempotencyConflictError: The id was used with another amount.
            OutcomeUnknownError: The reply was lost, and without an id it is not known whether it was counted.
        """
        amount = exact(amount, "amount")
        ttl_ms = 0 if ttl_s is None else milliseconds(ttl_s, "ttl_s")
        tenant_id = self._tenant(tenant_id)
        keys = [self._key(name, tenant_id)]
        if idempotency_id is None:
            script = ADD
        else:
            script = ADD_ONCE
            keys.append(self._port.key("counter", tenant_id, name, "receipt", idempotency_id))
        value: int = await self._port.run(script, keys, [amount, ttl_ms, milliseconds(remember_s, "remember_s")])
        return value

    async def get(self, name: str, *, tenant_id: str | None = None) -> int:
        """Returns the value; 0 if nothing was counted. Cost: 1 round trip."""
        return int(await self._port.call("GET", self._key(name, self._tenant(tenant_id))) or 0)

    async def reset(self, name: str, *, tenant_id: str | None = None) -> bool:
        """Starts again at 0; True if there was something. Cost: 1 round trip."""
        return bool(await self._port.call("UNLINK", self._key(name, self._tenant(tenant_id))))

    def _key(self, name: str, tenant_id: str) -> str:
        return self._port.key("counter", tenant_id, name)
