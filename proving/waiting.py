"""Waits for a condition, without a loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 60.0
"""For what surely comes, unless something is broken."""
LOOK_AGAIN_S = 0.005


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Looks again and again until the condition is true; `TimeoutError` names what was waited for."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline_s} s")
        time.sleep(LOOK_AGAIN_S)
