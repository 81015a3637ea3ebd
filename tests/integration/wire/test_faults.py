"""The link through a proxy that misbehaves, and through TLS."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import BackendError, BackendUnavailableError, OutcomeUnknownError
from alacena.engine.remote.redis.endpoint import Address, Endpoint, ServerAccess
from alacena.engine.remote.redis.link import Link
from alacena.engine.remote.redis.link_hooks import Hooks, LinkSettings
from alacena.engine.remote.redis.wire import WireLimits
from alacena.engine.remote.redis.wire.retry_backoff import RetryBackoff
from alacena.engine.remote.redis.wire.supervisor import Pace
from tests.integration.wire.proxy import FaultProxy
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

TIMEOUT_S = 60.0


@asynccontextmanager
async def link_to(address: Address, access: ServerAccess | None = None, **kwargs: Any) -> AsyncIterator[Link]:
    """An open link, closed at the end."""
    link = Link(address, access or ServerAccess(), environment=SystemEnvironment(), **kwargs)
    try:
        await link.open(timeout_s=1 if access else TIMEOUT_S)
        yield link
    finally:
        await link.close()


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 64])
def test_answers_and_pushes_in_small_pieces_mean_the_same(tell: Callable[..., None], piece_bytes: int) -> None:
    async def story(endpoint: Endpoint) -> None:
        pushes: list[Any] = []
        hooks = Hooks(on_push=lambda link, push: pushes.append(push))
        async with (
            FaultProxy(str(endpoint.address.path)) as proxy,
            link_to(proxy.address, hooks=hooks) as link,
            link_to(endpoint.address) as writer,
        ):
            proxy.piece_bytes = piece_bytes
            await link.call("CLIENT", "TRACKING", "ON", timeout_s=TIMEOUT_S)
            hostile = [b"*99999999999\r\n" * 3, b"\n*123456789\r\n\n|1\r\n\n*", b"", b"\r\n>3\r\n$-1\r\n"]
            for number, value in enumerate(hostile):
                await writer.call("SET", f"k{number}", value, timeout_s=TIMEOUT_S)
            for _ in range(20):
                assert await link.call("MGET", "k0", "k1", "k2", "k3", "k4", timeout_s=TIMEOUT_S) == [*hostile, None]
                await writer.call("SET", "k4", "", timeout_s=TIMEOUT_S)
                await writer.call("DEL", "k4", timeout_s=TIMEOUT_S)
            assert await link.call("PING", timeout_s=TIMEOUT_S) == b"PONG"
            assert pushes == [[b"invalidate", [b"k4"]]] * 20

    tell(story)


@pytest.mark.parametrize("direction", ["deaf", "mute"])
def test_a_half_open_connection_is_noticed_and_replaced(tell: Callable[..., None], direction: str) -> None:
    async def story(endpoint: Endpoint) -> None:
        down = asyncio.Event()
        settings = LinkSettings(pace=Pace(beat_s=0.1), beat_timeout_s=0.1, limits=WireLimits(stall_s=0.1))
        hooks = Hooks(on_down=lambda link, error: down.set())
        async with (
            FaultProxy(str(endpoint.address.path)) as proxy,
            link_to(proxy.address, settings=settings, hooks=hooks) as link,
        ):
            setattr(proxy, direction, True)
            with pytest.raises(OutcomeUnknownError):
                await link.exchange([("INCR", "n")], timeout_s=0.05)
            await asyncio.wait_for(down.wait(), TIMEOUT_S)
            with pytest.raises(BackendUnavailableError):
                link.exchange([("INCR", "n")], timeout_s=5)
            setattr(proxy, direction, False)
            assert await link.wait_up(timeout_s=TIMEOUT_S)
            executed = 0 if direction == "deaf" else 1
            assert await link.call("INCR", "n", timeout_s=TIMEOUT_S) == executed + 1

    tell(story)


def test_resets_under_load_lose_no_order_and_count_nothing_twice(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        down = asyncio.Event()
        certain = unknown = 0
        done = False
        settings = LinkSettings(pace=Pace(backoff=RetryBackoff(base_s=0.02, cap_s=0.1)))
        hooks = Hooks(on_down=lambda link, error: down.set())
        async with (
            FaultProxy(str(endpoint.address.path)) as proxy,
            link_to(proxy.address, settings=settings, hooks=hooks) as link,
        ):

            async def count() -> None:
                nonlocal certain, unknown
                while not done:
                    try:
                        await link.call("INCR", "n", timeout_s=TIMEOUT_S)
                        certain += 1
                    except OutcomeUnknownError:
                        unknown += 1
                    except BackendError:
                        await link.wait_up(timeout_s=TIMEOUT_S)

            workers = [asyncio.create_task(count()) for _ in range(50)]
            for _ in range(8):
                await link.wait_up(timeout_s=TIMEOUT_S)
                at = certain
                await until(lambda at=at: certain > at + 20)
                down.clear()
                proxy.reset()
                await down.wait()
            done = True
            await asyncio.gather(*workers)
            await link.wait_up(timeout_s=TIMEOUT_S)
            total = int(await link.call("GET", "n", timeout_s=TIMEOUT_S))
            assert certain <= total <= certain + unknown
            assert link.counters.lost == 8

    tell(story)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, signed by itself, with its key in the same file."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    files = ["-keyout", str(file.with_suffix(".key")), "-out", str(file)]
    subprocess.run(["openssl", *request.split(), *files], check=True, capture_output=True)
    return file


def test_tls_is_verified_by_default(tell: Callable[..., None], certificate: Path) -> None:
    async def story(endpoint: Endpoint) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)

        async def attempt(url: str) -> bytes:
            target = Endpoint.parse(url)
            async with link_to(target.address, target.access) as link:
                blob = bytes(range(256)) * 4000
                await link.call("SET", "k", blob, timeout_s=TIMEOUT_S)
                assert await link.call("GET", "k", timeout_s=TIMEOUT_S) == blob
                return bytes(await link.call("PING", timeout_s=TIMEOUT_S))

        async with FaultProxy(str(endpoint.address.path), context) as proxy:
            port = proxy.address.port
            with pytest.raises(BackendUnavailableError, match="certificate verify failed"):
                await attempt(f"rediss://localhost:{port}")
            assert await attempt(f"rediss://localhost:{port}?ssl_ca_certs={certificate}") == b"PONG"
            with pytest.raises(BackendUnavailableError, match="certificate verify failed"):
                await attempt(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}")
            assert await attempt(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none") == b"PONG"

    tell(story)
