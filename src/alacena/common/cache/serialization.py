"""Values as bytes and back, for code that stores them elsewhere: the same codec as the cache's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from alacena.common.runtime import PROCESS, default_ttl
from alacena.engine.base.arguments import copy_mapping
from alacena.engine.base.scope import identifier
from alacena.engine.codec import ValueCodec, size_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK: Final = "chunk"
_CRITICAL: Final = ("chunk_id", "tenant_id", "collection_id", "document_id", "embedding_model")
_codec: Final = ValueCodec()


def serialize_for_cache(value: Any, data_type: str | None = None) -> bytes:
    """Returns a value as bytes that `deserialize_from_cache` turns into an equal value of the same types.

    Args:
        value: Any supported value.
        data_type: ``"chunk"`` completes the value with `serialize_chunk_data` first; others change nothing.

    Raises:
        EncodeError: The value holds something that cannot be stored; the message names its path.
    """
    return _codec.encode(serialize_chunk_data(value) if data_type == _CHUNK else value)


def deserialize_from_cache(data: bytes, data_type: str | None = None) -> Any:
    """Returns the value that `serialize_for_cache` made these bytes of.

    Args:
        data: The bytes.
        data_type: ``"chunk"`` gives the value its ``id`` and ``model`` back; others change nothing.

    Raises:
        DecodeError: The bytes are not such a value.
    """
    value = _codec.decode(data)
    return deserialize_chunk_data(value) if data_type == _CHUNK else value


def serialize_chunk_data(chunk: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of a chunk with every field that finding and renewing it needs, ``None`` if it is not known.

    ``id`` stands in for ``chunk_id`` and ``model`` for ``embedding_model``; ``embedding_timestamp`` is the present, in
    whole seconds since the epoch, if it is absent.
    """
    complete = copy_mapping(chunk, "chunk", "a chunk's fields")
    for name, other in (("chunk_id", "id"), ("embedding_model", "model")):
        if complete.get(name) is None:
            complete[name] = complete.get(other)
    for name in _CRITICAL:
        complete.setdefault(name, None)
    if complete.get("embedding_timestamp") is None:
        complete["embedding_timestamp"] = int(PROCESS.environment.wall())
    return complete


def deserialize_chunk_data(chunk: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of a stored chunk with ``id`` and ``model`` again, and an embedding kept as JSON text as a list."""
    complete = copy_mapping(chunk, "chunk", "a chunk's fields")
    complete.setdefault("id", complete.get("chunk_id"))
    complete.setdefault("model", complete.get("embedding_model"))
    if isinstance(complete.get("embedding"), str):
        complete["embedding"] = json.loads(complete["embedding"])
    return complete


def estimate_object_size(value: Any) -> int:
    """Returns bytes that a value takes in memory, with everything it holds."""
    return size_of(value)


def get_default_ttl_for_data_type(data_type: str) -> float | None:
    """Returns seconds that an entry of the type lives where no ``ttl`` is given; ``None``: it never expires."""
    return default_ttl(identifier("data_type", data_type))
