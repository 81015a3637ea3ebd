"""A call of a model through OpenAI's and Anthropic's client: what do hits and misses of the transport add to its own time?

The provider answers at once: in the same process, so that nothing is measured but the client and what is under it; and
on a port of this machine, where a hit also spares the client its connection. The
floor is the client on the provider alone: what it costs to build a request, and to read an answer into the client's
objects. Tokens are recorded in the ledger behind the answer, as they are by default.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Settings
from proving.figures.statistics import ratio, spread
from proving.figures.tables import Bar, Column, Result, Row, Table, judged, unjudged
from proving.stand.provider import WORDS, answer, provider_process
from proving.stand.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.stand.effort import Effort
    from proving.stand.server import Server

_COLUMNS = (Column("of the client alone", 2, "low"), Column("ms a call", 3, "low"))
_FLOOR = "client alone"
_HIT = "hit in memory"
_MISSES = ("miss, memory only", "miss, on a server")


class _Clients:
    """A client, alone and on the transport, over a provider that answers at once: in this process, or on a port.

    Args:
        library: ``openai`` or ``anthropic``.
        url: Where the provider is; ``None``: in this process.
    """

    def __init__(self, library: Any, url: str | None) -> None:
        import httpx2

        self._library = library
        self._http = httpx2
        self._url = url or "http://provider"
        self._inner = httpx2.MockTransport(self._answer) if url is None else httpx2.AsyncHTTPTransport()

    def _answer(self, request: Any) -> Any:
        kind, content = answer(request.url.path, json.loads(request.content))
        return self._http.Response(200, headers={"content-type": kind}, content=content)

    def client(self, transport: Any = None) -> Any:
        http = self._http.AsyncClient(transport=transport or self._inner)
        kind = self._library.AsyncOpenAI if hasattr(self._library, "AsyncOpenAI") else self._library.AsyncAnthropic
        return kind(api_key="k", base_url=self._url, http_client=http, max_retries=0)

    def caching(self, cache: Cache) -> Any:
        from alacena.integrations.llm_transport import CachingTransport

        return self.client(CachingTransport(self._inner, cache=cache, tenant_id="acme"))


async def _messages(client: Any, text: str) -> None:
    await client.messages.create(model="claude-next", max_tokens=1000, messages=[{"role": "user", "content": text}])


async def _whole(client: Any, text: str) -> None:
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}])


async def _streamed(client: Any, text: str) -> None:
    messages = [{"role": "user", "content": text}]
    async for _ in await client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True):
        pass


def _timed(
    call: Callable[[Any, str], Awaitable[None]], client: Any, calls: int, *, hits: bool
) -> Callable[[], Awaitable[float]]:
    turn = 0

    async def timed() -> float:
        nonlocal turn
        turn += 1
        if hits:
            await call(client, "the same")
        began = time.perf_counter()
        for number in range(calls):
            await call(client, "the same" if hits else f"{turn} {number}")
        return (time.perf_counter() - began) / calls

    return timed


async def measure(server: Server, effort: Effort) -> Result:
    """Time whole answers and streams: the clients alone, hits, misses with a server and without one."""
    try:
        import anthropic
        import openai
    except ModuleNotFoundError as error:
        return Result((), (unjudged("a hit of the transport", "–", "–", f"not installed: {error.name}"),))
    tables: list[Table] = []
    bars: list[Bar] = []
    few, many = effort.of(40, 10), effort.of(200, 50)
    with provider_process() as port:
        for title, library, url, call, calls in (
            ("OpenAI's client, whole answers", openai, None, _whole, many),
            (f"OpenAI's client, streams of {WORDS} events", openai, None, _streamed, few),
            ("OpenAI's client, whole answers, a provider on a port", openai, port, _whole, many),
            ("Anthropic's client, whole answers", anthropic, None, _messages, many),
            ("Anthropic's client, whole answers, a provider on a port", anthropic, port, _messages, many),
        ):
            found = await _measure_one(server, effort, _Clients(library, url), call, calls)
            rows = [
                Row(name, (ratio(took, found[_FLOOR]), spread(took).times(1e3)), "floor" if name == _FLOOR else "ours")
                for name, took in found.items()
            ]
            tables.append(Table(title, _COLUMNS, tuple(rows), charted=0))
            hit = ratio(found[_HIT], found[_FLOOR]).median
            bars.append(judged(f"{title}: a hit, of the client alone", hit, goal=2.0 if url is None else 1.0))
    return Result(tuple(tables), tuple(bars))


async def _measure_one(
    server: Server, effort: Effort, clients: _Clients, call: Callable[[Any, str], Awaitable[None]], calls: int
) -> dict[str, list[float]]:
    """Time one kind of call on each client; caches of its own, so that no row is another one's hit."""
    url = f"redis://127.0.0.1:{server.port}"
    server.flush()
    async with Cache() as local, Cache(Settings(redis_url=url)) as shared:
        alone = clients.client()
        caching = {
            _HIT: clients.caching(local),
            _MISSES[0]: clients.caching(local),
            _MISSES[1]: clients.caching(shared),
        }
        contenders = {_FLOOR: _timed(call, alone, calls, hits=False)}
        contenders |= {name: _timed(call, one, calls, hits=name == _HIT) for name, one in caching.items()}
        found = await interleaved(contenders, effort.rounds)
        for one in (alone, *caching.values()):
            await one.close()
    return found
