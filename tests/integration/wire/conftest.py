"""A real server, and both kinds of loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from alacena.engine.remote.redis.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from alacena.engine.remote.redis.endpoint import Endpoint

    Story = Callable[[Endpoint], Coroutine[Any, Any, None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def tell(request: pytest.FixtureRequest) -> Callable[[Story], None]:
    """Runs a story against a server of its own, on one of the loops."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def run(story: Story) -> None:
        async def with_server() -> None:
            server = EmbeddedServer()
            endpoint = await server.start()
            try:
                async with asyncio.timeout(60):
                    await story(endpoint)
            finally:
                await server.close()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(with_server())

    return run
