"""A process whose callers all ask for one cold key at once, through ours or another cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from proving.reliability.journal import now
from proving.reliability.rivalry import contender
from proving.reliability.truth import Truth
from proving.rivals.rival import Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.stand.workers import Talk

    Read = Callable[[str], Awaitable[Any]]


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

        cache = contender(who, settings)
        await cache.open(Place(load, path))
        try:
            talk.say("ready")
            await talk.hear()
            waits, versions, errors = await _ask_all(cache.get_or_load, callers)
            talk.say({"waits": waits, "versions": versions, "errors": errors})
            await talk.hear()
        finally:
            await cache.close()


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
