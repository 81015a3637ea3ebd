"""The fixtures that every test may ask for.

``redis_url``       unix URL of an emptied server; the test runs once a flavour (Valkey always, Redis where found)
``redis_server``    the server behind it: ``call()``, ``crash()``, ``restart()``, ``process.pause()``
``valkey_server``   the same, Valkey only: for tests that do not care
``start_redis``     factory of private servers: ``start_redis("valkey", password="x", tcp=True)``
``redis_cluster``   three primaries, emptied; shared by the session; a run for each flavour
``start_cluster``, ``start_sentinel``   factories of topologies of the test's own, for those that break them
``postgres``        Postgres with pgvector and ``schema.sql``, emptied: ``execute(sql)``; ``postgres_dsn``: its DSN
``gateway``         a Supabase project on loopback: ``requests``, ``objects``, ``fail_next``; ``supabase_url``: its URL
``service_key``, ``anon_key``, ``tenant_key(tenant_id)``   keys and tokens for it
``environment``     ``FakeEnvironment`` with a seed that a failure prints; ``--seed N`` repeats one
"""

from __future__ import annotations

import os
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from alacena.testing.doubles import FakeEnvironment
from proving.servers.gateway import Gateway
from proving.servers.postgres import Postgres
from proving.servers.postgrest import NotObtainableError, Postgrest
from proving.servers.redis_server import Flavour, RedisServer, find_binary
from proving.servers.shared import SharedServers
from proving.servers.tokens import ANON_KEY, SERVICE_KEY, tenant_token
from proving.servers.topology import RedisCluster, RedisSentinel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLAVOURS: tuple[Flavour, ...] = ("valkey", "redis")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="seed of the `environment` fixture (default: one a test)")


def require_flavour(flavour: Flavour) -> None:
    """Does without a test, with the remedy, where the machine has no server of this flavour."""
    if find_binary(flavour) is None:
        do_without(f"no {flavour}-server here: install Debian's redis-server or run `make redis`")


def do_without(reason: str) -> NoReturn:
    """Skips the test; fails it where ``TESTS_REQUIRE_SERVERS`` is set, so that CI cannot pass by skipping."""
    if os.environ.get("TESTS_REQUIRE_SERVERS"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def _servers() -> Iterator[SharedServers]:
    with SharedServers() as servers:
        yield servers


@pytest.fixture
def valkey_server(_servers: SharedServers) -> RedisServer:
    """An emptied Valkey, shared by the session."""
    return _emptied(_servers.get(RedisServer, "valkey"))


@pytest.fixture(params=FLAVOURS)
def redis_server(request: pytest.FixtureRequest, _servers: SharedServers) -> RedisServer:
    """An emptied server of each flavour in turn, shared by the session."""
    require_flavour(request.param)
    return _emptied(_servers.get(RedisServer, request.param))


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


@pytest.fixture(params=FLAVOURS)
def redis_cluster(request: pytest.FixtureRequest, _servers: SharedServers) -> RedisCluster:
    """An emptied cluster of three primaries, shared by the session: do not break it."""
    require_flavour(request.param)
    cluster = _servers.get(RedisCluster, request.param)
    cluster.reset()
    return cluster


@pytest.fixture
def start_cluster() -> Iterator[Callable[..., RedisCluster]]:
    """A factory of clusters of the test's own (about 2 s each); takes the arguments of ``RedisCluster``."""
    with ExitStack() as servers:

        def start(flavour: Flavour = "valkey", **options: Any) -> RedisCluster:
            require_flavour(flavour)
            return servers.enter_context(RedisCluster(flavour, **options))

        yield start


@pytest.fixture
def start_sentinel() -> Iterator[Callable[..., RedisSentinel]]:
    """A factory of a primary with replicas under Sentinels (2 to 4 s); takes the arguments of ``RedisSentinel``."""
    with ExitStack() as servers:

        def start(flavour: Flavour = "valkey", **options: Any) -> RedisSentinel:
            require_flavour(flavour)
            return servers.enter_context(RedisSentinel(flavour, **options))

        yield start


@pytest.fixture
def postgres(_servers: SharedServers) -> Postgres:
    """Postgres with empty tables, shared by the session: to crash one, use ``with Postgres() as own``."""
    try:
        server = _servers.get(Postgres)
    except FileNotFoundError as error:
        do_without(str(error))
    server.reset()
    return server


@pytest.fixture
def postgres_dsn(postgres: Postgres) -> str:
    """The superuser's DSN."""
    return postgres.dsn


@pytest.fixture
def gateway(postgres: Postgres, _servers: SharedServers) -> Gateway:
    """A Supabase project without rows or objects, shared by the session."""
    try:
        postgrest = _servers.get(Postgrest, postgres.dsn_of("authenticator"))
    except NotObtainableError as error:
        do_without(str(error))
    gateway = _servers.get(Gateway, postgrest.socket_path)
    gateway.reset()
    return gateway


@pytest.fixture
def supabase_url(gateway: Gateway) -> str:
    """What ``SUPABASE_URL`` would be."""
    return gateway.url


@pytest.fixture
def service_key() -> str:
    """The key that no policy holds back."""
    return SERVICE_KEY


@pytest.fixture
def anon_key() -> str:
    """The public key: it sees nothing by itself."""
    return ANON_KEY


@pytest.fixture
def tenant_key() -> Callable[[str], str]:
    """``tenant_key("acme")``: the token of a user of that tenant."""
    return tenant_token


@pytest.fixture
def environment(request: pytest.FixtureRequest) -> FakeEnvironment:
    """Clocks that move by hand, and chance with a seed: by default one that follows from the test's name."""
    given = request.config.getoption("--seed")
    seed = zlib.crc32(request.node.nodeid.encode()) if given is None else given
    request.node.add_report_section("setup", "seed", f"environment seed: {seed} (repeat it with --seed {seed})")
    return FakeEnvironment(seed=seed)
