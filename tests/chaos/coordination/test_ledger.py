"""The ledger while clients, relays, Redis and Postgres are killed in turn: Postgres has the truth, to the token."""

from __future__ import annotations

import random

import pytest

from alacena.engine import Cache, Settings
from alacena.sources.ledger import PostgresAuthority
from proving.coordination.keys import ask
from proving.coordination.ledger import DSN_OPTIONS, Plan, prepare, run
from proving.coordination.syncs import compiler
from proving.coordination.unplugged import LOADS, Load, unplug
from proving.servers.postgres import Postgres
from proving.servers.redis_server import RedisServer

PLANS = [
    Plan(name="fast", mode="fast", calls=600, at_once=20, bound=""),
    Plan(name="fast, spilling", mode="fast", calls=300, at_once=20, spill=True, bound=""),
    Plan(name="safe", mode="safe", calls=300, at_once=100, bound="", patience=8),
    Plan(name="durable", mode="durable", calls=300, at_once=50, bound=""),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
async def test_the_total_is_the_truth_whoever_is_killed(plan: Plan) -> None:
    seen = await run(plan, 0.15)  # Seconds between kills: how many there are depends on how fast the machine is.
    if plan.mode == "fast":  # A Redis whose disk is slow writes late, and may die before it has: bench shows how late.
        assert (seen.over, seen.redis) == (0, seen.postgres)
    else:
        assert (seen.postgres, seen.redis) == (seen.truth, seen.truth)


@pytest.mark.skipif(compiler() is None, reason="no C compiler here")
@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
async def test_a_server_that_loses_what_it_had_not_synced_loses_nothing_that_was_safe_or_durable(load: Load) -> None:
    courses = await unplug(load, 2, random.Random(7))
    assert courses["safe"].calls > 0
    assert [courses[mode].lost for mode in ("safe", "durable")] == [[], []]
    assert courses["fast"].lost


async def test_without_a_file_in_redis_nothing_is_ever_counted_twice() -> None:
    plan = Plan(name="fast, no file", mode="fast", calls=400, at_once=20, bound="", file=False)
    assert (await run(plan, 0.25)).over == 0


async def test_a_key_with_other_figures_is_refused_and_an_expired_receipt_doubles_nothing() -> None:
    count = 40
    with RedisServer() as redis, Postgres() as postgres:
        prepare(postgres)
        authority = await PostgresAuthority.connect(postgres.dsn, **DSN_OPTIONS)
        async with Cache(Settings(redis_url=redis.url, redis_budget_s=5.0), authority=authority) as cache:
            rows = await ask(cache, authority, redis, postgres, count)
        await authority.close()
    assert [row.cells[0] for row in rows] == [count, count, count, count, 0, 0]
