"""The ids of a batch and the answer of its loader, each value beside the id that it is for."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

from alacena.engine.base.errors import InvalidKeyError, show
from alacena.engine.base.remote_tier import MISSING, NOT_FOUND, Found
from alacena.engine.base.scope import identifier
from alacena.engine.loading.load import UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from alacena.engine.base.remote_tier import Lookup

BatchLoader: TypeAlias = "Callable[[list[str]], Awaitable[Mapping[str, Any] | Sequence[Any]]]"
"""Gets many values from the source: a mapping by id, or a sequence in the order of the ids it was given."""

MOST_AT_ONCE: Final = 1_000
"""Entries of a batch that take a step together, such as a look-up: more would hold the loop up."""

_REMEDY: Final = (
    "return a mapping by id, or one value for each id in their order, None for what the source does not have"
)

_OWN_IDS: Final = ("id", "resource_id", "document_id", "chunk_id")
"""Fields in which a row says whose it is."""

_NO_ROWS: Final = (str, bytes, bytearray, int, float, complex, list, tuple)


def distinct(resource_ids: Iterable[str]) -> list[str]:
    """Returns the ids of a batch, each once.

    Raises:
        InvalidKeyError: It is one id, the letters of which would be taken for ids, or no collection at all.
    """
    if isinstance(resource_ids, str | bytes | int | UUID):
        raise InvalidKeyError(f"resource_ids must be a list of ids, not the one id {show(resource_ids)}")
    try:
        found = iter(resource_ids)
    except TypeError:
        raise InvalidKeyError(f"resource_ids must be a list of ids, not {type(resource_ids).__name__}") from None
    # Listed first: an iterator that was used up could not be gone through again to name the wrong id.
    ids = list(found)
    try:
        return list(dict.fromkeys(ids))
    except TypeError:
        for one in ids:
            identifier("resource_id", one)
        raise


def as_asked(loader: BatchLoader, resource_ids: Sequence[Any]) -> BatchLoader:
    """Returns a loader that is given the ids as the caller wrote them: a source compares an int with an int."""
    if all(type(one) is str for one in resource_ids):
        return loader
    written = {identifier("resource_id", one): one for one in resource_ids}
    return lambda ids: loader([written[one] for one in ids])


def align(ids: Sequence[str], values: Any) -> list[Any]:
    """Returns a batch loader's answer in the order of its ids; ``None`` for ids that the source does not have.

    If a database leaves out ids, its rows are taken by their own ids (:data:`_OWN_IDS`).

    Raises:
        ValueError: Whose value is whose cannot be told: a sequence of another length whose values do not say it, or rows
            whose own ids stand in another order; a set; no sequence at all; a mapping with an id that was not asked for
            in place of one that was.
    """
    if hasattr(values, "keys"):
        listed = _by_id(ids, values)
    elif isinstance(values, str | bytes | AbstractSet) or not hasattr(values, "__iter__"):
        raise ValueError(f"the loader was asked for {len(ids)} values and returned {show(values)}: {_REMEDY}")
    else:
        rows = list(values)
        listed = _by_own_ids(ids, rows) or rows
    if len(listed) != len(ids):
        raise ValueError(f"the loader was asked for {len(ids)} values and returned {len(listed)}: {_REMEDY}")
    if any(value is UNCHANGED for value in listed):
        raise ValueError("load_many's loader is given no previous values: return the value instead of UNCHANGED")
    return listed


def _by_own_ids(ids: Sequence[str], rows: Sequence[Any]) -> list[Any] | None:
    """Returns rows in the order of the ids, if each of them says which of these is its own; else ``None``.

    Raises:
        ValueError: There is one for each id, and they are in another order. A row may speak of another one among
            them, so it cannot be told which order is meant.
    """
    given = [row for row in rows if row is not None]
    if not given or isinstance(given[0], _NO_ROWS) or hasattr(given[0], "dtype"):
        return None
    wanted = set(ids)
    for name in _OWN_IDS:
        if _id_text(_field(given[0], name)) not in wanted:
            continue
        own = [_id_text(_field(row, name)) for row in given]
        if not wanted.issuperset(own):
            continue
        by_id = dict(zip(own, given, strict=True))
        # Several rows bear one id, such as chunks the id of their document: the field does not say whose each row is.
        if len(by_id) < len(own):
            return None
        given_to = [one for row, one in zip(rows, ids, strict=False) if row is not None]
        if len(rows) == len(ids) and own != given_to:
            raise ValueError(
                f"the loader's rows are in another order than the ids that it was given, by their {name}: return a mapping "
                f"by id, {{row[{name!r}]: row for row in rows}}"
            )
        return [by_id.get(resource_id) for resource_id in ids]
    return None


def _field(row: Any, name: str) -> Any:
    try:
        get = getattr(row, "get", None)
        return get(name) if callable(get) else getattr(row, name, None)
    except Exception:  # noqa: BLE001 - code of the row's own runs, and it was paid for
        return None


def _by_id(ids: Sequence[str], values: Any) -> list[Any]:
    """Returns the values of a mapping whose keys are ids in any form, in the order of the ids."""
    listed = [values.get(resource_id) for resource_id in ids]
    if all(value is not None for value in listed):
        return listed
    wanted, by_text, foreign = set(ids), dict[str, Any](), list[Any]()
    for key in values.keys():  # noqa: SIM118 - a mapping by its keys() alone need not be iterable
        text = _id_text(key)
        if text in wanted:
            by_text[text] = values[key]
        else:
            foreign.append(key)
    if foreign and len(by_text) < len(wanted):
        shown = ", ".join(repr(key)[:60] for key in foreign[:3])
        raise ValueError(
            f"the loader was asked for {len(ids)} ids and answered for {len(foreign)} others ({shown}): "
            "return a mapping by the ids that it was given"
        )
    return [by_text.get(resource_id) for resource_id in ids]


def _id_text(key: object) -> str | None:
    try:
        return identifier("resource_id", key)
    except InvalidKeyError:
        return None


def value_of(outcome: Lookup[Any] | Found | None) -> Any:
    """Returns the value of an outcome, ``MISSING`` if there is none."""
    if isinstance(outcome, Found):
        return MISSING if outcome.value is NOT_FOUND else outcome.value
    return outcome.value if outcome is not None and outcome.found else MISSING
