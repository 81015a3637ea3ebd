"""The names of lists, sets, flags and counters: which tenant they carry, and how they are made of parts."""

from __future__ import annotations

from urllib.parse import quote

from alacena.common.cache.tenancy import tenant_of
from alacena.common.context.vars import get_current_tenant_id
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError
from alacena.engine.base.scope import identifier, tenant_text


def compose(*parts: str | None) -> str:
    """Returns one name for several parts, different for different parts: ``None`` is a part too, and not the blank one."""
    return ":".join("~" if part is None else _quote(part) for part in parts)


def _quote(part: str) -> str:
    text = part if part == "" else identifier("a part of a name", part)
    # quote() leaves ~ as it is, and a bare ~ stands for None.
    return quote(text, safe="", errors="surrogatepass").replace("~", "%7E")


def flag_name(data_type: str, resource_id: str) -> str:
    """Returns the name of the flag that ``set_if_not_exists(data_type, resource_id, ...)`` raises."""
    return compose("flag", data_type, resource_id)


def split_tenant(name: str, tenant_id: str | None) -> tuple[str, str]:
    """Returns the tenant and the bare name of a list, set or key; its name may begin with ``"{tenant}:"``.

    ``split_tenant("queue", "acme")``, ``split_tenant("acme:queue", None)`` and
    ``split_tenant("acme:queue", "acme")`` are the same.

    Raises:
        MissingTenantError: No tenant is given, none leads the name, and none is ambient.
        InvalidKeyError: The name is blank; or it may or may not begin with another tenant than the ambient one.
        TenantMismatchError: The tenant given is not the ambient one.
    """
    name = identifier("the name of a list, set or key", name)
    if tenant_id is not None:
        tenant_id = tenant_text(tenant_id)
    head, colon, rest = name.partition(":")
    ambient = get_current_tenant_id() if tenant_id is None else None
    if ambient is not None:
        # A guess could put one tenant's work into another's list: the caller has to say which is meant.
        if colon and not name.startswith(f"{ambient}:"):
            msg = (
                f"{name!r} may name the tenant {head!r} or a list of the ambient tenant {ambient!r}: "
                "pass tenant_id= to say which"
            )
            raise InvalidKeyError(msg)
        tenant_id = ambient
    if tenant_id is not None:
        tenant_id = tenant_of(tenant_id)
        # Only this tenant's own head is taken off: `other:queue` is a plain name inside the tenant that was given.
        return tenant_id, name.removeprefix(f"{tenant_id}:")
    if not colon or not head.strip():
        raise MissingTenantError
    return head, rest
