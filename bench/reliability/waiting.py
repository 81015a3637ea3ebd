"""A process whose callers all ask for one cold key at once, through ours or another cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Settings
from bench.reliability.journal import now
from bench.reliability.truth import Truth
from bench.rivals.rival import Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.stand.workers import Talk

    Read = Callable[[str], Awaitable[Any]]

RIVALS = {
    "aiocache": "aiocache:OnRedis",
    "cashews": "cashews:OnRedis",
    "dogpile": "dogpile:OnRedis",
    "coredis": "coredis:Tracked",
}
"""Other caches, each with what it has against a stampede, and where its adapter is."""


async def wait(
    talk: Talk, *, who: str, path: str, truth: str, callers: int, load_s: float, settings: dict[str, Any]
) -> None:
    """Ask for ``d0`` with all callers at the word, say when this process loads, and what its callers saw."""
    with Truth(truth) as source:

        async def load(key: str) -> int:
            talk.say("loading")
            version = source.load(int(key[1:]))
            await asyncio.sleep(load_s)
            return version

        read, close = await _opened(who, path, load, settings)
        try:
            talk.say("ready")
            await talk.hear()
            waits, versions, errors = await _ask_all(read, callers)
            talk.say({"waits": waits, "versions": versions, "errors": errors})
            await talk.hear()
        finally:
            await close()


async def _ask_all(read: Read, callers: int) -> tuple[list[float], list[Any], list[str]]:
    waits: list[float] = []
    versions: set[Any] = set()
    errors: list[str] = []

    async def caller() -> None:
        began = now()
        try:
            versions.add(await read("d0"))
        except Exception as error:
            errors.append(repr(error))
        waits.append(now() - began)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return waits, list(versions), errors[:5]


async def _opened(
    who: str, path: str, load: Callable[[str], Awaitable[int]], settings: dict[str, Any]
) -> tuple[Read, Callable[[], Awaitable[None]]]:
    if who in RIVALS:
        rival = rival_of(who)
        await rival.open(Place(load, path))
        return rival.get_or_load, rival.close
    cache = Cache(Settings(**settings))
    await cache.open()

    async def read(key: str) -> Any:
        return await cache.load("document", key, "acme", lambda: load(key))

    return read, cache.close


def rival_of(who: str) -> Any:
    """The adapter of another cache."""
    from importlib import import_module

    module, _, cls = RIVALS[who].partition(":")
    return getattr(import_module(f"bench.rivals.{module}"), cls)()


def installed(who: str) -> bool:
    """Whether the other cache is here."""
    from importlib.util import find_spec

    return find_spec(who) is not None
