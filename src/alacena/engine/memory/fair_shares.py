"""The tenants that have to give when the tier is full."""

from __future__ import annotations

import math
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

    The one that holds most is above its guaranteed share whenever any tenant is. So a tenant can borrow what others leave
    unused, and the one that borrowed most gives back first (max-min fairness). Tenants stand on levels two per cent
    apart, and change level only when their bytes cross its border; on the highest level the tenant that is putting
    gives first.

    A tenant that neither puts nor is hit, seen over several turnovers of the tier, counts for half its weight, then a
    quarter: a departed tenant's entries do not keep the room of the living. One hit or put restores it.

    Attributes:
        single: Whether one tenant has the tier for itself.
    """

    __slots__ = ("_audit_credit", "_audits", "_levels", "_top", "_weights", "single")

    def __init__(self, weights: Mapping[str, float] | None) -> None:
        wrong = {tenant: weight for tenant, weight in (weights or {}).items() if not 0.0 < weight < float("inf")}
        if wrong:
            raise SettingsError(f"memory weights must be positive finite numbers, not {wrong}")
        self._weights: Mapping[str, float] = weights or {}
        self._levels: dict[int, dict[TenantSegment, None]] = {}
        self._top = 0
        self._audits: dict[TenantSegment, int] = {}
        self._audit_credit = 0
        self.single = False

    def weight_of(self, tenant: object) -> float:
        """Returns the configured weight of a tenant; 1 if there is none."""
        return self._weights.get(tenant, 1.0) if isinstance(tenant, str) else 1.0

    def place(self, segment: TenantSegment) -> None:
        """Puts a segment on its level, once its bytes have crossed the borders of the one it stands on."""
        self._leave(segment)
        if not segment.bytes:
            self._audits.pop(segment, None)
            self.single = len(self._audits) == 1
            return
        self._audits.setdefault(segment, segment.put_count)
        was_single, self.single = self.single, len(self._audits) == 1
        if was_single and not self.single:
            for other in self._audits.keys() - {segment}:
                self._leave(other)
                self._enter(other)
        self._enter(segment)

    def clear(self) -> None:
        """Forgets every segment."""
        self._levels.clear()
        self._audits.clear()
        self._top = 0
        self.single = False

    def find_heaviest(self, putting: TenantSegment) -> TenantSegment:
        """Returns the segment to take from, if there are several.

        Args:
            putting: Gives first if it holds enough for the highest level. It need not have been moved there: what it puts
                and what it gives for it mostly leave it on its level.
        """
        if self._top not in self._levels:
            self._top = max(self._levels)
        if putting.bytes >= _LEVEL_WIDTH**self._top * _scale(putting):
            return putting
        return next(iter(self._levels[self._top]))

    def audit(self, entries: int) -> None:
        """Accounts for one eviction, and now and then looks whether the next tenant in turn is still alive."""
        self._audit_credit += len(self._audits)
        if self._audit_credit < entries * _ENTRIES_PER_AUDIT:
            return
        self._audit_credit = 0
        segment = next(iter(self._audits))
        before = self._audits.pop(segment)
        self._audits[segment] = segment.put_count
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
        level = math.floor(math.log(segment.bytes / scale) / _LOG_WIDTH)
        segment.level = level
        segment.floor = _LEVEL_WIDTH**level * scale
        segment.ceiling = segment.floor * _LEVEL_WIDTH
        self._levels.setdefault(level, {})[segment] = None
        self._top = max(self._top, level)

    def _leave(self, segment: TenantSegment) -> None:
        if 0.0 < segment.ceiling < math.inf:
            level = self._levels[segment.level]
            del level[segment]
            if not level:
                del self._levels[segment.level]
        segment.floor = segment.ceiling = 0.0


def _scale(segment: TenantSegment) -> float:
    return segment.weight / (1 << segment.idle)
