"""Rate limits by tenant, decided by the server in one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from alacena.coordination.per_tenant import PerTenant
from alacena.engine.base.arguments import exact, milliseconds
from alacena.engine.base.errors import ArgumentError, LimitExceededError, show
from alacena.engine.base.ttl import real_number
from alacena.engine.remote.backend import Script

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Argument

WINDOW: Final = Script("limit_window", idempotent=False)
BUCKET: Final = Script("limit_bucket", idempotent=False)
_BUCKETS: Final = 60
_LONGEST_FILL_S: Final = 100 * 366 * 86_400


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a limit about one request.

    Attributes:
        allowed: True if the request was counted and may go on.
        remaining: The rest after it.
        retry_after_s: Seconds until it is worth asking again; 0 if it was allowed, ``None`` if it never fits.
    """

    allowed: bool
    remaining: int
    retry_after_s: float | None

    def __bool__(self) -> bool:
        return self.allowed

    def require(self) -> Decision:
        """Returns the decision, or raises.

        Raises:
            LimitExceededError: It was not allowed.
        """
        if not self.allowed:
            if self.retry_after_s is None:
                raise LimitExceededError("the request is larger than its limit, and never fits: ask for less")
            words = f"the limit is used up, {self.remaining} left: wait {self.retry_after_s:g} s"
            raise LimitExceededError(words, self.retry_after_s)
        return self


class Limits(PerTenant):
    """Rate limits. A refused request was not counted.

    If Redis fails: raises; a request without a reply may have been counted, and is not sent again.
    """

    async def sliding_window(
        self, name: str, *, tenant_id: str | None = None, limit: int, window_s: float, cost: int = 1
    ) -> Decision:
        """Allows at most ``limit`` within any ``window_s`` seconds.

        Its counts are those of name and window: two windows under one name do not meet, and a window that is given
        another length starts empty. The window is cut into sixty buckets and one more is counted with it: never a
        request too many, at worst a sixtieth of the window too few. Memory: 61 small fields, for any limit.

        Cost: 1 round trip. Atomicity: look and count in one step, on the server's clock.
        """
        window_ms = milliseconds(window_s, "window_s", least=_BUCKETS)
        words = [exact(limit, "limit", least=0), window_ms, _cost(cost), _BUCKETS]
        key = self._port.key("limit", self._tenant(tenant_id), name, "window", str(window_ms))
        return _decision(await self._port.run(WINDOW, [key], words))

    async def token_bucket(
        self, name: str, *, tenant_id: str | None = None, rate_per_s: float, burst: int, cost: int = 1
    ) -> Decision:
        """Allows ``rate_per_s`` in the long run, up to ``burst`` at once.

        The generic cell rate algorithm: one instant a bucket, no refilling task. A bucket is that of name, rate and
        burst: two under one name do not meet, and one that is changed starts full.

        Cost: 1 round trip. Atomicity: look and count in one step, on the server's clock.
        """
        rate = real_number(rate_per_s)
        if rate is None or not 0 < rate <= 1_000_000:
            raise ArgumentError(f"rate_per_s must be above 0 and at most 1,000,000, not {show(rate_per_s)}")
        burst = exact(burst, "burst", least=1)
        if burst / rate > _LONGEST_FILL_S:
            # Beyond, its instants are no whole numbers that a float holds, and tokens would be taken without a trace.
            raise ArgumentError(
                f"an empty bucket must be full again within a hundred years, and one with burst {burst} and rate_per_s "
                f"{show(rate_per_s)} is not: give a smaller burst, or a higher rate"
            )
        # The text is a part of the key: ``repr`` gives the shortest one that is this very number and no other.
        interval = repr(1_000_000 / rate)
        words: list[Argument] = [interval, burst, _cost(cost)]
        key = self._port.key("limit", self._tenant(tenant_id), name, "bucket", interval, str(burst))
        return _decision(await self._port.run(BUCKET, [key], words))


def _cost(cost: int) -> int:
    return exact(cost, "cost", least=1)


def _decision(reply: list[int]) -> Decision:
    allowed, remaining, wait_ms = reply
    return Decision(bool(allowed), max(remaining, 0), None if wait_ms < 0 else wait_ms / 1000)
