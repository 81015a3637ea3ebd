"""Pydantic AI on the cache: equal requests made once, nothing stale, no tenant's answer for another, no token twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pydantic_ai")

from pydantic_ai import Agent
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.usage import RequestUsage

from alacena import Cache, Context, Settings
from alacena.integrations.bridge import Bridge
from alacena.integrations.pydantic_ai import CachedModelRequests, is_cached

if TYPE_CHECKING:
    from collections.abc import Callable


class Calls:
    """Counts the calls of a model; each waits for ``gate``, if there is one, and answers with its number."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.count, self._gate = 0, gate

    async def __call__(self, messages: Any, info: Any) -> ModelResponse:
        self.count += 1
        answer = f"answer {self.count}"
        if self._gate is not None:
            await self._gate.wait()
        return ModelResponse(parts=[TextPart(answer)], usage=RequestUsage(input_tokens=10, output_tokens=5))

    def agent(self, cache: Cache | Bridge, **options: Any) -> Agent[None, str]:
        return Agent(FunctionModel(self), capabilities=[CachedModelRequests(cache)], **options)


async def test_repeated_request_is_answered_from_the_cache_without_usage(cache: Cache) -> None:
    calls = Calls()
    agent = calls.agent(cache)
    with Context(tenant_id="acme"):
        first, second = await agent.run("hello"), await agent.run("hello")

    assert (first.output, second.output, calls.count) == ("answer 1", "answer 1", 1)
    assert (first.usage.total_tokens, second.usage.total_tokens) == (15, 0)
    hit = second.all_messages()[-1]
    assert isinstance(hit, ModelResponse)
    assert is_cached(hit)
    assert hit.metadata is not None
    assert hit.metadata["alacena"]["usage"] == {"input_tokens": 10, "output_tokens": 5}


async def test_equal_requests_at_one_time_ask_the_model_once(cache: Cache) -> None:
    gate = asyncio.Event()
    calls = Calls(gate)
    agent = calls.agent(cache)
    with Context(tenant_id="acme"):
        running = [asyncio.create_task(agent.run("hello")) for _ in range(5)]
        while not calls.count:
            await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(*running)

    assert calls.count == 1
    assert {answer.output for answer in answers} == {"answer 1"}
    assert sum(answer.usage.total_tokens for answer in answers) == 15


async def test_answers_are_apart_by_tenant_user_and_what_the_model_is_asked(cache: Cache) -> None:
    calls = Calls()
    plain, brief = calls.agent(cache), calls.agent(cache, instructions="briefly")
    warm = calls.agent(cache, model_settings={"temperature": 1.0})
    for tenant, user in (("acme", None), ("globex", None), ("acme", "ana")):
        with Context(tenant_id=tenant, user_id=user):
            for agent in (plain, brief, warm, plain):
                await agent.run("hello")

    assert calls.count == 9


async def test_conversation_goes_on_from_an_answer_of_the_cache_as_from_the_models(cache: Cache) -> None:
    calls = Calls()
    agent = calls.agent(cache)
    with Context(tenant_id="acme"):
        for _ in range(2):
            first = await agent.run("hello")
            await agent.run("and then?", message_history=first.all_messages())

    assert calls.count == 2


async def test_what_a_tool_said_is_part_of_the_request_whatever_its_fields_are_called(cache: Cache) -> None:
    calls = Calls()
    agent = calls.agent(cache)
    with Context(tenant_id="acme"):
        for said in ({"timestamp": 1}, {"timestamp": 2}, {"usage": 1}, {"metadata": {"run_id": 1}}):
            asked = ModelResponse(parts=[ToolCallPart("clock", {}, tool_call_id="c")])
            told = ModelRequest(parts=[ToolReturnPart("clock", said, tool_call_id="c")])
            await agent.run("hello", message_history=[asked, told])

    assert calls.count == 4


async def test_request_that_an_invalidation_overtook_is_not_kept(cache: Cache) -> None:
    gate = asyncio.Event()
    calls = Calls(gate)
    agent = calls.agent(cache)
    with Context(tenant_id="acme"):
        under_way = asyncio.create_task(agent.run("hello"))
        while not calls.count:
            await asyncio.sleep(0)
        await cache.invalidate("acme")
        gate.set()
        await under_way
        assert (await agent.run("hello")).output == "answer 2"


async def test_agents_of_another_loop_work_over_a_bridge() -> None:
    calls = Calls()
    with Bridge(Cache(Settings())) as bridge, Context(tenant_id="acme"):
        agent = calls.agent(bridge)
        answers = await asyncio.gather(*[agent.run("hello") for _ in range(3)])

    assert (calls.count, {answer.output for answer in answers}) == (1, {"answer 1"})


def test_missing_framework_names_extra_and_range(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"pydantic-ai-slim>=2\.68,<3.*alacena\[pydantic-ai\]"):
        import_without("alacena.integrations.pydantic_ai", "pydantic_ai")
