"""For whom the running code works, as far as a source can know: asked of whoever keeps the ambient tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.base.errors import TenantMismatchError
from alacena.engine.base.scope import tenant_text

if TYPE_CHECKING:
    from collections.abc import Callable


def _nobody() -> str | None:
    return None


class Surroundings:
    """The provider of the ambient tenant.

    Attributes:
        tenant: Returns the ambient tenant or ``None``. `alacena.common.context` puts its own here when it is imported:
            sources stand below it and cannot ask it by name.
    """

    tenant: Callable[[], str | None] = staticmethod(_nobody)


def check_tenant(tenant_id: str) -> str:
    """Returns the tenant of a call as text, if it can be one and is the one that the code runs for.

    Raises:
        MissingTenantError: It is blank.
        InvalidKeyError: It is neither text nor an int nor a UUID.
        TenantMismatchError: The code runs for another one.
    """
    text = tenant_text(tenant_id)
    ambient = Surroundings.tenant()
    if ambient is not None and ambient != text:
        raise TenantMismatchError("the argument tenant_id", text, ambient)
    return text
