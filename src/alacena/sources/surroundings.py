"""For whom the running code works, as far as a source can know: asked of whoever keeps the ambient tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.errors import MissingTenantError, TenantMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable


def _nobody() -> str | None:
    return None


class Surroundings:
    """Where the ambient tenant is found.

    Attributes:
        tenant: Returns the ambient tenant or ``None``. `alacena.common.context` puts its own here when it is imported:
            sources stand below it and cannot ask it by name.
    """

    tenant: Callable[[], str | None] = staticmethod(_nobody)


def check_tenant(tenant_id: str) -> str:
    """Returns the tenant of a call, if it can be one and is the one that the code runs for.

    Raises:
        MissingTenantError: It is blank.
        TenantMismatchError: The code runs for another one.
    """
    if not str(tenant_id).strip():
        raise MissingTenantError
    ambient = Surroundings.tenant()
    if ambient is not None and ambient != str(tenant_id):
        raise TenantMismatchError("the argument tenant_id", str(tenant_id), ambient)
    return tenant_id
