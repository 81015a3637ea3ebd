"""Frameworks that look up first and store later: equal calls made once, nothing stale stored, nobody waits in vain."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langgraph")

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage
from langchain_core.outputs import Generation, LLMResult
from pydantic import Field

from alacena import Cache, Context, Settings
from alacena.engine import Scope
from alacena.integrations.bridge import Access, Bridge
from alacena.integrations.caller import Serving
from alacena.integrations.get_then_set import GetThenSet
from alacena.integrations.langchain import LangChainCache
from alacena.integrations.langgraph import NodeCache
from tests.integrations.test_langchain import Model
from tests.integrations.test_langgraph import Node, graph
from tests.waiting import for_ever, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge(Cache(Settings())) as bridge:
        yield bridge


class Failing(Model):
    """Fails in its first ``failures`` calls, once ``gate`` is open."""

    failures: int = 1

    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        result = await super()._agenerate(*args, **kwargs)
        if len(self.calls) <= self.failures:
            raise ConnectionError("the provider is away")
        return result


class Completion(BaseLLM):
    """A model of the older kind: several prompts in one call, looked up one after the other."""

    calls: list[list[str]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "completion"

    def _generate(self, prompts: list[str], *args: Any, **kwargs: Any) -> LLMResult:
        self.calls.append(prompts)
        return LLMResult(generations=[[Generation(text=f"{prompt}!")] for prompt in prompts])

    async def _agenerate(self, prompts: list[str], *args: Any, **kwargs: Any) -> LLMResult:
        return self._generate(prompts)


async def test_equal_calls_of_a_chat_model_at_one_time_make_one_call(cache: Cache) -> None:
    model = Model(cache=LangChainCache(cache), gate=asyncio.Event())
    with Context(tenant_id="acme"):
        running = [asyncio.create_task(model.ainvoke("hello")) for _ in range(5)]
        await until(lambda: bool(model.calls))
        model.gate.set()
        answers = await asyncio.gather(*running)

    assert ({one.content for one in answers}, len(model.calls)) == ({"answer 1"}, 1)


async def test_equal_nodes_at_one_time_run_once(cache: Cache) -> None:
    node = Node(asyncio.Event())
    ours = graph(NodeCache("g", cache), node)
    with Context(tenant_id="acme"):
        running = [asyncio.create_task(ours.ainvoke({"n": 1})) for _ in range(4)]
        await until(lambda: bool(node.runs))
        assert node._gate is not None
        node._gate.set()
        states = await asyncio.gather(*running)

    assert ([state["n"] for state in states], node.runs) == ([101] * 4, 1)


def test_equal_calls_of_threads_at_one_time_make_one_call(bridge: Bridge) -> None:
    model = Model(cache=LangChainCache(bridge))
    ready = Barrier(3)

    def ask() -> Any:
        ready.wait()
        return model.invoke("hello").content

    with Context(tenant_id="acme"), ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(copy_context().run, ask) for _ in range(3)]
        assert {one.result() for one in asked} == {"answer 1"}

    assert len(model.calls) == 1


async def test_call_that_fails_lets_the_next_one_go_on_at_once(cache: Cache) -> None:
    model = Failing(cache=LangChainCache(cache), gate=asyncio.Event())
    with Context(tenant_id="acme"):
        running = [asyncio.create_task(model.ainvoke("hello")) for _ in range(3)]
        await until(lambda: bool(model.calls))
        model.gate.set()
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*running, return_exceptions=True)

    assert [type(one) for one in outcomes] == [ConnectionError, AIMessage, AIMessage]
    assert len(model.calls) == 2


async def test_call_that_is_cancelled_lets_the_next_one_go_on_at_once(cache: Cache) -> None:
    model = Model(cache=LangChainCache(cache), gate=asyncio.Event())
    with Context(tenant_id="acme"):
        first = asyncio.create_task(model.ainvoke("hello"))
        await until(lambda: bool(model.calls))
        second = asyncio.create_task(model.ainvoke("hello"))
        first.cancel()
        await asyncio.wait((first,))
        model.gate.set()
        async with asyncio.timeout(30):
            assert (await second).content == "answer 2"


async def test_call_that_is_made_again_by_the_same_code_waits_for_nobody(cache: Cache) -> None:
    ours = LangChainCache(cache)
    with Context(tenant_id="acme"):
        async with asyncio.timeout(30):
            assert await ours.alookup("p", "m") is None  # whatever came of that, the code asks again
            assert await ours.alookup("p", "m") is None
        await ours.aupdate("p", "m", [Generation(text="a")])
        assert await ours.alookup("p", "m") == [Generation(text="a")]


async def test_two_that_look_the_same_up_in_opposite_order_do_not_wait_for_each_other(cache: Cache) -> None:
    model = Completion(cache=LangChainCache(cache))
    with Context(tenant_id="acme"):
        async with asyncio.timeout(30):
            results = await asyncio.gather(
                *[model.agenerate(["a", "b"] if number % 2 else ["b", "a"]) for number in range(6)]
            )

    assert {one[0].text for result in results for one in result.generations} == {"a!", "b!"}


async def test_several_look_ups_of_one_batch_are_claimed_and_the_rest_of_others_served(cache: Cache) -> None:
    steps = GetThenSet(Access(cache), "step")

    async def work(names: list[str]) -> int:
        with Context(tenant_id="acme"):
            found = await steps.look(names, Scope("acme"))
            for name in sorted(set(names) - set(found)):
                await asyncio.sleep(0)
                await steps.store(name, name.upper(), Scope("acme"))
            return len(names) - len(found)

    async with asyncio.timeout(30):
        made = await asyncio.gather(*[work(names) for names in (["a", "b", "c"], ["c", "b"], ["b", "a"], ["c"])])

    assert sum(made) == 3


async def test_look_ups_that_store_nothing_do_not_wait_for_one_another(cache: Cache) -> None:
    """`asyncio.gather` keeps a task that is over, and so its context, until the last one is over."""
    steps = GetThenSet(Access(cache), "step")
    async with asyncio.timeout(30):
        assert await asyncio.gather(*[steps.look(["a"], Scope("acme")) for _ in range(3)]) == [{}, {}, {}]


async def test_store_that_outlives_the_task_that_missed_is_kept(cache: Cache) -> None:
    steps = GetThenSet(Access(cache), "step")
    stores: list[asyncio.Task[bool]] = []

    async def ask() -> None:
        if not await steps.look(["a"], Scope("acme")):
            stores.append(asyncio.create_task(steps.store("a", "A", Scope("acme"))))

    async with asyncio.timeout(30):
        await asyncio.gather(ask(), ask())
        assert [await store for store in stores] == [True]
        assert await steps.look(["a"], Scope("acme")) == {"a": "A"}


async def test_what_cannot_be_kept_is_waited_for_by_nobody(cache: Cache) -> None:
    ours, over, done = LangChainCache(cache), asyncio.Event(), asyncio.Event()

    async def ask() -> None:
        with Context(tenant_id="acme"):
            assert await ours.alookup("p", "m") is None
            await ours.aupdate("p", "m", [_Foreign(text="a")])
            over.set()
            await done.wait()

    first = asyncio.create_task(ask())
    async with asyncio.timeout(30):
        with Context(tenant_id="acme"):
            await over.wait()
            assert await ours.alookup("p", "m") is None
        done.set()
        await first


async def test_store_that_fails_is_waited_for_by_nobody(cache: Cache) -> None:
    steps, over, done = GetThenSet(Access(cache), "step"), asyncio.Event(), asyncio.Event()

    async def ask() -> None:
        assert await steps.look(["a"], Scope("acme")) == {}
        with pytest.raises(ValueError, match="ttl"):
            await asyncio.create_task(steps.store("a", "A", Scope("acme"), ttl=0))
        over.set()
        await done.wait()

    first = asyncio.create_task(ask())
    async with asyncio.timeout(30):
        await over.wait()
        assert await steps.look(["a"], Scope("acme")) == {}
        done.set()
        await first


async def test_one_look_up_of_many_claims_no_more_places_than_there_are(url: str | None) -> None:
    async with Cache(Settings(redis_url=url, max_loads_per_tenant=2, redis_budget_s=5.0)) as cache:
        steps = GetThenSet(Access(cache), "step")
        async with asyncio.timeout(30):
            assert await steps.look(["a", "b", "c"], Scope("acme")) == {}
            for name in "abc":
                assert await steps.store(name, name.upper(), Scope("acme"))
            assert await steps.look(["a", "b", "c"], Scope("acme")) == {"a": "A", "b": "B", "c": "C"}


async def test_look_up_of_more_than_is_noted_of_old_ones_keeps_all_of_its_own(cache: Cache) -> None:
    steps, names = GetThenSet(Access(cache), "step"), [f"n{n}" for n in range(300)]
    assert await steps.look(names, Scope("acme")) == {}
    assert all([await steps.store(name, name, Scope("acme")) for name in names])


async def test_store_after_an_invalidation_is_refused_to_one_that_waited_for_nobody_too(cache: Cache) -> None:
    ours = LangChainCache(cache)
    with Context(tenant_id="acme"):
        assert await ours.alookup("p", "m") is None
        assert await ours.alookup("q", "m") is None  # it holds a claim, so this one is but noted
        await cache.invalidate("acme")
        for prompt in ("p", "q"):
            await ours.aupdate(prompt, "m", [Generation(text="stale")])
            assert await ours.alookup(prompt, "m") is None
            await ours.aupdate(prompt, "m", [Generation(text="fresh")])


async def test_stream_is_never_in_the_way_of_an_equal_call(cache: Cache) -> None:
    """A stream does not ask LangChain's cache, so it neither waits nor is waited for."""
    model = GenericFakeChatModel(messages=iter(["one", "two"]), cache=LangChainCache(cache))
    with Context(tenant_id="acme"):
        async with asyncio.timeout(30):
            streamed, answered = await asyncio.gather(_text(model.astream("hello")), model.ainvoke("hello"))

    assert {streamed, answered.content} == {"one", "two"}


def test_sync_look_up_on_the_thread_of_a_loop_waits_for_nobody(bridge: Bridge) -> None:
    """The one that it would wait for may need this very loop to go on."""
    ours = LangChainCache(bridge)

    async def both() -> None:
        with Context(tenant_id="acme"):
            assert await asyncio.create_task(ours.alookup("p", "m")) is None
            looked = asyncio.Event()
            holder = asyncio.create_task(_hold(ours, looked))
            await looked.wait()
            assert ours.lookup("p", "m") is None
            holder.cancel()

    asyncio.run(asyncio.wait_for(both(), 30))


class _Foreign(Generation):
    """Of no module that LangChain's loader knows."""

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return False


async def _hold(ours: LangChainCache, looked: asyncio.Event) -> None:
    await ours.alookup("p", "m")
    looked.set()
    await for_ever()


async def _text(stream: Any) -> str:
    return "".join([chunk.content async for chunk in stream])


def test_bridge_does_not_wait_for_what_nobody_will_store(caplog: pytest.LogCaptureFixture) -> None:
    """The code of a script ends when the script does: what it claimed would be waited for, as a load is."""
    cache = Cache(Settings())
    with Bridge(cache) as bridge, Context(tenant_id="acme"):
        assert LangChainCache(bridge).lookup("p", "m") is None
        claims = cache._parts.flights.claims
        assert len(claims) == 1
        bridge.stop()
        assert not claims
        assert not caplog.records


@pytest.mark.parametrize("block", [Context(tenant_id="acme"), Serving({"tenant_id": "acme"})], ids=["block", "job"])
def test_sync_call_that_failed_keeps_nobody_waiting_though_its_thread_goes_on(bridge: Bridge, block: Any) -> None:
    """After langchain-ai/langchain#26130, as a worker meets it: threads that serve one job after the other."""
    cache = LangChainCache(bridge)
    asked: list[int] = []

    def answer() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise ConnectionError("the provider is away")
        return f"answer {len(asked)}"

    def serve(_: int) -> Any:
        with block:
            return _ask(cache, answer)

    with ThreadPoolExecutor(1) as stays, ThreadPoolExecutor(1) as other:
        with pytest.raises(ConnectionError):
            stays.submit(serve, 1).result(60)
        assert other.submit(serve, 2).result(60) == "answer 2"


def _ask(cache: LangChainCache, answer: Any) -> str:
    """What LangChain does in sync code."""
    found = cache.lookup("hello", "model")
    if found is None:
        found = [Generation(text=answer())]
        cache.update("hello", "model", found)
    return str(found[0].text)


def test_block_inside_ends_no_look_up_of_the_block_around_it(bridge: Bridge) -> None:
    cache = LangChainCache(bridge)
    with Context(tenant_id="acme"):
        for overtaken in (False, True):
            assert cache.lookup("hello", str(overtaken)) is None
            with Context(agent_id="clerk"), Context(tenant_id="globex"):
                assert cache.lookup("hello", str(overtaken)) is None
            if overtaken:
                bridge.run(bridge.cache.invalidate("acme"))
            cache.update("hello", str(overtaken), [Generation(text="answer")])
            assert (cache.lookup("hello", str(overtaken)) is None) == overtaken
