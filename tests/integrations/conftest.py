"""What the tests of integrations share: the process-wide cache, in memory or on a server, and missing frameworks."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, configure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from alacena import Cache


@pytest.fixture(params=("memory", "server"))
def url(request: pytest.FixtureRequest) -> str | None:
    """``None``, or the URL of an emptied server."""
    return None if request.param == "memory" else request.getfixturevalue("valkey_server").url


@pytest.fixture
async def cache(url: str | None) -> AsyncIterator[Cache]:
    """The process-wide cache, open."""
    configure(redis_url=url, ttl_jitter_ratio=0.0, redis_budget_s=5.0)
    try:
        yield await CacheManager.cache()
    finally:
        await CacheManager.close()


@pytest.fixture
def import_without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """``import_without("alacena.integrations.x", "framework")`` imports a module as if its framework were missing."""

    def imported(module: str, framework: str) -> Any:
        for name in [name for name in sys.modules if name == framework or name.startswith(f"{framework}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, framework, None)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return importlib.import_module(module)

    return imported
