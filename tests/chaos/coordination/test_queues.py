"""Queues under SIGKILL, SIGSTOP and cut links: nothing is lost, nobody late is heard, poison is buried."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from proving.coordination.kills import kill_workers
from proving.coordination.million import run
from proving.coordination.peers.queues import PEERS
from proving.coordination.poison import judge, swallow
from proving.coordination.zombies import twins, zombies

if TYPE_CHECKING:
    from proving.figures.tables import Bar
    from proving.servers.redis_server import RedisServer

SEED = 20_260_914


def _require(bars: tuple[Bar, ...]) -> None:
    """All of them were reached."""
    assert [bar for bar in bars if bar.verdict == "missed"] == []


async def test_the_law_holds_through_kills_cuts_pauses_and_duplicate_sends() -> None:
    _require((await run(12_000, SEED)).bars)


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.role == "ours"], ids=lambda peer: peer.name)
async def test_killed_workers_lose_nothing(peer: object, redis_server: RedisServer) -> None:
    assert peer in PEERS
    _, count, lost, again, kills, _ = await kill_workers(peer, redis_server.url, 240, 3, 5.0, random.Random(SEED))  # type: ignore[arg-type]
    assert (count, lost, kills) == (240, 0, 3)
    assert int(str(again)) <= 3 * 10


async def test_late_holders_are_refused_by_every_verb(redis_server: RedisServer) -> None:
    table, bars = await zombies(redis_server.url, 2, 12)
    _require(bars)
    assert table.cell("late verbs refused", "seen") == 24


async def test_poison_ends_in_the_dead_letters_and_holds_nobody_up(redis_server: RedisServer) -> None:
    worker = next(peer for peer in PEERS if peer.name == "alacena, Worker")
    _require(judge(await swallow(worker, redis_server.url, 60, 2)))


async def test_many_senders_of_the_same_items_send_each_once(redis_server: RedisServer) -> None:
    _, bars = await twins(redis_server.url, 400)
    _require(bars)
