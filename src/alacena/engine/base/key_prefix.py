"""The common parts of the keys of all entries of one tenant, type and bucket."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class KeyPrefix:
    """The common parts of the keys of all entries of one tenant, type and bucket.

    Attributes:
        entry: The first part of their keys on the server.
        generations: Names of the generations that all of them depend on: their tenant's and their type's.
        namespace: The first part of every key.
        tag: The hash tag, with its braces.
        kind: The type, rendered.
        part: Renders a part of a key.
        is_told: Whether tenant and type can be told from the keys, because neither is a digest there.
    """

    __slots__ = ("entry", "generations", "hasher", "is_told", "kind", "namespace", "part", "tag")

    def __init__(self, namespace: str, tag: str, kind: str, part: Callable[[str], str]) -> None:
        self.namespace = namespace
        self.tag = tag
        self.kind = kind
        self.part = part
        self.entry = f"{namespace}:e:{tag}:{kind}:".encode()
        self.hasher: Any = None
        self.generations = (f"{namespace}:g:{tag}:t", f"{namespace}:g:{tag}:y:{kind}")
        self.is_told = "~" not in tag and "~" not in kind

    def make_hasher(self) -> Any:
        """Returns a BLAKE2b hasher of 16 bytes that has read ``entry``; a copy of it reads the rest of a key."""
        # It takes half a kilobyte, and without a server nobody asks.
        self.hasher = blake2b(self.entry, digest_size=16)
        return self.hasher
