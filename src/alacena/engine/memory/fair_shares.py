"""The tenants that have to give when the tier is full."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from alacena.engine.base.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alacena.engine.memory.tenant_segment import TenantSegment

_LEVEL_WIDTH = 1.02
_LOG_WIDTH = math.log(_LEVEL_WIDTH)
_MOST_IDLE = 8
_AUDIT_SAMPLE = 8
_ENTRIES_PER_AUDIT = 4


class FairShares:
    """Finds the tenant that holds most for its weight.

    The one that holds most is above its guaranteed share whenever any tenant is. So a tenant can borrow the room that others
    leave unused, and the one that borrowed most gives back first (max-min fairness). Tenants stand on levels two per cent
    apart, and change level only when their bytes cross its border; on the highest level the tenant that is putting
    gives first.

    A tenant that neither puts nor is hit, seen over several turnovers of the tier, counts for half its weight, then a
    quarter: a departed tenant's entries do not keep the room of the living. One hit or put restores it.

    Attributes:
        weights: The configured weights.
        single: Whether one tenant has the tier for itself.
    """

    __slots__ = ("_audit_credit", "_holders", "_levels", "_next", "_top", "single", "weights")

    def __init__(self, weights: Mapping[str, float] | None) -> None:
        wrong = {tenant: weight for tenant, weight in (weights or {}).items() if not 0.0 < weight < float("inf")}
        if wrong:
            raise SettingsError(f"memory weights must be positive finite numbers, not {wrong}")
        self.weights: Mapping[str, float] = weights or {}
        # Lists in which each segment knows its place: a dict would hold the loop up now and then to grow.
        self._levels: dict[int, list[TenantSegment]] = {}
        self._holders: list[TenantSegment] = []
        self._top = 0
        self._next = 0
        self._audit_credit = 0
        self.single = False

    def weight_of(self, tenant: object) -> float:
        """Returns the configured weight of a tenant; 1 if there is none."""
        return self.weights.get(tenant, 1.0) if isinstance(tenant, str) else 1.0

    def place(self, segment: TenantSegment) -> None:
        """Puts a segment on its level, once its bytes have crossed the borders of the one it stands on."""
        self._leave(segment)
        if not segment.bytes:
            if segment.turn >= 0:
                last = self._holders.pop()
                if last is not segment:
                    self._holders[segment.turn] = last
                    last.turn = segment.turn
                segment.turn = -1
            self.single = len(self._holders) == 1
            return
        if segment.turn < 0:
            segment.turn = len(self._holders)
            segment.audited = segment.put_count
            self._holders.append(segment)
        was_single, self.single = self.single, len(self._holders) == 1
        # A tenant that was alone has no level. The last holder, which has just come, is entered below.
        if was_single and not self.single:
            for other in self._holders[:-1]:
                self._leave(other)
                self._enter(other)
        self._enter(segment)

    def find_heaviest(self, putting: TenantSegment) -> TenantSegment:
        """Returns the segment to take from, if there are several.

        Args:
            putting: Gives first if it holds enough for the highest level. It need not have been moved there: what it puts
                and what it gives for it mostly leave it on its level.
        """
        # A level that empties does not lower the top: the next one is looked for only if it is asked for.
        if self._top not in self._levels:
            self._top = max(self._levels)
        if putting.bytes >= _LEVEL_WIDTH**self._top * _scale(putting):
            return putting
        return self._levels[self._top][0]

    def audit(self, entries: int) -> None:
        """Accounts for one eviction, and now and then looks whether the next tenant in turn is still alive."""
        self._audit_credit += len(self._holders)
        # Each eviction counts once for each tenant, so that each of them is audited once in four turnovers of the tier.
        if self._audit_credit < entries * _ENTRIES_PER_AUDIT:
            return
        self._audit_credit = 0
        self._next = (self._next + 1) % len(self._holders)
        segment = self._holders[self._next]
        before, segment.audited = segment.audited, segment.put_count
        if segment.put_count != before or segment.is_used(_AUDIT_SAMPLE):
            self._set_idle(segment, 0)
        elif segment.idle < _MOST_IDLE:
            self._set_idle(segment, segment.idle + 1)

    def revive(self, segment: TenantSegment) -> None:
        """Restores the weight of a tenant that was idle and puts again."""
        self._set_idle(segment, 0)

    def _set_idle(self, segment: TenantSegment, idle: int) -> None:
        if segment.idle == idle:
            return
        segment.idle = idle
        if segment.ceiling:
            self._leave(segment)
            self._enter(segment)

    def _enter(self, segment: TenantSegment) -> None:
        if self.single:
            segment.floor, segment.ceiling = 1.0, math.inf
            return
        scale = _scale(segment)
        level, segment.floor, segment.ceiling = _borders(
            math.floor(math.log(segment.bytes / scale) / _LOG_WIDTH), scale
        )
        segment.level = level
        neighbours = self._levels.setdefault(level, [])
        segment.rank = len(neighbours)
        neighbours.append(segment)
        self._top = max(self._top, level)

    def _leave(self, segment: TenantSegment) -> None:
        if 0.0 < segment.ceiling < math.inf:
            level = self._levels[segment.level]
            last = level.pop()
            if last is not segment:
                level[segment.rank] = last
                last.rank = segment.rank
            if not level:
                del self._levels[segment.level]
        segment.floor = segment.ceiling = 0.0


@lru_cache(maxsize=4_096)
def _borders(level: int, scale: float) -> tuple[int, float, float]:
    """Returns a level and its borders: numbers of 96 bytes that all tenants on it share."""
    floor = _LEVEL_WIDTH**level * scale
    return level, floor, floor * _LEVEL_WIDTH


def _scale(segment: TenantSegment) -> float:
    return segment.weight / (1 << segment.idle)
