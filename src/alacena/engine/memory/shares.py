"""Who has to give when the shelf is full."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from alacena.engine.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alacena.engine.memory.compartment import Compartment

_LEVEL_WIDTH = 1.02
_LOG_WIDTH = math.log(_LEVEL_WIDTH)
_MOST_IDLE = 8
_AUDIT_SAMPLE = 8
_ENTRIES_PER_AUDIT = 4


class Shares:
    """Finds the tenant that holds most for its weight.

    The one that holds most is above its guaranteed share whenever anybody is, so what others leave unused can be
    borrowed, and is given back by whoever borrowed most (max-min fairness). Tenants stand on levels two per cent
    apart, and change level only when their bytes cross its border; on the highest level the tenant that is putting
    gives first.

    A tenant that neither puts nor is hit, seen over several turnovers of the shelf, counts for half its weight, then a
    quarter: a departed tenant's entries do not keep the room of the living. One hit or put restores it.

    Attributes:
        single: Whether one tenant has the shelf for itself.
    """

    __slots__ = ("_audit_credit", "_audits", "_levels", "_top", "_weights", "single")

    def __init__(self, weights: Mapping[str, float] | None) -> None:
        wrong = {tenant: weight for tenant, weight in (weights or {}).items() if not 0.0 < weight < float("inf")}
        if wrong:
            raise SettingsError(f"memory weights must be positive finite numbers, not {wrong}")
        self._weights: Mapping[str, float] = weights or {}
        self._levels: dict[int, dict[Compartment, None]] = {}
        self._top = 0
        self._audits: dict[Compartment, int] = {}
        self._audit_credit = 0
        self.single = False

    def weight_of(self, tenant: object) -> float:
        """The configured weight; 1 where none is."""
        return self._weights.get(tenant, 1.0) if isinstance(tenant, str) else 1.0

    def place(self, compartment: Compartment) -> None:
        """Put a compartment on its level, once its bytes have crossed the borders of the one it stands on."""
        self._leave(compartment)
        if not compartment.bytes:
            self._audits.pop(compartment, None)
            self.single = len(self._audits) == 1
            return
        self._audits.setdefault(compartment, compartment.put_count)
        was_single, self.single = self.single, len(self._audits) == 1
        if was_single and not self.single:
            for other in self._audits.keys() - {compartment}:
                self._leave(other)
                self._enter(other)
        self._enter(compartment)

    def clear(self) -> None:
        """Forget every compartment."""
        self._levels.clear()
        self._audits.clear()
        self._top = 0
        self.single = False

    def heaviest(self, putting: Compartment) -> Compartment:
        """The compartment to take from, where there are several.

        Args:
            putting: Gives first where it holds enough for the highest level, which it need not have been moved to: what
                it puts and what it gives for it mostly leave it where it was.
        """
        if self._top not in self._levels:
            self._top = max(self._levels)
        if putting.bytes >= _LEVEL_WIDTH**self._top * _scale(putting):
            return putting
        return next(iter(self._levels[self._top]))

    def audit(self, entries: int) -> None:
        """Account for one eviction, and now and then look whether the next tenant in turn is still alive."""
        self._audit_credit += len(self._audits)
        if self._audit_credit < entries * _ENTRIES_PER_AUDIT:
            return
        self._audit_credit = 0
        compartment = next(iter(self._audits))
        before = self._audits.pop(compartment)
        self._audits[compartment] = compartment.put_count
        if compartment.put_count != before or compartment.is_used(_AUDIT_SAMPLE):
            self._set_idle(compartment, 0)
        elif compartment.idle < _MOST_IDLE:
            self._set_idle(compartment, compartment.idle + 1)

    def revive(self, compartment: Compartment) -> None:
        """A tenant that was idle puts again."""
        self._set_idle(compartment, 0)

    def _set_idle(self, compartment: Compartment, idle: int) -> None:
        if compartment.idle == idle:
            return
        compartment.idle = idle
        if compartment.ceiling:
            self._leave(compartment)
            self._enter(compartment)

    def _enter(self, compartment: Compartment) -> None:
        if self.single:
            compartment.floor, compartment.ceiling = 1.0, math.inf
            return
        scale = _scale(compartment)
        level = math.floor(math.log(compartment.bytes / scale) / _LOG_WIDTH)
        compartment.level = level
        compartment.floor = _LEVEL_WIDTH**level * scale
        compartment.ceiling = compartment.floor * _LEVEL_WIDTH
        self._levels.setdefault(level, {})[compartment] = None
        self._top = max(self._top, level)

    def _leave(self, compartment: Compartment) -> None:
        if 0.0 < compartment.ceiling < math.inf:
            level = self._levels[compartment.level]
            del level[compartment]
            if not level:
                del self._levels[compartment.level]
        compartment.floor = compartment.ceiling = 0.0


def _scale(compartment: Compartment) -> float:
    return compartment.weight / (1 << compartment.idle)
