"""What an operator is told, in the log and by events: once for each change, at its level, with what to do."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import (
    Cache,
    Event,
    LoadFailed,
    LoadFinished,
    LookupFinished,
    ServerFound,
    ServerLost,
    ServerReplyError,
    Settings,
)
from alacena.engine.base.events import Events
from tests.unit.engine.scene import TENANT, play
from tests.waiting import until, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

Lines = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, logger="alacena"):
        yield


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    """The levels of the lines that hold these words."""
    return [record.levelname for record in caplog.records if words in record.getMessage()]


def test_losing_and_finding_the_server_is_said_once_each(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stage: Any) -> None:
        await asyncio.sleep(1)
        stage.sim.network.fail(stage.server.address)
        stage.server.kill_clients()
        for _ in range(20):
            await asyncio.sleep(1)
            await stage.cache.get("note", "n", TENANT)
        stage.sim.network.restore(stage.server.address)
        await asyncio.sleep(20)
        kinds = [type(event) for event in stage.seen.events if isinstance(event, ServerLost | ServerFound)]
        assert kinds == [ServerLost, ServerFound]

    play(scenario, server=True, seeds=[1])
    assert said(caplog, "is lost") == ["WARNING"]
    assert said(caplog, "is connected again") == ["INFO"]
    assert said(caplog, "it is tried again by itself")


def test_a_removal_that_is_owed_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stage: Any) -> None:
        await asyncio.sleep(1)
        stage.sim.network.fail(stage.server.address)
        stage.server.kill_clients()
        await asyncio.sleep(1)
        for number in range(5):
            await stage.cache.delete("note", f"n{number}", TENANT)
        stage.sim.network.restore(stage.server.address)
        await asyncio.sleep(20)

    play(scenario, server=True, seeds=[1])
    assert said(caplog, "a removal was not confirmed") == ["WARNING"]
    assert said(caplog, "every removal that was owed is confirmed") == ["INFO"]


async def test_values_that_cannot_be_stored_are_said_once_a_type(caplog: pytest.LogCaptureFixture) -> None:
    def lock() -> object:
        return threading.Lock()

    async with Cache() as cache:
        for number in range(5):
            await cache.load("note", f"n{number}", TENANT, lock)
            await cache.load("other", f"n{number}", TENANT, lock)
    assert said(caplog, "cannot be cached") == ["WARNING", "WARNING"]


async def test_a_failing_observer_is_said_once_until_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    class Flapping:
        calls = 0

        def observe(self, event: Event) -> None:
            self.calls += 1
            if self.calls != 4:
                raise RuntimeError("an observer's own fault")

    events = Events([Flapping()])
    for _ in range(8):
        events.emit(Event())
    assert said(caplog, "failed on") == ["ERROR", "ERROR"]


def test_a_slow_observer_soon_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    let_go, heard = threading.Event(), []

    class Slow:
        def observe(self, event: Event) -> None:
            nonlocal now
            heard.append(threading.current_thread())
            now += 0.2
            if threading.current_thread() is not threading.main_thread():
                let_go.wait(60)

    events = Events([Slow()], lambda: now)
    for _ in range(3):
        events.emit(Event())
    assert set(heard) == {threading.main_thread()}
    for _ in range(20_000):
        events.emit(Event())
    assert said(caplog, "in a thread of its own") == ["WARNING"]
    assert said(caplog, "does not keep up") == ["WARNING"]
    let_go.set()
    wait_for(lambda: len(heard) > 10_000, "what waited to be heard")
    assert threading.main_thread() not in heard[3:]


async def test_a_dead_background_task_is_said(caplog: pytest.LogCaptureFixture, tmp_path: Any) -> None:
    async with Cache(Settings(ledger_spill_path=str(tmp_path / "spill"))) as cache:
        (task,) = cache._parts.desk._background
        task.cancel()
        await asyncio.wait((task,))
        await asyncio.sleep(0)
        assert "alacena: spilled usage" in cache.guarantee()["faults"]
        await until(lambda: said(caplog, "has ended, though nobody ended it") == ["ERROR"])


async def test_loads_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    class Keeping:
        def observe(self, event: Event) -> None:
            seen.append(event)

    def failing() -> str:
        raise ValueError("the source knows a secret")

    async with Cache(observers=[Keeping()]) as cache:
        await cache.load("note", "n", TENANT, lambda: "v")
        with pytest.raises(ValueError, match="secret"):
            await cache.load("note", "m", TENANT, failing)
    finished, failed = (next(e for e in seen if isinstance(e, kind)) for kind in (LoadFinished, LoadFailed))
    assert (finished.resource_id, finished.count) == ("n", 1)
    assert (failed.resource_id, failed.error) == ("m", "ValueError")
    assert any(isinstance(event, LookupFinished) for event in seen)


def test_a_server_that_refuses_to_hear_of_the_fleet_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stage: Any) -> None:
        fleet = stage.cache._parts.process_view.fleet

        async def refused(*_: object, **__: object) -> None:
            raise ServerReplyError("NOPERM this user has no permissions to run the 'zadd' command")

        fleet._store = SimpleNamespace(script=refused, call=refused)
        await asyncio.sleep(20)
        assert "fleet" in stage.cache.guarantee()["faults"]
        assert await stage.cache.load("note", "n", TENANT, lambda: "v") == "v"

    play(scenario, server=True, seeds=[1])
    assert said(caplog, "could not tell the fleet of itself") == ["WARNING"]
