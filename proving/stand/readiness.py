"""When a cache is ready to be measured."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from alacena import Cache

_BUDGET_S: Final = 30.0


async def until_memory_serves(cache: Cache) -> None:
    """Waits until copies are kept: not before the server said that it tells of changes."""
    async with asyncio.timeout(_BUDGET_S):
        while not cache.guarantee()["memory"]:
            await asyncio.sleep(0.001)
