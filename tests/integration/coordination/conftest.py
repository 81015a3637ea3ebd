"""Both stores: every contract test runs on the one in this process and on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alacena.engine.coordination.port import Port
from alacena.engine.environment import SystemEnvironment
from alacena.engine.local.store import LocalStore
from tests.integration.coordination.live import LiveStore, server
from tests.integration.coordination.stand import LossyStore, PlainKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def server_path() -> Iterator[str]:
    with server("--appendonly", "yes") as path:
        yield path


@pytest.fixture(params=["process", "server"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LossyStore]:
    if request.param == "process":
        yield LossyStore(LocalStore(SystemEnvironment()))
        return
    live = LiveStore(request.getfixturevalue("server_path"))
    await live.call("FLUSHALL")
    live.sent.clear()
    yield LossyStore(live)
    await live.aclose()


@pytest.fixture
def port(store: LossyStore) -> Port:
    return Port(store, PlainKeys(), SystemEnvironment())
