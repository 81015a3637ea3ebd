"""Whose entry it is: the tenant, and the agent, conversation and collection inside it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Final
from uuid import UUID

from alacena.engine.errors import InvalidKeyError, MissingTenantError

SYSTEM_TENANT: Final = "system"
"""The reserved tenant of what belongs to no tenant."""

DIMENSIONS: Final = ("agent_id", "conversation_id", "collection_id")
"""The parts of a scope below the tenant, in the order in which they outrank one another in a search."""


def identifier(name: str, value: object) -> str:
    """Check one part of a key and return it as text.

    Strings are taken literally (separators, NUL and emoji included); integers and UUIDs by their usual text.

    Args:
        name: What the part is, for the error message.
        value: The part.

    Raises:
        InvalidKeyError: The part is blank, or of a type that has no single text form.
    """
    if isinstance(value, str):
        if value and not value.isspace():
            return value
        raise InvalidKeyError(f"{name} is blank: give a string with at least one visible character")
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise InvalidKeyError(f"{name} must be a string, an int or a UUID, not {type(value).__name__}: {value!r:.80}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Part of an entry's identity: two entries with different scopes never answer for each other.

    Attributes:
        tenant_id: The tenant; never optional.
        agent_id: The agent the entry belongs to, or ``None``.
        conversation_id: The conversation, or ``None``.
        collection_id: The collection, or ``None``.

    Raises:
        MissingTenantError: ``tenant_id`` is ``None`` or blank.
        InvalidKeyError: Another part is blank or not text.
    """

    tenant_id: str
    agent_id: str | None = None
    conversation_id: str | None = None
    collection_id: str | None = None

    def __post_init__(self) -> None:
        if self.tenant_id is None or (isinstance(self.tenant_id, str) and not self.tenant_id.strip()):
            raise MissingTenantError
        object.__setattr__(self, "tenant_id", identifier("tenant_id", self.tenant_id))
        for name in DIMENSIONS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, identifier(name, value))

    @property
    def is_tenant_wide(self) -> bool:
        """Whether the scope names the tenant and nothing below it."""
        return self.agent_id is None and self.conversation_id is None and self.collection_id is None

    def widening(self) -> tuple[Scope, ...]:
        """This scope and every more general one down to the tenant, most specific first."""
        if self.is_tenant_wide:
            return (self,)
        given = [name for name in DIMENSIONS if getattr(self, name) is not None]
        return tuple(
            Scope(self.tenant_id, **{name: getattr(self, name) for name in kept})
            for size in range(len(given), -1, -1)
            for kept in combinations(given, size)
        )
