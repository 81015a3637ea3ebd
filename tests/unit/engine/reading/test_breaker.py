"""The breaker: open after failures in a row, never for ever, one probe at a time."""

import pytest

from alacena.engine.reading.breaker import Breaker


@pytest.fixture
def breaker(environment):
    return Breaker(environment)


def fail(breaker, times):
    for _ in range(times):
        assert breaker.admits()
        report(breaker)


def report(breaker, *, answers=None, began=None):
    """Reports a failure, of a try that began just now unless told otherwise."""
    now = breaker._environment.now()
    breaker.record_failure(breaker.answers if answers is None else answers, now if began is None else began)


def test_it_opens_after_five_failures_in_a_row_and_not_before(breaker):
    fail(breaker, 4)
    breaker.record_success()
    fail(breaker, 4)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open
    assert not breaker.admits()


def test_after_the_pause_exactly_one_may_try(breaker, environment):
    fail(breaker, 5)
    environment.advance(0.18)
    assert not breaker.admits()
    environment.advance(0.14)
    assert [breaker.admits() for _ in range(5)] == [True, False, False, False, False]
    breaker.record_success()
    assert [breaker.admits() for _ in range(5)] == [True] * 5


def test_failed_probes_double_the_pause_up_to_a_second(breaker, environment):
    fail(breaker, 5)
    for longest in (0.25, 0.5, 1.0, 1.0, 1.0):
        waited = 0.0
        while not breaker.admits():
            environment.advance(0.01)
            waited += 0.01
        assert 0.75 * longest - 0.01 <= waited <= 1.25 * longest + 0.02
        report(breaker)


def test_many_who_fail_at_the_same_moment_are_one_failure_of_the_server(breaker, environment):
    assert all(breaker.admits() for _ in range(100))
    for _ in range(100):
        report(breaker)
    environment.advance(0.25 * 1.25 + 0.001)
    assert breaker.admits()


def test_a_probe_that_is_given_up_lets_the_next_one_try(breaker, environment):
    fail(breaker, 5)
    environment.advance(1)
    assert breaker.admits()
    breaker.record_leaving(environment.now())
    assert breaker.admits()
    assert not breaker.admits()


def test_it_stays_closed_while_others_are_answered(breaker):
    for _ in range(20):
        answers = breaker.answers
        breaker.record_success()
        for _ in range(100):
            report(breaker, answers=answers)
    assert not breaker.is_open
    assert breaker.just_failed


def test_late_failures_do_not_close_it(breaker):
    began_before = breaker.answers
    breaker.record_success()
    fail(breaker, 5)
    report(breaker, answers=began_before)
    assert breaker.is_open


@pytest.mark.parametrize("left", [False, True], ids=["failed", "given up"])
def test_what_began_before_it_opened_does_not_report_for_the_probe(breaker, environment, left):
    """1. A read is sent. 2. Others fail, and it opens. 3. After the pause a probe is under way. 4. The first read ends."""
    began = environment.now()
    fail(breaker, 5)
    environment.advance(0.5)
    assert breaker.admits()
    if left:
        breaker.record_leaving(began)
    else:
        report(breaker, began=began)
    assert not breaker.admits()  # the probe is still under way, and alone
    breaker.record_success()
    assert breaker.admits()
    # Nor was its failure one of a probe: the next pause is the shortest again.
    fail(breaker, 5)
    environment.advance(0.25 * 1.25 + 0.001)
    assert breaker.admits()
