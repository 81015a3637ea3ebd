"""The caller of a unit of work: a request, a connection, a job; made ambient for as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any, Final
from uuid import UUID

from alacena import SYSTEM_TENANT, InvalidKeyError, MissingTenantError, Scope, TenantMismatchError
from alacena.common.context import (
    get_current_tenant_id,
    get_current_user_id,
    get_full_context,
    is_valid_tenant_id,
    set_current_agent_id,
    set_current_collection_id,
    set_current_conversation_id,
    set_current_tenant_id,
    set_current_user_id,
)
from alacena.common.context.context import ON_LEAVE
from alacena.common.context.vars import FIELDS, note_reader, user_of_code
from alacena.engine.base.ambient_tenant import undo
from alacena.engine.base.errors import show

_SETTERS: Final = {
    "tenant_id": set_current_tenant_id,
    "agent_id": set_current_agent_id,
    "conversation_id": set_current_conversation_id,
    "collection_id": set_current_collection_id,
    "user_id": set_current_user_id,
}

AMBIENT: Final = tuple(_SETTERS)
"""The fields of a caller that are ambient while it is served."""


LABEL: Final = "alacena_"
"""What the ids are called in messages to workers, before the name of the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The caller of a request or a job, as its authentication says it.

    The ids become ambient. The permissions do not: a value that was made with them is named with them at the call, as
    in ``get_with_cache_aside(..., permissions=caller.permissions)`` or with `scope`.

    Attributes:
        tenant_id: The tenant.
        user_id: The user.
        permissions: The user's permissions, if answers differ by it.
        agent_id: The agent.
        conversation_id: The conversation.
        collection_id: The collection.

    Raises:
        MissingTenantError: The tenant is no tenant of a caller: missing, blank, ``"default"``, the nil UUID or
            ``"system"``, the entries of which are every tenant's.
        InvalidKeyError: Another id is blank or not text.
    """

    tenant_id: str
    user_id: str | None = None
    permissions: frozenset[str] | None = None
    agent_id: str | None = None
    conversation_id: str | None = None
    collection_id: str | None = None

    def __post_init__(self) -> None:
        tenant_id = self.tenant_id if self.tenant_id is None else str(self.tenant_id)
        if not is_valid_tenant_id(tenant_id) or tenant_id == SYSTEM_TENANT:
            msg = f"{show(self.tenant_id)} is no tenant that a caller can work for"
            raise MissingTenantError(msg)
        checked = Scope(**{field.name: getattr(self, field.name) for field in fields(self)})
        # Scope has checked each id and made text of it. The class is frozen: there is no other way to set it.
        for field in fields(self):
            object.__setattr__(self, field.name, getattr(checked, field.name))

    @classmethod
    def of(cls, named: object) -> Caller:
        """Returns the caller that an application named: a caller, a tenant as text, or a mapping of the fields.

        Raises:
            MissingTenantError: It names none.
            InvalidKeyError: It is of another kind, or an id in it is blank.
        """
        if isinstance(named, Caller):
            return named
        if named is None or isinstance(named, str | UUID):
            return cls(tenant_id=str(named or ""))
        if isinstance(named, Mapping):
            known = {field.name for field in fields(cls)}
            return cls(**{"tenant_id": "", **{name: named[name] for name in named if name in known}})
        kind = type(named).__name__
        raise InvalidKeyError(f"a caller is a Caller, a tenant's id or a mapping with tenant_id, not {kind}")

    @property
    def ids(self) -> dict[str, str]:
        """The ids that become ambient, by field."""
        given = {name: getattr(self, name) for name in AMBIENT}
        return {name: value for name, value in given.items() if value is not None}

    def scope(self) -> Scope:
        """Returns the scope of this caller's view: the tenant with the user and the permissions."""
        permissions: Iterable[str] | None = self.permissions
        return Scope(self.tenant_id, user_id=self.user_id, permissions=permissions)


_CALLER: Final[ContextVar[Caller | None]] = ContextVar("alacena.caller", default=None)


class Serving:
    """A block of code that works for one caller: the ids named are ambient in it, and no other id that was so before.

    Args:
        whom: The caller to work for, or ids by field; empty: no caller, so that verbs which need a tenant refuse.
    """

    __slots__ = ("_caller", "_ids", "_undo")

    def __init__(self, whom: Caller | Mapping[str, str]) -> None:
        self._caller = whom if isinstance(whom, Caller) else None
        self._ids = whom.ids if isinstance(whom, Caller) else whom

    def __enter__(self) -> None:
        # If an id is refused, the ids before it must not stay ambient in a thread that works for others next.
        with ExitStack() as stack:
            stack.callback(undo, _CALLER, _CALLER.set(self._caller))
            for name, setter in _SETTERS.items():
                stack.callback(undo, FIELDS[name], setter(self._ids.get(name)))
            self._undo = stack.pop_all()

    def __exit__(self, *_: object) -> None:
        self._undo.close()
        for tell in ON_LEAVE:
            tell()


def ambient_ids() -> dict[str, Any]:
    """Returns the ids that are ambient, by field."""
    ids = {**get_full_context(), "user_id": user_of_code()}
    return {name: value for name, value in ids.items() if value is not None}


def current_caller() -> Caller:
    """Returns the caller that is ambient, with its permissions if the code still works for the served one.

    Raises:
        MissingTenantError: None is.
    """
    if get_current_tenant_id() is None:
        raise MissingTenantError
    get_current_user_id()  # a source that asks who the caller is makes a value for it
    permissions = ambient_permissions()
    if permissions is not None:  # a caller without a user is a reader too
        note_reader()
    return Caller(**ambient_ids(), permissions=permissions)


def current_scope() -> Scope:
    """Returns the scope of the ambient caller's view: tenant, user and permissions.

    Raises:
        MissingTenantError: No tenant is ambient.
    """
    tenant_id = get_current_tenant_id()
    if tenant_id is None:
        raise MissingTenantError
    return scope_for(tenant_id)


def scope_for(tenant_id: str) -> Scope:
    """Returns the scope of the ambient user's view in a tenant, which need not be the ambient one."""
    # Permissions in one tenant say nothing about what the same user may see in another.
    permissions = ambient_permissions() if tenant_id == get_current_tenant_id() else None
    return Scope(tenant_id, user_id=user_of_code(), permissions=permissions)


def ambient_permissions() -> frozenset[str] | None:
    """Returns the permissions of the served caller, unless the code has begun to work for another caller since."""
    known = _CALLER.get()
    if known is None or (known.tenant_id, known.user_id) != (get_current_tenant_id(), user_of_code()):
        return None
    return known.permissions


def labels_of(ids: Mapping[str, str], labels: Mapping[str, Any]) -> dict[str, str]:
    """Returns the labels of a message to a worker: its own, and the given ids.

    Args:
        ids: The ids that are ambient where it is sent.
        labels: Its own labels.

    Raises:
        TenantMismatchError: It names another tenant than the ambient one.
    """
    named = ids_in(labels)
    if "tenant_id" in ids and named.get("tenant_id", ids["tenant_id"]) != ids["tenant_id"]:
        raise TenantMismatchError(f"the label {LABEL}tenant_id", named["tenant_id"], ids["tenant_id"])
    return {f"{LABEL}{name}": value for name, value in {**ids, **named}.items()}


def ids_in(labels: Mapping[str, Any]) -> dict[str, str]:
    """Returns the ids that a message names, by field."""
    given = {name: labels.get(f"{LABEL}{name}") for name in AMBIENT}
    return {name: value for name, value in given.items() if isinstance(value, str) and value.strip()}
