"""For whom the running code works, as far as a source can know: asked of whoever keeps the ambient tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.base.errors import TenantMismatchError
from alacena.engine.base.scope import tenant_text

if TYPE_CHECKING:
    from collections.abc import Callable


def _nobody() -> tuple[str | None, ...]:
    return (None,)


class Surroundings:
    """The provider of the ambient tenant.

    Attributes:
        tenants: Returns the ambient tenant or ``None``; both where it may be one or the other. `alacena.common.context`
            puts its own here when it is imported: sources stand below it and cannot ask it by name.
    """

    tenants: Callable[[], tuple[str | None, ...]] = staticmethod(_nobody)


def check_tenant(tenant_id: str) -> str:
    """Returns the tenant of a call as text, if it can be one and is the one that the code runs for.

    Raises:
        MissingTenantError: It is blank.
        InvalidKeyError: It is neither text nor an int nor a UUID.
        TenantMismatchError: The code runs for another one.
    """
    text = tenant_text(tenant_id)
    around = Surroundings.tenants()
    if text not in around and None not in around:
        raise TenantMismatchError("the argument tenant_id", text, str(around[0]))
    return text
