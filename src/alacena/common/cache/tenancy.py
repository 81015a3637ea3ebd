"""For whom a call works: the tenant given, else the ambient one, else an error."""

from __future__ import annotations

from types import EllipsisType
from typing import TypeAlias

from alacena.common.context.vars import TENANT
from alacena.engine import Scope
from alacena.engine.errors import MissingTenantError
from alacena.engine.scope import tenant_text

Id: TypeAlias = str | EllipsisType | None
"""An optional id. ``...`` counts as left out: the guide writes it where the optional arguments of a call stand."""


def tenant_of(tenant_id: str | None) -> str:
    """The tenant given, as text, else the ambient one.

    Raises:
        MissingTenantError: There is neither.
        InvalidKeyError: It is neither text nor an int nor a UUID.
    """
    if tenant_id is None:
        tenant_id = TENANT.get()
        if tenant_id is None:
            raise MissingTenantError
    return tenant_id if type(tenant_id) is str else tenant_text(tenant_id)


def scope_of(tenant_id: str | None, agent_id: Id = None, conversation_id: Id = None, collection_id: Id = None) -> Scope:
    """The scope of a call: only the tenant may come from the ambient context.

    Raises:
        MissingTenantError: No tenant is given and none is ambient.
        InvalidKeyError: A part is blank or not text.
    """
    return Scope(tenant_of(tenant_id), left_out(agent_id), left_out(conversation_id), left_out(collection_id))


def left_out(value: Id) -> str | None:
    """The id, or ``None`` for ``...``."""
    return None if isinstance(value, EllipsisType) else value
