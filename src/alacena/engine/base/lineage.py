"""Lineage of a value: the tags it names itself, and the entries its load read from the cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

import msgspec

from alacena.engine.base.errors import ArgumentError, show, text_of
from alacena.engine.base.keys import (
    IDENT_WITHOUT_READER,
    MANY,
    MOST_TAGS,
    collapse,
    collection_tag,
    document_tag,
    document_text,
    mark_tag,
    name_tags,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import DocumentId, EntryKey, Ident
    from alacena.engine.base.scope import Reader

DEEPEST: Final = 32
"""How far down in a value documents are looked for."""

MOST_OBJECTS: Final = 20_000
"""How many objects inside a value are looked at. A larger one that names a document among these ends with any document."""

ANSWER_TYPES: Final = ("query_result", "retrieval_cache", "vector_store", "semantic_index")
"""What is made from the documents of a collection as a whole."""

_PARTS: Final = frozenset({"document", "chunk", "embedding"})
"""What documents consist of: another document of the collection changes nothing about them."""

_FIELDS: Final = ("document_id", "document_ids", b"document_id", b"document_ids")
_METADATA: Final = ("metadata", "metadata_", "cmetadata", "langchain_metadata")
"""Fields that hold metadata as JSON text: a driver without a decoder gives a column of JSON so."""
_RELATIONS: Final = "relationships"
_SOURCE: Final = "1"
"""LlamaIndex's name of the relation between a node and its document."""
_LONGEST_JSON: Final = 1_000_000
_FIELD_NAMES: Final = frozenset((*_FIELDS, *_METADATA, _RELATIONS))
_TEXTS: Final = (str, bytes, UUID)
_NO_IDS: Final = (type(None), str, bool, float, Decimal, list, tuple)
"""Values in the field of an id that stand for none: nothing, a blank, a number that is not there."""
_DEEPEST_IDS: Final = 4
_SIZED: Final = frozenset({list, tuple, set, frozenset, type({}.values())})
_LEAVES: Final = frozenset({str, bytes, bytearray, int, float, bool, complex, type(None)})
_DRIVERS_ROWS: Final = frozenset({("asyncpg", "Record"), ("sqlite3", "Row")})


DocumentsById: TypeAlias = "Mapping[str, Iterable[DocumentId]]"
"""Documents of each of several resources, by the resource's id."""


class LoadReads(msgspec.Struct, eq=False):
    """The entries that one load has read from the cache. Bounded: beyond an entry's number of tags it only notes the overflow.

    Args:
        key: The entry to load. What is read of other tenants is not what it depends on: nothing of theirs decides over it.

    Attributes:
        readers: The readers that the entries name: the user and the permissions of each.
        is_over: Whether the load has ended: later reads of its tasks are not part of its value.
    """

    # A struct, because each load makes one: its fields cost a third of what a method that sets them costs.
    _key: EntryKey
    _idents: dict[Ident, None] = {}
    _tags: dict[str, None] = {}
    _is_many: bool = False
    is_over: bool = False
    readers: dict[Reader, None] = {}

    def note(self, ident: Ident, tags: Iterable[str]) -> None:
        """Notes an entry that the load has in hand, with its tags: it read it, or stored it itself."""
        if self.is_over:
            return
        if len(ident) > IDENT_WITHOUT_READER:
            self.readers[ident[IDENT_WITHOUT_READER:]] = None
        # Generations are of one tenant: what another tenant ends can never end this value, so its tags would only be refused.
        if self._is_many or ident[0] != self._key.tenant_id:
            return
        self._idents[ident] = None
        self._tags.update(dict.fromkeys(tags))
        self._is_many = len(self._idents) > MOST_TAGS or len(self._tags) > MOST_TAGS

    def note_entry(self, ident: Ident, generations: Iterable[Generation]) -> None:
        """Notes that the load read an entry in memory."""
        # The first two are the tenant's and the type's; lineage() derives these from the ident.
        self.note(ident, [tag_of(generation) for generation in generations][2:])

    def tags(self) -> tuple[str, ...]:
        """Returns the tags that the value depends on because of it."""
        if self._is_many:
            return (MANY,)
        if not self._idents:
            return ()
        own = {mark_tag(name) for name in self._key.generations}
        known = dict.fromkeys(tag for ident in self._idents for tag in self._key.lineage(ident))
        return tuple(tag for tag in {**known, **self._tags} if tag not in own)


def tag_of(generation: Generation) -> str:
    """Returns the tag that a generation stands for; if it stands for a scope, one that names it."""
    return generation.tag or mark_tag(generation.name)


UNDER_WAY: Final[list[None]] = []
"""One for each load under way in this process, whichever cache or thread it belongs to.

It is asked before the context variable is: a hit in memory has no nanoseconds to spare for one. It is a list because
adding to one and taking from it need no lock, and asking whether it is empty is the cheapest question there is.
"""


def tags_of_each(
    resource_ids: Collection[str], tags: Iterable[str], document_ids: Iterable[DocumentId] | DocumentsById
) -> list[tuple[str, ...]]:
    """Returns the tags, and the documents as tags, of each of several resources: the same for all, or documents by id.

    Raises:
        InvalidKeyError: As for :func:`name_tags`.
        ArgumentError: Documents are named for an id that is not among the resources.
    """
    if not isinstance(document_ids, Mapping):
        given = name_tags(tags, document_ids)
        return [given] * len(resource_ids)
    shared = name_tags(tags, ())
    if unknown := document_ids.keys() - set(resource_ids):
        raise ArgumentError(
            f"document_ids names {show(min(unknown, key=text_of))}, which is not among the values: name ids of values there"
        )
    return [(*shared, *name_tags((), document_ids.get(one, ()))) for one in resource_ids]


def list_dependencies(key: EntryKey, value: Any, tags: Iterable[str]) -> tuple[str, ...]:
    """Returns all that a value depends on, each once, as an entry can name it.

    A value that belongs to a collection and names none of its documents depends on the collection's documents as a whole; so
    does an answer that names neither.

    Args:
        key: Where the value is stored.
        value: A value that may name its documents.
        tags: Tags known besides.
    """
    search = None if _names_nothing(value) else _search(value)
    # A part that was not looked at, or an id that cannot be read, may name any document: the value ends with every one.
    if search is not None and search.names_unknown:
        return (MANY,)
    names = tuple(tags)
    if search is not None:
        names += tuple(map(document_tag, search.found))
    data_type, collection_id = key.ident[1], key.ident[5] if len(key.ident) > 3 else None
    of_collection = data_type in ANSWER_TYPES if collection_id is None else data_type not in _PARTS
    if of_collection and not any(name.startswith("document:") for name in names):
        names = (*names, collection_tag(collection_id))
    return collapse(names) if names else ()


def _names_nothing(value: Any) -> bool:
    """Returns whether a value is one of the many that are told at once: leaves, or a plain holder of leaves and lists."""
    kind = type(value)
    if kind in _LEAVES:
        return not _may_be_json(value)
    if kind is dict:
        if not _FIELD_NAMES.isdisjoint(value):
            return False
        inside = value.values()
    elif kind is list:
        inside = value
    else:
        return _is_opaque(kind) and not _columns_of(value)  # type: ignore[arg-type] # a class has a hash
    for one in inside:
        if type(one) not in _LEAVES and not (type(one) is list and _LEAVES.issuperset(map(type, one))):
            return False
    return True


def _may_be_json(value: Any) -> bool:
    """Returns whether a leaf may be JSON that names a document: an application may have serialized its value itself."""
    if type(value) is str:
        return value[:1] in "{[" and '"document_id' in value
    return type(value) is bytes and value[:1] in b"{[" and b'"document_id' in value


def _columns_of(value: Any) -> tuple[str, ...]:
    """Returns the names of the columns of a structured array of numpy, or of a record of one."""
    return getattr(getattr(value, "dtype", None), "names", None) or ()


@lru_cache(maxsize=256)
def _is_opaque(kind: Any) -> bool:
    """Returns whether no object of a type can name a document: it has no fields and holds no others, such as an array."""
    holds = (
        issubclass(kind, list | tuple | deque | AbstractSet | Mapping | type) or _is_row(kind) or is_drivers_row(kind)
    )
    has_fields = hasattr(kind, "__struct_fields__") or hasattr(kind, "__dataclass_fields__")
    return not holds and not has_fields and kind.__dictoffset__ == 0 and not _slot_names(kind)


@lru_cache(maxsize=256)
def is_drivers_row(kind: Any) -> bool:
    """Returns whether objects of a type are rows of asyncpg or sqlite3: ``dict`` makes one of them, and they are no mappings."""
    return any((one.__module__.partition(".")[0], one.__name__) in _DRIVERS_ROWS for one in kind.__mro__)


@lru_cache(maxsize=256)
def _is_row(kind: Any) -> bool:
    """Returns whether objects of a type are rows of SQLAlchemy or the like: sequences of values that have names."""
    return issubclass(kind, Sequence) and hasattr(kind, "_fields")


def documents_in(value: Any) -> tuple[str, ...]:
    """Returns the documents that a value says it belongs to, by their text, each once.

    It says so in fields called ``document_id`` or ``document_ids`` (text, a number, a UUID, a member of an enumeration,
    or several of these in a list, an array or a mapping), wherever they stand: in the value, in the elements of its lists,
    tuples, sets and mappings, in columns of a structured array, in fields of objects, such as the ``metadata`` of LangChain's
    and LlamaIndex's, in ``metadata`` that is JSON text, and in a value that is JSON text. A float without a fraction, as
    pandas makes of an id, and bytes that are text count as the id that they stand for.

    Cost: texts, bytes, numbers and arrays next to nothing; others some 0.05 microseconds for a text or number inside, 0.5 for
        what holds others. At most :data:`MOST_OBJECTS` are looked at, down to depth :data:`DEEPEST`.
    """
    search = _search(value)
    return () if search is None else tuple(search.found)


def _search(value: Any) -> _Search | None:
    search = _Search()
    if type(value) not in _LEAVES:
        search.look(value)
    elif _may_be_json(value):
        search.look_into_json(value)
    else:
        return None
    return search


class _Search:
    """Looks for documents inside one value, level by level.

    Attributes:
        found: Their ids.
        left: How many objects may still be looked at; negative if there were more.
    """

    def __init__(self) -> None:
        self.found: dict[str, None] = {}
        self.left = MOST_OBJECTS
        self._seen: dict[int, Any] = {}
        self._has_unreadable = False

    @property
    def names_unknown(self) -> bool:
        """Whether it may name documents that were not found: one is unreadable, or not all of the value was looked at."""
        return self._has_unreadable or (bool(self.found) and self.left < 0)

    def look_into_json(self, text: str | bytes) -> None:
        """Looks into a value that is JSON text; one that is too long to be parsed may name any document."""
        if len(text) > _LONGEST_JSON:
            self._has_unreadable = True
            return
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return  # a text that only begins as JSON does
        self.look(value)

    def look(self, value: Any) -> None:
        """Looks at a value and into it."""
        level = [value]
        for _ in range(DEEPEST):
            below: list[Any] = []
            for holder in level:
                inside = self._inside_or_nothing(holder)
                if inside is not None and self.left >= 0:
                    # A level that is larger than what is left is cut, not skipped: what stands first in a long list counts.
                    room = self.left
                    self.left -= len(inside)
                    some = inside if self.left >= 0 else islice(inside, room)
                    below += [one for one in some if type(one) not in _LEAVES]
            if not below:
                return
            level = [one for one in below if self._is_new(one)]
        self._has_unreadable = self._has_unreadable or bool(level)  # what is deeper may name any document

    def _is_new(self, holder: Any) -> bool:
        """Returns whether it is met for the first time: a value may hold itself."""
        before = len(self._seen)
        # The holder is kept with its id: what a row or a text was parsed into would be gone, and another one have its id.
        self._seen[id(holder)] = holder
        return len(self._seen) > before

    def _inside_or_nothing(self, holder: Any) -> Collection[Any] | None:
        try:
            inside = self._inside(holder)
            # A mapping of another make may give its values as a generator, without a length, and fail as they are read.
            if inside is None or type(inside) in _SIZED:
                return inside
            return list(islice(inside, max(self.left, 0) + 1))
        except Exception:  # noqa: BLE001 - code of the value's own runs, and the value was paid for
            self._has_unreadable = True
            return None

    def _inside(self, holder: Any) -> Collection[Any] | None:
        """Returns the parts of a value, and notes the documents that its fields name."""
        kind: Any = type(holder)
        if kind is list:
            return holder  # type: ignore[no-any-return]
        if kind is not dict:
            record = _record_of(holder)
            if record is holder and (isinstance(holder, list | tuple | deque | AbstractSet) or _is_row(kind)):
                return holder  # type: ignore[no-any-return]
            holder = record
        fields = holder if kind is dict or isinstance(holder, Mapping) else _fields_of(holder)
        if fields is None:
            return None
        self._note(fields)
        return fields.values()

    def _note(self, fields: Mapping[Any, Any]) -> None:
        """Notes the documents that the fields of one holder name."""
        for name in _FIELDS:
            if name in fields:
                self._name(fields[name])
        for name in _METADATA:
            if name in fields and _may_be_json(fields[name]):
                self.look_into_json(fields[name])
        if _RELATIONS in fields and isinstance(fields[_RELATIONS], Mapping):
            self._name_source(fields[_RELATIONS])

    def _name_source(self, relations: Mapping[Any, Any]) -> None:
        """Notes the document that a node of LlamaIndex is a part of, in whatever form the node's relations are."""
        for relation, node in relations.items():
            if getattr(relation, "value", relation) == _SOURCE:
                self._name(node.get("node_id") if isinstance(node, Mapping) else getattr(node, "node_id", None))

    def _name(self, given: Any, depth: int = 0) -> None:
        """Notes the documents of a field: one, or several as a list, an array, or a mapping by id or by row."""
        if type(given).__module__ == "numpy" and hasattr(given, "tolist"):
            given = given.tolist()
        if isinstance(given, Mapping):
            # A mapping has the ids as its keys, with a score, or as its values, as a data frame's column does.
            self._name_each((*given, *(one for one in given.values() if isinstance(one, _TEXTS))), depth)
        elif isinstance(given, list | tuple | deque | AbstractSet):
            self._name_each(given, depth)
        else:
            self._name_one(given)

    def _name_each(self, given: Collection[Any], depth: int) -> None:
        # One more than an entry can name is enough to know that they are too many.
        for one in given if depth < _DEEPEST_IDS else ():
            self._name(one, depth + 1)
            if len(self.found) > MOST_TAGS:
                return

    def _name_one(self, document_id: Any) -> None:
        if isinstance(document_id, float | Decimal) and document_id == document_id // 1:
            document_id = int(document_id)
        elif isinstance(document_id, bytes):
            document_id = document_id.decode(errors="replace")
        text = document_text(document_id)
        if text is not None:
            self.found[text] = None
        elif not isinstance(document_id, _NO_IDS):
            self._has_unreadable = True


def _record_of(value: Any) -> Any:
    """Returns the names and values of a row or a named tuple, as it is a record; anything else as it is."""
    kind: Any = type(value)
    if isinstance(value, list | tuple | deque | AbstractSet) or _is_row(kind):
        names = getattr(value, "_fields", None)
        return dict(zip(names, value, strict=False)) if isinstance(names, tuple) else value
    if is_drivers_row(kind):
        return dict(value)
    columns = _columns_of(value)
    return {name: value[name] for name in columns} if columns else value


def _fields_of(value: Any) -> Mapping[Any, Any] | None:
    """Returns the fields of an object, ``None`` if it has none. No property and no method of it runs."""
    if isinstance(value, type):
        return None
    # From the class, so that an instance that answers to every name does not look like a struct.
    names = getattr(type(value), "__struct_fields__", None) or getattr(type(value), "__dataclass_fields__", None)
    try:
        # Past the object's own __getattr__, which may load from a database or raise anything.
        fields = object.__getattribute__(value, "__dict__")
    except AttributeError:
        fields = None if names is not None else _slots_of(value)
    if names is not None:
        if isinstance(fields, dict) and isinstance(names, dict) and names.keys() <= fields.keys():
            return fields  # its fields, and the attributes that it holds beside them
        return {**{name: getattr(value, name, None) for name in names}, **(fields or {})}
    if not isinstance(fields, dict):
        return None
    extra = getattr(value, "__pydantic_extra__", None) if hasattr(type(value), "__pydantic_extra__") else None
    return {**fields, **extra} if isinstance(extra, dict) else fields


def _slots_of(value: Any) -> Mapping[Any, Any] | None:
    """Returns the slots of an object without a ``__dict__``; ``None`` if it has none that can be read."""
    return {name: getattr(value, name, None) for name in _slot_names(type(value))} or None


def _slot_names(kind: type) -> list[str]:
    """Returns the names of the slots that a class and its parents declare."""
    declaring = (vars(one) for one in kind.__mro__ if "__slots__" in vars(one))
    return [name for fields in declaring for name, slot in fields.items() if type(slot) is MemberDescriptorType]
