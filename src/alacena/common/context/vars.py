"""Who the running code works for: one context variable a field, each with a getter and a setter.

Tasks inherit the values of the task that starts them, and never change those of the starter.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, Final, TypeAlias

from alacena.common.context.generators import GeneratorValue, ambient
from alacena.constants import NIL_TENANT_ID
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError, TenantMismatchError, UsageError
from alacena.engine.base.scope import identifier, tenant_text
from alacena.sources.surroundings import Surroundings

OptionalId: TypeAlias = str | None
Field: TypeAlias = ContextVar[str | GeneratorValue | None]

TENANT: Final[Field] = ContextVar("alacena.tenant_id", default=None)
AGENT: Final[Field] = ContextVar("alacena.agent_id", default=None)
CONVERSATION: Final[Field] = ContextVar("alacena.conversation_id", default=None)
COLLECTION: Final[Field] = ContextVar("alacena.collection_id", default=None)
USER: Final[Field] = ContextVar("alacena.user_id", default=None)

ambient_tenant: Final = TENANT.get
"""The ambient tenant as it was set. Every hit in memory asks, so it is bound once."""

Surroundings.tenant = staticmethod(lambda: ambient(TENANT))

FIELDS: Final[dict[str, Field]] = {
    "tenant_id": TENANT,
    "agent_id": AGENT,
    "conversation_id": CONVERSATION,
    "collection_id": COLLECTION,
    "user_id": USER,
}

_NOT_TENANTS: Final = frozenset({"default", NIL_TENANT_ID})


def checked_id(name: str, value: object) -> OptionalId:
    """``value`` as the id of a field, by the rule of every id (`alacena.engine.base.scope.identifier`), or ``None``.

    Raises:
        InvalidKeyError: It is blank, or neither text nor an int nor a UUID.
    """
    return None if value is None else identifier(name, value)


def is_valid_tenant_id(tenant_id: object) -> bool:
    """Whether this can name a tenant: an id (text, an int or a UUID) that is neither ``"default"`` nor the nil UUID."""
    try:
        return tenant_text(tenant_id) not in _NOT_TENANTS
    except UsageError:
        return False


def require_tenant(tenant_id: object) -> str:
    """``tenant_id`` as text, if it can name a tenant.

    Raises:
        MissingTenantError: It is missing, blank, ``"default"`` or the nil UUID.
        InvalidKeyError: It is neither text nor an int nor a UUID.
    """
    text = tenant_text(tenant_id)
    if is_valid_tenant_id(text):
        return text
    msg = f"{text!r} names no tenant: pass the real one (or 'system' for what belongs to nobody)"
    raise MissingTenantError(msg)


def agreed_tenant(*named: tuple[str, object]) -> OptionalId:
    """Returns the one tenant that all the given names and the surroundings mean; ``None`` if nobody names one.

    Args:
        named: ``(where it stands, tenant or None)``, for the message.

    Raises:
        TenantMismatchError: Two of them differ.
        MissingTenantError: One of them is blank.
        InvalidKeyError: One of them is of a type that has no text.
    """
    agreed = ambient(TENANT)
    for source, value in named:
        if value is None:
            continue
        text = tenant_text(value)
        if agreed is not None and text != agreed:
            raise TenantMismatchError(source, text, agreed)
        agreed = text
    return agreed


def get_current_tenant_id() -> OptionalId:
    """The ambient tenant, or ``None``."""
    return ambient(TENANT)


def get_current_agent_id() -> OptionalId:
    """The ambient agent, or ``None``."""
    return ambient(AGENT)


def get_current_conversation_id() -> OptionalId:
    """The ambient conversation, or ``None``."""
    return ambient(CONVERSATION)


def get_current_collection_id() -> OptionalId:
    """The ambient collection, or ``None``."""
    return ambient(COLLECTION)


def get_current_user_id() -> OptionalId:
    """The ambient user, or ``None``."""
    return ambient(USER)


def set_current_tenant_id(tenant_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Set the ambient tenant; give the token to `reset_context` afterwards. Prefer ``with Context(...)``."""
    return TENANT.set(checked_id("tenant_id", tenant_id))


def set_current_agent_id(agent_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Set the ambient agent; give the token to `reset_context` afterwards."""
    return AGENT.set(checked_id("agent_id", agent_id))


def set_current_conversation_id(conversation_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Set the ambient conversation; give the token to `reset_context` afterwards."""
    return CONVERSATION.set(checked_id("conversation_id", conversation_id))


def set_current_collection_id(collection_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Set the ambient collection; give the token to `reset_context` afterwards."""
    return COLLECTION.set(checked_id("collection_id", collection_id))


def set_current_user_id(user_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Set the ambient user; give the token to `reset_context` afterwards."""
    return USER.set(checked_id("user_id", user_id))


def reset_context(token: Token[Any], name: str) -> None:
    """Undo one setter.

    Args:
        token: What the setter returned.
        name: The field it set, such as ``"tenant_id"``.

    Raises:
        InvalidKeyError: There is no field of that name.
    """
    variable = FIELDS.get(name)
    if variable is None:
        msg = f"there is no context field {name!r}: write one of {', '.join(FIELDS)}"
        raise InvalidKeyError(msg)
    variable.reset(token)


def get_full_context() -> dict[str, OptionalId]:
    """The ambient tenant, agent, conversation and collection by name."""
    return {
        "tenant_id": ambient(TENANT),
        "agent_id": ambient(AGENT),
        "conversation_id": ambient(CONVERSATION),
        "collection_id": ambient(COLLECTION),
    }
