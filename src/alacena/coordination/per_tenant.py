"""The tenant of a coordination object: named at each call, or bound once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from alacena.engine.base.errors import MissingTenantError, TenantMismatchError, UsageError, show
from alacena.engine.base.scope import tenant_text

if TYPE_CHECKING:
    from alacena.coordination.coordination_context import CoordinationContext


class PerTenant:
    """The base of the objects of every tenant: locks, queues, counters and the like.

    Each verb takes ``tenant_id``. :meth:`of` returns the same verbs for one tenant: there it may be left out, and
    naming another tenant is an error.

    Args:
        port: The coordination context.
    """

    _bound: str | None = None

    def __init__(self, port: CoordinationContext) -> None:
        self._port = port

    @property
    def tenant_id(self) -> str | None:
        """The tenant that the verbs are bound to; ``None``: each call names its own."""
        return self._bound

    def of(self, tenant_id: str) -> Self:
        """Returns the same verbs, bound to one tenant. Nothing is sent.

        Raises:
            MissingTenantError: The tenant is blank.
            TenantMismatchError: These are bound to another one.
        """
        # Everything else is shared: a lock taken through one is known to the other.
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__, _bound=tenant_text(self._tenant(tenant_id)))
        return bound

    def _tenant(self, tenant_id: str | None) -> str:
        """Returns the tenant of a call.

        Raises:
            MissingTenantError: The call names none, and none is bound.
            TenantMismatchError: The call names another one than is bound.
        """
        bound = self._bound
        if tenant_id is None:
            if bound is None:
                raise MissingTenantError(
                    "no tenant is named: pass tenant_id=..., or ask the tenant's handle, cache.tenant(tenant_id)"
                )
            return bound
        if bound is None:
            return tenant_id
        if (text := tenant_text(tenant_id)) != bound:
            raise TenantMismatchError(
                "the argument tenant_id", text, bound, remedy=f"ask that tenant's handle, cache.tenant({show(text)})"
            )
        return bound

    def _refuse_bound(self, verb: str) -> None:
        if self._bound is not None:
            raise UsageError(
                f"{verb} ends what every tenant uses, and this is bound to {self._bound!r}: close the cache"
            )
