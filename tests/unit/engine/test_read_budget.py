"""A read waits for the remote tier once: when its look has failed, it does not wait for a lease too."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from alacena.engine.base.counts import Counts
from alacena.engine.base.errors import BackendError, BackendUnavailableError, OutcomeUnknownError
from alacena.engine.base.events import Events
from alacena.engine.base.keys import Keys
from alacena.engine.base.policy import Policy
from alacena.engine.base.remote_tier import LeaseRequest
from alacena.engine.base.scope import Scope
from alacena.engine.base.settings import Settings
from alacena.engine.memory.sharded_dict import ShardedDict
from alacena.engine.reading.reading_parts import ReadingParts
from alacena.engine.reading.tiered_lookup import TieredLookup
from alacena.testing.doubles import FakeEnvironment

KEY = Keys("alacena").entry("document", "d1", Scope("acme"))
ASKED = LeaseRequest(KEY, (), lambda _: None)


class Slow:
    """A remote tier that answers nothing in time until it is told to."""

    def __init__(self, environment: FakeEnvironment, *, after_s: float = 0.05) -> None:
        self.fails = True
        self.leases = 0
        self.looks = 0
        self._environment = environment
        self._after_s = after_s

    async def find(self, *_: Any, **__: Any) -> None:
        self.looks += 1
        if self.fails:
            self._environment.advance(self._after_s)
            raise BackendUnavailableError("too late")

    async def lease_many(self, asked: Any) -> list[Any]:
        self.leases += len(asked)
        return [None] * len(asked)


class Waves(Slow):
    """Whoever asks waits for a turn of the loop; the first of them is answered, the others are not."""

    async def find(self, *_: Any, **__: Any) -> None:
        self.looks += 1
        is_first = self.looks % 101 == 1
        await asyncio.sleep(0)
        if not is_first:
            raise OutcomeUnknownError("too late")


def tiers(tier: Slow, environment: FakeEnvironment) -> TieredLookup:
    nothing: Any = SimpleNamespace(entries=ShardedDict())
    common = ReadingParts(cast("Any", tier), Keys(), Events(()), Counts(), environment, Settings())
    return TieredLookup(common, memory=nothing, copies=nothing)


async def test_no_lease_is_asked_for_right_after_a_look_that_failed() -> None:
    environment = FakeEnvironment()
    tier = Slow(environment)
    both = tiers(tier, environment)
    assert await both.find((KEY,), Policy(), keep=False) is None

    (answer,) = await both.lease_many((ASKED,))
    assert isinstance(answer, BackendError)
    assert "just failed" in str(answer)
    assert tier.leases == 0


async def test_a_look_that_succeeds_and_a_moment_that_passes_open_the_way_again() -> None:
    environment = FakeEnvironment()
    tier = Slow(environment)
    both = tiers(tier, environment)
    await both.find((KEY,), Policy(), keep=False)
    environment.advance(0.1)
    await both.lease_many((ASKED,))

    await both.find((KEY,), Policy(), keep=False)
    tier.fails = False
    await both.find((KEY,), Policy(), keep=False)
    await both.lease_many((ASKED,))
    assert tier.leases == 2


async def test_what_makes_everybody_wait_is_left_alone_after_a_few_failures() -> None:
    environment = FakeEnvironment()
    tier = Slow(environment)
    both = tiers(tier, environment)
    for _ in range(20):
        await both.find((KEY,), Policy(), keep=False)
    assert tier.looks < 10


async def test_a_server_that_is_known_to_be_away_is_asked_again_as_soon_as_it_is_back() -> None:
    environment = FakeEnvironment()
    tier = Slow(environment, after_s=0.0)
    both = tiers(tier, environment)
    for _ in range(20):
        await both.find((KEY,), Policy(), keep=False)
    tier.fails = False
    await both.find((KEY,), Policy(), keep=False)
    await both.lease_many((ASKED,))
    assert (tier.looks, tier.leases) == (21, 1)


async def test_reads_that_are_given_up_while_others_are_answered_do_not_keep_the_rest_away() -> None:
    """In each wave all ask at once: one is answered, then a hundred are given up."""
    environment = FakeEnvironment()
    tier = Waves(environment)
    both = tiers(tier, environment)
    for _ in range(5):
        await asyncio.gather(*(both.find((KEY,), Policy(), keep=False) for _ in range(101)))
    assert tier.looks == 505
