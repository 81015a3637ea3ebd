"""The policy of a data type on a hit, on a miss and on a failure: one object a type, overridable a call."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

from alacena.engine.base.errors import ArgumentError, SettingsError, show
from alacena.engine.base.ttl import Ttl, is_finite, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules by which entries of one data type are kept and loaded.

    ::

        price = Policy(ttl=600, stale_if_error_s=3600, soft_timeout_s=2)
        Cache(settings, policies={"price": price})  # or configure(policies=...)

    Nothing is served after its time to live unless a window after it is set. The text under each field describes it.

    Raises:
        SettingsError: A rule is wrong; the message lists every one of them.
    """

    ttl: Ttl = 3600.0
    """Seconds an entry is fresh; ``None`` never expires."""
    stale_if_error_s: float = 0.0
    """Seconds after expiry during which the entry may be served if its source fails."""
    stale_while_revalidate_s: float = 0.0
    """Seconds after expiry during which the entry is served at once, while one load renews it behind."""
    retry_after_s: float | None = None
    """Seconds after a failed load during which this process leaves the source of the entry alone, less up to a tenth:
    what may be served stale is served at once, and if there is nothing, readers get the error that it failed with.
    ``None``: 5 s if something stale stands in, and else each read asks again; 0: each read asks in any case. A
    source that says for how long itself (``ctx.retry_after``, an exception's ``retry_after``, the ``Retry-After`` of
    its 429 or 503) is left alone for that long."""
    soft_timeout_s: float | None = None
    """Seconds of a load after which a stale entry is served and the load goes on behind; ``None``: wait."""
    hard_timeout_s: float | None = 120.0
    """Seconds after which a load (of one entry, or of a batch) is given up with ``LoadTimeoutError``; ``None``: never.
    Two minutes are longer than a patient client of a model waits for an answer, and short enough that a load that would
    never end becomes an error."""
    early_refresh_beta: float = 0.0
    """How eagerly an entry is renewed before it expires (XFetch, Vattani et al., VLDB 2015): 0 is off, 1 the paper's
    optimum, more is earlier."""
    negative_ttl_s: float = 0.0
    """Seconds during which "the source has nothing" is remembered; 0 is off."""
    jitter_ratio: float | None = None
    """The part of a time to live that may be taken off at random; ``None``: the cache's setting."""
    use_memory: bool = True
    """Whether the process keeps copies in its memory."""
    shared: bool = False
    """Hand out mutable containers from memory as they are, without a private copy. Only for values that every reader
    treats as read-only: it saves a decode a hit."""
    redis_budget_s: float | None = None
    """The longest a read waits for Redis before it goes to the source; ``None``: the cache's setting. More for a type
    of large values: one of 6 MB takes half a second at 100 Mbit/s, and what never arrives in time is never a hit."""

    def __post_init__(self) -> None:
        wrong = [f"{f.name}: {problem}" for f in fields(self) if (problem := _problem(f.name, getattr(self, f.name)))]
        if wrong:
            raise SettingsError("Policy: " + "; ".join(wrong))

    @property
    def ttl_s(self) -> float | None:
        """The time to live in seconds."""
        return seconds(self.ttl)

    @property
    def stale_s(self) -> float:
        """Seconds for which an expired entry is kept at all."""
        return max(self.stale_if_error_s, self.stale_while_revalidate_s)

    def but(self, **changes: Any) -> Policy:
        """Returns a copy with some attributes changed."""
        return replace(self, **changes)


def check_policy(policy: object) -> Policy:
    """Returns a policy that a call was given.

    Raises:
        TypeError: It is no policy.
    """
    if not isinstance(policy, Policy):
        raise ArgumentError(f"policy must be a Policy, such as Policy(ttl=60), not {type(policy).__name__}")
    return policy


def _problem(name: str, value: object) -> str | None:
    if name == "ttl":
        try:
            seconds(value)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            return str(error)
        return None
    if name in {"use_memory", "shared"}:
        return None if isinstance(value, bool) else f"must be True or False, not {show(value)}"
    optional = {"retry_after_s", "soft_timeout_s", "hard_timeout_s", "jitter_ratio", "redis_budget_s"}
    if value is None and name in optional:
        return None
    # True is an int, and stale_if_error_s=True is meant as a switch: as one second it would hardly ever help.
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value) or value < 0:
        return f"must be a number of at least 0, not {show(value)}"
    if name.endswith("timeout_s") and value == 0:
        return "must be greater than 0, or None to wait without limit"
    if name == "redis_budget_s" and value == 0:
        return "must be greater than 0, or None for the cache's setting"
    if name == "jitter_ratio" and value >= 1:
        return f"must be below 1, not {show(value)}"
    return None


UNKEPT: Final = Policy()
"""For a look of which nothing is kept: how it would be kept does not matter."""
