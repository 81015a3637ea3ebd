"""The time limit that a client sets for an answer, kept for answers that another call brings."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from alacena.integrations.llm_transport.http import library_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alacena.integrations.llm_transport.http import Request


class ClientTimeout:
    """The client's limit for one wait. A call of one's own is not under it: the inner transport has limits of its own.

    Args:
        timer: Ends the wait.
    """

    def __init__(self, timer: asyncio.Timeout) -> None:
        self._timer = timer

    def stop(self) -> None:
        """Notes that the provider is asked for this very client."""
        # The client may have left already: the call is made for others that wait.
        with suppress(RuntimeError):
            self._timer.reschedule(None)


@asynccontextmanager
async def limit(request: Request) -> AsyncIterator[ClientTimeout]:
    """Enters a block that lasts at most as long as the client of a request waits for a provider's next bytes.

    Raises:
        Exception: ``ReadTimeout`` of the client's library: it lasted longer.
    """
    limits: dict[str, Any] = request.extensions.get("timeout", {})
    try:
        async with asyncio.timeout(limits.get("read")) as timer:
            yield ClientTimeout(timer)
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise library_of(request).ReadTimeout(
            "an equal call that began before has no answer yet: this one waited for it as long as its client's timeout",
            request=request,
        ) from error


async def limit_each(request: Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields chunks, each of which may take as long as the client of a request waits for the next bytes."""
    while True:
        async with limit(request):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk
