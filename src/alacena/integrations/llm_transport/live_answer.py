"""An answer on its way in events: listeners from the start and later ones hear the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from alacena.engine import CacheClosedError
from alacena.integrations.llm_transport.answers import LastEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alacena.engine import LoadContext
    from alacena.integrations.llm_transport.answers import Headers
    from alacena.integrations.llm_transport.pending_call import PendingCall

Head: TypeAlias = "tuple[int, Headers]"
"""Status and headers."""


class LiveAnswer:
    """One call, with its answer coming in.

    Attributes:
        head: Its status and headers, once they have come.
        task: The load that it belongs to; cancelled when the last listener has left.
    """

    def __init__(self) -> None:
        self.head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[object] | None = None
        self._listeners: set[PendingCall] = set()
        self._heard_out: set[PendingCall] = set()
        self._context: LoadContext | None = None
        self._chunks: list[bytes] = []
        self._news = asyncio.Event()
        self._last = LastEvent()
        self._is_over = False
        self._error: BaseException | None = None

    @property
    def takes_listeners(self) -> bool:
        """Whether a new listener may hear it: nothing that it rests on has ended since it began."""
        return self._context is not None and self._context.is_joinable

    @property
    def served(self) -> frozenset[PendingCall]:
        """Listeners that hear it, or have heard it to its last event."""
        return frozenset(self._listeners | self._heard_out)

    @property
    def body(self) -> bytes:
        """Everything that has come so far."""
        return b"".join(self._chunks)

    def begin(self, context: LoadContext) -> None:
        """Notes that the provider is being asked."""
        self._context = context

    def tell_head(self, head: Head) -> None:
        """Tells the status and the headers."""
        self.head.set_result(head)

    def tell(self, chunk: bytes) -> None:
        """Tells the next bytes."""
        self._chunks.append(chunk)
        self._last.read(chunk)
        self._wake()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self._is_over

    def end(self, error: BaseException | None = None) -> None:
        """Tells that nothing more comes; with an error, that it was cut short."""
        if isinstance(error, asyncio.CancelledError):
            # Whoever still listens was not cancelled himself, and must not hear that he was.
            error = CacheClosedError("the cache was closed while the provider was answering")
        self._is_over, self._error = True, error
        if error is not None and not self.head.done():
            self.head.set_exception(error)
            self.head.exception()  # nobody may be waiting for it
        self._wake()

    def join(self, pending: PendingCall) -> None:
        """Lets one more listen."""
        self._listeners.add(pending)

    def leave(self, pending: PendingCall) -> None:
        """Lets one listener go. The last one ends the call, unless its last event has come: then it is paid for."""
        self._listeners.discard(pending)
        if self._is_over or self._last.has_come:
            self._heard_out.add(pending)
        elif not self._listeners and self.task is not None:
            self.task.cancel()

    async def listen(self) -> AsyncIterator[bytes]:
        """Yields everything from the start, as it comes."""
        heard = 0
        while True:
            while heard < len(self._chunks):
                heard += 1
                yield self._chunks[heard - 1]
            # After the chunks: a listener hears all that came before the fault, however late it listens.
            if self._error is not None:
                raise self._error
            if self._is_over:
                return
            await self._news.wait()

    def _wake(self) -> None:
        # Listeners that wait on the old event come back and find the new one: nothing has to be cleared.
        news, self._news = self._news, asyncio.Event()
        news.set()
