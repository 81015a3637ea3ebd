"""Every contender that is installed keeps the protocol; the others are absent and say what is missing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from proving.rivals import MEMORY, REDIS, STALE, filled, invited, opened
from proving.rivals.rival import BatchRunner, Drops, Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from proving.rivals.rival import Rival
    from proving.stand.server import Server

    Play = Callable[[], AbstractAsyncContextManager[Rival]]

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{name}")
    for name in ("DeprecationWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning")
]
"""What the contenders' own code is warned of."""

_ALL = [(kind, name) for kind, places in {"memory": MEMORY, "redis": REDIS, "stale": STALE}.items() for name in places]
_VALUE = {"id": "d1", "pages": [1, 2], "score": 0.5, "ok": True, "none": None}


class Counted:
    """A source that counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def load(self, key: str) -> Any:
        self.asked.append(key)
        return {"made for": key}


@pytest.fixture
def source() -> Counted:
    return Counted()


@pytest.fixture(params=_ALL, ids="-".join)
def play(request: pytest.FixtureRequest, server: Server, source: Counted) -> Play:
    """Opens one contender inside the test: some insist on being closed by the task that opened them."""
    kind, name = request.param
    field = invited({"memory": MEMORY, "redis": REDIS, "stale": STALE}[kind], (name,))
    if field.absent:
        pytest.skip(f"{name} is not installed: {field.absent[name]}")

    @asynccontextmanager
    async def playing() -> AsyncIterator[Rival]:
        async with opened(field, Place(source.load, server.path if kind == "redis" else "")) as rivals:
            yield rivals[name]

    return playing


async def test_what_was_set_is_got_and_what_was_not_is_none(play: Play) -> None:
    async with play() as rival:
        assert await rival.get("cold") is None
        await rival.set("d1", _VALUE)
        assert await rival.get("d1") == _VALUE


async def test_what_is_cold_is_loaded_once_and_kept(play: Play, source: Counted) -> None:
    async with play() as rival:
        for _ in range(3):
            assert await rival.get_or_load("d2") == {"made for": "d2"}
            await rival.settle()
        assert source.asked == ["d2"]


async def test_the_way_its_users_ask_gives_the_same(play: Play) -> None:
    async with play() as rival:
        await rival.set("d3", _VALUE)
        function, arguments, awaited = rival.hit("d3")
        found = function(*arguments)
        found = await found if awaited else found
        assert (found[0] if isinstance(found, tuple) else found) == _VALUE


async def test_what_is_dropped_is_gone(play: Play) -> None:
    async with play() as rival:
        if not isinstance(rival, Drops):
            pytest.skip("it does not drop")
        await rival.set("d4", _VALUE)
        await rival.delete("d4")
        assert await rival.get("d4") is None


async def test_many_come_back_in_the_order_asked_for(play: Play) -> None:
    async with play() as rival:
        if not isinstance(rival, BatchRunner):
            pytest.skip("it takes one key at a time")
        await rival.set_many({"a": 1, "b": [2]})
        assert await rival.get_many(["b", "missing", "a"]) == [[2], None, 1]


async def test_many_are_filled_some_at_a_time(play: Play) -> None:
    async with play() as rival:
        await filled(rival, {f"f{number}": number for number in range(150)})
        assert [await rival.get(f"f{number}") for number in (0, 127, 128, 149)] == [0, 127, 128, 149]


async def test_it_says_what_it_plays_with(play: Play) -> None:
    async with play() as rival:
        assert rival.about


def test_who_is_not_installed_is_absent_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEMORY, "nobody", "nobody_at_all:Nobody")
    field = invited(MEMORY, ("dict", "nobody"))
    assert list(field.present) == ["dict"]
    assert field.note == ("absent, not installed: nobody (proving.rivals.nobody_at_all)",)
