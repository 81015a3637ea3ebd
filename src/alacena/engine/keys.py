"""The only place that renders keys: readable, injective, bound to their tenant.

Layout, for namespace ``alacena``, tenant ``acme``, bucket 0::

    alacena:e:{acme.0}:document:d1            entry          alacena:e:{acme.0}:document:d1:c=manuals   scoped entry
    alacena:l:{acme.0}:document:d1            lease          alacena:h:{acme.0}:document:d1             hold
    alacena:g:{acme.0}:t                      generation of the tenant
    alacena:g:{acme.0}:y:document             ... of a type          alacena:g:{acme.0}:c:manuals    ... of a collection
    alacena:g:{acme.0}:yc:document:manuals    ... of a type in it    alacena:g:{acme.0}:r:document:d1 ... of a resource
    alacena:g:{acme.0}:rc:document:d1:manuals ... of a resource in it, for entries that belong to more than one scope part
    alacena:g:{acme.0}:k:document%3Ad1        ... of a tag           alacena:g:{acme.0}:j             the journal of tags

Everything of one bucket shares one hash tag, so one command or script can name all that it needs in a cluster.
Every part is percent-escaped, so that no separator, brace or NUL can be injected; a long part becomes a BLAKE2b
digest marked with ``~``, which the escaping never produces. With ``secret``, every part becomes a keyed digest.
"""

from __future__ import annotations

import re
from base64 import b32encode
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from zlib import crc32

import msgspec

from alacena.engine.errors import InvalidKeyError
from alacena.engine.scope import Scope, identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_PLAIN = re.compile(r"[A-Za-z0-9_.@/+-]+").fullmatch
_COLONS = re.compile(r"[A-Za-z0-9_.@/+:-]+").fullmatch
_SAFE: Final = "_.-@/+"
_LONGEST_PART: Final = 96
_MOST: Final = 8_192
"""Heads of keys, one a tenant and type, that are held at hand: about a kibibyte each, beside what memory counts."""
_LETTERS: Final = (("agent_id", "a"), ("conversation_id", "v"), ("collection_id", "c"))

Ident = tuple[str, str, str] | tuple[str, str, str, str | None, str | None, str | None]
"""What the memory tier files an entry under: ``(tenant, type, id)``, with the three scope parts where there are any."""


def document_tag(document_id: str) -> str:
    """The tag of everything that was made from a document."""
    return f"document:{identifier('document_id', document_id)}"


def named(tags: Iterable[str], document_ids: Iterable[str]) -> tuple[str, ...]:
    """Tags, and documents as tags. A lone string is one name, not its letters."""
    given = (tags,) if isinstance(tags, str) else tags
    ids = (document_ids,) if isinstance(document_ids, str) else document_ids
    return (*given, *map(document_tag, ids))


def escaped(part: str) -> str:
    """Render one part of a key without a secret."""
    if len(part) <= _LONGEST_PART:
        if _PLAIN(part):
            return part
        if _COLONS(part) and len(text := part.replace(":", "%3A")) <= _LONGEST_PART:
            return text
    return _quoted(part)


@lru_cache(maxsize=1_024)
def _quoted(part: str) -> str:
    """A part that cannot stand in a key as it is.

    Few are remembered: each lives in memory between the parts of an entry, and what lives keeps the allocator from
    giving the memory around it back when the entries have expired.
    """
    text = quote(part, safe=_SAFE, errors="surrogatepass").replace("~", "%7E")
    return text if len(text) <= _LONGEST_PART else "~" + _digest(part, b"")


def _digest(part: str, secret: bytes) -> str:
    raw = blake2b(part.encode("utf-8", "surrogatepass"), digest_size=20, key=secret).digest()
    return b32encode(raw).decode().lower()


class Family:
    """What all entries of one tenant, type and bucket have in common.

    Attributes:
        entry: The first part of their keys on the server.
        generations: Names of the generations that all of them depend on: their tenant's and their type's.
    """

    __slots__ = ("entry", "generations", "hasher", "hold", "journal", "kind", "lease", "namespace", "part", "tag")

    def __init__(self, namespace: str, tag: str, kind: str, part: Callable[[str], str]) -> None:
        self.namespace = namespace
        self.tag = tag
        self.kind = kind
        self.part = part
        self.entry, self.lease, self.hold = (f"{namespace}:{what}:{tag}:{kind}:".encode() for what in "elh")
        self.hasher = blake2b(self.entry, digest_size=16)
        self.journal = f"{namespace}:g:{tag}:j"
        self.generations = (f"{namespace}:g:{tag}:t", f"{namespace}:g:{tag}:y:{kind}")

    def digest(self, rest: bytes) -> bytes:
        """16 bytes that stand for the key of an entry in its header; with what follows ``entry`` in that key."""
        hasher = self.hasher.copy()
        hasher.update(rest)
        return hasher.digest()


class EntryKey(msgspec.Struct, eq=False, gc=False):
    """The name of one entry and of everything that decides over it. Made by :class:`Keys`; compared by ``ident``.

    Attributes:
        ident: What memory files it under.
        entry: The entry's key on the server.
        generations: Names of the generations it depends on, in the order of its stamps.
    """

    ident: Ident
    _family: Family
    entry: bytes
    generations: tuple[str, ...]
    _name: bytes
    _qualifiers: bytes = b""
    _digest: bytes | None = None

    @property
    def tenant_id(self) -> str:
        """Its tenant."""
        return self.ident[0]

    @property
    def data_type(self) -> str:
        """Its type."""
        return self.ident[1]

    @property
    def resource_id(self) -> str:
        """Its id within the type."""
        return self.ident[2]

    @property
    def scope(self) -> Scope:
        """Its scope."""
        return Scope(self.ident[0], *self.ident[3:])

    @property
    def lease(self) -> bytes:
        """The key of the lease: who may fill the entry."""
        return self._family.lease + self._name + self._qualifiers

    @property
    def hold(self) -> bytes:
        """The key of the hold, which covers the resource at every scope: a source transaction is under way."""
        return self._family.hold + self._name

    @property
    def journal(self) -> str:
        """The name of the record of tags that ended in this bucket."""
        return self._family.journal

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for the full key in the entry's header."""
        digest = self._digest
        if digest is None:
            digest = self._digest = self._family.digest(self._name + self._qualifiers)
        return digest

    def tag_name(self, tag: str) -> str:
        """The name of a tag's generation in the entry's bucket."""
        return f"{self.journal[:-1]}k:{self._family.part(identifier('tag', tag))}"

    def __repr__(self) -> str:
        return f"EntryKey({self.entry.decode()})"


class Keys:
    """Renders every key of one cache.

    Args:
        namespace: The first part of every key.
        secret: Where names must not be seen by whoever can list the server's keys: every part becomes a digest
            keyed with it.
        buckets: Over how many hash tags a tenant is spread; 1 where it is not named. Every process must agree.
    """

    def __init__(
        self, namespace: str = "alacena", *, secret: bytes | None = None, buckets: Mapping[str, int] | None = None
    ) -> None:
        self.namespace = escaped(namespace)
        self._buckets = dict(buckets or {})
        self._part: Callable[[str], str] = (
            escaped if secret is None else lru_cache(65_536)(lambda part: "~" + _digest(part, secret))
        )
        self._is_simple = secret is None and not self._buckets
        self._families: dict[tuple[str, str, int], Family] = {}

    def entry(self, data_type: str, resource_id: str, scope: Scope) -> EntryKey:
        """The key of the entry at exactly this scope.

        Raises:
            InvalidKeyError: The type or the id is blank or not text.
        """
        if scope.is_tenant_wide:
            return self.plain(data_type, resource_id, scope.tenant_id)
        resource_id = identifier("resource_id", resource_id)
        family = self._family(scope.tenant_id, data_type, resource_id)
        name = self._part(resource_id)
        qualifiers, narrower = self._scoped(family, name, scope)
        ident = (scope.tenant_id, data_type, resource_id, scope.agent_id, scope.conversation_id, scope.collection_id)
        tail = qualifiers.encode()
        return EntryKey(
            ident, family, family.entry + name.encode() + tail, family.generations + narrower, name.encode(), tail
        )

    def plain(self, data_type: str, resource_id: str, tenant_id: str) -> EntryKey:
        """The key of the tenant's own entry: no agent, no conversation, no collection.

        Raises:
            InvalidKeyError: The type or the id is blank or not text.
            MissingTenantError: The tenant is blank.
        """
        place = self.place(data_type, resource_id, tenant_id)
        if place is None:
            resource_id = identifier("resource_id", resource_id)
            place = self._family(tenant_id, data_type, resource_id), self._part(resource_id).encode()
        family, name = place
        return EntryKey((tenant_id, data_type, resource_id), family, family.entry + name, family.generations, name)

    def place(self, data_type: str, resource_id: str, tenant_id: str) -> tuple[Family, bytes] | None:
        """Where the tenant's own entry lies, its name rendered; ``None`` where that takes more than a look."""
        if (
            self._is_simple
            and type(tenant_id) is type(data_type) is type(resource_id) is str
            and len(resource_id) <= _LONGEST_PART
            and _PLAIN(resource_id)
        ):
            family = self._families.get((tenant_id, data_type, 0))
            if family is not None:
                return family, resource_id.encode()
        return None

    def many(self, data_type: str, resource_ids: Sequence[str], scope: Scope) -> list[EntryKey]:
        """What :meth:`entry` gives for each of the ids, in their order.

        Raises:
            InvalidKeyError: The type or an id is blank or not text.
        """
        if self._buckets or not scope.is_tenant_wide:
            return [self.entry(data_type, resource_id, scope) for resource_id in resource_ids]
        tenant_id, family = scope.tenant_id, self._family(scope.tenant_id, data_type, "")
        texts = [i if type(i) is str and i and not i.isspace() else identifier("resource_id", i) for i in resource_ids]
        entry, generations = family.entry, family.generations
        return [
            EntryKey((tenant_id, data_type, text), family, entry + name, generations, name)
            for text, name in zip(texts, self._names(texts), strict=True)
        ]

    def _names(self, texts: Sequence[str]) -> Sequence[bytes]:
        """Parts rendered: together where all of them are simple, as they mostly are where they come in numbers."""
        if self._part is escaped and _COLONS("".join(texts)):
            names = "\n".join(texts).replace(":", "%3A").encode().split(b"\n")
            if max(map(len, names)) <= _LONGEST_PART:
                return names
        return [self._part(text).encode() for text in texts]

    def entries(self, data_type: str, resource_id: str, scope: Scope) -> tuple[EntryKey, ...]:
        """The keys a read looks at, most specific first."""
        return tuple(self.entry(data_type, resource_id, wider) for wider in scope.widening())

    def bucket(self, tenant_id: str, data_type: str, resource_id: str) -> int:
        """In which of the tenant's buckets a resource lies."""
        count = self._buckets.get(tenant_id, 1)
        return crc32(f"{data_type}\0{resource_id}".encode("utf-8", "surrogatepass")) % count if count > 1 else 0

    def resource_generation(self, data_type: str, resource_id: str, scope: Scope) -> str:
        """The generation of a resource's scoped entries; with a scope, of those that belong to its narrowest part too.

        The entry at exactly the scope is not covered by it: it can be named.
        """
        namespace, tag = self._head(scope.tenant_id, self.bucket(scope.tenant_id, data_type, resource_id))
        tail = f"{self._part(data_type)}:{self._part(resource_id)}"
        narrowest = self._narrowest(scope)
        if narrowest is None:
            return f"{namespace}:g:{tag}:r:{tail}"
        letter, part = narrowest
        return f"{namespace}:g:{tag}:r{letter}:{tail}:{part}"

    def scope_generations(self, scope: Scope, data_type: str | None) -> tuple[tuple[str, ...], ...]:
        """Names of the generations whose end invalidates a scope, for each bucket of the tenant.

        A scope with more than one part below the tenant is covered by its narrowest part: more may be invalidated than
        asked for, never less.
        """
        return tuple(
            self._scope_names(self._head(scope.tenant_id, b), scope, data_type) for b in self._each(scope.tenant_id)
        )

    def tag_generations(self, tenant_id: str, tag: str) -> tuple[tuple[str, str], ...]:
        """For each bucket of the tenant: the names of a tag's generation and of the bucket's journal."""
        part = self._part(identifier("tag", tag))
        heads = (self._head(tenant_id, bucket) for bucket in self._each(tenant_id))
        return tuple((f"{ns}:g:{hash_tag}:k:{part}", f"{ns}:g:{hash_tag}:j") for ns, hash_tag in heads)

    def render(self, kind: str, tenant_id: str, *parts: str) -> str:
        """A key of another kind (queue, lock, counter, ...), all of whose parts share the tenant's first bucket."""
        if not parts:
            raise InvalidKeyError(f"a {kind!r} key needs a name")
        namespace, tag = self._head(identifier("tenant_id", tenant_id), 0)
        return ":".join((namespace, self._part(kind), tag, *(self._part(part) for part in parts)))

    def _each(self, tenant_id: str) -> range:
        return range(self._buckets.get(tenant_id, 1))

    def _head(self, tenant_id: str, bucket: int) -> tuple[str, str]:
        return self.namespace, f"{{{self._part(tenant_id)}.{bucket}}}"

    def _family(self, tenant_id: str, data_type: str, resource_id: str) -> Family:
        if type(data_type) is not str:
            data_type = identifier("data_type", data_type)
        if type(tenant_id) is not str:
            tenant_id = Scope(tenant_id).tenant_id
        bucket = self.bucket(tenant_id, data_type, resource_id) if self._buckets else 0
        family = self._families.get((tenant_id, data_type, bucket))
        if family is None:
            tenant_id = Scope(tenant_id).tenant_id
            namespace, tag = self._head(tenant_id, bucket)
            family = Family(namespace, tag, self._part(identifier("data_type", data_type)), self._part)
            if len(self._families) >= _MOST:
                self._families.clear()
            self._families[(tenant_id, data_type, bucket)] = family
        return family

    def _scoped(self, family: Family, name: str, scope: Scope) -> tuple[str, tuple[str, ...]]:
        prefix = f"{family.namespace}:g:{family.tag}"
        tail = f"{family.kind}:{name}"
        given = [
            (letter, self._part(value))
            for attribute, letter in _LETTERS
            if (value := getattr(scope, attribute)) is not None
        ]
        names = [f"{prefix}:r:{tail}"]
        for letter, part in given:
            names += [f"{prefix}:{letter}:{part}", f"{prefix}:y{letter}:{family.kind}:{part}"]
        if len(given) > 1:
            names += [f"{prefix}:r{letter}:{tail}:{part}" for letter, part in given]
        return "".join(f":{letter}={part}" for letter, part in given), tuple(names)

    def _scope_names(self, head: tuple[str, str], scope: Scope, data_type: str | None) -> tuple[str, ...]:
        prefix = f"{head[0]}:g:{head[1]}"
        kind = None if data_type is None else self._part(identifier("data_type", data_type))
        narrowest = self._narrowest(scope)
        if narrowest is None:
            return (f"{prefix}:t",) if kind is None else (f"{prefix}:y:{kind}",)
        letter, part = narrowest
        return (f"{prefix}:{letter}:{part}",) if kind is None else (f"{prefix}:y{letter}:{kind}:{part}",)

    def _narrowest(self, scope: Scope) -> tuple[str, str] | None:
        """The part of a scope that the fewest entries share: its conversation, else its agent, else its collection."""
        for name, letter in (_LETTERS[1], _LETTERS[0], _LETTERS[2]):
            if (value := getattr(scope, name)) is not None:
                return letter, self._part(value)
        return None
