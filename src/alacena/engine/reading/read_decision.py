"""The rule for a read once the tiers have been looked at, for one entry and for many.

Everything here is a pure function of the entry found, the type's policy, and whether the source has just failed. Looking,
waiting and loading are done elsewhere, as these functions answer.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Found
    from alacena.engine.loading.single_flight import Flight


class ReadDecision(Enum):
    """The decision of a read about the entry found."""

    SERVE = "the entry is fresh: it is the answer"
    SERVE_AND_RENEW = "the entry is fresh and expires soon: it is the answer, and a load behind the answer renews it"
    SERVE_STALE = "the entry has expired and is the answer; its source has just failed and is left alone"
    SERVE_STALE_AND_RENEW = "the entry has expired and is the answer, and a load behind the answer renews it"
    WAIT = "nothing may be served: the read joins the load of the entry, or starts it, and waits"


STALE: Final = (ReadDecision.SERVE_STALE, ReadDecision.SERVE_STALE_AND_RENEW)
"""Decisions that serve an expired entry."""

RENEWING: Final = (ReadDecision.SERVE_AND_RENEW, ReadDecision.SERVE_STALE_AND_RENEW)
"""Decisions that start a load behind the answer, unless one is under way."""


def decide(found: Found | None, policy: Policy, *, has_failed: bool, random: Callable[[], float]) -> ReadDecision:
    """Returns what a read does that has not waited for anything yet.

    Args:
        found: The entry that a tier has, fresh or expired; ``None``: there is none.
        policy: How its type is kept and loaded.
        has_failed: Whether the source of the entry has just failed, and is left alone for a moment.
        random: Chance, from 0 to 1. It is drawn only if the policy renews early.
    """
    # 1. Nothing there, or what is there has ended: the tiers return no entry whose generations have ended.
    if found is None:
        return ReadDecision.WAIT
    # 2. Fresh. It is the answer in any case; the policy may want it renewed before it expires. A source that has just
    #    failed is not asked for that: the entry is still good, and another failure would bring nothing.
    if found.fresh_for_s > 0:
        is_due = policy.early_refresh_beta > 0 and is_early(found, policy, random) and not has_failed
        return ReadDecision.SERVE_AND_RENEW if is_due else ReadDecision.SERVE
    stale_for_s = -found.fresh_for_s
    # 3. Expired, and its source has just failed. Waiting for the source would most likely bring the same failure, so the
    #    longer of the two allowances holds, and nothing renews the entry until the source may be asked again.
    if has_failed:
        return ReadDecision.SERVE_STALE if stale_for_s < policy.stale_s else ReadDecision.WAIT
    # 4. Expired, and the source is well. Only `stale_while_revalidate_s` serves at once; `stale_if_error_s` alone means
    #    that the source is asked first, and that the entry stands in if it fails. See `stand_in`.
    return ReadDecision.SERVE_STALE_AND_RENEW if stale_for_s < policy.stale_while_revalidate_s else ReadDecision.WAIT


def is_early(found: Found, policy: Policy, random: Callable[[], float]) -> bool:
    """Returns whether a fresh entry is renewed now (XFetch): the likelier, the nearer its end and the longer its load."""
    if not policy.early_refresh_beta or not found.load_s or math.isinf(found.fresh_for_s):
        return False
    chance = max(random(), 1e-12)
    return -found.load_s * policy.early_refresh_beta * math.log(chance) >= found.fresh_for_s


def may_stand_in(found: Found | None, policy: Policy) -> bool:
    """Returns whether an expired entry may become the answer of a read that waits, if the load is slow or fails.

    It decides how the read waits, before it is known how the load ends. So the longer allowance holds.
    """
    return found is not None and -found.fresh_for_s < policy.stale_s


def stand_in(found: Found | None, policy: Policy, *, has_failed: bool) -> ReadDecision:
    """Returns what a read does whose load has failed, or has taken longer than the soft timeout.

    Args:
        found: The entry that is there now. It was looked up again, because the entry found before the wait may have been
            invalidated, or renewed by another caller, meanwhile.
        policy: How its type is kept and loaded.
        has_failed: Whether the load has failed; otherwise it is only slow, and goes on behind the answer.
    """
    if found is None:
        return ReadDecision.WAIT
    if found.fresh_for_s > 0:
        return ReadDecision.SERVE
    allowed_s = policy.stale_if_error_s if has_failed else policy.stale_s
    return ReadDecision.SERVE_STALE if -found.fresh_for_s < allowed_s else ReadDecision.WAIT


def patience_s(flights: Iterable[Flight], policy: Policy, now: float) -> float | None:
    """Returns the seconds to wait for loads that expired entries may stand in for; ``None``: without limit.

    The soft timeout is a load's, not each reader's: a caller that joins a slow load waits no more for it.
    """
    if policy.soft_timeout_s is None:
        return None
    began_at = max(flight.began_at for flight in flights)
    return max(0.0, began_at + policy.soft_timeout_s - now)
