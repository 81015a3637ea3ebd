"""instructor over the caching transport: it needs no adapter."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest
from pydantic import BaseModel, field_validator

from alacena import Cache, Context
from alacena.integrations.llm_transport import CachingTransport
from tests.integrations.provider import Provider, chat
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

instructor = pytest.importorskip("instructor", reason="pip install instructor")

MESSAGES: Any = [{"role": "user", "content": "Who is in charge?"}]


class Person(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _is_whole(cls, name: str) -> str:
        if " " not in name:
            raise ValueError("give the surname too")
        return name


def answer(name: str, number: int = 1) -> tuple[int, dict[str, str], Any]:
    called = {"name": "Person", "arguments": json.dumps({"name": name})}
    calls = [{"id": f"call_{number}", "type": "function", "function": called}]
    return 200, {}, chat("", number=number, finish="tool_calls", tool_calls=calls)


@pytest.fixture
async def client(cache: Cache, provider: Provider) -> AsyncIterator[Any]:
    transport = CachingTransport(provider, cache=cache)
    async with httpx2.AsyncClient(transport=transport) as http:
        yield instructor.from_openai(openai.AsyncOpenAI(api_key="k", http_client=http, max_retries=0))
        await transport.settle()


@pytest.fixture
def provider() -> Provider:
    return Provider()


async def ask(client: Any, tenant: str = "acme") -> Any:
    with Context(tenant_id=tenant):
        return await client.chat.completions.create(
            model="gpt-4o-mini", messages=list(MESSAGES), response_model=Person, max_retries=2
        )


async def test_equal_calls_make_one_call_and_tenants_are_apart(client: Any, provider: Provider, cache: Cache) -> None:
    provider.answers = [answer("Ada Lovelace", 1), answer("Grace Hopper", 2)]
    provider.hold = asyncio.Event()
    running = [asyncio.create_task(ask(client)) for _ in range(3)]
    await until(lambda: bool(provider.seen))
    provider.hold.set()
    people = await asyncio.gather(*running)

    assert ({one.name for one in people}, len(provider.seen)) == ({"Ada Lovelace"}, 1)
    assert ((await ask(client)).name, (await ask(client, "globex")).name) == ("Ada Lovelace", "Grace Hopper")
    assert len(provider.seen) == 2
    async with asyncio.timeout(30):
        while (await cache.ledger.totals("acme")).saved < 3 * 27:
            await asyncio.sleep(0)
    assert (await cache.ledger.totals("acme")).used == 27


async def test_answer_that_is_not_valid_is_asked_again_once_for_all(client: Any, provider: Provider) -> None:
    provider.answers = [answer("Ada", 1), answer("Ada Lovelace", 2)]

    assert [(await ask(client)).name for _ in range(2)] == ["Ada Lovelace"] * 2
    assert len(provider.seen) == 2
