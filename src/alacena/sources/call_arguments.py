"""Checks of the arguments of a source's call: names that Postgres can have, and the tenant that the running code works for."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from alacena.engine.base.ambient_tenant import AmbientTenant
from alacena.engine.base.errors import ArgumentError, TenantMismatchError, show
from alacena.engine.base.scope import tenant_text

MAX_IDENTIFIER_BYTES: Final = 63
"""Postgres cuts longer names off."""


def check_name(given: object) -> str:
    """Returns the name of a table or column, if Postgres could have it.

    Raises:
        ArgumentError: It could not.
    """
    if isinstance(given, str) and given.strip() and "\0" not in given:
        with suppress(UnicodeEncodeError):  # a lone surrogate is in no name
            if len(given.encode()) <= MAX_IDENTIFIER_BYTES:
                return given
    raise ArgumentError(f"not a name of a table or column (1 to {MAX_IDENTIFIER_BYTES} bytes): {show(given)}")


def split_name(given: object) -> list[str]:
    """Returns the parts of a table's name, which may have its schema in front; each is still to be checked."""
    return given.split(".") if isinstance(given, str) else [check_name(given)]


def check_tenant(tenant_id: str) -> str:
    """Returns the tenant of a call as text, if it can be one and is the one that the code runs for.

    Raises:
        MissingTenantError: It is blank.
        InvalidKeyError: It is neither text nor an int nor a UUID.
        TenantMismatchError: The code runs for another one.
    """
    text = tenant_text(tenant_id)
    around = AmbientTenant.tenants()
    if text not in around and None not in around:
        raise TenantMismatchError("the argument tenant_id", text, str(around[0]))
    return text
