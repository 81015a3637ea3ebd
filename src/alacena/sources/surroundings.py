"""The tenant of a source's call, which must be the one that the running code works for."""

from __future__ import annotations

from alacena.engine.base.errors import TenantMismatchError
from alacena.engine.base.scope import tenant_text
from alacena.engine.base.surroundings import Surroundings


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
