"""The rule of a read, case by case: what is served, what is renewed, what is waited for."""

from __future__ import annotations

import math

import pytest

from alacena.engine.base.keys import Keys
from alacena.engine.base.policy import Policy
from alacena.engine.base.remote_tier import Found
from alacena.engine.loading.single_flight import Flight
from alacena.engine.reading.read_decision import ReadDecision, decide, is_early, may_stand_in, patience_s, stand_in

_KEY = Keys("alacena").plain("note", "n", "acme")
_BOTH = Policy(ttl=10, stale_while_revalidate_s=5, stale_if_error_s=60)
_AT_ONCE = Policy(ttl=10, stale_while_revalidate_s=60, stale_if_error_s=5)
_IF_ERROR = Policy(ttl=10, stale_if_error_s=60)
_NEVER = Policy(ttl=10)
_EARLY = Policy(ttl=10, early_refresh_beta=1.0)

_SERVE, _RENEW = ReadDecision.SERVE, ReadDecision.SERVE_AND_RENEW
_STALE, _STALE_RENEW, _WAIT = ReadDecision.SERVE_STALE, ReadDecision.SERVE_STALE_AND_RENEW, ReadDecision.WAIT


def _found(fresh_for_s: float | None, load_s: float = 1.0) -> Found | None:
    return None if fresh_for_s is None else Found(_KEY, "v", "memory", fresh_for_s, load_s)


@pytest.mark.parametrize(
    ("fresh_for_s", "policy", "well", "failed"),
    [
        (None, _BOTH, _WAIT, _WAIT),
        (5.0, _NEVER, _SERVE, _SERVE),
        (math.inf, _EARLY, _SERVE, _SERVE),
        (1e-9, _EARLY, _RENEW, _SERVE),
        (0.0, _NEVER, _WAIT, _WAIT),
        (0.0, _BOTH, _STALE_RENEW, _STALE),
        (-4.9, _BOTH, _STALE_RENEW, _STALE),
        (-5.0, _BOTH, _WAIT, _STALE),
        (-59.9, _BOTH, _WAIT, _STALE),
        (-60.0, _BOTH, _WAIT, _WAIT),
        (-30.0, _IF_ERROR, _WAIT, _STALE),
        (-30.0, _AT_ONCE, _STALE_RENEW, _STALE),
        (-60.0, _AT_ONCE, _WAIT, _WAIT),
    ],
)
def test_before_a_read_has_waited(
    fresh_for_s: float | None, policy: Policy, well: ReadDecision, failed: ReadDecision
) -> None:
    found = _found(fresh_for_s)
    assert decide(found, policy, has_failed=False, random=lambda: 0.5) is well
    assert decide(found, policy, has_failed=True, random=lambda: 0.5) is failed


@pytest.mark.parametrize(
    ("fresh_for_s", "policy", "slow", "failed"),
    [
        (None, _BOTH, _WAIT, _WAIT),
        (1.0, _NEVER, _SERVE, _SERVE),
        (-4.0, _BOTH, _STALE, _STALE),
        (-59.0, _BOTH, _STALE, _STALE),
        (-60.0, _BOTH, _WAIT, _WAIT),
        (-5.0, _AT_ONCE, _STALE, _WAIT),
        (-1.0, _NEVER, _WAIT, _WAIT),
    ],
)
def test_once_its_load_is_slow_or_has_failed(
    fresh_for_s: float | None, policy: Policy, slow: ReadDecision, failed: ReadDecision
) -> None:
    found = _found(fresh_for_s)
    assert stand_in(found, policy, has_failed=False) is slow
    assert stand_in(found, policy, has_failed=True) is failed


def test_a_read_waits_with_an_expired_entry_in_hand_for_as_long_as_it_is_kept() -> None:
    assert may_stand_in(_found(-59.9), _BOTH)
    assert not may_stand_in(_found(-60.0), _BOTH)
    assert not may_stand_in(None, _BOTH)


def test_chance_is_drawn_only_where_a_policy_renews_early() -> None:
    def never() -> float:
        raise AssertionError("chance was drawn")

    assert decide(_found(1.0), _NEVER, has_failed=False, random=never) is _SERVE
    assert not is_early(Found(_KEY, "v", "memory", 1.0, 0.0), _EARLY, never)


def test_the_soft_timeout_is_counted_from_the_youngest_load() -> None:
    flights = [Flight(b"n", 10.0), Flight(b"m", 12.0)]
    assert patience_s(flights, Policy(soft_timeout_s=3.0), 13.0) == 2.0
    assert patience_s(flights, Policy(soft_timeout_s=3.0), 20.0) == 0.0
    assert patience_s(flights, Policy(), 13.0) is None
