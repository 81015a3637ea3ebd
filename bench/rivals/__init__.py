"""The contenders: one small file each, behind one protocol. One that is not installed is shown as absent."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.rivals.rival import Rival

MEMORY = {
    "dict": "plain_dict:PlainDict",
    "alacena": "alacena:InMemory",
    "cashews": "cashews:InMemory",
    "aiocache": "aiocache:InMemory",
    "dogpile": "dogpile:InMemory",
    "cachetools": "cachetools:InMemory",
    "cachebox": "cachebox:InMemory",
    "theine": "theine:InMemory",
}
"""Who keeps values in this process, and where the class is."""

REDIS = {
    "bare": "bare:Bare",
    "alacena": "alacena:OnRedis",
    "alacena, promoted": "alacena:Promoted",
    "redis-py": "redis_py:RedisPy",
    "coredis": "coredis:Coredis",
    "valkey-glide": "valkey_glide:Glide",
    "cashews": "cashews:OnRedis",
    "aiocache": "aiocache:OnRedis",
    "dogpile": "dogpile:OnRedis",
}
"""Who keeps them on a server."""


class Field(NamedTuple):
    """Who takes part.

    Attributes:
        present: Contenders by name, not opened yet.
        absent: Who is not installed, and what is missing.
    """

    present: dict[str, Rival]
    absent: dict[str, str]

    @property
    def note(self) -> tuple[str, ...]:
        """One line about those who are absent, if there are any."""
        gone = ", ".join(f"{name} ({missing})" for name, missing in self.absent.items())
        return (f"absent, not installed: {gone}",) if gone else ()


def invited(places: dict[str, str], only: Iterable[str] | None = None) -> Field:
    """Contenders of one kind.

    Args:
        places: ``MEMORY`` or ``REDIS``.
        only: Names; ``None``: all of them.
    """
    present: dict[str, Rival] = {}
    absent: dict[str, str] = {}
    for name in places if only is None else only:
        module, _, cls = places[name].partition(":")
        try:
            present[name] = getattr(importlib.import_module(f"bench.rivals.{module}"), cls)()
        except ModuleNotFoundError as error:
            absent[name] = error.name or str(error)
    return Field(present, absent)
