"""The trials of ``proving/reliability``, short: real processes, real servers, seeds that a failure prints.

``python -m proving.reliability`` runs them at full length and shows what was seen. ``--seed N`` repeats a failure.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from proving.reliability.place import Effort
from tests.servers.fixtures import FLAVOURS, require_flavour


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos: minutes of trouble; run with -m chaos, or with TESTS_CHAOS=1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("TESTS_CHAOS") or "chaos" in config.getoption("markexpr"):
        return
    home = Path(__file__).parent
    left_out = [item for item in items if home in item.path.parents and item.get_closest_marker("chaos")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def effort(request: pytest.FixtureRequest) -> Effort:
    """A short trial, on Valkey, with a seed of the test's own."""
    return _effort(request, "valkey")


@pytest.fixture(params=FLAVOURS)
def each_effort(request: pytest.FixtureRequest) -> Effort:
    """The same, once on each server."""
    require_flavour(request.param)
    return _effort(request, request.param)


def _effort(request: pytest.FixtureRequest, flavour: str) -> Effort:
    given = request.config.getoption("--seed")
    seed = zlib.crc32(request.node.nodeid.encode()) % 10_000 if given is None else given
    request.node.add_report_section("setup", "seed", f"seed of the trial: {seed} (repeat it with --seed {seed})")
    return Effort(quick=True, seed=seed, flavour=flavour, peers=False)  # type: ignore[arg-type]
