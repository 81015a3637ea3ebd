"""The tenant of a call: the surroundings say it, and every other name of a tenant must agree with them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from types import EllipsisType
from typing import Any, Final, TypeAlias, cast

from alacena.common import runtime
from alacena.common.context.generator_blocks import possible
from alacena.common.context.load_access import require_reader
from alacena.common.context.vars import TENANT, agree_on_tenant
from alacena.constants import DEFAULT_TTL_MAPPING
from alacena.engine import SYSTEM_TENANT, Scope, TenantMismatchError
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError
from alacena.engine.base.scope import identifier, tenant_text

Id: TypeAlias = str | EllipsisType | None
"""An optional id. ``...`` counts as left out: the guide writes it where the optional arguments of a call stand."""

Permissions: TypeAlias = Iterable[str] | None
"""A set of permissions, or ``None`` if a call names none."""

_SCALARS: Final = (str, bytes, bytearray, int, float, complex, type(None))
_ROWS: Final = (list, tuple, set, frozenset, deque)
_LEAVES: Final[frozenset[type]] = frozenset((*_SCALARS, bool))
_ABOUT: Final = ("node", "document", "payload")
"""What search results call the thing that was found."""
_SPEAKING: Final = ("tenant_id", "metadata", *_ABOUT)
"""Fields in which a value can say whose it is."""
_MOST_PARTS: Final = 20_000
"""How many parts of one value are looked at."""


def tenant_of(tenant_id: str | None, ctx: Any = None) -> str:
    """Returns the tenant that a call works for, as text: that of the argument, of ``ctx`` and of the surroundings agree.

    Args:
        tenant_id: The argument.
        ctx: A context that was passed to the call.

    Raises:
        MissingTenantError: None of them names one.
        TenantMismatchError: Two of them name different ones.
        InvalidKeyError: One of them is neither text nor an int nor a UUID.
    """
    # The value of a generator equals no text: it takes the long way, which asks whether the generator runs.
    if ctx is None and tenant_id is not None and (tenant_id == TENANT.get() or TENANT.get() is None):
        return tenant_id if type(tenant_id) is str else tenant_text(tenant_id)
    tenant = agree_on_tenant(("the argument tenant_id", tenant_id), ("the argument ctx", tenant_in_context(ctx)))
    if tenant is None:
        raise MissingTenantError
    return tenant


def tenant_in_context(ctx: Any) -> str | None:
    """Returns the tenant that a context names itself, of our make or another, or ``None``."""
    return None if ctx is None else getattr(ctx, "tenant_id", None)


def scope_of(
    tenant_id: str | None,
    agent_id: Id = None,
    conversation_id: Id = None,
    collection_id: Id = None,
    user_id: Id = None,
    permissions: Permissions | EllipsisType = None,
    *,
    ctx: Any = None,
) -> Scope:
    """Returns the scope of a call: only the tenant may come from the ambient context.

    Raises:
        MissingTenantError: No tenant is given and none is ambient.
        TenantMismatchError: Two tenants are named.
        InvalidKeyError: A part is blank or not text.
        UsageError: A load whose own entry is for the whole tenant asks for one reader's.
    """
    scope = Scope(
        tenant_of(tenant_id, ctx),
        resolve_ellipsis(agent_id),
        resolve_ellipsis(conversation_id),
        resolve_ellipsis(collection_id),
        resolve_ellipsis(user_id),
        None if isinstance(permissions, EllipsisType) else permissions,
    )
    if scope.names_reader:
        reader = (scope.user_id, cast("frozenset[str] | None", scope.permissions))
        require_reader("this reads or writes what belongs to a user or a set of permissions", reader)
    return scope


def tenant_first(tenant_id: str | None, data_type: str | None, order: str) -> str | Scope:
    """Returns the tenant of a call that takes it first; one that the surroundings confirm, as a scope.

    Args:
        tenant_id: The first argument.
        data_type: The second one.
        order: How the call is written, for the message.

    Raises:
        InvalidKeyError: The tenant is a known data type and the data type is none: the arguments are swapped.
    """
    around = possible(TENANT.get())
    if tenant_id is not None and tenant_id not in around and _is_type(tenant_id) and not _is_type(data_type):
        raise InvalidKeyError(f"{tenant_id!r} is a data type, and stands in the place of the tenant: write {order}")
    tenant = tenant_of(tenant_id)
    # The engine refuses text that is a data type in the tenant's place, as swapped arguments look like that. This
    # tenant is confirmed by the surroundings, and a Scope passes.
    return Scope(tenant) if tenant in around else tenant


def _is_type(name: object) -> bool:
    return isinstance(name, str) and (name in DEFAULT_TTL_MAPPING or name in runtime.PROCESS.policies)


def resolve_ellipsis(value: Id) -> str | None:
    """Returns the id, or ``None`` for ``...``."""
    return None if isinstance(value, EllipsisType) else value


def check_data(value: Any, tenant_id: str) -> Any:
    """Returns ``value``, unless it says that it is another tenant's: data never chooses its tenant.

    Read are ``tenant_id`` of a dict or an object, that of its ``metadata``, and of the ``node``, ``document`` or
    ``payload`` that it is about; and the same of the elements of lists, tuples and sets, and of lists under the keys of a dict,
    such as the rows of an answer or pairs of a document and its score. A dict inside a dict may speak of anything it
    likes. Code that belongs to no tenant (``"system"``) may speak of all of them.

    Raises:
        TenantMismatchError: It names another tenant.
    """
    if (type(value) is dict and _says_nothing(value)) or isinstance(value, _SCALARS) or tenant_id == SYSTEM_TENANT:
        return value
    # Breadth first: in a value of more parts than are looked at, what is near its top is checked.
    todo, left = deque((value,)), _MOST_PARTS
    while todo and left:
        left -= 1
        part = todo.popleft()
        if isinstance(part, _ROWS):
            # Of a huge row no more is queued than will be looked at.
            todo.extend(item for item in islice(part, _MOST_PARTS) if not isinstance(item, _SCALARS))
            continue
        _check_one(part, tenant_id)
        if type(part) is dict:
            todo.extend(rows for rows in part.values() if isinstance(rows, _ROWS))
    return value


def _says_nothing(value: dict[Any, Any]) -> bool:
    """Returns whether a dict names no tenant, as far as its fields tell: no field that may, and no rows but of scalars."""
    if not value.keys().isdisjoint(_SPEAKING):
        return False
    for part in value.values():
        kind = type(part)
        if kind in _LEAVES or kind is dict:
            continue
        if kind is not list or len(part) > _MOST_PARTS or not _LEAVES.issuperset(map(type, part)):
            return False
    return True


def _check_one(value: Any, tenant_id: str) -> None:
    # Most rows say nothing of a tenant, and one set operation spares them the rest.
    if type(value) is dict and value.keys().isdisjoint(_SPEAKING):
        return
    about = [inner for name in _ABOUT if (inner := _field(value, name)) is not None]
    for holder in (value, _field(value, "metadata"), *about, *(_field(inner, "metadata") for inner in about)):
        named = _field(holder, "tenant_id")
        if named is None or (isinstance(named, str) and not named.strip()):
            continue
        try:
            text = identifier("tenant_id", named)
        # A field of that name that holds no id, such as an object of the value's own library, names nobody.
        except InvalidKeyError:
            continue
        if text != tenant_id:
            raise TenantMismatchError("the value (its tenant_id, or that of its metadata)", text, tenant_id)


def _field(holder: Any, name: str) -> Any:
    """Returns a field of a value; ``None`` if there is none, or it cannot be read, as with a row after its session."""
    try:
        if isinstance(holder, Mapping):
            return holder.get(name)
        return None if isinstance(holder, (*_SCALARS, list, tuple)) else getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - code of the value's own runs, and the value was paid for
        return None
