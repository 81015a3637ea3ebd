"""Each framework's own cache beside ours, in one run: ``python -m proving.frameworks``. Counts, no times.

What is counted, once with the framework's cache and once with ours:

* calls: how often the provider is asked by equal calls at one time (1 is right);
* stale: whether what was asked before an invalidation is served after it (0 is right);
* tenants: whether a tenant is given what another one asked for (0 is right);
* tokens: tokens that the framework's own counter adds for an answer that cost nothing (0 is right);
* stream: whether a repeated stream brings the same bytes, and the provider is asked once ("yes" is right).

A framework that is not installed is named, and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypedDict

from alacena import Cache, Context, Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TENANT, OTHER = "acme", "globex"
NOT_ASKED = "-"


@dataclass(frozen=True)
class Row:
    """One question to two caches; ``-``: it does not arise."""

    framework: str
    what: str
    callers: int
    theirs: int | str
    ours: int | str
    right: int | str


class Source:
    """What costs money: it counts its calls, and each one waits until as many callers as there will be have begun."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate: asyncio.Event | None = None

    async def ask(self) -> int:
        self.calls += 1
        call = self.calls
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        return call


async def _at_once(source: Source, ask: Callable[[], Awaitable[Any]], callers: int) -> int:
    """How often the source is asked by so many equal calls at one time."""
    before, source.gate = source.calls, asyncio.Event()
    running = [asyncio.create_task(_of(TENANT, ask)) for _ in range(callers)]
    await _begun(source, before)
    source.gate.set()
    await asyncio.gather(*running)
    source.gate = None
    return source.calls - before


async def _begun(source: Source, before: int) -> None:
    """Wait until the source was asked, and everybody has had a hundred turns more to ask it too."""
    while source.calls == before:
        await asyncio.sleep(0.001)
    for _ in range(100):
        await asyncio.sleep(0)


async def _stale(source: Source, ask: Callable[[], Awaitable[Any]], clear: Callable[[], Awaitable[Any]]) -> int:
    """Whether an answer is served that was asked for before everything was invalidated."""
    before, source.gate = source.calls, asyncio.Event()
    running = asyncio.create_task(_of(TENANT, ask))
    await _begun(source, before)
    await _of(TENANT, clear)
    source.gate.set()
    await running
    source.gate = None
    await _of(TENANT, ask)
    return int(source.calls - before < 2)


async def _tenants(source: Source, ask: Callable[[], Awaitable[Any]]) -> int:
    """Whether a second tenant is given the first one's answer."""
    before = source.calls
    for tenant in (TENANT, OTHER):
        await _of(tenant, ask)
    return int(source.calls - before < 2)


async def _of(tenant: str, ask: Callable[[], Awaitable[Any]]) -> Any:
    with Context(tenant_id=tenant):
        return await ask()


def _paired(framework: str, theirs: dict[str, Any], ours: dict[str, Any], callers: int) -> list[Row]:
    right = {"calls": 1, "stale": 0, "tenants": 0, "tokens": 0, "stream": "yes"}
    return [
        Row(framework, what, callers if what == "calls" else 1, theirs.get(what, NOT_ASKED), ours[what], right[what])
        for what in right
        if what in ours
    ]


async def langchain(cache: Cache) -> list[Row]:
    """A chat model with LangChain's ``InMemoryCache``, and with `LangChainCache`."""
    from langchain_core.caches import InMemoryCache
    from langchain_core.callbacks import UsageMetadataCallbackHandler
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    from alacena.integrations.langchain import LangChainCache

    class Model(BaseChatModel):
        source: Any = None

        @property
        def _llm_type(self) -> str:
            return "bench"

        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            raise NotImplementedError

        async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
            said = str(await self.source.ask())
            usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
            message = AIMessage(said, usage_metadata=usage, response_metadata={"model_name": "m"})
            return ChatResult(generations=[ChatGeneration(message=message)])

    async def measured(used: Any) -> dict[str, Any]:
        source = Source()
        model = Model(source=source, cache=used)
        found: dict[str, Any] = {"calls": await _at_once(source, lambda: model.ainvoke("one"), 5)}
        found["stale"] = await _stale(source, lambda: model.ainvoke("two"), used.aclear)
        found["tenants"] = await _tenants(source, lambda: model.ainvoke("three"))
        counter = UsageMetadataCallbackHandler()
        await _of(TENANT, lambda: model.ainvoke("three", config={"callbacks": [counter]}))
        found["tokens"] = sum(usage["total_tokens"] for usage in counter.usage_metadata.values())
        return found

    return _paired("langchain", await measured(InMemoryCache()), await measured(LangChainCache(cache)), 5)


class State(TypedDict):
    """The state of the graph."""

    n: int


async def langgraph(cache: Cache) -> list[Row]:
    """A graph of one node with LangGraph's ``InMemoryCache``, and with `NodeCache`."""
    from langgraph.cache.memory import InMemoryCache
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import CachePolicy

    from alacena.integrations.langgraph import NodeCache

    async def measured(used: Any) -> dict[str, Any]:
        source = Source()

        async def node(_: State) -> State:
            return {"n": await source.ask()}

        builder = StateGraph(State)
        builder.add_node("node", node, cache_policy=CachePolicy())
        builder.add_edge(START, "node")
        builder.add_edge("node", END)
        graph = builder.compile(cache=used)
        return {
            "calls": await _at_once(source, lambda: graph.ainvoke({"n": 1}), 4),
            "stale": await _stale(source, lambda: graph.ainvoke({"n": 2}), used.aclear),
            "tenants": await _tenants(source, lambda: graph.ainvoke({"n": 3})),
        }

    return _paired("langgraph", await measured(InMemoryCache()), await measured(NodeCache("bench", cache)), 4)


async def llama_index(cache: Cache) -> list[Row]:
    """An embedding model with an ``embeddings_cache``, and as `CachedEmbedding`."""
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.storage.kvstore import SimpleKVStore

    from alacena.integrations.llama_index import CachedEmbedding

    class Vectors(BaseEmbedding):
        source: Any = None

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return [float(await self.source.ask())]

        async def _aget_text_embedding(self, text: str) -> list[float]:
            return [float(await self.source.ask())]

        def _get_query_embedding(self, query: str) -> list[float]:
            raise NotImplementedError

        def _get_text_embedding(self, text: str) -> list[float]:
            raise NotImplementedError

    async def measured(source: Source, model: Any, clear: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        return {
            "calls": await _at_once(source, lambda: model.aget_text_embedding("one"), 3),
            "stale": await _stale(source, lambda: model.aget_text_embedding("two"), clear),
            "tenants": await _tenants(source, lambda: model.aget_text_embedding("three")),
        }

    store, source = SimpleKVStore(), Source()

    async def emptied() -> None:
        for key in store.get_all(collection="embeddings"):
            store.delete(key, collection="embeddings")

    # The framework does not use a store that is empty, so there is a first entry.
    store.put("x", {"x": [0.0]}, collection="embeddings")
    theirs = await measured(source, Vectors(source=source, model_name="m", embeddings_cache=store), emptied)
    source = Source()
    model = CachedEmbedding(Vectors(source=source, model_name="m"), cache)
    return _paired("llama-index", theirs, await measured(source, model, lambda: cache.invalidate(TENANT)), 3)


async def key_value(cache: Cache) -> list[Row]:
    """A tool whose answers are kept in py-key-value's ``MemoryStore``, and in `CachedStore`."""
    from key_value.aio.stores.memory import MemoryStore

    from alacena.integrations.key_value import CachedStore

    async def measured(store: Any, clear: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        source = Source()

        async def tool(key: str) -> Any:
            found = await store.get(key)
            if found is None:
                found = {"n": await source.ask()}
                await store.put(key, found, ttl=60)
            return found

        return {
            "calls": await _at_once(source, lambda: tool("one"), 4),
            "stale": await _stale(source, lambda: tool("two"), clear),
            "tenants": await _tenants(source, lambda: tool("three")),
        }

    memory = MemoryStore()
    theirs = await measured(memory, lambda: memory.delete("two"))
    return _paired(
        "py-key-value", theirs, await measured(CachedStore(cache, fills=True), lambda: cache.invalidate(TENANT)), 4
    )


async def litellm(cache: Cache) -> list[Row]:
    """A model of LiteLLM's with its own cache in memory, and with `LiteLLMCache`."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it asks the network for its prices otherwise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm
        from litellm.caching.caching import Cache as Theirs
        from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
        from litellm.types.utils import Usage

        from alacena.integrations.litellm import LiteLLMCache

    source = Source()

    class Provider(litellm.CustomLLM):
        async def acompletion(self, *args: Any, model_response: Any, **kwargs: Any) -> Any:
            model_response.choices[0].message.content = str(await source.ask())
            model_response.usage = Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15)
            return model_response

    async def said(text: str) -> Any:
        answer = await litellm.acompletion(model="proving/m", messages=[{"role": "user", "content": text}])
        for _ in range(10):
            await asyncio.sleep(0)  # it stores in a task of its own
        return answer

    async def measured(used: Any, clear: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        litellm.cache = used
        await _of(TENANT, lambda: said("zero"))  # it imports most of itself now
        found: dict[str, Any] = {"calls": await _at_once(source, lambda: said("one"), 3)}
        found["stale"] = await _stale(source, lambda: said("two"), clear)
        found["tenants"] = await _tenants(source, lambda: said("three"))
        found["tokens"] = (await _of(TENANT, lambda: said("three"))).usage.total_tokens
        return found

    litellm.suppress_debug_info = True
    litellm.custom_provider_map = [{"provider": "proving", "custom_handler": Provider()}]
    theirs = Theirs()

    async def flushed() -> None:
        theirs.cache.flush_cache()

    try:
        before = await measured(theirs, flushed)
        return _paired("litellm", before, await measured(LiteLLMCache(cache), lambda: cache.invalidate(TENANT)), 3)
    finally:
        litellm.cache, litellm.custom_provider_map = None, []
        await GLOBAL_LOGGING_WORKER.stop()


async def openai(cache: Cache) -> list[Row]:
    """OpenAI's client as it is, and with `CachingTransport`."""
    import httpx2
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    from alacena.integrations.llm_transport import CachingTransport

    source = Source()
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}

    async def answered(request: Any) -> Any:
        number = await source.ask()
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if b'"stream":true' not in request.content.replace(b" ", b""):
            choice["message"] = {"role": "assistant", "content": str(number)}
            whole = {**head, "id": f"c{number}", "object": "chat.completion", "choices": [choice], "usage": usage}
            return httpx2.Response(200, json=whole)
        choice["delta"] = {"content": str(number)}
        events = [{**head, "choices": [choice]}, {**head, "choices": [], "usage": usage}]
        body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    async def measured(transport: Any, clear: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        async with AsyncOpenAI(
            api_key="none", base_url="http://provider", http_client=DefaultAsyncHttpxClient(transport=transport)
        ) as client:

            async def said(text: str) -> Any:
                messages: Any = [{"role": "user", "content": text}]
                return await client.chat.completions.create(model="m", messages=messages)

            async def streamed() -> bytes:
                body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "stream"}]}
                async with client._client.stream("POST", "http://provider/chat/completions", json=body) as response:
                    return b"".join([part async for part in response.aiter_bytes()])

            found: dict[str, Any] = {"calls": await _at_once(source, lambda: said("one"), 5)}
            found["stale"] = await _stale(source, lambda: said("two"), clear)
            found["tenants"] = await _tenants(source, lambda: said("three"))
            before = source.calls
            same = await _of(TENANT, streamed) == await _of(TENANT, streamed)
            found["stream"] = "yes" if same and source.calls == before + 1 else "no"
            return found

    async def nothing() -> None: ...

    theirs = await measured(httpx2.MockTransport(answered), nothing)
    transport = CachingTransport(httpx2.MockTransport(answered), cache=cache)
    ours = await measured(transport, lambda: cache.invalidate(TENANT))
    before = (await cache.ledger.totals(TENANT)).used
    async with httpx2.AsyncClient(transport=transport) as again:
        asked = {"model": "m", "messages": [{"role": "user", "content": "three"}]}
        await _of(TENANT, lambda: again.post("http://provider/chat/completions", json=asked))
    return _paired("openai", theirs, {**ours, "tokens": (await cache.ledger.totals(TENANT)).used - before}, 5)


async def pydantic_ai(cache: Cache) -> list[Row]:
    """An agent of Pydantic AI's as it is, and with `CachedModelRequests`."""
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart
    from pydantic_ai.models.function import FunctionModel
    from pydantic_ai.usage import RequestUsage

    from alacena.integrations.pydantic_ai import CachedModelRequests

    async def measured(used: list[Any]) -> dict[str, Any]:
        source = Source()

        async def answer(*_: Any) -> ModelResponse:
            said = TextPart(str(await source.ask()))
            return ModelResponse(parts=[said], usage=RequestUsage(input_tokens=10, output_tokens=5))

        agent = Agent(FunctionModel(answer, model_name="m"), capabilities=used)
        found: dict[str, Any] = {"calls": await _at_once(source, lambda: agent.run("one"), 4)}
        found["stale"] = await _stale(source, lambda: agent.run("two"), lambda: cache.invalidate(TENANT))
        found["tenants"] = await _tenants(source, lambda: agent.run("three"))
        found["tokens"] = (await _of(TENANT, lambda: agent.run("three"))).usage.total_tokens
        return found

    # The framework has no cache: there is no hit whose tokens it could count.
    theirs = {**await measured([]), "tokens": NOT_ASKED}
    return _paired("pydantic-ai", theirs, await measured([CachedModelRequests(cache)]), 4)


async def sqlalchemy(cache: Cache) -> list[Row]:
    """A select of SQLAlchemy's as it is, and by `CachedSelect` with `CommitHooks`' way to end it."""
    from sqlalchemy import literal_column, select
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import StaticPool

    from alacena.integrations.sqlalchemy import CachedSelect

    source = Source()
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)

    async def prepare(*_: Any) -> None:
        await source.ask()

    async def plain(statement: Any, *_: Any) -> Any:
        async with engine.connect() as connection:
            await prepare()
            return await connection.execute(statement)

    async def measured(ask: Callable[..., Awaitable[Any]]) -> dict[str, Any]:
        def rows(name: str) -> Callable[[], Awaitable[Any]]:
            return lambda: ask(select(literal_column(f"'{name}'").label("name")), "proving")

        return {
            "calls": await _at_once(source, rows("one"), 4),
            "stale": await _stale(source, rows("two"), lambda: cache.invalidate(TENANT, "proving")),
            "tenants": await _tenants(source, rows("three")),
        }

    try:
        return _paired(
            "sqlalchemy", await measured(plain), await measured(CachedSelect(cache, engine, prepare=prepare)), 4
        )
    finally:
        await engine.dispose()


FRAMEWORKS: dict[str, tuple[str, Callable[[Cache], Awaitable[list[Row]]]]] = {
    "langchain": ("langchain-core", langchain),
    "langgraph": ("langgraph", langgraph),
    "llama-index": ("llama-index-core", llama_index),
    "py-key-value": ("py-key-value-aio", key_value),
    "openai": ("openai", openai),
    "pydantic-ai": ("pydantic-ai-slim", pydantic_ai),
    "sqlalchemy": ("sqlalchemy", sqlalchemy),
    "litellm": ("litellm", litellm),
}


async def measure(names: list[str] | None = None) -> tuple[list[Row], dict[str, str]]:
    """Returns the rows, and what was left out with the reason."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for name in names or FRAMEWORKS:
        try:
            async with Cache(Settings(ttl_jitter_ratio=0.0)) as cache:
                rows += await FRAMEWORKS[name][1](cache)
        except ImportError as error:
            skipped[name] = str(error)
    return rows, skipped


def main() -> int:
    """Prints the table. Returns 1 if ours is wrong somewhere."""
    parser = argparse.ArgumentParser(
        prog="python -m proving.frameworks", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("frameworks", nargs="*", choices=[[], *FRAMEWORKS], help="which of them; none: all")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # those of frameworks
    rows, skipped = asyncio.run(measure(options.frameworks))
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "skipped": skipped}, indent=2))
    else:
        print(f"{'framework':24}{'counted':10}{'callers':>8}{'theirs':>8}{'ours':>6}{'right':>7}")
        for row in rows:
            named = f"{row.framework} {version(FRAMEWORKS[row.framework][0])}"
            print(f"{named:24}{row.what:10}{row.callers:>8}{row.theirs:>8}{row.ours:>6}{row.right:>7}")
        for name, reason in skipped.items():
            print(f"left out: {name}: {reason}")
    return int(any(row.ours != row.right for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
