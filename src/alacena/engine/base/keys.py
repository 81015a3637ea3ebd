"""The only place that renders keys: readable, injective, bound to their tenant.

Layout, for namespace ``alacena``, tenant ``acme``, bucket 0::

    alacena:e:{acme.0}:document:d1            entry          alacena:e:{acme.0}:document:d1:c=manuals   scoped entry
    alacena:l:{acme.0}:document:d1            lease          alacena:h:{acme.0}:document:d1             hold
    alacena:g:{acme.0}:t                      generation of the tenant
    alacena:g:{acme.0}:y:document             ... of a type          alacena:g:{acme.0}:c:manuals    ... of a collection
    alacena:g:{acme.0}:yc:document:manuals    ... of a type in it    alacena:g:{acme.0}:r:document:d1 ... of a resource
    alacena:g:{acme.0}:rc:document:d1:manuals ... of a resource in it, for entries that belong to more than one scope part
    alacena:g:{acme.0}:k:document%3Ad1        ... of a tag           alacena:g:{acme.0}:j             the journal of endings
    alacena:p:{acme.0}:0f3c...                the pieces of a large entry while it is sent in pieces
    alacena:g:{acme.0}:d                      ... of what depends on more than an entry can name: it ends with any other

The letters of scope parts are ``a`` (agent), ``v`` (conversation), ``c`` (collection), ``u`` (user) and ``p``
(permissions, as a digest of the set).

Everything of one bucket shares one hash tag, so one command or script can name all that it needs in a cluster.
Every part is percent-escaped, so that no separator, brace or NUL can be injected; a long part becomes a BLAKE2b
digest marked with ``~``, which the escaping never produces. With ``secret``, every part becomes a keyed digest.
"""

from __future__ import annotations

import re
from base64 import b32encode
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from operator import index
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, unquote
from uuid import UUID
from zlib import crc32

import msgspec

from alacena.engine.base.errors import InvalidKeyError
from alacena.engine.base.key_prefix import KeyPrefix
from alacena.engine.base.scope import Scope, identifier, make_scope, several, tenant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_LONGEST_PART: Final = 96
_PLAIN = re.compile(r"[A-Za-z0-9_.@/+-]+").fullmatch
_SHORT = re.compile(rf"[A-Za-z0-9_.@/+-]{{1,{_LONGEST_PART}}}").fullmatch
_COLONS = re.compile(r"[A-Za-z0-9_.@/+:-]+").fullmatch
_SAFE: Final = "_.-@/+"
_MOST: Final = 5_000
"""Heads of keys, one a tenant and type, that are held at hand: about a kibibyte each, beside what memory counts."""
_LETTERS: Final = (
    ("agent_id", "a"),
    ("conversation_id", "v"),
    ("collection_id", "c"),
    ("user_id", "u"),
    ("permissions", "p"),
)
_NARROWEST_FIRST: Final = ("v", "u", "a", "p", "c")

MARK: Final = "\x1f"
"""What a tag begins with that stands for a generation by its own name (``y:document``) and not for a name of the caller."""

MANY: Final = MARK + "d"
"""The tag of an entry that depends on more than it can name: it ends whenever anything of the tenant is ended."""

NO_NAMES: Final = ()
"""No tags, or no documents."""

MOST_TAGS: Final = 1024
"""How many tags an entry can name; one that depends on more carries :data:`MANY` in their place."""

MAX_TAG_BYTES: Final = 255
"""How long the text of a tag may be in an entry's header; a longer one is named by its generation's key."""

_WHOLE_DOCUMENTS: Final = "document"

Ident = tuple[Any, ...]
"""What the memory tier files an entry under: ``(tenant, type, id)``; if there are scope parts, followed by agent,
conversation and collection; if one of them names a reader, followed by user and permissions too."""
IDENT_WITHOUT_READER: Final = 6
"""The parts of the longest ident that names neither a user nor permissions."""


def ident_of(data_type: str, resource_id: str, scope: Scope) -> Ident:
    """Returns the memory tier's name of an entry, at exactly this scope."""
    if scope.is_tenant_wide:
        return (scope.tenant_id, data_type, resource_id)
    parts = (scope.agent_id, scope.conversation_id, scope.collection_id)
    # Most idents name no reader, and memory holds one tuple an entry: two fields less are 16 bytes less for each.
    readers = (scope.user_id, scope.permissions) if scope.names_reader else ()
    return (scope.tenant_id, data_type, resource_id, *parts, *readers)


@lru_cache(maxsize=1_024)
def permission_digest(permissions: frozenset[str]) -> str:
    """Returns the text that stands for a set of permissions in keys: equal for equal sets, in every process."""
    # With its length before each, {"ab", "c"} and {"a", "bc"} are two sets; joined by a separator, a permission that
    # holds the separator would be two.
    return _digest("".join(f"{len(one)}:{one}" for one in sorted(permissions)), b"")


DocumentId: TypeAlias = str | int | UUID | Enum
"""The id of a document as sources give it; numbers of numpy count as numbers."""


def document_tag(document_id: object) -> str:
    """Returns the tag of everything that was made from a document.

    Raises:
        InvalidKeyError: The id is blank, or has no single text form.
    """
    return f"document:{document_text(document_id) or identifier('document_id', document_id)}"


def document_text(document_id: Any) -> str | None:
    """Returns the text of a document's id, in any type of a source; ``None`` if it is blank or no id."""
    if isinstance(document_id, Enum):
        document_id = document_id.value
    if isinstance(document_id, str):
        # A subclass of str may render itself in another way; its characters are the id.
        return str.__str__(document_id) if document_id.strip() else None
    if isinstance(document_id, UUID):
        return str(document_id)
    # True has an index, and a flag that stands in the field by mistake is not document 1.
    if isinstance(document_id, bool) or not hasattr(type(document_id), "__index__"):
        return None
    try:
        return str(index(document_id))
    except TypeError:  # an array of numbers has the method, and is no number
        return None


def collection_tag(collection_id: str | None) -> str:
    """Returns the tag of entries made from a collection that name no document; ``None``: no collection is named."""
    return "collection:*" if collection_id is None else f"collection:{identifier('collection_id', collection_id)}"


def name_tags(tags: Iterable[str], document_ids: Iterable[DocumentId]) -> tuple[str, ...]:
    """Returns tags, and documents as tags, each once. A text is one name, not its letters.

    Raises:
        InvalidKeyError: A tag begins with the mark of this library's own.
    """
    # By identity and not by equality, which an array answers with another array.
    if tags is NO_NAMES and document_ids is NO_NAMES:
        return ()
    given = [identifier("tag", tag) for tag in several(tags)]
    names: tuple[str, ...] = (*given, *map(document_tag, several(document_ids)))
    if any(name.startswith(MARK) for name in names):
        raise InvalidKeyError(f"a tag begins with {MARK!r}, which is kept for this library's own: give it another name")
    return names


def collapse(tags: Iterable[str]) -> tuple[str, ...]:
    """Returns tags, each once; :data:`MANY` alone if they are more than an entry can name."""
    names = tuple(dict.fromkeys(tags))
    return names if len(names) <= MOST_TAGS and MANY not in names else (MANY,)


def mark_tag(generation: str) -> str:
    """Returns the tag that stands for a generation by its own name."""
    tag = MARK + generation.partition("}:")[2]
    return tag if len(tag) <= MAX_TAG_BYTES else MANY


def escape(part: str) -> str:
    """Renders one part of a key without a secret."""
    if len(part) <= _LONGEST_PART:
        if _PLAIN(part):
            return part
        if _COLONS(part) and len(text := part.replace(":", "%3A")) <= _LONGEST_PART:
            return text
    return _quote(part)


@lru_cache(maxsize=1_024)
def _quote(part: str) -> str:
    """Returns a part that cannot stand in a key as it is.

    Few are remembered: each lives in memory between the parts of an entry, and the living ones keep the allocator from
    giving the memory around it back when the entries have expired.
    """
    # quote() leaves "~" as it is, and "~" marks a digest here: a name that begins with one must not look like a digest.
    text = quote(part, safe=_SAFE, errors="surrogatepass").replace("~", "%7E")
    return text if len(text) <= _LONGEST_PART else "~" + _digest(part, b"")


def _digest(part: str, secret: bytes) -> str:
    raw = blake2b(part.encode("utf-8", "surrogatepass"), digest_size=20, key=secret).digest()
    return b32encode(raw).decode().lower()


class EntryKey(msgspec.Struct, eq=False, gc=False):
    """The name of one entry and of everything that decides over it. Made by :class:`Keys`; compared by ``ident``.

    Attributes:
        ident: Memory's name for it.
        entry: The entry's key on the server.
        generations: Names of the generations it depends on, in the order of its stamps.
    """

    ident: Ident
    _prefix: KeyPrefix
    entry: bytes
    generations: tuple[str, ...]
    _name: bytes
    _qualifiers: bytes = b""
    _digest: bytes | None = None

    @property
    def tenant_id(self) -> str:
        """Its tenant."""
        return str(self.ident[0])

    @property
    def data_type(self) -> str:
        """Its type."""
        return str(self.ident[1])

    @property
    def resource_id(self) -> str:
        """Its id within the type."""
        return str(self.ident[2])

    @property
    def scope(self) -> Scope:
        """Its scope."""
        return Scope(self.ident[0], *self.ident[3:])

    @property
    def wire_key(self) -> bytes:
        """The entry's key, if :meth:`Keys.ident_of` cannot tell its ident from it; else nothing."""
        qualifiers = self._qualifiers
        is_told = self._prefix.is_told and b"~" not in self._name
        if is_told and qualifiers:  # permissions stand in the key as a digest
            # A digest cannot be read back, so a push that names such a key needs the key itself beside the entry.
            is_told = b"~" not in qualifiers and b":p=" not in qualifiers
        return b"" if is_told else self.entry

    @property
    def lease(self) -> bytes:
        """The key of the lease: its owner may fill the entry."""
        return self.entry.replace(b":e:", b":l:", 1)

    @property
    def hold(self) -> bytes:
        """The key of the hold, which covers the resource at every scope: a source transaction is under way."""
        return self.entry[: len(self.entry) - len(self._qualifiers)].replace(b":e:", b":h:", 1)

    def name_parts(self, token: bytes) -> str:
        """Returns the key under which the bytes of the entry lie while they are sent in pieces."""
        return f"{self._prefix.namespace}:p:{self._prefix.tag}:{token.hex()}"

    @property
    def journal(self) -> str:
        """The name of the record of tags that ended in this bucket."""
        # Made when it is asked for: kept for each tenant, such names would take as much as an entry does.
        return f"{self._prefix.namespace}:g:{self._prefix.tag}:j"

    @property
    def endings(self) -> tuple[str, ...]:
        """The names by which a journal may end the entry itself: all that covers it below the tenant, and its own key.

        Those of the resource are no generations of an entry that is removed by its own key.
        """
        prefix, name, covering = self._prefix, self._name.decode(), self.generations[1:]
        of_resource = f"{prefix.namespace}:g:{prefix.tag}:r"
        if not self._qualifiers:
            return (*covering, f"{of_resource}:{prefix.kind}:{name}", self.entry.decode())
        # With two parts or more, the resource's are all among the generations; with one, the part's own is not.
        if self._qualifiers.count(b":") == 1:
            letter, _, part = self._qualifiers[1:].decode().partition("=")
            covering += (f"{of_resource}{letter}:{prefix.kind}:{name}:{part}",)
        return (*covering, self.entry.decode())

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for the full key in the entry's header."""
        digest = self._digest
        if digest is None:
            hasher = (self._prefix.hasher or self._prefix.make_hasher()).copy()
            hasher.update(self._name + self._qualifiers)
            digest = self._digest = hasher.digest()
        return digest

    def tag_name(self, tag: str) -> str:
        """Returns the name of a tag's generation in the entry's bucket."""
        if type(tag) is str and tag.startswith(MARK):
            return self.journal[:-1] + tag[1:]
        return f"{self.journal[:-1]}k:{self._prefix.part(identifier('tag', tag))}"

    def tag_in_header(self, tag: str) -> str:
        """Returns a tag as an entry's header names it: by its text, or by its generation's name where that does not fit."""
        try:
            if len(tag.encode()) <= MAX_TAG_BYTES:
                return tag
        except UnicodeEncodeError:
            pass
        return mark_tag(self.tag_name(tag))

    def lineage(self, ident: Ident) -> tuple[str, ...]:
        """Returns the tags of entries made from another entry of the same tenant: for all that can invalidate that one.

        Of a document they are those of entries made from the document.
        """
        part, (_, data_type, resource_id, *scope) = self._prefix.part, ident
        kind, name = part(data_type), part(resource_id)
        made = [f"y:{kind}", f"r:{kind}:{name}"]
        for (_, letter), value in zip(_LETTERS, scope, strict=False):
            if value is not None:
                narrow = part(permission_digest(value) if letter == "p" else value)
                made += [f"{letter}:{narrow}", f"y{letter}:{kind}:{narrow}", f"r{letter}:{kind}:{name}:{narrow}"]
        # An entry depends on its own tenant and type already: a tag for each would be compared twice at every read.
        own = {name.partition("}:")[2] for name in self.generations}
        tags = [tag if len(tag := MARK + one) <= MAX_TAG_BYTES else MANY for one in made if one not in own]
        if data_type == _WHOLE_DOCUMENTS:
            tags.append(document_tag(resource_id))
        return tuple(tags)

    def __repr__(self) -> str:
        return f"EntryKey({self.entry.decode()})"


_WHOLE_TENANT: Final = (None,) * len(_LETTERS)


class Keys:
    """Renders every key of one cache.

    Args:
        namespace: The first part of every key.
        secret: Where names must not be seen by readers of the server's keys: every part becomes a digest
            keyed with it.
        buckets: Over how many hash tags a tenant is spread; 1 if it is not named. Every process must agree.
    """

    def __init__(
        self, namespace: str = "alacena", *, secret: bytes | None = None, buckets: Mapping[str, int] | None = None
    ) -> None:
        self.namespace = escape(namespace)
        self._buckets = {tenant_text(tenant): count for tenant, count in (buckets or {}).items()}
        self._part: Callable[[str], str] = (
            escape if secret is None else lru_cache(65_536)(lambda part: "~" + _digest(part, secret))
        )
        self._is_hidden = secret is not None
        self._is_simple = secret is None and not self._buckets
        self._prefixes: dict[tuple[str, str, int], KeyPrefix] = {}

    def entry(self, data_type: str, resource_id: str, scope: Scope) -> EntryKey:
        """Returns the key of the entry at exactly this scope.

        Raises:
            InvalidKeyError: The type or the id is blank or not text.
        """
        if scope.is_tenant_wide:
            return self.plain(data_type, resource_id, scope.tenant_id)
        data_type, resource_id = identifier("data_type", data_type), identifier("resource_id", resource_id)
        prefix = self._prefix_of(scope.tenant_id, data_type, resource_id)
        name = self._part(resource_id)
        qualifiers, narrower = self._render_scoped(prefix, name, scope)
        ident = ident_of(data_type, resource_id, scope)
        tail = qualifiers.encode()
        return EntryKey(
            ident, prefix, prefix.entry + name.encode() + tail, prefix.generations + narrower, name.encode(), tail
        )

    def plain(self, data_type: str, resource_id: str, tenant_id: str) -> EntryKey:
        """Returns the key of the tenant's own entry: no agent, no conversation, no collection.

        Raises:
            InvalidKeyError: The type or the id is blank or not text.
            MissingTenantError: The tenant is blank.
        """
        prefix = None
        if (  # the most used way to a key: all its parts are known, or can stand in it as they are
            # Not isinstance: a member of a str enumeration equals its value, and hashes otherwise in some versions.
            self._is_simple and type(tenant_id) is type(data_type) is type(resource_id) is str and _SHORT(resource_id)
        ):
            prefix, name = self._prefixes.get((tenant_id, data_type, 0)), resource_id.encode()
        if prefix is None:
            tenant_id, data_type = tenant_text(tenant_id), identifier("data_type", data_type)
            resource_id = identifier("resource_id", resource_id)
            prefix = self._prefix_of(tenant_id, data_type, resource_id)
            name = self._part(resource_id).encode()
        return EntryKey((tenant_id, data_type, resource_id), prefix, prefix.entry + name, prefix.generations, name)

    def within(self, data_type: str, resource_id: str, tenant_id: str | Scope, parts: tuple[Any, ...]) -> EntryKey:
        """Returns the key of an entry at a whole scope, or at a tenant and the further parts of a scope, in their order."""
        if type(tenant_id) is str and parts == _WHOLE_TENANT:
            return self.plain(data_type, resource_id, tenant_id)
        return self.entry(data_type, resource_id, make_scope(tenant_id, *parts))

    def ident_of(self, entry: bytes) -> Ident | None:
        """Returns the ident under which memory keeps an entry, read from its key on the server.

        ``None`` if it is not the key of an entry of this namespace.

        Only for keys without a digest: :attr:`EntryKey.wire_key` says which these are.
        """
        namespace, _, key = entry.decode("ascii", "replace").partition(":e:{")
        tag, _, rest = key.partition("}:")
        kind, _, name = rest.partition(":")
        if namespace != self.namespace or not name:
            return None
        tenant = tag.rpartition(".")[0]
        name, *qualifiers = name.split(":")
        parts: list[str | None] = [unquote(part, errors="surrogatepass") for part in (tenant, kind, name)]
        if qualifiers:
            given = {one[0]: unquote(one[2:], errors="surrogatepass") for one in qualifiers}
            parts += [given.get(letter) for letter in ("a", "v", "c")]
            parts += [given["u"], None] if "u" in given else []
        return tuple(parts)

    def many(self, data_type: str, resource_ids: Sequence[str], scope: Scope) -> list[EntryKey]:
        """Returns the result of :meth:`entry` for each of the ids, in their order.

        Raises:
            InvalidKeyError: The type or an id is blank or not text.
        """
        # In more than one bucket each id has a hash tag of its own, so nothing is common to all of them.
        if self._buckets or not scope.is_tenant_wide:
            return [self.entry(data_type, resource_id, scope) for resource_id in resource_ids]
        data_type = identifier("data_type", data_type)
        tenant_id, prefix = scope.tenant_id, self._prefix_of(scope.tenant_id, data_type, "")
        texts = [i if type(i) is str and i and not i.isspace() else identifier("resource_id", i) for i in resource_ids]
        entry, generations = prefix.entry, prefix.generations
        return [
            EntryKey((tenant_id, data_type, text), prefix, entry + name, generations, name)
            for text, name in zip(texts, self._names(texts), strict=True)
        ]

    def _names(self, texts: Sequence[str]) -> Sequence[bytes]:
        """Returns parts rendered: together where all of them are simple, as they mostly are where they come in numbers."""
        # One match over all texts in place of one for each. A newline cannot be in them: the pattern has none.
        if self._part is escape and _COLONS("".join(texts)):
            names = "\n".join(texts).replace(":", "%3A").encode().split(b"\n")
            if max(map(len, names)) <= _LONGEST_PART:
                return names
        return [self._part(text).encode() for text in texts]

    def entries(self, data_type: str, resource_id: str, scope: Scope) -> tuple[EntryKey, ...]:
        """Returns the keys a read looks at, most specific first."""
        return tuple(self.entry(data_type, resource_id, wider) for wider in scope.widening())

    def bucket(self, tenant_id: str, data_type: str, resource_id: str) -> int:
        """Returns the bucket of the tenant's in which a resource lies."""
        count = self._buckets.get(tenant_id, 1)
        return crc32(f"{data_type}\0{resource_id}".encode("utf-8", "surrogatepass")) % count if count > 1 else 0

    def resource_generation(self, data_type: str, resource_id: str, scope: Scope) -> str:
        """Returns the generation of a resource's scoped entries; with a scope, of those that belong to its narrowest part too.

        The entry at exactly the scope is not covered by it: it can be named.
        """
        data_type, resource_id = identifier("data_type", data_type), identifier("resource_id", resource_id)
        namespace, tag = self._head(scope.tenant_id, self.bucket(scope.tenant_id, data_type, resource_id))
        return f"{namespace}:g:{tag}:{self._resource(data_type, resource_id, scope)}"

    def resource_generations(self, data_type: str, resource_id: str, scope: Scope) -> tuple[tuple[str, str, str], ...]:
        """Returns names of that generation in each bucket of the tenant, for entries made from the resource elsewhere."""
        return self._endings(scope.tenant_id, self._resource(data_type, resource_id, scope))

    def _resource(self, data_type: str, resource_id: str, scope: Scope) -> str:
        data_type, resource_id = identifier("data_type", data_type), identifier("resource_id", resource_id)
        tail = f"{self._part(data_type)}:{self._part(resource_id)}"
        narrowest = self._narrowest(scope)
        if narrowest is None:
            return f"r:{tail}"
        letter, part = narrowest
        return f"r{letter}:{tail}:{part}"

    def scope_generations(self, scope: Scope, data_type: str | None) -> tuple[tuple[str, ...], ...]:
        """Returns names of the generations whose end invalidates a scope, for each bucket of the tenant.

        A scope with more than one part below the tenant is covered by its narrowest part: more may be invalidated than
        asked for, never less.

        Returns:
            Groups as :meth:`tag_generations` gives them; for the whole tenant, on which everything depends, the
            generation alone.
        """
        kind = None if data_type is None else self._part(identifier("data_type", data_type))
        narrowest = self._narrowest(scope)
        if narrowest is not None:
            letter, part = narrowest
            return self._endings(scope.tenant_id, f"{letter}:{part}" if kind is None else f"y{letter}:{kind}:{part}")
        if kind is not None:
            return self._endings(scope.tenant_id, f"y:{kind}")
        heads = (self._head(scope.tenant_id, bucket) for bucket in self._each(scope.tenant_id))
        return tuple((f"{namespace}:g:{tag}:t",) for namespace, tag in heads)

    def tag_generations(self, tenant_id: str, tag: str) -> tuple[tuple[str, str, str], ...]:
        """Returns for each bucket a tag's generation, the bucket's journal, and the generation of entries with too many tags."""
        return self._endings(tenant_id, f"k:{self._part(identifier('tag', tag))}")

    def _endings(self, tenant_id: str, what: str) -> tuple[tuple[str, str, str], ...]:
        groups: list[tuple[str, str, str]] = []
        for bucket in self._each(tenant_id):
            namespace, tag = self._head(tenant_id, bucket)
            prefix = f"{namespace}:g:{tag}:"
            groups.append((f"{prefix}{what}", f"{prefix}j", f"{prefix}{MANY[1:]}"))
        return tuple(groups)

    def groundwork(
        self, scope: Scope, data_types: Iterable[str], tags: Iterable[str]
    ) -> tuple[list[tuple[str, ...]], int]:
        """Returns the generations known to a reading beforehand: names for each bucket, and the number of wide ones.

        Returns:
            For each bucket of the tenant the name of its journal, then those of the tenant's and the types' generations
            (the wide ones), of the scope's, and of the tags'; and the number of the wide ones.
        """
        kinds, names = dict.fromkeys(data_types), dict.fromkeys(tags)
        tenant = Scope(scope.tenant_id)
        parts = [
            Scope(scope.tenant_id, **{attribute: value})
            for attribute, _ in _LETTERS
            if (value := getattr(scope, attribute)) is not None
        ]
        covers = [self.scope_generations(part, kind) for part in (tenant, *parts) for kind in (None, *kinds)]
        covers += [tuple((name,) for name, *_ in self.tag_generations(scope.tenant_id, tag)) for tag in names]
        heads = (self._head(scope.tenant_id, bucket) for bucket in self._each(scope.tenant_id))
        buckets = [
            (f"{ns}:g:{hash_tag}:j", *(cover[bucket][0] for cover in covers))
            for bucket, (ns, hash_tag) in enumerate(heads)
        ]
        return buckets, 1 + len(kinds)

    def render(self, kind: str, tenant_id: str, *parts: str) -> str:
        """Returns a key of another kind (queue, lock, counter, ...), all of whose parts share the tenant's first bucket."""
        if not parts:
            raise InvalidKeyError(f"a {kind!r} key needs a name")
        namespace, tag = self._head(tenant_text(tenant_id), 0)
        return ":".join((namespace, self._part(kind), tag, *(self._part(part) for part in parts)))

    def render_name(self, name: str) -> str:
        """Returns a name as it may stand on the server: as it is, or as its digest if names must not be seen there."""
        return self._part(name) if self._is_hidden else name

    def _each(self, tenant_id: str) -> range:
        return range(self._buckets.get(tenant_id, 1))

    def _head(self, tenant_id: str, bucket: int) -> tuple[str, str]:
        return self.namespace, f"{{{self._part(tenant_id)}.{bucket}}}"

    def _prefix_of(self, tenant_id: str, data_type: str, resource_id: str) -> KeyPrefix:
        bucket = self.bucket(tenant_id, data_type, resource_id) if self._buckets else 0
        prefix = self._prefixes.get((tenant_id, data_type, bucket))
        if prefix is None:
            namespace, tag = self._head(tenant_id, bucket)
            prefix = KeyPrefix(namespace, tag, self._part(data_type), self._part)
            if len(self._prefixes) >= _MOST:
                self._prefixes.clear()
            self._prefixes[(tenant_id, data_type, bucket)] = prefix
        return prefix

    def _render_scoped(self, prefix: KeyPrefix, name: str, scope: Scope) -> tuple[str, tuple[str, ...]]:
        head = f"{prefix.namespace}:g:{prefix.tag}"
        tail = f"{prefix.kind}:{name}"
        given = self._render_parts(scope)
        names = [f"{head}:r:{tail}"]
        for letter, part in given:
            names += [f"{head}:{letter}:{part}", f"{head}:y{letter}:{prefix.kind}:{part}"]
        if len(given) > 1:
            names += [f"{head}:r{letter}:{tail}:{part}" for letter, part in given]
        return "".join(f":{letter}={part}" for letter, part in given), tuple(names)

    def _render_parts(self, scope: Scope) -> list[tuple[str, str]]:
        """Returns the parts of a scope below the tenant, each by its letter, rendered."""
        given: list[tuple[str, str]] = []
        for attribute, letter in _LETTERS:
            value = getattr(scope, attribute)
            if value is not None:
                given.append((letter, self._part(permission_digest(value) if letter == "p" else value)))
        return given

    def _narrowest(self, scope: Scope) -> tuple[str, str] | None:
        """Returns the part of a scope that the fewest entries share."""
        given = dict(self._render_parts(scope))
        for letter in _NARROWEST_FIRST:
            if letter in given:
                return letter, given[letter]
        return None
