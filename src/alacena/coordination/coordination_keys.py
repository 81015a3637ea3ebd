"""Names of coordination objects: everything that belongs to one object shares its tenant's hash tag."""

from __future__ import annotations

from typing import Protocol

from alacena.engine.base.scope import identifier, tenant_text


class CoordinationKeys(Protocol):
    """Renders keys: readable, injective, bound to their tenant."""

    def render(self, kind: str, tenant_id: str, *parts: str) -> str:
        """Returns a key of ``kind``; its parts cannot be mistaken for other parts; its hash tag is the tenant's."""
        ...


def coordination_key(keys: CoordinationKeys, kind: str, tenant_id: str, name: str, *parts: str) -> str:
    """Returns the key of one part of a coordination object.

    Raises:
        MissingTenantError: ``tenant_id`` is blank.
        InvalidKeyError: ``name`` or a part is blank or not text.
    """
    what = f"the name of a {kind}"
    return keys.render(kind, tenant_text(tenant_id), *(identifier(what, part) for part in (name, *parts)))
