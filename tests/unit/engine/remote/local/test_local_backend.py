"""The store of memory-only mode: time that does not step, bells that ring."""

from __future__ import annotations

import asyncio

from alacena.engine.remote.local.local_backend import LocalBackend
from tests.unit.coordination.virtual import VirtualEnvironment, run_virtual


def test_its_clock_starts_at_the_walls_and_does_not_follow_its_steps() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        store = LocalBackend(environment)
        before = environment.wall()
        environment.wall = lambda: 0.0
        await store.call("SET", "k", "v", "PX", 5_000)
        await asyncio.sleep(4)
        assert await store.call("GET", "k") == b"v"
        await asyncio.sleep(2)
        assert await store.call("GET", "k") is None
        seconds, _ = await store.call("TIME")
        assert int(seconds) == int(before) + 6

    run_virtual(test)


def test_a_bell_rings_now_and_remembers_one_ring() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        store = LocalBackend(environment)
        async with store.listen("c") as bell, store.listen("c") as other:
            assert await store.call("PUBLISH", "c", "1") == 2
            await store.call("PUBLISH", "c", "1")
            assert await bell.wait(1)
            assert not await bell.wait(1)
            waiting = asyncio.create_task(bell.wait(100))
            await asyncio.sleep(1)
            began = environment.now()
            await store.call("PUBLISH", "c", "1")
            assert await waiting
            assert environment.now() == began
            assert await other.wait(0.001)
        assert await store.call("PUBLISH", "c", "1") == 0

    run_virtual(test)


def test_text_numbers_and_bytes_go_as_they_would_over_the_wire() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        store = LocalBackend(environment)
        await store.call("RPUSH", "ñ", "é", 7, 1.5, b"\xff")
        assert await store.call("LRANGE", "ñ".encode(), 0, -1) == ["é".encode(), b"7", b"1.5", b"\xff"]

    run_virtual(test)
