"""One server for all tests of the benchmark in a process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from proving.stand.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def _no_traps() -> Iterator[None]:
    """valkey-glide leaves modules behind that warn whoever looks at them; Hypothesis looks at every module."""
    yield
    for name, module in tuple(sys.modules.items()):
        if type(module).__name__ == "_LegacyModule":
            del sys.modules[name]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """A server of the benchmark's own."""
    with Server() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """The server, empty."""
    running.flush()
    return running
