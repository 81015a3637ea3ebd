"""The token ledger as one tenant's code sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from decimal import Decimal

    from alacena.engine.base.scope import Scope
    from alacena.ledger.ledger import Ledger, Mode
    from alacena.ledger.totals import Totals


class TenantLedger:
    """Counts the tokens of one tenant. Made by :attr:`alacena.engine.api.tenant.Tenant.ledger`.

    Args:
        ledger: The ledger of all tenants.
        scope: Names the tenant; its agent, conversation and collection are recorded where a call names none.
    """

    __slots__ = ("_ledger", "_scope")

    def __init__(self, ledger: Ledger, scope: Scope) -> None:
        self._ledger = ledger
        self._scope = scope

    async def record(
        self,
        tokens: int | None = None,
        *,
        model: str,
        token_type: str = "llm",  # noqa: S107 - not that kind of token
        operation: str = "query",
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        saved: bool = False,
        mode: Mode = "fast",
        parts: Mapping[str, int] | None = None,
        cost: Decimal | float | str | None = None,
    ) -> bool:
        """Counts one use of tokens: see :meth:`alacena.ledger.ledger.Ledger.record`, which this is for one tenant.

        Cost: 1 round trip; ``safe``: + the fsync; ``durable``: + one transaction of the authority and 1 round trip.
        If Redis fails: see :class:`~alacena.ledger.ledger.Ledger`.

        Args:
            tokens: The number of tokens; left out: the parts ``input`` and ``output`` together.
            model: Of which model.
            token_type: ``"llm"``, ``"embedding"``, or a word for a part of a call.
            operation: Such as ``"query"``.
            agent_id: For which agent; left out: the handle's. The same holds for the next two.
            conversation_id: In which conversation.
            collection_id: On which collection.
            metadata: Kept with it.
            idempotency_key: Names the provider's call: the same key counts once.
            saved: True if the cache answered: counted apart.
            mode: The promise at its return.
            parts: Tokens by kind: ``"input"``, ``"output"``, ``"cached"`` and the like.
            cost: Money, in one currency throughout.

        Returns:
            True: it is accounted for. False, inside a source only: it is not yet.

        Raises:
            IdempotencyConflictError: The key was used with other figures.
            ValueError: Negative or missing tokens; a model, type or operation that is blank or too long.
            BackendError: It is not known to be accounted for: repeat with the same key.
        """
        scope = self._scope
        return await self._ledger.record(
            scope.tenant_id,
            tokens,
            model=model,
            token_type=token_type,
            operation=operation,
            agent_id=scope.agent_id if agent_id is None else agent_id,
            conversation_id=scope.conversation_id if conversation_id is None else conversation_id,
            collection_id=scope.collection_id if collection_id is None else collection_id,
            metadata=metadata,
            idempotency_key=idempotency_key,
            saved=saved,
            mode=mode,
            parts=parts,
            cost=cost,
        )

    async def totals(self, *, day: date | str | None = None, month: date | str | None = None) -> Totals:
        """Returns the tenant's totals of one day, one month, or ever (UTC).

        Cost: 1 round trip.

        Args:
            day: A date, or ``"2025-01-31"``.
            month: A date in it, or ``"2025-01"``.

        Raises:
            ValueError: It is no day or month, or both are given.
        """
        return await self._ledger.totals(self._scope.tenant_id, day=day, month=month)

    async def backlog(self) -> int:
        """Returns how many uses of the tenant wait for the relay. Cost: 1 round trip."""
        return await self._ledger.backlog(self._scope.tenant_id)
