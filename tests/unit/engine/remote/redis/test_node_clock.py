"""By which time on the server's clock a command must have arrived: never later than meant, however long answers took."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from alacena.engine.base.settings import Settings
from alacena.engine.remote.redis.node import Node
from alacena.testing.doubles import FakeEnvironment

AHEAD_MS = 5_000_000.0
"""How far the server's clock is ahead of ours."""


@pytest.fixture
def environment() -> FakeEnvironment:
    return FakeEnvironment()


@pytest.fixture
def node(environment: FakeEnvironment) -> Node:
    nothing: Any = SimpleNamespace(fetch=None)
    return Node(nothing, nothing, nothing, environment, Settings())


def hear(
    node: Node, environment: FakeEnvironment, *, there_s: float, back_s: float, ahead_ms: float = AHEAD_MS
) -> None:
    """A heartbeat that took so long to get there, and its answer so long to come back."""
    sent_at = environment.now()
    environment.advance(there_s)
    server_ms = environment.now() * 1000 + ahead_ms
    environment.advance(back_s)
    node._read_clock(server_ms, sent_at)


def late_ms(node: Node, environment: FakeEnvironment, ahead_ms: float = AHEAD_MS) -> float:
    """How much later than meant a command could still be executed; below 0: it is given up early."""
    return node.within_ms(1.0) - (environment.now() * 1000 + ahead_ms + 1000)


def test_nothing_is_promised_before_the_clock_is_known(node: Node) -> None:
    assert node.within_ms(1.0) == 0


@pytest.mark.parametrize(("there_s", "back_s"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (0.2, 0.3)])
def test_it_is_never_later_than_meant(node: Node, environment: FakeEnvironment, there_s: float, back_s: float) -> None:
    hear(node, environment, there_s=there_s, back_s=back_s)
    assert -1000 * back_s - 1.001 <= late_ms(node, environment) <= 0


def test_a_quick_answer_is_not_forgotten_for_a_slow_one(node: Node, environment: FakeEnvironment) -> None:
    hear(node, environment, there_s=0.001, back_s=0.001)
    hear(node, environment, there_s=0.0, back_s=0.9)
    assert -3 <= late_ms(node, environment) <= 0


@pytest.mark.parametrize("step_ms", [-3_600_000.0, 3_600_000.0])
def test_a_clock_that_is_set_is_believed_at_once(node: Node, environment: FakeEnvironment, step_ms: float) -> None:
    hear(node, environment, there_s=0.001, back_s=0.001)
    hear(node, environment, there_s=0.001, back_s=0.001, ahead_ms=AHEAD_MS + step_ms)
    assert -3 <= late_ms(node, environment, AHEAD_MS + step_ms) <= 0
