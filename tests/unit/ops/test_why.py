"""What ``alacena explain`` says when it is asked in a process that has seen nothing of it; in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from alacena.ops.fleet_report import ask_others, own_name
from alacena.ops.read_explanation import reason
from tests.unit.engine.scene import TENANT, Source, play

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.ops.read_explanation import Reason
    from tests.unit.engine.scene import Stage

WORDS = {"data_type": "note", "resource_id": "n", "tenant_id": TENANT}


async def why(stage: Stage, **scope: str) -> Reason:
    """Asks in the first process, as the command does."""
    asking = stage.cache
    facts = await asking.explain("note", "n", TENANT, **scope)
    words = {**WORDS, **scope, "generations": facts.get("ended_generations", [])}
    return reason(facts, TENANT, (), await ask_others(asking, words, 3.0))


def keep_alive(stage: Stage) -> Awaitable[Any]:
    """Stores another of the type, so that the type is known to live."""
    return stage.caches[1].set("note", "other", "v", TENANT)


async def never_stored(stage: Stage) -> None:
    await keep_alive(stage)


async def expired(stage: Stage) -> None:
    await keep_alive(stage)
    await stage.caches[1].set("note", "n", "v", TENANT, ttl=5)
    await asyncio.sleep(8)


async def invalidated(stage: Stage) -> None:
    seen = stage.caches[1]
    await seen.set("note", "n", "v", TENANT, document_ids=["d1"])
    await asyncio.sleep(4)
    await seen.invalidate(TENANT, document_ids=["d1"])
    await asyncio.sleep(12)


async def removed(stage: Stage) -> None:
    await keep_alive(stage)
    await stage.caches[1].set("note", "n", "v", TENANT)
    await stage.caches[1].invalidate(TENANT, "note", "n")
    await asyncio.sleep(12)


async def evicted(stage: Stage) -> None:
    seen = stage.caches[1]
    for number in range(100):
        name = "n" if number == 60 else f"m{number}"
        await seen.load("note", name, TENANT, lambda: "v" * 900, ttl=20)
    await asyncio.sleep(25)


async def too_large(stage: Stage) -> None:
    await keep_alive(stage)
    await stage.caches[1].load("note", "n", TENANT, lambda: "v" * 10_000)
    await asyncio.sleep(3)


async def server_away(stage: Stage) -> None:
    await keep_alive(stage)
    assert stage.server is not None
    stage.server.restart()
    await stage.caches[1].get("note", "n", TENANT)
    await asyncio.sleep(6)  # both are connected and listed again


SEEN: dict[str, tuple[Callable[[Stage], Awaitable[None]], str, tuple[str, ...]]] = {
    "never stored": (never_stored, "never", ("Never stored", "none of the 2 processes")),
    "expired": (expired, "expired", ("Expired ", " s ago, as {p}")),
    "invalidated": (
        invalidated,
        "invalidated",
        ("Invalidated with document d1, 1", " s ago (it was stored 16 s ago)."),
    ),
    "removed by name": (removed, "invalidated", ("Invalidated or deleted, as {p} saw it 1", " s ago")),
    "evicted": (evicted, "evicted", ("Evicted from the memory of {p}", " s ago")),
    "too large": (too_large, "too_large", ("too large", "when {p}", " s ago")),
    "server away": (server_away, "server_away", ("was away when {p}", " s ago")),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_another_process_has_seen_is_told(name: str) -> None:
    happen, code, words = SEEN[name]

    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(3)  # each is listed
        await stage.processes[1].spawn(happen(stage))
        said = await why(stage)
        assert said.code == code, said
        assert [word for word in words if word.format(p=own_name(stage.caches[1])) not in said.sentence] == [], (
            said.sentence
        )

    play(scenario, server=True, processes=2, memory_max_bytes=60_000, max_value_bytes=4_096)


def test_a_load_is_told_with_its_process_and_its_age() -> None:
    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(3)
        slow = asyncio.ensure_future(
            stage.processes[1].spawn(stage.caches[1].load("note", "n", TENANT, Source("v", takes_s=20).load))
        )
        await asyncio.sleep(2)
        said = await why(stage)
        assert said.code == "loading"
        assert f"being loaded by {own_name(stage.caches[1])} (for " in said.sentence
        await slow

    play(scenario, server=True, processes=2)


def test_a_write_block_of_another_process_is_told() -> None:
    async def scenario(stage: Stage) -> None:
        async def write() -> None:
            async with stage.caches[1].write(TENANT, ("note", "n")):
                assert (await why(stage)).code == "held"

        await stage.processes[1].spawn(write())

    play(scenario, server=True, processes=2)


def test_a_scope_that_has_it_is_told() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.caches[1].set("note", "n", "v", TENANT)
        said = await why(stage, agent_id="a1")
        assert said.code == "wider_scope"

    play(scenario, server=True, processes=2)


def test_with_nobody_else_nothing_is_waited_for() -> None:
    async def scenario(stage: Stage) -> None:
        began = stage.now()
        await why(stage)
        assert stage.now() - began < 0.1

    play(scenario, server=True)


def test_one_that_hangs_is_named_and_costs_three_seconds() -> None:
    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(3)
        await stage.cache.set("note", "other", "v", TENANT)
        stage.processes[1].kill()
        began = stage.now()
        said = await why(stage)
        assert stage.now() - began == pytest.approx(3.0, abs=0.2)
        assert said.code == "absent"
        assert "1 of 1 other processes did not answer" in said.sentence

    play(scenario, server=True, processes=2)


def test_the_last_outcome_is_forgotten_for_others_and_never_grows() -> None:
    from alacena.engine.base.miss_reasons import EXPIRED, MissReasons

    now = 0.0
    table = MissReasons(lambda: now)
    table.note(b"k", EXPIRED, 2.0)
    now = 10.0
    assert table.last(b"k") == ("expired", pytest.approx(12.0, abs=0.1))
    assert table.last(b"other") is None
    for number in range(400_000):
        table.note(b"%d" % number, EXPIRED)
    assert table.last(b"k") is None
