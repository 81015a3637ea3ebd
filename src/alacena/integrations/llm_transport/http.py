"""The two libraries in which clients speak HTTP: httpx2, and httpx, which it comes from. Either may be missing.

Both have the same classes, and check that a transport returns their own.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import ModuleType

    import httpx
    import httpx2

    from alacena.integrations.llm_transport.answers import Headers

    Request: TypeAlias = httpx2.Request | httpx.Request

LIBRARIES: Final = tuple(import_module(name) for name in ("httpx2", "httpx") if find_spec(name) is not None)
"""Those that are installed."""

if not LIBRARIES:
    msg = (
        "the transport needs httpx2 2.16 or newer, or httpx 0.28: pip install 'alacena[openai]' or 'alacena[anthropic]'"
    )
    raise ImportError(msg)

_MOST_CONNECTIONS: Final = 1_000  # as many as the clients of OpenAI and Anthropic allow themselves
_MOST_IDLE: Final = 100

if TYPE_CHECKING:

    class TransportBase(httpx2.AsyncBaseTransport):
        """A transport in the eyes of each library that is installed."""

    class StreamBase(httpx2.AsyncByteStream):
        """A stream in the eyes of each library that is installed."""
else:
    TransportBase = type("TransportBase", tuple(library.AsyncBaseTransport for library in LIBRARIES), {})
    StreamBase = type("StreamBase", tuple(library.AsyncByteStream for library in LIBRARIES), {})


class Stream(StreamBase):
    """The body of a response, as it comes.

    Args:
        chunks: The chunks.
        close: Called once, when the response is closed.
    """

    def __init__(self, chunks: AsyncIterator[bytes], close: Callable[[], Awaitable[None]]) -> None:
        self._chunks = chunks
        self._close: Callable[[], Awaitable[None]] | None = close

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            yield chunk

    async def aclose(self) -> None:
        """Closes it; closing twice is no error."""
        # Taken away before the await: a second aclose() meanwhile finds nothing to do.
        close, self._close = self._close, None
        if close is not None:
            await close()


def library_of(request: Request) -> ModuleType:
    """Returns the library that a request is of."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def respond(request: Request, status: int, headers: Headers, body: bytes | Stream) -> Any:
    """Returns a response of the library of the request."""
    library = library_of(request)
    if isinstance(body, bytes):
        # Not as content, which counts as read at once: who streams an answer on reads its bytes as they came.
        headers, body = [*headers, ("content-length", str(len(body)))], library.ByteStream(body)
    return library.Response(status, headers=headers, stream=body, request=request)


def renew(request: Request, body: bytes) -> Any:
    """Returns the request with another body."""
    # The library writes the length of the new body itself.
    headers = [(name, value) for name, value in request.headers.multi_items() if name.lower() != "content-length"]
    return library_of(request).Request(
        request.method, request.url, headers=headers, content=body, extensions=request.extensions
    )


def plain_transport(request: Request) -> Any:
    """Returns a transport without a cache, of the library of the request."""
    library = library_of(request)
    limits = library.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=_MOST_IDLE)
    return library.AsyncHTTPTransport(limits=limits)
