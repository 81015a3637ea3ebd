"""The process-wide cache, in memory and on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alacena import configure
from alacena.common import runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alacena.engine import Cache


@pytest.fixture(params=["memory", "embedded://"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    """The process-wide cache, open; closed and forgotten afterwards."""
    configure(redis_url=None if request.param == "memory" else request.param)
    yield await runtime.opened()
    await runtime.close()
    configure()
