"""The fixtures that every test may ask for.

``redis_url``       unix URL of an emptied server; the test runs once a flavour at hand (Valkey always, Redis where found)
``redis_server``    the server behind it: ``call()``, ``crash()``, ``restart()``, ``process.pause()``
``valkey_server``   the same, Valkey only: for tests that do not care
``start_redis``     factory of private servers: ``start_redis("valkey", password="x", tcp=True)``
``environment``     ``FakeEnvironment`` with a seed that a failure prints; ``--seed N`` repeats one
"""

from __future__ import annotations

import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.environment import FakeEnvironment
from tests.servers.redis_server import Flavour, RedisServer, find_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLAVOURS: tuple[Flavour, ...] = ("valkey", "redis")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="seed of the `environment` fixture (default: one a test)")


def require_flavour(flavour: Flavour) -> None:
    """Skips, with the remedy, where the machine has no server of this flavour."""
    if find_binary(flavour) is None:
        pytest.skip(f"no {flavour}-server here: install Debian's redis-server or run `make redis`")


@pytest.fixture(scope="session")
def _valkey_process() -> Iterator[RedisServer]:
    with RedisServer("valkey") as server:
        yield server


@pytest.fixture(scope="session", params=FLAVOURS)
def _redis_process(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    require_flavour(request.param)
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
def valkey_server(_valkey_process: RedisServer) -> RedisServer:
    """An emptied Valkey, shared by the session."""
    return _emptied(_valkey_process)


@pytest.fixture
def redis_server(_redis_process: RedisServer) -> RedisServer:
    """An emptied server of each flavour in turn, shared by the session."""
    return _emptied(_redis_process)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Where ``redis_server`` is."""
    return redis_server.url


def _emptied(server: RedisServer) -> RedisServer:
    if not server.answers():
        server.restart()
    server.reset()
    return server


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """A factory of servers of the test's own; takes the arguments of ``RedisServer``."""
    with ExitStack() as servers:

        def start(flavour: Flavour = "valkey", **options: Any) -> RedisServer:
            require_flavour(flavour)
            return servers.enter_context(RedisServer(flavour, **options))

        yield start


@pytest.fixture
def environment(request: pytest.FixtureRequest) -> FakeEnvironment:
    """Clocks that move by hand, and chance with a seed: by default one that follows from the test's name."""
    given = request.config.getoption("--seed")
    seed = zlib.crc32(request.node.nodeid.encode()) if given is None else given
    request.node.add_report_section("setup", "seed", f"environment seed: {seed} (repeat it with --seed {seed})")
    return FakeEnvironment(seed)
