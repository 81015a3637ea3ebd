"""A test fails that sleeps in real time: what `tests/architecture/test_waiting.py` counts in the text, seen as it runs.

The text does not show on which loop a line runs; this does. Only lines of tests are looked at, not those of the product.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

TESTS = str(Path(__file__).parents[1])
MAY_SLEEP = str(Path(TESTS) / "waiting.py")
REAL_LOOPS = {"asyncio", "uvloop"}
"""Who makes loops whose time is real; those of the tests and of the simulator are virtual."""
_slept: list[str] = []
_sleep = asyncio.sleep


def _watched_sleep(delay: float, result: Any = None) -> Awaitable[Any]:
    caller = sys._getframe(1).f_code.co_filename
    if delay > 0 and caller.startswith(TESTS) and caller != MAY_SLEEP:
        maker = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        if maker in REAL_LOOPS:
            _slept.append(
                f"{caller}:{sys._getframe(1).f_lineno} slept {delay} s: wait for a condition (tests/waiting.py)"
            )
    return _sleep(delay, result)


def pytest_configure() -> None:
    asyncio.sleep = _watched_sleep  # type: ignore[assignment]


def pytest_unconfigure() -> None:
    asyncio.sleep = _sleep


@pytest.fixture(autouse=True)
def sleeps_in_virtual_time_only() -> Iterator[None]:
    """Fails a test that slept on a loop whose time is real."""
    _slept.clear()
    yield
    if _slept:
        pytest.fail("\n".join(_slept), pytrace=False)
