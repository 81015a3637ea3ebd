"""A call of a model through the real client of OpenAI: what do the transport's hits and misses add to the client's own time?

The provider answers at once, in the same process, so that nothing is measured but the client and what is under it. The
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
from proving.stand.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.stand.effort import Effort
    from proving.stand.server import Server

_COLUMNS = (Column("of the client alone", 2, "low"), Column("ms a call", 3, "low"))
_FLOOR = "client alone"
_HIT = "hit in memory"
_MISSES = ("miss, memory only", "miss, on a server")
_WORDS = 200


def _chat(number: int) -> dict[str, Any]:
    usage = {"prompt_tokens": 20, "completion_tokens": _WORDS, "total_tokens": 20 + _WORDS}
    message = {"role": "assistant", "content": "word " * _WORDS}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini"}
    return {**head, "choices": [choice], "usage": usage}


def _events(number: int) -> bytes:
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    choices = [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}] * _WORDS
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks = [json.dumps({**head, "choices": [choice]}) for choice in choices]
    return "".join(f"data: {chunk}\n\n" for chunk in (*chunks, "[DONE]")).encode()


class _Clients:
    """The client, alone and on the transport, over a provider that answers at once."""

    def __init__(self) -> None:
        import httpx2

        self._number = 0
        self._library = httpx2
        self._inner = httpx2.MockTransport(self._answer)

    def _answer(self, request: Any) -> Any:
        self._number += 1
        if json.loads(request.content).get("stream"):
            headers = {"content-type": "text/event-stream"}
            return self._library.Response(200, headers=headers, content=_events(self._number))
        return self._library.Response(200, json=_chat(self._number))

    def client(self, transport: Any = None) -> Any:
        import openai

        http = self._library.AsyncClient(transport=transport or self._inner)
        return openai.AsyncOpenAI(api_key="k", http_client=http, max_retries=0)

    def caching(self, cache: Cache) -> Any:
        from alacena.integrations.llm_transport import CachingTransport

        return self.client(CachingTransport(self._inner, cache=cache, tenant_id="acme"))


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
    """Time whole answers and streams: the client alone, hits, misses with a server and without one."""
    try:
        clients = _Clients()
        alone = clients.client()
    except ModuleNotFoundError as error:
        return Result((), (unjudged("a hit of the transport", "–", "–", f"not installed: {error.name}"),))
    tables: list[Table] = []
    bars: list[Bar] = []
    url = f"redis://127.0.0.1:{server.port}"
    async with Cache() as local, Cache(Settings(redis_url=url)) as shared:
        caching = {
            _HIT: clients.caching(local),
            _MISSES[0]: clients.caching(local),
            _MISSES[1]: clients.caching(shared),
        }
        for title, call, calls in (
            ("whole answers", _whole, effort.of(200, 50)),
            (f"streams of {_WORDS} events", _streamed, effort.of(40, 10)),
        ):
            contenders = {_FLOOR: _timed(call, alone, calls, hits=False)}
            contenders |= {name: _timed(call, one, calls, hits=name == _HIT) for name, one in caching.items()}
            found = await interleaved(contenders, effort.rounds)
            rows = [
                Row(name, (ratio(took, found[_FLOOR]), spread(took).times(1e3)), "floor" if name == _FLOOR else "ours")
                for name, took in found.items()
            ]
            tables.append(Table(f"OpenAI's client, {title}", _COLUMNS, tuple(rows), charted=0))
            hit = ratio(found[_HIT], found[_FLOOR]).median
            bars.append(judged(f"{title}: a hit, of the client alone at a provider that takes no time", hit, goal=2.0))
        for one in (alone, *caching.values()):
            await one.close()
    return Result(tuple(tables), tuple(bars))
