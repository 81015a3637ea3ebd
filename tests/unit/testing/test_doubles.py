"""The doubles: time that moves by hand, chance that repeats, an observer that remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alacena.testing.doubles import FakeEnvironment, RecordingObserver

if TYPE_CHECKING:
    from alacena.engine.base.environment import Environment


def test_time_moves_only_when_told() -> None:
    environment: Environment = FakeEnvironment(now=5.0, wall=100.0)
    assert isinstance(environment, FakeEnvironment)
    environment.advance(2.5)
    assert (environment.now(), environment.wall()) == (7.5, 102.5)
    environment.step_wall(-50.0)
    assert (environment.now(), environment.wall()) == (7.5, 52.5)
    with pytest.raises(ValueError, match="never goes back"):
        environment.advance(-1)


def test_equal_seeds_give_equal_chance() -> None:
    one, two, other = FakeEnvironment(seed=1), FakeEnvironment(seed=1), FakeEnvironment(seed=2)
    assert [one.random(), one.token(8)] == [two.random(), two.token(8)]
    assert one.token(8) != other.token(8)


def test_the_observer_keeps_events_by_type() -> None:
    observer = RecordingObserver()
    observer.observe("text")
    observer.observe(7)
    assert observer.of(int) == [7]
    observer.clear()
    assert observer.events == []
