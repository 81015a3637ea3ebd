"""Values that can be read only once, and values that can be neither stored nor copied: nobody gets another's."""

import asyncio
import io
import threading
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from alacena import cached, collected, get_with_cache_aside
from alacena.engine import OneShotValueError, Policy


class Stream:
    """A stream as the clients of providers return it."""

    def __init__(self, *parts):
        self._parts = iter(parts)

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self._parts)
        except StopIteration:
            raise StopAsyncIteration from None


class Query:
    """A query as query builders return it."""

    async def execute(self):
        return []


@dataclass
class Response:
    """An answer of a framework that streams."""

    text: Any


async def words():
    for word in ("The ", "answer"):
        yield word


def plain_words():
    yield from ("The ", "answer")


@asynccontextmanager
async def block():
    yield "v"


async def one_value():
    return "v"


ONE_SHOT = {
    "a generator": plain_words,
    "an async generator": words,
    "a client's stream": lambda: Stream("The ", "answer"),
    "an iterator": lambda: iter([1]),
    "a map": lambda: map(str, [1]),
    "a zip": lambda: zip([1], [2], strict=True),
    "a file": lambda: io.StringIO("text"),
    "a coroutine": one_value,
    "a query that was not executed": Query,
    "a block that was not entered": block,
}


@pytest.mark.parametrize("place", ["alone", "in a list", "in a dict", "deep", "an attribute"])
@pytest.mark.parametrize("what", ONE_SHOT)
@pytest.mark.parametrize("kept", [True, False])
async def test_the_first_caller_is_told_before_anybody_finds_it_empty(cache, what, place, kept):
    """After Krukov/cashews#246 and pydanny/cached-property#34: who comes second to a generator finds it used up."""
    if place == "an attribute" and what not in {"a generator", "an async generator", "a coroutine"}:
        pytest.skip("an object may hold files, clients and counters of its own")
    wrap = {
        "alone": lambda value: value,
        "in a list": lambda value: ["text", value],
        "in a dict": lambda value: {"text": value},
        "deep": lambda value: {"choices": [{"text": (value,)}]},
        "an attribute": Response,
    }[place]

    async def source(context):
        if not kept:
            context.skip()
        return wrap(ONE_SHOT[what]())

    with pytest.raises(OneShotValueError, match="answer 'q': its source returned"):
        await cache.load("answer", "q", "acme", source)
    with pytest.raises(OneShotValueError):
        await cache.load_many("answer", ["q"], "acme", lambda ids: {"q": wrap(ONE_SHOT[what]())})


async def test_a_generator_function_is_refused_before_it_is_called(manager, cache):
    asked = []

    async def stream():
        asked.append(1)
        yield "a"

    class Source:
        async def __call__(self):
            asked.append(1)
            yield "a"

    for source in (stream, Source(), plain_words):
        with pytest.raises(OneShotValueError, match=r"generator function.*collected"):
            await get_with_cache_aside("answer", "q", "acme", generate_func=source)
        with pytest.raises(OneShotValueError, match="generator function"):
            await cache.load("answer", "q", "acme", source)
    with pytest.raises(OneShotValueError, match="generator function"):
        await get_with_cache_aside(
            "answer", "q", "acme", fetch_from_db_func=lambda: asked.append(1), generate_func=stream
        )
    assert asked == []


async def test_a_stream_is_collected_where_the_caller_says_so(manager, cache):
    """After python/cpython#78008: what was streamed once is there, whole, for everybody who comes at once or later."""
    gate = asyncio.Event()

    async def slow(resource_id, tenant_id):
        yield resource_id
        await gate.wait()
        yield " of "
        yield tenant_id

    asks = [get_with_cache_aside("answer", "q", "acme", generate_func=collected(slow)) for _ in range(3)]
    tasks = [asyncio.create_task(ask) for ask in asks]
    await asyncio.sleep(0)
    gate.set()
    assert [value for value, _ in await asyncio.gather(*tasks)] == ["q of acme"] * 3
    assert (await get_with_cache_aside("answer", "q", "acme", generate_func=collected(slow)))[0] == "q of acme"

    async def client():
        return Stream(b"a", b"b")

    assert await cache.load("answer", "bytes", "acme", collected(client)) == b"ab"
    assert await cache.load("answer", "rows", "acme", collected(lambda: iter([1, 2]))) == [1, 2]
    assert await cache.load("answer", "sum", "acme", collected(lambda: iter([1, 2]), sum)) == 3
    assert await cache.load("answer", "empty", "acme", collected(lambda: iter([]))) == []
    assert await cache.load("answer", "no stream", "acme", collected(one_value)) == "v"

    @cached("answer")
    @collected
    async def tokens(question: str, tenant_id: str = "acme"):
        yield question
        yield "!"

    assert await tokens("Yes") == "Yes!"


async def test_a_stream_that_breaks_is_not_kept_as_the_whole(cache):
    """After Krukov/cashews#246: a stream that was cut was served as the whole answer."""

    async def broken():
        yield "half "
        raise ConnectionError("cut")

    with pytest.raises(ConnectionError):
        await cache.load("answer", "q", "acme", collected(broken))
    assert await cache.load("answer", "q", "acme", collected(words)) == "The answer"


@pytest.mark.parametrize("many", [False, True])
async def test_what_cannot_be_stored_is_copied_for_each_who_shares_the_load(cache, many):
    """After run-llama/llama_index#10494: one request's reranking reached another's results."""
    gate = asyncio.Event()

    async def source():
        await gate.wait()
        return OrderedDict(scores=[0.9])

    async def batch(ids):
        return dict.fromkeys(ids, await source())

    async def ask():
        if many:
            return (await cache.load_many("hits", ["q"], "acme", batch))["q"]
        return await cache.load("hits", "q", "acme", source)

    asks = [asyncio.create_task(ask()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    first, second, third = await asyncio.gather(*asks)
    first["scores"].append("mine")
    assert second["scores"] == third["scores"] == [0.9]


@pytest.mark.parametrize("many", [False, True])
async def test_what_cannot_even_be_copied_is_loaded_by_each_for_itself(cache, many):
    loads = []
    gate = asyncio.Event()

    async def source():
        loads.append(1)
        await gate.wait()
        return Response(threading.Lock())

    async def batch(ids):
        return {one: await source() for one in ids}

    async def ask():
        if many:
            return (await cache.load_many("hits", ["q"], "acme", batch))["q"]
        return await cache.load("hits", "q", "acme", source)

    asks = [asyncio.create_task(ask()) for _ in range(3)]
    while not loads:
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    gate.set()
    found = await asyncio.gather(*asks)
    assert len({id(one.text) for one in found}) == 3
    assert len(loads) == 3


async def test_what_all_readers_share_is_what_was_stored_not_what_the_writer_goes_on_with(open_cache):
    cache = await open_cache(policies={"list": Policy(shared=True)})
    mine = [1, 2]
    await cache.set("list", "set", mine, "acme")
    loaded = await cache.load("list", "loaded", "acme", lambda: mine)
    mine.append("later")
    for one in ("set", "loaded"):
        assert await cache.get("list", one, "acme") == [1, 2]
        assert await cache.get("list", one, "acme", use_memory=False) == [1, 2]
    assert loaded == [1, 2, "later"]


async def test_the_metrics_say_what_was_not_kept_and_why(manager):
    """After langchain-ai/langchain#27264: answers that no cache keeps, and a hit ratio of nought that nobody explains."""

    async def skipped(ctx):
        ctx.skip()
        return "v"

    async def told(source, one):
        metrics = (await get_with_cache_aside("thing", one, "acme", source))[1]
        return metrics["stored"], metrics.get("reason")

    assert await told(lambda: Response(threading.Lock()), "odd") == (False, "value")
    assert await told(skipped, "skipped") == (False, "skip")
    assert await told(lambda: "v", "plain") == (True, None)
    assert await told(lambda: "v", "plain") == (True, None)
