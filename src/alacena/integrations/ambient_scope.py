"""The surroundings of an adapter: the tenant and user that it works for, and the names of its entries."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from alacena.common.cache.tenancy import scope_of
from alacena.common.context.vars import user_of_code
from alacena.engine import EncodeError, InvalidKeyError, Scope
from alacena.engine.codec import identity
from alacena.integrations.caller import ambient_permissions


def tenant_scope() -> Scope:
    """Returns the ambient tenant, for entries that depend on their content alone.

    Raises:
        MissingTenantError: None is ambient: no framework passes one, so the code around it must.
    """
    return scope_of(None)


def reader_scope() -> Scope:
    """Returns the ambient tenant, user and permissions, for entries that may show one user's data.

    Raises:
        MissingTenantError: None is ambient.
        UsageError: It is called inside a load for the whole tenant, while a user is ambient.
    """
    return scope_of(None, user_id=user_of_code(), permissions=ambient_permissions())


def digest(*parts: Any) -> str:
    """Returns a name for values: equal for equal ones only, in every process.

    Raises:
        InvalidKeyError: Something among them cannot be told from others of its kind, such as a lambda.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_describe)
    return sha256(text.encode()).hexdigest()


def _describe(value: Any) -> Any:
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(digest(one) for one in value)]
    if isinstance(value, type) or callable(getattr(value, "__func__", value)):
        name = f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', '<')}"
        # Lambdas and functions inside others have <lambda> or <locals> in their names, and may share them.
        if "<" not in name:
            return ["name", name]
    if callable(dump := getattr(value, "model_dump", None)):
        return [_describe(type(value)), dump(mode="json")]
    try:
        return ["value", identity(value).hex()]
    except EncodeError:
        pass
    raise InvalidKeyError(
        f"a {type(value).__name__} cannot be part of a key, as nothing tells it from others of its kind: pass text or numbers"
    )
