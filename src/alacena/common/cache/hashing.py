"""Short ids for long or structured things, the same in every process."""

from __future__ import annotations

import hashlib
import json
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from alacena.engine.base.errors import ArgumentError, show


def generate_resource_id_hash(data: Any) -> str:
    """Returns a resource id for any text or structure: 64 hexadecimal digits, equal for equal data, in every process.

    Text is hashed as it is (SHA-256 of its UTF-8). Structures are hashed by their JSON with sorted keys, so the order
    in which a dict was filled does not count, and none of them hashes like a text.

    Args:
        data: Text, bytes, or anything made of dicts with string keys, lists, numbers, dates, UUIDs and the like.

    Raises:
        TypeError: Something in it has no stable form, such as an object known by its address only.
    """
    if isinstance(data, str):
        # A lone surrogate, as in text that was decoded wrongly, has an id as well and is no error.
        return hashlib.sha256(data.encode("utf-8", "surrogatepass")).hexdigest()
    stable = json.dumps(_stable(data), sort_keys=True, separators=(",", ":"))
    # Without the prefix a structure would have the id of the text that is its JSON.
    return hashlib.sha256(b"\x00json\x00" + stable.encode()).hexdigest()


def _stable(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return _stable_dict(value)
    if isinstance(value, list | tuple):
        return [_stable(item) for item in value]
    if isinstance(value, set | frozenset):
        # Sorted as text: different types cannot be compared, and a set's own order differs by process.
        return {"set": sorted(json.dumps(_stable(item), sort_keys=True) for item in value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": bytes(value).hex()}
    # With the name of the type: str() of a date and a text can be equal.
    if isinstance(value, date | time | timedelta | Decimal | UUID):
        return {type(value).__name__: str(value)}
    msg = f"cannot hash a {type(value).__name__}: pass text, or its identity as text, numbers, lists and dicts"
    raise ArgumentError(msg)


def _stable_dict(value: dict[Any, Any]) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            msg = f"cannot hash a dict with the key {show(key)}: keys must be strings"
            raise ArgumentError(msg)
    return {"dict": {key: _stable(item) for key, item in value.items()}}  # nested, so no dict looks like a marked value
