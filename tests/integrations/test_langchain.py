"""LangChain on the cache: equal calls made once, nothing stale, no tenant's answer for another, no token twice."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain")

from langchain.agents import create_agent
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.prompts import PromptTemplate
from pydantic import BaseModel, Field

from alacena import Cache, Context, MissingTenantError, Settings, UsageError
from alacena.integrations.ambient_scope import digest
from alacena.integrations.bridge import Bridge
from alacena.integrations.caller import Caller, Serving
from alacena.integrations.langchain import (
    CachedByteStore,
    CachedEmbeddings,
    LangChainCache,
    LedgerCallback,
    dump_objects,
    is_cached,
)
from alacena.integrations.langchain_agents import CachedModelCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


class Model(BaseChatModel):
    """Counts its calls; each waits for ``gate``, if there is one, and answers with its number."""

    calls: list[Any] = Field(default_factory=list)
    gate: Any = None
    temperature: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "counting"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    def _result(self, messages: list[BaseMessage]) -> ChatResult:
        self.calls.append(messages)
        answer = AIMessage(
            content=f"answer {len(self.calls)}",
            usage_metadata=USAGE,
            response_metadata={"model_name": "counting", "token_usage": {"total_tokens": 15}},
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self._result(messages)

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        result = self._result(messages)
        if self.gate is not None:
            await self.gate.wait()
        return result


class Vectors(Embeddings):
    model = "lengths"

    def __init__(self) -> None:
        self.passages: list[list[str]] = []
        self.queries: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.passages.append(texts)
        return [[float(len(text)), 0.0] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.queries.append(text)
        return [float(len(text)), 1.0]


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge(Cache(Settings())) as bridge:
        yield bridge


async def test_repeated_call_of_a_model_is_answered_from_the_cache_without_usage(cache: Cache) -> None:
    model, counted = Model(cache=LangChainCache(cache)), UsageMetadataCallbackHandler()
    with Context(tenant_id="acme"):
        first = await model.ainvoke("hello", config={"callbacks": [counted]})
        second = await model.ainvoke("hello", config={"callbacks": [counted]})

    assert (first.content, second.content, len(model.calls)) == ("answer 1", "answer 1", 1)
    assert (is_cached(first), is_cached(second)) == (False, True)
    assert second.response_metadata["alacena"]["usage"]["total_tokens"] == 15
    assert "token_usage" not in second.response_metadata
    assert counted.usage_metadata["counting"]["total_tokens"] == 15


async def test_answers_of_one_tenant_and_user_are_nobody_elses(cache: Cache) -> None:
    model = Model(cache=LangChainCache(cache))
    for tenant, user in (("acme", None), ("globex", None), ("acme", "ana"), ("acme", "eva"), ("acme", None)):
        with Context(tenant_id=tenant, user_id=user):
            await model.ainvoke("hello")

    assert len(model.calls) == 4
    with pytest.raises(MissingTenantError):
        await model.ainvoke("hello")


async def test_answer_of_a_call_that_an_invalidation_overtook_is_not_kept(cache: Cache) -> None:
    model = Model(cache=LangChainCache(cache), gate=asyncio.Event())
    with Context(tenant_id="acme"):
        under_way = asyncio.create_task(model.ainvoke("hello"))
        while not model.calls:
            await asyncio.sleep(0)
        await cache.invalidate("acme")
        model.gate.set()
        stale = await under_way
        fresh = await model.ainvoke("hello")

    assert (stale.content, fresh.content) == ("answer 1", "answer 2")


async def test_each_call_stores_under_its_own_look_up(cache: Cache) -> None:
    """A second look-up of the same key, after the invalidation, does not vouch for the first call's store."""
    ours, prompt = LangChainCache(cache), ("p", "m")

    async def call(looked: asyncio.Event, go: asyncio.Event, text: str) -> None:
        assert await ours.alookup(*prompt) is None
        looked.set()
        await go.wait()
        await ours.aupdate(*prompt, [Generation(text=text)])

    with Context(tenant_id="acme"):
        assert await ours.alookup(*prompt) is None  # what the tasks below branch off from has looked too
        events = [asyncio.Event() for _ in range(4)]
        old = asyncio.create_task(call(events[0], events[1], "old"))
        await events[0].wait()
        await cache.invalidate("acme")
        new = asyncio.create_task(call(events[2], events[3], "new"))
        await events[2].wait()
        events[1].set()
        await old
        third = asyncio.create_task(ours.alookup(*prompt))
        events[3].set()
        await new
        assert await third == await ours.alookup(*prompt) == [Generation(text="new")]


async def test_look_ups_without_a_store_are_remembered_up_to_a_bound(cache: Cache) -> None:
    ours = LangChainCache(cache)
    with Context(tenant_id="acme"):
        for number in range(300):
            await ours.alookup(str(number), "m")
        await cache.invalidate("acme")
        for number in (0, 299):
            await ours.aupdate(str(number), "m", [Generation(text="stale")])
        assert [await ours.alookup(str(number), "m") for number in (0, 299)] == [None, None]


async def test_look_up_in_one_cache_is_no_beginning_of_a_store_in_another(cache: Cache) -> None:
    with Context(tenant_id="acme"):
        async with Cache(Settings()) as other:
            theirs, ours = LangChainCache(other), LangChainCache(cache)
            assert await theirs.alookup("p", "m") is None
            await ours.aupdate("p", "m", [Generation(text="a")])
            assert await ours.alookup("p", "m") == [Generation(text="a")]
            await theirs.aupdate("p", "m", [Generation(text="b")])


async def test_hit_is_the_readers_own_copy(cache: Cache) -> None:
    ours = LangChainCache(cache)
    with Context(tenant_id="acme"):
        await ours.aupdate("p", "m", [ChatGeneration(message=AIMessage(content="a"))])
        hit = await ours.alookup("p", "m")
        assert hit is not None
        hit[0].message = AIMessage(content="changed")
        again = await ours.alookup("p", "m")

    assert isinstance(again, list)
    assert again[0].text == "a"


async def test_clear_ends_one_tenants_entries_of_every_user(cache: Cache) -> None:
    ours = LangChainCache(cache)
    for tenant, user in (("acme", "ana"), ("globex", None)):
        with Context(tenant_id=tenant, user_id=user):
            await ours.aupdate("p", "m", [Generation(text="a")])
    with Context(tenant_id="acme"):
        await ours.aclear()

    with Context(tenant_id="acme", user_id="ana"):
        assert await ours.alookup("p", "m") is None
    with Context(tenant_id="globex"):
        assert await ours.alookup("p", "m") is not None


async def test_entry_that_holds_another_class_is_a_miss(cache: Cache) -> None:
    from langchain_core.load import dumps

    ours = LangChainCache(cache)
    with Context(tenant_id="acme"):
        await ours.aupdate("p", "m", [Generation(text="a")])
        foreign = dumps([PromptTemplate.from_template("{x}")]).encode()
        assert dump_objects([PromptTemplate.from_template("{x}")]) is None
        assert ours._read(foreign) is None


def test_sync_models_work_over_a_bridge(bridge: Bridge) -> None:
    model = Model(cache=LangChainCache(bridge))
    with Context(tenant_id="acme"):
        assert [model.invoke("hello").content for _ in range(2)] == ["answer 1"] * 2


async def test_sync_verbs_without_a_bridge_say_what_to_do(cache: Cache) -> None:
    with Context(tenant_id="acme"), pytest.raises(UsageError, match="give the adapter a bridge"):
        Model(cache=LangChainCache(cache)).invoke("hello")


async def test_equal_texts_are_embedded_once_and_queries_apart_from_passages(cache: Cache) -> None:
    inner = Vectors()
    ours = CachedEmbeddings(inner, cache=cache)
    with Context(tenant_id="acme"):
        together = await asyncio.gather(*[ours.aembed_documents(["a", "bb", "a"]) for _ in range(5)])
        assert await ours.aembed_documents(["bb", "ccc"]) == [[2.0, 0.0], [3.0, 0.0]]
        assert [await ours.aembed_query("a") for _ in range(2)] == [[1.0, 1.0]] * 2
    with Context(tenant_id="globex"):
        await ours.aembed_documents(["a"])

    assert together == [[[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]]] * 5
    assert (inner.passages, inner.queries) == ([["a", "bb"], ["ccc"], ["a"]], ["a"])


async def test_vectors_of_another_model_are_apart(cache: Cache) -> None:
    inner = Vectors()
    with Context(tenant_id="acme"):
        await CachedEmbeddings(inner, cache=cache).aembed_query("a")
        await CachedEmbeddings(inner, "other", cache=cache).aembed_query("a")
        await CachedEmbeddings(inner, dimensions=8, cache=cache).aembed_query("a")

    assert inner.queries == ["a"] * 3


def test_embeddings_whose_model_has_no_name_are_refused() -> None:
    class Nameless(Vectors):
        model = ""

    with pytest.raises(ValueError, match=r'pass model="\.\.\."'):
        CachedEmbeddings(Nameless())


def test_sync_embeddings_work_over_a_bridge(bridge: Bridge) -> None:
    inner = Vectors()
    ours = CachedEmbeddings(inner, cache=bridge)
    with Context(tenant_id="acme"):
        assert [ours.embed_documents(["a"]) for _ in range(2)] == [[[1.0, 0.0]]] * 2
        assert [ours.embed_query("a") for _ in range(2)] == [[1.0, 1.0]] * 2

    assert (inner.passages, inner.queries) == ([["a"]], ["a"])


async def test_equal_calls_of_agents_at_one_time_ask_the_model_once(cache: Cache) -> None:
    model, counted = Model(gate=asyncio.Event()), UsageMetadataCallbackHandler()
    agent = create_agent(model, [], middleware=[CachedModelCalls(cache)])
    question = {"messages": [HumanMessage("hello")]}
    with Context(tenant_id="acme"):
        running = [asyncio.create_task(agent.ainvoke(question, {"callbacks": [counted]})) for _ in range(5)]
        while not model.calls:
            await asyncio.sleep(0)
        model.gate.set()
        answers = [state["messages"][-1] for state in await asyncio.gather(*running)]

    assert [answer.content for answer in answers] == ["answer 1"] * 5
    assert len(model.calls) == 1
    assert sum(is_cached(answer) for answer in answers) == 4
    assert sum(answer.usage_metadata["total_tokens"] for answer in answers) == 15
    assert len({answer.id for answer in answers}) == 5
    assert counted.usage_metadata["counting"]["total_tokens"] == 15


async def test_agents_answers_are_apart_by_tenant_user_and_what_the_model_is_asked(cache: Cache) -> None:
    model = Model()
    agent = create_agent(model, [], middleware=[CachedModelCalls(cache)])
    other = create_agent(model, [], system_prompt="briefly", middleware=[CachedModelCalls(cache)])
    warmer = Model(temperature=1.0)
    warm = create_agent(warmer, [], middleware=[CachedModelCalls(cache)])
    for tenant, user in (("acme", None), ("globex", None), ("acme", "ana")):
        with Context(tenant_id=tenant, user_id=user):
            for one in (agent, other, warm, agent):
                await one.ainvoke({"messages": [HumanMessage("hello")]})

    assert (len(model.calls), len(warmer.calls)) == (6, 3)
    assert isinstance(model.calls[1][0], SystemMessage)


async def test_conversation_goes_on_from_an_answer_of_the_cache_as_from_the_models(cache: Cache) -> None:
    model = Model()
    agent = create_agent(model, [], middleware=[CachedModelCalls(cache)])
    with Context(tenant_id="acme"):
        for _ in range(2):
            state = await agent.ainvoke({"messages": [HumanMessage("hello")]})
            await agent.ainvoke({"messages": [*state["messages"], HumanMessage("and then?")]})

    assert len(model.calls) == 2


async def test_agents_answer_that_an_invalidation_overtook_is_not_kept(cache: Cache) -> None:
    model = Model(gate=asyncio.Event())
    agent = create_agent(model, [], middleware=[CachedModelCalls(cache, document_ids=lambda _: ["d1"])])
    question = {"messages": [HumanMessage("hello")]}
    with Context(tenant_id="acme"):
        under_way = asyncio.create_task(agent.ainvoke(question))
        while not model.calls:
            await asyncio.sleep(0)
        await cache.invalidate("acme", document_ids=["d1"])
        model.gate.set()
        await under_way
        fresh = await agent.ainvoke(question)
        await cache.invalidate("acme", document_ids=["d1"])
        newest = await agent.ainvoke(question)

    assert fresh["messages"][-1].content == "answer 2"
    assert newest["messages"][-1].content == "answer 3"


def test_sync_agents_work_over_a_bridge(bridge: Bridge) -> None:
    model = Model()
    agent = create_agent(model, [], middleware=[CachedModelCalls(bridge)])
    with Context(tenant_id="acme"):
        states = [agent.invoke({"messages": [HumanMessage("hello")]}) for _ in range(2)]

    assert [state["messages"][-1].content for state in states] == ["answer 1"] * 2
    assert len(model.calls) == 1


async def test_agents_of_another_loop_work_over_a_bridge(bridge: Bridge) -> None:
    model = Model(gate=asyncio.Event())
    agent = create_agent(model, [], middleware=[CachedModelCalls(bridge)])
    model.gate.set()
    with Context(tenant_id="acme"):
        states = await asyncio.gather(*[agent.ainvoke({"messages": [HumanMessage("hello")]}) for _ in range(3)])

    assert [state["messages"][-1].content for state in states] == ["answer 1"] * 3
    assert len(model.calls) == 1


class Verdict(BaseModel):
    good: bool


class Unwritable:
    pass


async def _call(ours: CachedModelCalls, model: Model, structured: Any, schema: Any) -> Any:
    from langchain.agents.middleware import ModelRequest, ModelResponse
    from langchain.agents.structured_output import ToolStrategy

    async def handler(_: Any) -> Any:
        model.calls.append(1)
        return ModelResponse(result=[AIMessage(content="a")], structured_response=structured)

    request = ModelRequest(
        model=model, messages=[HumanMessage("hello")], response_format=None if schema is None else ToolStrategy(schema)
    )
    return await ours.awrap_model_call(request, handler)


async def test_structured_answers_come_back_as_their_class_and_others_are_not_kept(cache: Cache) -> None:
    ours, model = CachedModelCalls(cache), Model()
    with Context(tenant_id="acme"):
        answers = [await _call(ours, model, Verdict(good=True), Verdict) for _ in range(2)]
        assert [answer.structured_response for answer in answers] == [Verdict(good=True)] * 2
        assert len(model.calls) == 1

        foreign = Unwritable()
        for _ in range(2):
            assert (await _call(ours, model, foreign, None)).structured_response is foreign
        assert len(model.calls) == 3


async def test_byte_store_keeps_bytes_for_one_tenant_and_does_not_list(cache: Cache) -> None:
    store, other = CachedByteStore("docs", cache), CachedByteStore("parents", cache)
    with Context(tenant_id="acme"):
        await store.amset([("a", b"1"), ("b", b"2")])
        assert await store.amget(["b", "a", "c"]) == [b"2", b"1", None]
        assert await other.amget(["a"]) == [None]
        await store.amdelete(["a", "c"])
        assert await store.amget(["a", "b"]) == [None, b"2"]
        with pytest.raises(UsageError, match="does not list"):
            store.yield_keys()
    with Context(tenant_id="globex"):
        assert await store.amget(["b"]) == [None]


async def test_equal_gets_at_one_time_wait_for_the_first_ones_set(cache: Cache) -> None:
    """As `CacheBackedEmbeddings` does: what is missing in a batch is made and set."""
    store, made = CachedByteStore("vectors", cache), []

    async def embed(texts: list[str]) -> list[bytes | None]:
        with Context(tenant_id="acme"):
            found = await store.amget(texts)
            missing = [text for text, one in zip(texts, found, strict=True) if one is None]
            made.extend(missing)
            await asyncio.sleep(0)
            await store.amset([(text, text.encode()) for text in missing])
            return await store.amget(texts)

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*[embed(["a", "b", "c"]) for _ in range(4)])
    assert answers == [[b"a", b"b", b"c"]] * 4
    assert sorted(made) == ["a", "b", "c"]


async def test_set_whose_get_began_before_an_invalidation_is_not_kept(cache: Cache) -> None:
    store, own_word = CachedByteStore("docs", cache), CachedByteStore("docs", cache, fills=False)
    with Context(tenant_id="acme"):
        assert await store.amget(["a", "b"]) == [None, None]
        await cache.invalidate("acme")
        await store.amset([("a", b"old"), ("b", b"old"), ("c", b"of nobody's get")])
        assert await own_word.amget(["a", "b", "c"]) == [None, None, b"of nobody's get"]
        await own_word.amset([("a", b"1")])
        assert await store.amget(["a"]) == [b"1"]


def test_sync_gets_of_threads_wait_for_the_first_ones_set() -> None:
    made: list[str] = []
    with Bridge(Cache(Settings())) as bridge, Context(tenant_id="acme"), ThreadPoolExecutor(4) as pool:
        store = CachedByteStore("vectors", bridge)

        def embed() -> list[bytes | None]:
            if store.mget(["a"]) == [None]:
                made.append("a")
                store.mset([("a", b"1")])
            return store.mget(["a"])

        asked = [pool.submit(copy_context().run, embed) for _ in range(4)]
        assert [one.result(30) for one in asked] == [[b"1"]] * 4
    assert made == ["a"]


async def test_answers_of_one_set_of_permissions_are_not_anothers_and_clear_ends_all(cache: Cache) -> None:
    model = Model(cache=LangChainCache(cache))
    callers = [
        Caller(tenant_id="acme", user_id="u1", permissions=frozenset(permissions)) for permissions in ("a", "ab", "")
    ]
    for _ in range(2):
        for number, caller in enumerate(callers, 1):
            with Serving(caller):
                assert (await model.ainvoke("hello")).content == f"answer {number}"
    with Serving(callers[0]):
        await model.cache.aclear()
    with Serving(callers[1]):
        assert (await model.ainvoke("hello")).content == "answer 4"


async def test_usage_of_runs_is_counted_once_and_that_of_hits_never(cache: Cache) -> None:
    ledger = LedgerCallback(cache)
    model = Model(cache=LangChainCache(cache))
    with Context(tenant_id="acme"):
        for _ in range(3):
            await model.ainvoke("hello", config={"callbacks": [ledger]})
        totals = await cache.ledger.totals("acme")
        assert (totals.used, totals.saved, totals.calls) == (15, 30, 1)

        repeated = LLMResult(generations=[[ChatGeneration(message=AIMessage(content="a", usage_metadata=USAGE))]])
        run = uuid4()
        for _ in range(2):
            await ledger.on_llm_end(repeated, run_id=run)
        assert (await cache.ledger.totals("acme")).used == 30


def test_missing_framework_names_extra_and_range(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"langchain-core>=1\.8,<2.*alacena\[langchain\]"):
        import_without("alacena.integrations.langchain", "langchain_core")


def test_framework_of_another_version_names_extra_and_range(monkeypatch: pytest.MonkeyPatch) -> None:
    from alacena.integrations import requirement

    monkeypatch.setattr(requirement, "version", lambda _: "0.3.49")
    with (
        pytest.raises(ImportError, match=r"langchain-core>=1\.8,<2 \(here is 0\.3\.49\).*alacena\[langchain\]"),
        requirement.require_extra("alacena.integrations.langchain", "langchain", ("langchain-core", "1.8", "2")),
    ):
        pass


@pytest.mark.parametrize("foreign", [b"no JSON", b"{}", b"\xff", "text", {"a": 1}])
async def test_entry_that_is_not_ours_is_a_miss(cache: Cache, foreign: Any) -> None:
    ours = LangChainCache(cache)
    with Context(tenant_id="acme"):
        await cache.set("langchain_llm", digest("p", "m"), foreign, "acme")
        assert await ours.alookup("p", "m") is None
        await ours.aupdate("p", "m", [Generation(text="a")])
        assert await ours.alookup("p", "m") == [Generation(text="a")]
