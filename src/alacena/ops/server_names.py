"""Names that the servers hold, read back from their keys: from keys that are listed, or from a bounded part of all keys."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from alacena.engine import Scope
from alacena.engine.base.keys import permission_digest
from alacena.ops.server_questions import escape, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alacena.engine import Cache, Settings
    from alacena.ops.server_questions import Server

MOST: Final = 100_000
"""How many keys of a server are looked at, unless told otherwise."""

_LETTERS: Final = {"a": "agent_id", "v": "conversation_id", "c": "collection_id", "u": "user_id", "p": "permissions"}
_GLOB: Final = re.compile(r"([*?\[\]\\^])")


@dataclass(frozen=True, slots=True)
class NamedObject:
    """An entry, or another object, as its key names it.

    Attributes:
        tenant_id: The tenant; a digest with ``key_secret``.
        kind: The type of an entry, or the kind of another object.
        name: The id of an entry, or the name of the object.
        scope: The parts of an entry's scope below the tenant.
        key: The key itself.
    """

    tenant_id: str
    kind: str
    name: str
    scope: dict[str, str] = field(default_factory=dict)
    key: str = ""

    @property
    def where(self) -> Scope:
        """The scope of an entry."""
        return Scope(self.tenant_id, **self.scope)

    @property
    def is_readable(self) -> bool:
        """Whether the parts are as they were given, and no digest stands for one of them."""
        return not any(part.startswith("~") for part in (self.tenant_id, self.kind, self.name, *self.scope.values()))


@dataclass(frozen=True, slots=True)
class FoundNames:
    """The names that were found.

    Attributes:
        names: The names.
        looked_at: How many keys were looked at.
        complete: Whether these were all keys of the servers.
    """

    names: list[NamedObject]
    looked_at: int
    complete: bool

    @property
    def limit(self) -> str:
        """Says how far the search went."""
        if self.complete:
            return "every key was looked at"
        return f"only about {self.looked_at} keys were looked at: give a greater --most for the rest"


def find_settings(cache: Cache) -> Settings:
    """Returns the settings of an open cache, with the address of its server if that is a private one."""
    return cache.settings if cache.url is None else replace(cache.settings, redis_url=cache.url)


async def entries(
    servers: Sequence[Server],
    settings: Settings,
    *,
    tenant: str | None = None,
    data_type: str | None = None,
    resource_id: str | None = None,
    most: int = MOST,
) -> FoundNames:
    """Returns entries, of one tenant, type or id if one is given."""
    kind = "*" if data_type is None else _part(settings, data_type)
    name = "*" if resource_id is None else _part(settings, resource_id)
    whose = "*" if tenant is None else _part(settings, tenant)
    # Behind the tenant its tag holds the number of a bucket: entries of one tenant may be spread over several.
    head = f"{_plain(escape(settings.namespace))}:e:{{{whose}.*}}:{kind}:"
    # The scope follows the id, so a longer id that begins alike matches too: the caller compares.
    return await _look(servers, head + (name if name == "*" else f"{name}*"), most)


async def objects(
    servers: Sequence[Server], settings: Settings, kind: str, *, tenant: str | None = None, most: int = MOST
) -> FoundNames:
    """Returns queues, locks and the like, each once; of one tenant if it is given."""
    whose = "*" if tenant is None else _part(settings, tenant)
    head = f"{_plain(escape(settings.namespace))}:{_part(settings, kind)}:{{{whose}.*}}:*"
    found = await _look(servers, head, most)
    return FoundNames(read_objects(kind, (name.key for name in found.names)), found.looked_at, found.complete)


def read_objects(kind: str, keys: Iterable[str]) -> list[NamedObject]:
    """Returns the objects to which keys belong, each once."""
    found = [name for key in keys if (name := _read(key)) is not None]
    # Of an object the first part behind the tenant is its name, if an entry has its type.
    once = {(name.tenant_id, name.kind): NamedObject(name.tenant_id, kind, name.kind, key=name.key) for name in found}
    return list(once.values())


async def _look(servers: Sequence[Server], pattern: str, most: int) -> FoundNames:
    names: list[NamedObject] = []
    looked, complete = 0, True
    for server in servers:
        keys, some, is_all = await server.scan(pattern, most)
        looked, complete = looked + some, complete and is_all
        names += [name for key in keys if (name := _read(key)) is not None]
    names.sort(key=lambda name: (name.tenant_id, name.kind, name.name, name.key))
    return FoundNames(names, looked, complete)


def _read(key: str) -> NamedObject | None:
    _, _, rest = key.partition(":{")
    tag, closed, rest = rest.partition("}:")
    # From the right: a tenant's name may hold a dot, and the number of a bucket does not.
    tenant = tag.rpartition(".")[0]
    if not closed or not tenant or not rest:
        return None
    kind, *parts = rest.split(":")
    scope = {_LETTERS[part[0]]: unquote(part[2:]) for part in parts[1:] if part[1:2] == "=" and part[0] in _LETTERS}
    if "permissions" in scope:  # in every key it is a digest that stands for the set
        scope["permissions"] = f"~{scope['permissions']}"
    return NamedObject(unquote(tenant), unquote(kind), unquote(parts[0]) if parts else "", scope, key)


def name_scope(settings: Settings, scope: Scope) -> dict[str, str]:
    """Returns the parts of a scope below the tenant as they are read back from a key."""
    parts: dict[str, Any] = dict(scope.parts)
    permissions = parts.pop("permissions", None)
    named = {name: render_name(settings, value) for name, value in parts.items()}
    return named if permissions is None else named | {"permissions": f"~{permission_digest(permissions)}"}


def render_name(settings: Settings, text: str) -> str:
    """Returns a name as it is read back from a key: itself, or its digest."""
    return unquote(_render(settings, text))


def _part(settings: Settings, text: str) -> str:
    """Returns a part of a key as a pattern that matches it alone."""
    return _plain(_render(settings, text))


def _render(settings: Settings, text: str) -> str:
    # The kind of a key is rendered as its other parts are, and no part holds a colon: it can be cut out.
    return keys_of(settings).render(text, "any", "any").split(":")[1]


def _plain(part: str) -> str:
    return _GLOB.sub(r"\\\1", part)
