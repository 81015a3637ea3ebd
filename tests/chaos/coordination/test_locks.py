"""Locks while their holders are killed and stopped: one at a time, the next in time, no late write."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from proving.coordination.failovers import OFF_S, fail_over_under
from proving.coordination.fences import SCHEMA, write_under
from proving.coordination.ledger import prepare
from proving.coordination.liveness import watch
from proving.coordination.peers.locks import PEERS
from proving.servers.postgres import Postgres

if TYPE_CHECKING:
    from proving.servers.redis_server import RedisServer

SEED = 20_260_914


async def test_a_hundred_contenders_go_on_after_a_holder_that_was_killed(redis_server: RedisServer) -> None:
    seen = await watch(PEERS[0], redis_server, 1, 0.5, random.Random(SEED))
    assert seen.overlaps == seen.errors == 0
    assert len(seen.waits_s) == 1
    assert seen.commands <= 8.0


@pytest.mark.parametrize("check", ["row", "table"])
async def test_no_write_of_a_stopped_holder_is_accepted_after_a_later_owners(
    check: str, valkey_server: RedisServer
) -> None:
    with Postgres() as postgres:
        prepare(postgres)
        postgres.execute(SCHEMA)
        out_of_order, accepted, _, told, stops, errors = await write_under(
            valkey_server.url, postgres, "alacena", check, 4
        )
    assert (out_of_order, errors) == (0, 0)
    assert int(str(accepted)) > 0
    assert int(str(told)) + 1 >= int(str(stops)) - 3


@pytest.mark.parametrize("off_s", [OFF_S, -OFF_S], ids=["ahead", "behind"])
async def test_no_failover_that_loses_fences_gives_lower_ones_whatever_the_clocks_say(off_s: int) -> None:
    with Postgres() as postgres:
        prepare(postgres)
        postgres.execute(SCHEMA)
        out_of_order, accepted, *_, fell = await fail_over_under(
            postgres, "alacena", "row", off_s, 2, random.Random(SEED)
        )
    assert (out_of_order, fell) == (0, 0)
    assert int(str(accepted)) > 0
