"""Classes of the standard library, of drivers and of frameworks, which are storable without being registered.

They are known by their names, and found among what the application has imported already: nothing is imported here. So an
entry can bring forth an instance of such a class and nothing else, by any writer.
"""

from __future__ import annotations

import collections
import enum
import ipaddress
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.lineage import is_drivers_row
from alacena.engine.codec.records import Record, can_be_taken_apart, record_of
from alacena.engine.codec.scalars import plain_time

if TYPE_CHECKING:
    from collections.abc import Callable

_DATA_CLASSES: Final = (
    "openai.types",
    "langchain_core.documents",
    "langchain_core.messages",
    "langchain_core.outputs",
    "llama_index.core.schema",
    "llama_index.core.base.llms.types",
    "llama_index.core.base.response.schema",
)
"""Modules, with those below them, all of whose models, dataclasses and enums hold data and do nothing."""

# An entry names its factory: if more were allowed, its writer would choose what is called here.
_FACTORIES: Final[dict[str, type]] = {cls.__name__: cls for cls in (list, dict, set, int, float, str, bool, tuple)}


def _of_default_dict(value: collections.defaultdict[Any, Any]) -> list[Any]:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if factory is not None and _FACTORIES.get(name or "") is not factory:
        from alacena.engine.base.errors import EncodeError, show

        raise EncodeError(f"a defaultdict that calls {show(factory)} cannot be restored: pass dict(value)")
    return [name, list(value), list(value.values())]


def _to_default_dict(state: Any) -> collections.defaultdict[Any, Any]:
    name, keys, values = state
    factory = None if name is None else _FACTORIES[name]
    return collections.defaultdict(factory, zip(keys, values, strict=True))


def _pairs(value: Any) -> list[Any]:
    return [list(value), list(value.values())]


_Pair = tuple["Callable[[Any], object]", "Callable[[Any], Any]"]

_STANDARD: Final[dict[type, _Pair]] = {
    collections.OrderedDict: (_pairs, lambda state: collections.OrderedDict(zip(*state, strict=True))),
    # `Counter` would count the pairs, so they become a dict first.
    collections.Counter: (_pairs, lambda state: collections.Counter(dict(zip(*state, strict=True)))),
    collections.defaultdict: (_of_default_dict, _to_default_dict),
    collections.deque: (lambda value: [list(value), value.maxlen], lambda state: collections.deque(*state)),
    ipaddress.IPv4Address: (str, ipaddress.IPv4Address),
    ipaddress.IPv6Address: (str, ipaddress.IPv6Address),
    ipaddress.IPv4Network: (str, ipaddress.IPv4Network),
    ipaddress.IPv6Network: (str, ipaddress.IPv6Network),
    ipaddress.IPv4Interface: (str, ipaddress.IPv4Interface),
    ipaddress.IPv6Interface: (str, ipaddress.IPv6Interface),
}


def _binary(cls: Any) -> _Pair:
    return lambda value: bytes(value.to_binary()), cls.from_binary


def _spread(cls: Any) -> _Pair:
    return list, lambda state: cls(*state)


def _range(cls: Any) -> _Pair:
    def dump(value: Any) -> list[object]:
        return [value.lower, value.upper, value.lower_inc, value.upper_inc, value.isempty]

    def load(state: Any) -> Any:
        lower, upper, lower_inc, upper_inc, empty = state
        return cls(lower, upper, lower_inc=lower_inc, upper_inc=upper_inc, empty=empty)

    return dump, load


def _range_of_bounds(cls: Any) -> _Pair:
    def dump(value: Any) -> list[object]:
        if value.isempty:
            return [None, None, "[)", True]
        return [value.lower, value.upper, value.bounds, False]

    def load(state: Any) -> Any:
        lower, upper, bounds, empty = state
        return cls(lower, upper, bounds=bounds, empty=empty)

    return dump, load


def _row(cls: Any) -> _Pair:
    def dump(row: Any) -> list[object]:
        if issubclass(cls, Sequence):
            return [list(row._fields), list(row)]
        return [list(row), list(row.values())]

    def load(state: Any) -> Any:
        names, values = state
        # A process that has the class has imported the module of results, too.
        results: Any = sys.modules["sqlalchemy.engine.result"]
        result = results.IteratorResult(results.SimpleResultMetaData(names), iter([tuple(values)]))
        return result.one() if issubclass(cls, Sequence) else result.mappings().one()

    return dump, load


def _text(cls: Any) -> _Pair:
    return str, cls


_URLS: Final = ("AnyUrl", "AnyHttpUrl", "HttpUrl", "AnyWebsocketUrl", "WebsocketUrl", "FileUrl", "FtpUrl")
"""Pydantic's URLs. Not those of servers (``PostgresDsn``): they hold passwords."""

_DRIVERS: Final[dict[str, Callable[[Any], _Pair]]] = {
    **{f"pydantic.networks.{name}": _text for name in _URLS},
    "pydantic_core._pydantic_core.Url": _text,
    "sqlalchemy.engine.row.Row": _row,
    "sqlalchemy.engine.row.RowMapping": _row,
    "pgvector.vector.Vector": _binary,
    "pgvector.halfvec.HalfVector": _binary,
    "pgvector.sparsevec.SparseVector": _binary,
    "pgvector.bit.Bit": _binary,
    "asyncpg.types.Range": _range,
    "psycopg.types.range.Range": _range_of_bounds,
    "psycopg.types.multirange.Multirange": lambda cls: (list, cls),
    "sqlalchemy.dialects.postgresql.ranges.Range": _range_of_bounds,
    "sqlalchemy.dialects.postgresql.ranges.MultiRange": lambda cls: (list, cls),
    "asyncpg.pgproto.types.Point": _spread,
    "asyncpg.pgproto.types.Box": _spread,
    "asyncpg.pgproto.types.Line": _spread,
    "asyncpg.pgproto.types.LineSegment": _spread,
    "asyncpg.pgproto.types.Circle": lambda cls: (lambda value: [value.center, value.radius], lambda s: cls(*s)),
    "asyncpg.pgproto.types.Path": lambda cls: (
        lambda value: [list(value.points), value.is_closed],
        lambda state: cls(*state[0], is_closed=state[1]),
    ),
    "asyncpg.pgproto.types.Polygon": lambda cls: (lambda value: list(value.points), lambda state: cls(*state)),
    "asyncpg.pgproto.types.BitString": lambda cls: (lambda value: value.as_string(), cls),
}


def find_class(cls: type) -> Record | None:
    """Returns the record of a class that needs no registration, or ``None``."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    pair = _STANDARD.get(cls)
    # A class can give itself any name: it must be the one that the module holds under it.
    if pair is None and _find_imported(name) is cls:
        if make := _DRIVERS.get(name):
            pair = make(cls)
        elif _holds_data(cls.__module__) and can_be_taken_apart(cls):
            return record_of(cls, name)
    return None if pair is None else record_of(cls, name, *pair)


def find_name(name: str) -> Record | None:
    """Returns the record of the class of this name that needs no registration; ``None`` if it is not imported here."""
    for cls in _STANDARD:
        if f"{cls.__module__}.{cls.__qualname__}" == name:
            return find_class(cls)
    found = _find_imported(name) if name in _DRIVERS or _holds_data(name.rpartition(".")[0]) else None
    # A module of the list may import other classes: only one that is defined under this name counts.
    return None if found is None or f"{found.__module__}.{found.__qualname__}" != name else find_class(found)


def plain(value: Any) -> Any:
    """Returns the plain value that an object equals and says no more than; the object itself if there is none.

    A row of asyncpg or sqlite3 is its ``dict``; text of a class of its own (an `Enum`'s member among it) that has no
    attributes is text; a moment of pandas or pendulum that is no finer than a microsecond is a ``datetime``.
    """
    kind: Any = type(value)
    if isinstance(value, str) and (isinstance(value, enum.Enum) or not getattr(value, "__dict__", None)):
        text = value.value if isinstance(value, enum.Enum) else value
        # Not `str(text)`: a class of its own may answer with anything.
        return str.__str__(text) if isinstance(text, str) else value
    if is_drivers_row(kind):
        return dict(value)
    return plain_time(value)


def _find_imported(name: str) -> type | None:
    """Returns the class of this name, if the application has imported its module."""
    module, _, bare = name.rpartition(".")
    # Not `getattr`: a module's own `__getattr__` may import what an entry names.
    found = vars(sys.modules[module]).get(bare) if module in sys.modules else None
    return found if isinstance(found, type) else None


def _holds_data(module: str) -> bool:
    return any(module == allowed or module.startswith(f"{allowed}.") for allowed in _DATA_CLASSES)
