"""The owner of an entry: the tenant, and inside it agent, conversation, collection, user and permissions."""

from __future__ import annotations

from collections.abc import Container, Iterable  # noqa: TC003 - the types of a public dataclass can be asked for
from dataclasses import dataclass
from enum import Enum
from itertools import combinations
from numbers import Integral
from typing import Any, Final, TypeAlias
from uuid import UUID

from alacena.engine.base.errors import InvalidKeyError, MissingTenantError, UsageError, show

SYSTEM_TENANT: Final = "system"
"""The reserved tenant of what belongs to no tenant."""

LONGEST_TENANT_BYTES: Final = 512
"""The longest id of a tenant, in bytes of UTF-8: the ledger indexes it beside other columns, and no verb takes a longer one."""

DIMENSIONS: Final = ("user_id", "permissions", "agent_id", "conversation_id", "collection_id")
"""The parts of a scope below the tenant, in the order in which they outrank one another in a search."""


def identifier(name: str, value: object) -> str:
    """Returns one part of a key as text: exactly ``str``, so that equal parts are equal in every key and every table.

    Strings are taken literally (separators, NUL and emoji included); integers (numpy's too) and UUIDs by their usual
    text; a member of an `Enum` by its value; a subclass of ``str`` by its characters.

    Args:
        name: The name of the part, for the error message.
        value: The part.

    Raises:
        InvalidKeyError: The part is blank, or of a type that has no single text form.
    """
    text = value if type(value) is str else _text(name, value)
    if text and not text.isspace():
        return text
    raise InvalidKeyError(f"{name} is blank: give a string with at least one visible character")


def _text(name: str, value: object) -> str:
    if isinstance(value, Enum):
        # Its own str() and hash() go by its name, and differ between versions of Python.
        return identifier(name, value.value)
    if isinstance(value, str):
        # The characters, not what a subclass makes of them: format() of a str enumeration changed in Python 3.11.
        return str.__str__(value)
    if isinstance(value, UUID):
        return str(value)
    # True would be "1" by its index and "True" by its text: two keys for one id.
    if isinstance(value, Integral) and not _is_bool(value):
        return int.__repr__(int(value))
    raise InvalidKeyError(
        f"{name} must be a string, an int, a UUID or a member of an Enum, not {type(value).__name__}: {show(value)}"
    )


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def tenant_text(value: object) -> str:
    """Returns a tenant as text, by the rule of :func:`identifier`.

    Raises:
        MissingTenantError: It is ``None`` or blank.
        InvalidKeyError: It is of a type that has no single text form, or longer than 512 bytes.
    """
    if value is None or (isinstance(value, str) and not str.strip(value)):
        raise MissingTenantError
    return check_tenant_length(identifier("tenant_id", value))


def check_tenant_length(tenant_id: str) -> str:
    """Returns a tenant's text, if it is not too long.

    Raises:
        InvalidKeyError: It has more than 512 bytes.
    """
    # One comparison for nearly all: no character has more than four bytes.
    if len(tenant_id) * 4 > LONGEST_TENANT_BYTES:
        length = len(tenant_id.encode("utf-8", "surrogatepass"))
        if length > LONGEST_TENANT_BYTES:
            raise InvalidKeyError(
                f"tenant_id has {length} bytes, and at most {LONGEST_TENANT_BYTES} are taken: give the tenant's id, not a "
                "token or a document that holds it"
            )
    return tenant_id


def permission_set(permissions: Iterable[str]) -> frozenset[str]:
    """Returns permissions as a set of texts: neither their order nor a repetition counts. A lone text is one of them.

    Raises:
        InvalidKeyError: One of them is blank or not text.
    """
    return frozenset(identifier("permissions", one) for one in several(permissions))


def several(given: Any) -> Iterable[Any]:
    """Returns the elements of an argument that takes one or several; a text is one."""
    if isinstance(given, str | bytes | bytearray):
        return (given,)
    try:
        # The iterator and not the argument: an array of no dimensions has the method, and cannot be gone through.
        found: Iterable[Any] = iter(given)
    except TypeError:
        return (given,)
    return found


def check_order(tenant_id: object, data_type: str | None, types: Container[str], order: str) -> None:
    """Refuses a known data type in the place of the tenant, in verbs that take the tenant first.

    Raises:
        InvalidKeyError: The tenant is called like one of ``types``, and the data type is none of them.
    """
    if isinstance(tenant_id, str) and tenant_id in types and data_type not in types:
        raise InvalidKeyError(
            f"{tenant_id!r} is a data type, and stands in the place of the tenant: write {order}; a tenant of that name "
            f"is Scope({tenant_id!r})"
        )


def check_pairs(resources: Iterable[object], order: str) -> None:
    """Refuses resources that are not pairs of a data type and an id.

    Raises:
        InvalidKeyError: One of them is none.
    """
    for resource in resources:
        if not isinstance(resource, tuple | list) or len(resource) != 2:
            raise InvalidKeyError(f"{show(resource)} is no pair of data type and id: write {order}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Part of an entry's identity: two entries with different scopes never answer for each other.

    A value that was loaded with a user's rights belongs to a scope that names these rights: by ``user_id``, or by
    ``permissions`` if all readers with the same ones may see it. An entry that names neither is public in its tenant.

    Attributes:
        tenant_id: The tenant; never optional.
        agent_id: The agent the entry belongs to, or ``None``.
        conversation_id: The conversation, or ``None``.
        collection_id: The collection, or ``None``.
        user_id: The user, or ``None``.
        permissions: The set of permissions that the entry was made under, or ``None``; the empty set is a set too.

    Raises:
        MissingTenantError: ``tenant_id`` is ``None`` or blank.
        InvalidKeyError: ``tenant_id`` has more than 512 bytes; another part is blank or not text.
    """

    tenant_id: str
    agent_id: str | None = None
    conversation_id: str | None = None
    collection_id: str | None = None
    user_id: str | None = None
    permissions: Iterable[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tenant_id", tenant_text(self.tenant_id))
        for name in DIMENSIONS:
            value = getattr(self, name)
            if value is not None:
                checked = permission_set(value) if name == "permissions" else identifier(name, value)
                # The dataclass is frozen for users; its own checks may still write.
                object.__setattr__(self, name, checked)

    @property
    def is_tenant_wide(self) -> bool:
        """Whether the scope names the tenant and nothing below it."""
        return not self.names_reader and self.agent_id is self.conversation_id is self.collection_id is None

    @property
    def names_reader(self) -> bool:
        """Whether the scope limits the readers of the entry: a user, or a set of permissions."""
        return self.user_id is not None or self.permissions is not None

    @property
    def parts(self) -> dict[str, str]:
        """The parts that it names below the tenant."""
        return {name: value for name in DIMENSIONS if (value := getattr(self, name)) is not None}

    def widening(self) -> tuple[Scope, ...]:
        """This scope and every more general one down to the tenant, most specific first.

        A scope with permissions never widens to one that names its user alone: such an entry was made with all that the
        user may do, and a reader with permissions may be allowed less.
        """
        if self.is_tenant_wide:
            return (self,)
        given = [name for name in DIMENSIONS if getattr(self, name) is not None]
        return tuple(
            Scope(self.tenant_id, **{name: getattr(self, name) for name in kept})
            for size in range(len(given), -1, -1)
            for kept in combinations(given, size)
            # See the docstring: without this line a reader with fewer rights meets what was made with all of the user's.
            if self.permissions is None or "permissions" in kept or "user_id" not in kept
        )


Reader: TypeAlias = tuple[str | None, frozenset[str] | None]
"""The reader that an entry names: its user and its permissions, each ``None`` if it names none."""


def covers(inner: Reader, outer: Reader) -> bool:
    """Returns whether all who are served an entry of the reader ``outer`` may see what belongs to ``inner``.

    A user may see all of their own. A reader with permissions may be allowed less than the user, and more than
    fewer permissions allow.
    """
    (user_id, permissions), (for_user, for_permissions) = inner, outer
    if user_id is not None and user_id != for_user:
        return False
    if for_permissions is None:
        return for_user is not None
    return permissions is not None and permissions <= for_permissions


def make_scope(tenant_id: str | Scope, *within: Any, **parts: Any) -> Scope:
    """Returns the scope given, else that of a tenant and of the parts named inside it.

    Raises:
        MissingTenantError: There is no tenant.
        InvalidKeyError: A part is blank, or of a type that has no single text form.
        UsageError: A part stands beside a whole scope, which would be ignored.
    """
    if isinstance(tenant_id, Scope):
        for part in (*within, *parts.values()):
            if part is not None:
                raise UsageError("a part of the scope stands beside a whole Scope: write it into the Scope")
        return tenant_id
    if tenant_id is None:
        raise MissingTenantError
    return Scope(tenant_id, *within, **parts)
