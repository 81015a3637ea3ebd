"""A source that brings its value bit by bit can ask whether somebody else may have a part of it."""

from __future__ import annotations

import asyncio

import pytest

from alacena.engine import Cache, LoadContext


class Source:
    """A source that waits until the test lets it go on, and hands out its context."""

    def __init__(self) -> None:
        self.context: LoadContext | None = None
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def load(self, context: LoadContext) -> str:
        self.context = context
        self.asked.set()
        await self.go_on.wait()
        return "value"

    @property
    def is_joinable(self) -> bool:
        assert self.context is not None
        return self.context.is_joinable


async def _end(cache: Cache, how: str) -> None:
    if how == "document":
        await cache.invalidate("acme", document_ids=["d1"])
    elif how == "tenant":
        await cache.invalidate("acme")
    elif how == "entry":
        await cache.delete("answer", "a1", "acme")
    else:
        await cache.set("answer", "a1", "newer", "acme")


@pytest.mark.parametrize("how", ["document", "tenant", "entry", "store"])
async def test_a_load_is_joinable_until_something_that_it_rests_on_ends(how: str) -> None:
    source = Source()
    async with Cache() as cache:
        load = asyncio.create_task(cache.load("answer", "a1", "acme", source.load, document_ids=["d1"]))
        await source.asked.wait()
        before = source.is_joinable
        await _end(cache, how)
        after = source.is_joinable
        source.go_on.set()
        await load

    assert (before, after) == (True, False)


async def test_what_has_nothing_to_do_with_a_load_leaves_it_joinable_and_its_end_does_not() -> None:
    source = Source()
    async with Cache() as cache:
        load = asyncio.create_task(cache.load("answer", "a1", "acme", source.load, document_ids=["d1"]))
        await source.asked.wait()
        await cache.invalidate("globex")
        during = source.is_joinable
        source.go_on.set()
        await load
        await asyncio.sleep(0)

        assert (during, source.is_joinable) == (True, False)
