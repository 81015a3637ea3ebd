"""The contenders: one small file each, behind one protocol. One that is not installed is shown as absent."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from proving.rivals.rival import Place, Rival

_AT_ONCE = 128

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
    "alacena, promoted in place of another": "alacena:Promoted",
    "redis-py": "redis_py:RedisPy",
    "coredis": "coredis:Coredis",
    "valkey-glide": "valkey_glide:Glide",
    "cashews": "cashews:OnRedis",
    "aiocache": "aiocache:OnRedis",
    "aiocache, defaults": "aiocache:Documented",
    "dogpile": "dogpile:OnRedis",
}
"""Who keeps them on a server."""


STALE = {
    "alacena, default policy": "alacena:InMemory",
    "alacena, fail-safe": "alacena:FailSafe",
    "alacena, renewed behind": "alacena:Behind",
    "cashews": "cashews:InMemory",
    "cashews, failover": "cashews:Failover",
    "cashews, soft": "cashews:Soft",
    "cashews, early": "cashews:Early",
    "aiocache": "aiocache:InMemory",
    "dogpile, in threads": "dogpile:Threaded",
    "theine": "theine:InMemory",
    "cachebox": "cachebox:InMemory",
}
"""Who keeps values in this process, and what each does with those that expired."""


TRACKED = {"coredis, tracking cache": "coredis:Tracked"}
"""Who keeps copies of what is on a server, and is told of changes."""


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
        missing = importable(places[name])
        if missing is None:
            present[name] = made(places[name])
        else:
            absent[name] = missing
    return Field(present, absent)


def importable(place: str) -> str | None:
    """Returns what is missing for a contender, or ``None`` if it is installed."""
    try:
        made(place)
    except ModuleNotFoundError as error:
        return error.name or str(error)
    return None


def made(place: str) -> Rival:
    """Returns one contender that is not opened yet.

    Args:
        place: Its module in this package, and its class: ``"cashews:OnRedis"``.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    module, _, cls = place.partition(":")
    rival: Rival = getattr(importlib.import_module(f"proving.rivals.{module}"), cls)()
    return rival


def settings_of(rivals: Mapping[str, Rival]) -> str:
    """With which settings and serializer they play: a note under a table."""
    return "with: " + "; ".join(f"{name}: {rival.about}" for name, rival in rivals.items())


@asynccontextmanager
async def opened(field: Field, place: Place) -> AsyncIterator[dict[str, Rival]]:
    """Open them all at one place for the length of a block."""
    async with AsyncExitStack() as stack:
        for rival in field.present.values():
            await rival.open(place)
            stack.push_async_callback(rival.close)
        yield field.present


async def filled(rival: Rival, values: Mapping[str, Any]) -> None:
    """Keep many values, some at a time."""
    keys = list(values)
    for start in range(0, len(keys), _AT_ONCE):
        await asyncio.gather(*(rival.set(key, values[key]) for key in keys[start : start + _AT_ONCE]))
