"""Budgets under cut links and kills, and every verb whose reply is held past its timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alacena.engine.remote.backend import Script
from alacena.engine.remote.local.twins import TWINS
from proving.coordination.budgets import spend_all
from proving.coordination.lost_replies import VERBS, Verb, lose

if TYPE_CHECKING:
    from proving.servers.redis_server import RedisServer

SEED = 20_260_914


async def test_a_thousand_spenders_never_spend_more_than_there_is() -> None:
    cells = await spend_all(4_000, SEED, naive=False)
    limit, spent, over, confirmed, above, samples = (int(str(cell)) for cell in cells[:6])
    assert (over, above) == (0, 0)
    assert confirmed <= spent <= limit
    assert samples > 0


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
async def test_a_verb_whose_reply_is_lost_is_applied_once_and_says_that_it_is_not_known(
    verb: Verb, valkey_server: RedisServer
) -> None:
    for name in TWINS:
        valkey_server.call("SCRIPT", "LOAD", Script(name, idempotent=True).source)
    said, applied, after = await lose(verb, valkey_server, SEED)
    assert said == "OutcomeUnknownError"
    assert applied == (0 if verb.name.startswith("locks.take") else 1)
    assert after in {None, 1}
