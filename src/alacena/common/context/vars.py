"""The ambient ids of the running code: one context variable a field, each with a getter and a setter.

Tasks inherit the values of the task that starts them, and never change those of the starter.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, Final, TypeAlias

from alacena.common.context.generator_blocks import GeneratorValue, ambient, possible
from alacena.constants import NIL_TENANT_ID
from alacena.engine.base.ambient_tenant import AmbientTenant
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError, TenantMismatchError, UsageError, show
from alacena.engine.base.scope import check_tenant_length, identifier, tenant_text
from alacena.engine.loading.load import LOAD

OptionalId: TypeAlias = str | None
Field: TypeAlias = ContextVar[str | GeneratorValue | None]

TENANT: Final[Field] = ContextVar("alacena.tenant_id", default=None)
AGENT: Final[Field] = ContextVar("alacena.agent_id", default=None)
CONVERSATION: Final[Field] = ContextVar("alacena.conversation_id", default=None)
COLLECTION: Final[Field] = ContextVar("alacena.collection_id", default=None)
USER: Final[Field] = ContextVar("alacena.user_id", default=None)

ambient_tenant: Final = TENANT.get
"""The ambient tenant as it was set. Every hit in memory asks, so it is bound once."""

# The layers below this package must not import it, so they are told here how to ask for the tenant.
AmbientTenant.tenants = staticmethod(lambda: possible(TENANT.get()))

FIELDS: Final[dict[str, Field]] = {
    "tenant_id": TENANT,
    "agent_id": AGENT,
    "conversation_id": CONVERSATION,
    "collection_id": COLLECTION,
    "user_id": USER,
}

_NOT_TENANTS: Final = frozenset({"default", NIL_TENANT_ID})


def check_id(name: str, value: object) -> OptionalId:
    """Returns ``value`` as the id of a field, by the rule of every id (`alacena.engine.base.scope.identifier`), or ``None``.

    Raises:
        InvalidKeyError: It is blank, or neither text nor an int nor a UUID; or a tenant of more than 512 bytes.
    """
    if value is None:
        return None
    text = identifier(name, value)
    return check_tenant_length(text) if name == "tenant_id" else text


def is_valid_tenant_id(tenant_id: object) -> bool:
    """Returns whether this can name a tenant: an id (text, an int or a UUID) that is neither ``"default"`` nor the nil UUID."""
    try:
        return tenant_text(tenant_id) not in _NOT_TENANTS
    except UsageError:
        return False


def require_tenant(tenant_id: object) -> str:
    """Returns ``tenant_id`` as text, if it can name a tenant.

    Raises:
        MissingTenantError: It is missing, blank, ``"default"`` or the nil UUID.
        InvalidKeyError: It is neither text nor an int nor a UUID.
    """
    text = tenant_text(tenant_id)
    if is_valid_tenant_id(text):
        return text
    msg = f"{text!r} names no tenant: pass the real one (or 'system' for entries of no tenant)"
    raise MissingTenantError(msg)


def agree_on_tenant(*named: tuple[str, object]) -> OptionalId:
    """Returns the one tenant that all the given names and the surroundings mean; ``None`` if none is named.

    A task that was started while a generator was inside a block may work for either side: it must name one of them.

    Args:
        named: ``(where it stands, tenant or None)``, for the message.

    Raises:
        TenantMismatchError: Two of them differ.
        MissingTenantError: One of them is blank.
        InvalidKeyError: One of them is of a type that has no text.
        UsageError: None is given, and it cannot be told which one the surroundings mean.
    """
    around = possible(TENANT.get())
    for source, value in named:
        if value is None:
            continue
        text = tenant_text(value)
        if text not in around and None not in around:
            raise TenantMismatchError(source, text, str(around[0]))
        # One name is enough from here on, also for a task that may be of either side of a generator.
        around = (text,)
    # With several left, ambient() raises: they are all possible, and nothing that was given tells which one is meant.
    return around[0] if len(around) == 1 else ambient(TENANT)


def get_current_tenant_id() -> OptionalId:
    """Returns the ambient tenant, or ``None``."""
    return ambient(TENANT)


def get_current_agent_id() -> OptionalId:
    """Returns the ambient agent, or ``None``."""
    return ambient(AGENT)


def get_current_conversation_id() -> OptionalId:
    """Returns the ambient conversation, or ``None``."""
    return ambient(CONVERSATION)


def get_current_collection_id() -> OptionalId:
    """Returns the ambient collection, or ``None``."""
    return ambient(COLLECTION)


def get_current_user_id() -> OptionalId:
    """Returns the ambient user, or ``None``.

    A source that asks for it makes a value for this user: if its entry names neither a user nor permissions, the value is
    for the caller alone, and not stored.
    """
    user = ambient(USER)
    if user is not None:
        note_reader()
    return user


def note_reader() -> None:
    """Notes for the load under way, if there is one, that its source has asked for the user."""
    if (load := LOAD.get()) is not None:
        load.keep_for_reader()


def user_of_code() -> OptionalId:
    """Returns the ambient user, or ``None``, for labels and keys: no value is made of it."""
    return ambient(USER)


def set_current_tenant_id(tenant_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Sets the ambient tenant; the token goes to `reset_context` afterwards. Prefer ``with Context(...)``."""
    return TENANT.set(check_id("tenant_id", tenant_id))


def set_current_agent_id(agent_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Sets the ambient agent; the token goes to `reset_context` afterwards."""
    return AGENT.set(check_id("agent_id", agent_id))


def set_current_conversation_id(conversation_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Sets the ambient conversation; the token goes to `reset_context` afterwards."""
    return CONVERSATION.set(check_id("conversation_id", conversation_id))


def set_current_collection_id(collection_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Sets the ambient collection; the token goes to `reset_context` afterwards."""
    return COLLECTION.set(check_id("collection_id", collection_id))


def set_current_user_id(user_id: OptionalId) -> Token[str | GeneratorValue | None]:
    """Sets the ambient user; the token goes to `reset_context` afterwards."""
    return USER.set(check_id("user_id", user_id))


def reset_context(token: Token[Any], name: str) -> None:
    """Undoes one setter.

    Args:
        token: The setter's result.
        name: The field it set, such as ``"tenant_id"``.

    Raises:
        InvalidKeyError: There is no field of that name.
    """
    if not isinstance(name, str) or name not in FIELDS:
        raise InvalidKeyError(f"there is no context field {show(name)}: write one of {', '.join(FIELDS)}")
    if not isinstance(token, Token):
        raise InvalidKeyError(f"token must be what the setter gave, not a {type(token).__name__}")
    FIELDS[name].reset(token)


def get_full_context() -> dict[str, OptionalId]:
    """Returns the ambient tenant, agent, conversation and collection by name."""
    return {
        "tenant_id": ambient(TENANT),
        "agent_id": ambient(AGENT),
        "conversation_id": ambient(CONVERSATION),
        "collection_id": ambient(COLLECTION),
    }


def get_context_log_prefix() -> str:
    """Returns the ambient ids as a prefix for a log line, such as ``"[tenant_id=acme agent_id=a1] "``; empty without any."""
    present = " ".join(f"{field}={value}" for field, value in get_full_context().items() if value)
    return f"[{present}] " if present else ""
