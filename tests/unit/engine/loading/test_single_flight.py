"""Flights: who may board, what everybody gets, whose leaving matters."""

import asyncio
import math

import pytest

from alacena.engine import CacheClosedError, LoadCancelledError
from alacena.engine.base.generation import Generation
from alacena.engine.base.keys import Keys
from alacena.engine.base.remote_tier import Lease
from alacena.engine.base.scope import Scope
from alacena.engine.loading.single_flight import Flight, SingleFlight, describe_end
from alacena.engine.memory import MemoryBounds, MemoryTier
from tests.unit.engine.scene import settle
from tests.waiting import for_ever

KEY = Keys().entry("note", "n", Scope("acme"))


@pytest.fixture
def memory(environment):
    return MemoryTier(MemoryBounds(max_bytes=1_000_000), environment=environment)


@pytest.fixture
def flights(memory, environment):
    return SingleFlight(memory, environment, 1.0)


def lease(*generations, journal=None):
    journal = journal or Generation("j")
    return Lease(KEY, b"token", tuple((g, g.nonce) for g in generations), (journal, journal.nonce), 0)


async def test_everybody_gets_the_outcome_the_first_the_original_the_rest_copies():
    flight = Flight(b"n")
    waiters = [flight.join() for _ in range(3)]
    original = ["v"]
    flight.resolve(original, list)
    got = [await waiter for waiter in waiters]
    assert got == [["v"]] * 3
    assert len({id(value) for value in got}) == 3
    assert sum(value is original for value in got) == 1


async def test_a_copy_that_cannot_be_made_leaves_nobody_waiting_for_ever():
    flight = Flight(b"n")
    waiters = [flight.join() for _ in range(3)]

    def broken(_):
        raise ValueError("cannot be copied")

    with pytest.raises(ValueError, match="cannot be copied"):
        flight.resolve(["v"], broken)
    assert not flight.is_over
    flight.fail(ValueError("cannot be copied"))
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError] * 3


async def test_landing_and_crashing_twice_changes_nothing():
    flight = Flight(b"n")
    waiter = flight.join()
    flight.resolve("first")
    flight.resolve("second")
    flight.fail(OSError())
    assert await waiter == "first"


async def test_only_the_last_to_leave_cancels_the_load(flights):
    began, gone = asyncio.Event(), asyncio.Event()

    async def load():
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    flight = flights.register(b"n")
    flight.task = flights.start([flight], load())
    waiters = [flight.join() for _ in range(3)]
    await began.wait()
    for waiter in waiters[:2]:
        waiter.cancel()
    await settle()
    assert not gone.is_set()
    late = flights.get(b"n").join()
    waiters[2].cancel()
    await settle()
    assert not gone.is_set()
    late.cancel()
    await gone.wait()
    assert flights.get(b"n") is None
    await flights.drain(1)
    assert len(flights) == 0


async def test_a_passenger_boards_even_if_the_load_ends_at_once(flights):
    flight = flights.register(b"n")

    async def load():
        flight.resolve("v")

    flights.start([flight], load())
    assert await flight.join() == "v"


async def test_a_load_for_several_flights_is_cancelled_by_nobody(flights):
    both = [flights.register(entry) for entry in (b"n", b"m")]
    going = asyncio.Event()

    async def load():
        await going.wait()
        for flight in both:
            flight.resolve("v")

    flights.start(both, load())
    for flight in both:
        flight.join().cancel()
    await asyncio.sleep(0)
    waiter = flights.get(b"n").join()
    going.set()
    assert await waiter == "v"
    await flights.drain(1)
    assert len(flights) == 0


async def test_a_flight_that_was_replaced_does_not_take_its_successor_with_it(flights):
    first = flights.register(b"n")
    second = flights.register(b"n")
    await flights.start([first], asyncio.sleep(0))
    await settle()
    assert flights.get(b"n") is second
    await flights.start([second], asyncio.sleep(0))
    await settle()
    assert flights.get(b"n") is None


async def test_who_comes_after_an_ending_does_not_board(flights):
    flight = flights.register(b"n")
    flights.close(b"n")
    assert flights.get(b"n") is None
    assert not flight.joinable
    for name in (b"a", b"b"):
        flights.register(name)
    flights.close_all()
    assert len(flights) == 0


async def test_before_the_source_is_asked_anybody_may_board(flights, memory):
    memory.serving_until = -math.inf
    flight = flights.register(b"n")
    flights.endings += 1
    assert flights.get(b"n") is flight


async def test_with_a_lease_its_generations_decide(flights, environment):
    generation = Generation("t")
    generation.nonce = b"one"
    flight = flights.register(b"n")
    flight.lease = lease(generation)
    flights.mark_started(flight)
    flights.endings += 1
    environment.advance(60)
    assert flights.get(b"n") is flight
    generation.nonce = None
    assert flights.get(b"n") is None


async def test_a_tag_that_ends_may_be_one_that_the_load_will_name(flights):
    journal = Generation("j")
    journal.nonce = b"one"
    flight = flights.register(b"n")
    flight.lease = lease(journal=journal)
    flights.mark_started(flight)
    assert flights.get(b"n") is flight
    journal.nonce = None
    assert flights.get(b"n") is None
    assert flight.lease.stands, "its fill may be good all the same"


async def test_who_waits_for_a_lease_finds_every_flight_that_may_have_it(flights):
    first, second, third = [flights.register(b"n") for _ in range(3)]
    first.lease = second.lease = lease()
    with flights.follow(third, b"n") as holders:
        assert holders == [first, second]
        assert first.followers == second.followers == (third,)
    assert first.followers == second.followers == ()
    await flights.start([first], asyncio.sleep(0))
    await settle()
    with flights.follow(third, b"n") as holders:
        assert holders == [second]
    await flights.start([second], asyncio.sleep(0))
    await settle()
    flights.close(b"n")
    third.lease = lease()
    with flights.follow(flights.register(b"n"), b"n") as holders:
        assert holders == [third]
    await flights.start([third], asyncio.sleep(0))
    await settle()
    with flights.follow(third, b"n") as holders:
        assert holders == []


async def test_without_a_lease_any_ending_closes_it(flights):
    flight = flights.register(b"n")
    flights.mark_started(flight)
    assert flights.get(b"n") is flight
    flights.endings += 1
    assert flights.get(b"n") is None


async def test_who_may_not_hear_of_endings_boards_within_the_bound_only(flights, memory, environment):
    memory.serving_until = environment.now() + 0.5
    flight = flights.register(b"n")
    flight.lease = lease()
    flights.mark_started(flight)
    environment.advance(0.9)
    assert flights.get(b"n") is flight
    environment.advance(0.2)
    assert flights.get(b"n") is None
    memory.serving_until = environment.now() + 0.5
    assert flights.get(b"n") is flight


async def test_who_does_not_trust_memory_boards_nothing_where_there_is_a_server(flights, memory, environment):
    flight = flights.register(b"n")
    assert flights.get(b"n", exact=True) is flight
    memory.serving_until = environment.now() + 1
    assert flights.get(b"n", exact=True) is None


async def test_draining_waits_for_what_is_started_meanwhile(flights):
    done = []

    async def second():
        await asyncio.sleep(0)
        done.append(2)

    async def first():
        await asyncio.sleep(0)
        flights.own(second())
        done.append(1)

    flights.own(first())
    await flights.drain(5)
    assert done == [1, 2]
    assert flights.tasks == frozenset()


async def test_what_a_load_ends_with_is_told_in_words_that_are_true():
    task = asyncio.current_task()
    error = OSError("the source's")
    assert describe_end(task, error, "note 'n'") is error
    assert isinstance(describe_end(task, asyncio.CancelledError(), "note 'n'"), LoadCancelledError)
    assert isinstance(describe_end(task, KeyboardInterrupt(), "note 'n'"), LoadCancelledError)

    async def closed():
        with pytest.raises(asyncio.CancelledError) as caught:
            await for_ever()
        return describe_end(asyncio.current_task(), caught.value, "note 'n'")

    other = asyncio.create_task(closed())
    await asyncio.sleep(0)
    other.cancel()
    assert isinstance(await other, CacheClosedError)
