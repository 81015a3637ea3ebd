"""The caching transport under the real clients of OpenAI and Anthropic."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import struct
import subprocess
import sys
from contextlib import AsyncExitStack
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import anthropic
import httpx
import httpx2
import openai
import pytest

from alacena import Cache, Context, Policy, Settings, SettingsError, UsageError
from alacena.common import runtime
from alacena.common.context import set_current_tenant_id
from alacena.integrations.bridge import Bridge
from alacena.integrations.caller import Caller, Serving, ids_in, labels_of
from alacena.integrations.llm_transport import HEADER, CachingTransport, Rules, based_on, is_hit
from alacena.integrations.prices import ModelPrice, PriceTable
from alacena.integrations.usage import read_usage
from alacena.testing.doubles import FakeEnvironment
from tests.integrations import provider as says
from tests.integrations.provider import Provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    OpenDesk: TypeAlias = "Callable[..., Coordination]"


@pytest.fixture
async def open_cache(url: str | None) -> AsyncIterator[Callable[..., Awaitable[Cache]]]:
    """A factory of caches; on a server each is as good as a process of its own."""
    async with AsyncExitStack() as stack:

        async def opened(**settings: Any) -> Cache:
            options = {"redis_url": url, "ttl_jitter_ratio": 0.0, "redis_budget_s": 5.0, **settings}
            return await stack.enter_async_context(Cache(Settings(**options)))

        yield opened


@pytest.fixture
async def cache(open_cache: Callable[..., Awaitable[Cache]]) -> Cache:
    """One cache."""
    return await open_cache()


ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello?"}]}
EMBEDDED: dict[str, Any] = {"model": "text-embedding-3-small", "input": ["one"]}
PROMPTED: dict[str, Any] = {
    "model": "claude-next",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello?"}],
}


@pytest.fixture
def provider() -> Provider:
    return Provider()


class Coordination:
    """A transport with both clients on it."""

    def __init__(self, provider: Provider, cache: Cache, **options: Any) -> None:
        self.transport = CachingTransport(provider, cache=cache, **{"tenant_id": "acme", **options})
        # Without a limit: whoever waits for an equal call waits as long as the client says, and tests run beside others.
        self.http = httpx2.AsyncClient(transport=self.transport, timeout=None)
        self.openai = openai.AsyncOpenAI(api_key="k", http_client=self.http, max_retries=0)
        self.anthropic = anthropic.AsyncAnthropic(api_key="k", http_client=self.http, max_retries=0)

    async def told(self, headers: dict[str, str] | None = None, **call: Any) -> str:
        # Not by a client of OpenAI: its first call works in a thread, and would arrive at no particular time.
        url = "https://api.openai.com/v1/chat/completions"
        response = await self.http.post(url, json={**ASKED, **call}, headers=headers)
        return response.headers[HEADER]

    async def streamed(self, **call: Any) -> tuple[str, bytes]:
        body = {**ASKED, "stream": True, **call}
        async with self.http.stream("POST", "https://api.openai.com/v1/chat/completions", json=body) as response:
            return response.headers[HEADER], b"".join([chunk async for chunk in response.aiter_bytes()])

    async def totals(self, tenant: str = "acme") -> Any:
        await self.transport.settle()
        return await self.transport._cache.ledger.totals(tenant)  # type: ignore[union-attr]


@pytest.fixture
async def open_desk(provider: Provider, cache: Cache) -> AsyncIterator[Callable[..., Coordination]]:
    """A factory of desks on one provider, by default on one cache."""
    opened: list[Coordination] = []

    def open_one(**options: Any) -> Coordination:
        opened.append(Coordination(options.pop("provider", provider), options.pop("cache", cache), **options))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.transport.aclose()


@pytest.fixture
def desk(open_desk: OpenDesk) -> Coordination:
    return open_desk()


# Whole answers


async def test_a_repeated_call_is_answered_with_every_field(desk: Coordination, provider: Provider) -> None:
    first = await desk.openai.chat.completions.with_raw_response.create(**ASKED)
    second = await desk.openai.chat.completions.with_raw_response.create(**ASKED)

    assert len(provider.seen) == 1
    assert first.headers[HEADER] == "miss"
    assert second.headers[HEADER].startswith("hit; age=0; tier=")
    assert (is_hit(first), is_hit(second)) == (False, True)
    assert first.text == second.text
    assert "a_field_of_tomorrow" in second.text
    assert second.headers["x-request-id"] == "req_1"
    assert "set-cookie" not in second.headers
    assert first.headers["set-cookie"] == "session=1"


async def test_a_hit_says_its_age_and_where_it_was(
    open_desk: OpenDesk, desk: Coordination, cache: Cache, url: str | None, open_cache: Any
) -> None:
    await desk.told()
    if url is None:
        assert await desk.told() == "hit; age=0; tier=memory"
        return
    other = open_desk(provider=Provider(), cache=await open_cache())

    assert await other.told() == "hit; age=0; tier=redis"
    assert await other.told() == "hit; age=0; tier=memory"


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_both_libraries_are_served_alike(library: Any, provider: Provider, cache: Cache) -> None:
    transport = CachingTransport(provider, cache=cache, tenant_id="acme")
    async with library.AsyncClient(transport=transport) as client:
        answers = [
            await client.post("https://api.openai.com/v1/chat/completions", json={**ASKED, "stream": stream})
            for stream in (False, True, False, True)
        ]

    assert len(provider.seen) == 2
    assert isinstance(answers[0], library.Response)
    assert answers[0].content == answers[2].content
    assert answers[1].content == answers[3].content == b"".join(says.chat_events(2))
    assert provider.is_closed


async def test_responses_and_messages_are_kept_too(desk: Coordination, provider: Provider) -> None:
    for _ in range(2):
        answer = await desk.openai.responses.create(model="gpt-5-mini", input="Hello?")
        said = await desk.anthropic.messages.create(**PROMPTED)

    assert answer.id == "resp_1_of_this_provider"
    assert answer.usage is not None
    assert answer.usage.output_tokens_details.reasoning_tokens == 2
    assert said.id == "msg_2_of_this_provider"
    assert len(provider.seen) == 2


async def test_bodies_that_differ_in_spelling_alone_are_the_same(desk: Coordination, provider: Provider) -> None:
    url = "https://api.openai.com/v1/chat/completions"
    headers = {"content-type": "application/json"}
    await desk.http.post(url, content=b'{"model": "m", "messages": []}', headers=headers)
    await desk.http.post(url, content=b'{"messages":[],"model":"m"}', headers=headers)

    assert len(provider.seen) == 1


async def test_a_hint_for_the_providers_own_cache_is_not_in_the_key(desk: Coordination, provider: Provider) -> None:
    # openai-agents makes a new one for each run.
    told = [await desk.told(prompt_cache_key=f"run-{number}") for number in range(2)]

    assert [one[:4] for one in told] == ["miss", "hit;"]
    assert provider.bodies[0]["prompt_cache_key"] == "run-0"


async def test_what_decides_the_answer_is_in_the_key_and_the_credentials_are_not(
    open_desk: OpenDesk, provider: Provider
) -> None:
    desk = open_desk()

    async def ask(client: openai.AsyncOpenAI) -> int:
        await client.chat.completions.create(**ASKED)
        return len(provider.seen)

    assert await ask(desk.openai) == 1
    assert await ask(desk.openai.with_options(api_key="another")) == 1
    assert await ask(desk.openai.with_options(organization="o")) == 2
    assert await ask(desk.openai.with_options(project="p")) == 3
    assert await ask(desk.openai.with_options(base_url="https://elsewhere.example/v1")) == 4
    with Context(tenant_id="acme", user_id="u1"):
        assert await ask(desk.openai) == 5
        assert await ask(desk.openai) == 5
    with Context(tenant_id="acme", user_id="u2"):
        assert await ask(desk.openai) == 6


async def test_another_tenant_never_gets_the_answer(open_desk: OpenDesk) -> None:
    desk = open_desk(tenant_id=None)
    told = []
    for tenant in ("acme", "globex", "acme"):
        with Context(tenant_id=tenant):
            told.append((await desk.told())[:4])

    assert told == ["miss", "miss", "hit;"]


async def test_without_a_tenant_nothing_is_kept(open_desk: OpenDesk, caplog: pytest.LogCaptureFixture) -> None:
    desk = open_desk(tenant_id=None)

    assert [await desk.told(), await desk.told()] == ["bypass; reason=tenant"] * 2
    assert len([record for record in caplog.records if "without a tenant" in record.message]) == 1


async def test_the_process_wide_cache_is_the_default(provider: Provider, cache: Cache) -> None:
    async with httpx2.AsyncClient(transport=CachingTransport(provider)) as http:
        client = openai.AsyncOpenAI(api_key="k", http_client=http)
        with runtime.override(cache), Context(tenant_id="acme"):
            for _ in range(2):
                await client.chat.completions.create(**ASKED)

    assert len(provider.seen) == 1


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_sync_client_is_told_what_to_use(library: Any) -> None:
    client = library.Client(transport=CachingTransport())
    with pytest.raises(UsageError, match="sync client: use AsyncOpenAI"):
        client.post("https://api.openai.com/v1/chat/completions", json=ASKED)


def test_sync_code_calls_over_a_bridge(provider: Provider) -> None:
    with Bridge(Cache(Settings())) as bridge, Context(tenant_id="acme"):
        http = httpx2.AsyncClient(transport=CachingTransport(provider, cache=bridge.cache))
        client = openai.AsyncOpenAI(api_key="k", http_client=http, max_retries=0)
        answers = [bridge.run(client.chat.completions.create(**ASKED)).id for _ in range(2)]
        bridge.run(client.close())

    assert (answers, len(provider.seen)) == (["chatcmpl-1-of-this-provider"] * 2, 1)


async def test_limit_of_the_provider_reaches_all_who_wait_and_is_asked_again_once(
    desk: Coordination, provider: Provider
) -> None:
    provider.answers = [(429, {"retry-after": "7"}, {"error": {"message": "slow down"}})]
    provider.hold = asyncio.Event()
    url = "https://api.openai.com/v1/chat/completions"
    running = [asyncio.create_task(desk.http.post(url, json=ASKED)) for _ in range(4)]
    await provider.arrived.wait()
    provider.hold.set()
    refused = await asyncio.gather(*running)

    assert {(one.status_code, one.headers["retry-after"]) for one in refused} == {(429, "7")}
    assert len(provider.seen) == 1
    again = await asyncio.gather(*[desk.http.post(url, json=ASKED) for _ in range(4)])
    assert ({one.status_code for one in again}, len(provider.seen)) == ({200}, 2)
    totals = await desk.totals()
    assert (totals.used, totals.saved) == (27, 3 * 27)


async def test_calls_go_on_when_the_cache_is_closed(desk: Coordination, cache: Cache) -> None:
    await cache.close()

    assert await desk.told() == "bypass; reason=closed"


async def test_a_compressed_answer_is_replayed_decoded(desk: Coordination, provider: Provider) -> None:
    body = json.dumps(says.chat()).encode()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        provider.seen.append(request)
        return httpx2.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(body))

    desk.transport._inner = httpx2.MockTransport(answer)
    url = "https://api.openai.com/v1/chat/completions"
    answers = [await desk.http.post(url, json=ASKED) for _ in range(2)]

    assert [one.content for one in answers] == [body, body]
    assert len(provider.seen) == 1


# What is not kept


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"temperature": 0.7}, "temperature"),
        ({"n": 2}, "n"),
        ({"store": True}, "store"),
        ({"modalities": ["text", "audio"]}, "audio"),
        ({"web_search_options": {}}, "tools"),
    ],
)
async def test_what_may_not_be_kept_is_passed_on_and_says_why(
    desk: Coordination, provider: Provider, call: dict[str, Any], reason: str
) -> None:
    assert [await desk.told(**call) for _ in range(2)] == [f"bypass; reason={reason}"] * 2
    assert len(provider.seen) == 2
    assert desk.transport.counts.bypasses == {reason: 2}
    assert (await desk.totals()).used == 54


@pytest.mark.parametrize("call", [{"previous_response_id": "resp_0"}, {"background": True}, {"conversation": "c1"}])
async def test_responses_with_a_state_are_passed_on(
    desk: Coordination, provider: Provider, call: dict[str, Any]
) -> None:
    for _ in range(2):
        await desk.openai.responses.create(model="gpt-5-mini", input="Go on.", **call)

    assert len(provider.seen) == 2


async def test_other_endpoints_are_passed_on_untouched(desk: Coordination, provider: Provider) -> None:
    for _ in range(2):
        await desk.openai.files.create(file=("notes.txt", b"text"), purpose="assistants")
        raw = await desk.openai.batches.with_raw_response.create(
            completion_window="24h", endpoint="/v1/responses", input_file_id="file-1"
        )
        added = await desk.http.post("https://api.openai.com/v1/threads/t1/messages", json={"content": "Hello?"})

    assert raw.headers[HEADER] == added.headers[HEADER] == "bypass; reason=endpoint"
    assert len(provider.seen) == 6


async def test_variety_is_kept_for_those_who_want_it(open_desk: OpenDesk) -> None:
    rules = {"chat/gpt-4o*": Rules(sampled=True), "chat/o3": None}
    desk = open_desk(rules=rules)
    told = [await desk.told(temperature=0.7, n=2) for _ in range(2)]

    assert [one[:4] for one in told] == ["miss", "hit;"]
    assert await desk.told(model="o3") == "bypass; reason=rules"
    assert await desk.told(model="gpt-5", temperature=1) == "bypass; reason=temperature"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says.chat(finish="length"), "length"),
        (says.chat(finish="content_filter"), "content_filter"),
        (says.chat(finish="tool_calls", tool_calls=[{"id": "c", "type": "function"}]), "tool_calls"),
    ],
)
async def test_an_answer_that_is_not_finished_is_not_stored(
    desk: Coordination, provider: Provider, answer: dict[str, Any], reason: str
) -> None:
    provider.answers = [(200, {}, answer)] * 2
    url = "https://api.openai.com/v1/chat/completions"
    told = [(await desk.http.post(url, json=ASKED)).headers[HEADER] for _ in range(2)]

    assert told == [f"miss; stored=no; reason={reason}"] * 2


async def test_a_forced_tool_is_structured_output_and_kept(desk: Coordination, provider: Provider) -> None:
    called = [{"id": "c", "type": "function", "function": {"name": "Answer", "arguments": "{}"}}]
    provider.answers = [(200, {}, says.chat(tool_calls=called))]
    function = {"type": "function", "function": {"name": "Answer"}}
    told = [await desk.told(tools=[function], tool_choice=function) for _ in range(2)]

    assert [one[:4] for one in told] == ["miss", "hit;"]


async def test_errors_pass_as_they_are_and_are_not_stored(desk: Coordination, provider: Provider) -> None:
    error = {"error": {"message": "slow down", "type": "rate_limit"}}
    provider.answers = [(429, {"retry-after": "7"}, error), (500, {}, error)]

    with pytest.raises(openai.RateLimitError) as limited:
        await desk.openai.chat.completions.create(**ASKED)
    with pytest.raises(openai.InternalServerError):
        await desk.openai.chat.completions.create(**ASKED)

    assert limited.value.response.headers["retry-after"] == "7"
    assert limited.value.response.json() == error
    assert limited.value.response.headers[HEADER] == "miss; stored=no; reason=status"
    assert await desk.told() == "miss"
    assert (await desk.totals()).used == 27


async def test_the_client_retries_above_the_transport(open_desk: OpenDesk, provider: Provider) -> None:
    provider.answers = [(429, {"retry-after-ms": "1"}, {"error": {}})]
    desk = open_desk()
    client = desk.openai.with_options(max_retries=1)

    assert (await client.chat.completions.create(**ASKED)).id == "chatcmpl-2-of-this-provider"
    assert (await client.chat.completions.create(**ASKED)).id == "chatcmpl-2-of-this-provider"


async def test_a_broken_connection_reaches_the_caller_as_it_is(desk: Coordination) -> None:
    async def broken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("nobody there", request=request)

    desk.transport._inner = httpx2.MockTransport(broken)
    for stream in (False, True):
        with pytest.raises(openai.APIConnectionError) as error:
            await desk.openai.chat.completions.create(**ASKED, stream=stream)
        assert isinstance(error.value.__cause__, httpx2.ConnectError)


async def test_an_expired_answer_stands_in_for_a_provider_that_fails(open_desk: OpenDesk, provider: Provider) -> None:
    environment = FakeEnvironment()
    policy = Policy(ttl=60, stale_if_error_s=600)
    async with Cache(environment=environment, policies={"llm_answer": policy}) as cache:
        desk = open_desk(cache=cache)
        await desk.told()
        environment.advance(90)
        provider.answers = [(503, {}, {"error": {}})]

        assert await desk.told() == "hit; age=90; tier=memory; stale"
        await desk.transport.settle()


async def test_rules_give_answers_a_life_of_their_own(open_desk: OpenDesk) -> None:
    environment = FakeEnvironment()
    async with Cache(Settings(ttl_jitter_ratio=0.0), environment=environment) as cache:
        desk = open_desk(cache=cache, rules=Rules(ttl=30))
        told = []
        for passed in (0, 29, 2):
            environment.advance(passed)
            told.append((await desk.told())[:11])
        await desk.transport.settle()

    assert told == ["miss", "hit; age=29", "miss"]
    with pytest.raises(SettingsError, match="ttl"):
        Rules(ttl=0)


async def test_a_gateways_headers_are_in_the_key_if_the_transport_is_told(
    open_desk: OpenDesk, provider: Provider
) -> None:
    desk = open_desk(vary=["X-Route"])
    for route in ("a", "b", "a"):
        await desk.told({"x-route": route})

    assert len(provider.seen) == 2


# Events


async def test_events_are_replayed_byte_for_byte(desk: Coordination, provider: Provider) -> None:
    first, second = await desk.streamed(), await desk.streamed()

    assert first == ("miss", b"".join(says.chat_events(1)))
    assert second[1] == first[1]
    assert second[0].startswith("hit; age=0; tier=")
    assert len(provider.seen) == 1


async def test_the_clients_read_replayed_events(desk: Coordination, provider: Provider) -> None:
    for _ in range(2):
        chunks = [one async for one in await desk.openai.chat.completions.create(**ASKED, stream=True)]
        events = [one async for one in await desk.openai.responses.create(model="m", input="Hello?", stream=True)]
        async with desk.anthropic.messages.stream(**PROMPTED) as stream:
            said = await stream.get_final_message()

    assert [chunk.choices[0].delta.content for chunk in chunks if chunk.choices] == ["Hel", "lo.", None]
    assert chunks[-1].usage is not None
    assert events[-1].type == "response.completed"
    assert said.usage.output_tokens == 9
    assert len(provider.seen) == 3


async def test_events_reach_the_caller_as_they_come(desk: Coordination, provider: Provider) -> None:
    provider.pause_before = 1
    stream = await desk.openai.chat.completions.create(**ASKED, stream=True)
    first = await anext(aiter(stream))
    was_paused = provider.paused.is_set()
    provider.go_on.set()
    rest = [one async for one in stream]

    assert first.choices[0].delta.content == "Hel"
    assert was_paused
    assert len(rest) == 3


async def test_a_stream_that_breaks_is_not_stored(desk: Coordination, provider: Provider) -> None:
    provider.break_before = 2
    with pytest.raises(httpx2.ReadError):
        await desk.streamed()
    provider.break_before = None

    assert (await desk.streamed())[0] == "miss"
    assert len(provider.seen) == 2


@pytest.mark.parametrize(
    "events",
    [
        says.chat_events()[:-1],
        says.chat_events()[:2],
        [*says.chat_events()[:2], b'data: {"choi'],
        says.chat_events(finish="length"),
        says.chat_events(finish=None),
        [says.event({"error": {"message": "overloaded"}}), says.event("[DONE]")],
    ],
    ids=["no end", "cut", "cut inside", "length", "no reason", "error"],
)
async def test_a_stream_without_its_end_is_not_stored(
    desk: Coordination, provider: Provider, events: list[bytes]
) -> None:
    provider.events = events
    answers = [await desk.streamed() for _ in range(2)]

    assert answers == [("miss", b"".join(events))] * 2


async def test_a_listener_who_leaves_ends_the_call_and_nothing_is_stored(
    desk: Coordination, provider: Provider
) -> None:
    provider.pause_before = 2
    stream = await desk.openai.chat.completions.create(**ASKED, stream=True)
    await anext(aiter(stream))
    await provider.paused.wait()
    await stream.close()
    while not provider.closed:
        await asyncio.sleep(0)
    provider.pause_before = None

    assert (await desk.streamed())[0] == "miss"
    assert len(provider.seen) == 2


async def test_who_stops_at_the_last_event_has_it_stored(desk: Coordination, provider: Provider) -> None:
    url = "https://api.openai.com/v1/chat/completions"
    async with desk.http.stream("POST", url, json={**ASKED, "stream": True}) as response:
        async for chunk in response.aiter_bytes():
            if b"[DONE]" in chunk:
                break
    while not provider.closed:
        await asyncio.sleep(0)

    assert (await desk.streamed())[0].startswith("hit")


async def test_errors_of_a_stream_pass_as_they_are(desk: Coordination, provider: Provider) -> None:
    provider.answers = [(429, {"retry-after": "7"}, {"error": {"message": "slow down"}})]

    with pytest.raises(openai.RateLimitError) as limited:
        await desk.openai.chat.completions.create(**ASKED, stream=True)

    assert limited.value.response.headers["retry-after"] == "7"
    assert (await desk.streamed())[0] == "miss"


# At the same time


async def test_five_equal_calls_are_one_call_of_the_provider(desk: Coordination, provider: Provider) -> None:
    provider.hold = asyncio.Event()
    calls = [asyncio.create_task(desk.told()) for _ in range(5)]
    await provider.arrived.wait()
    await _settled()
    provider.hold.set()
    told = await asyncio.gather(*calls)
    totals = await desk.totals()

    assert len(provider.seen) == 1
    assert sorted(told) == ["hit; age=0; tier=flight"] * 4 + ["miss"]
    assert (totals.used, totals.saved, totals.calls) == (27, 4 * 27, 1)


@pytest.mark.parametrize(
    ("path", "body"),
    [("chat/completions", ASKED), ("chat/completions", {**ASKED, "stream": True}), ("embeddings", EMBEDDED)],
)
async def test_who_waits_for_an_equal_call_waits_as_long_as_its_client_says(
    path: str, body: dict[str, Any], desk: Coordination, provider: Provider
) -> None:
    """A client with a limit of a moment, beside one that waits for ever for a provider that does not answer."""
    provider.hold = asyncio.Event()
    url = f"https://api.openai.com/v1/{path}"
    patient = asyncio.create_task(desk.http.post(url, json=body))
    await provider.arrived.wait()
    impatient = httpx2.AsyncClient(transport=desk.transport, timeout=0.01)
    with pytest.raises(httpx2.ReadTimeout, match="an equal call that began before"):
        await impatient.post(url, json=body)
    provider.hold.set()

    assert (await patient).status_code == 200
    assert len(provider.seen) == 1


async def test_a_stream_that_stands_still_ends_for_who_waits_no_longer(desk: Coordination, provider: Provider) -> None:
    provider.pause_before = 2
    patient = asyncio.create_task(desk.streamed())
    await provider.paused.wait()
    impatient = httpx2.AsyncClient(transport=desk.transport, timeout=0.01)
    with pytest.raises(httpx2.ReadTimeout):
        await impatient.post("https://api.openai.com/v1/chat/completions", json={**ASKED, "stream": True})
    provider.go_on.set()

    assert (await patient)[1] == b"".join(says.chat_events(1))


@pytest.mark.parametrize("streams", [False, True])
async def test_bytes_can_be_passed_on_as_they_come(streams: bool, desk: Coordination) -> None:
    """A proxy in front of the provider sends raw bytes on, of a miss and of a hit alike."""
    bodies = []
    for _ in range(2):
        body = {**ASKED, "stream": streams}
        async with desk.http.stream("POST", "https://api.openai.com/v1/chat/completions", json=body) as response:
            bodies.append((response.headers[HEADER][:4], b"".join([chunk async for chunk in response.aiter_raw()])))
    (first, one), (second, other) = bodies

    assert (first, second) == ("miss", "hit;")
    assert one == other != b""


async def test_five_equal_streams_are_one_call_and_hear_the_same(desk: Coordination, provider: Provider) -> None:
    provider.pause_before = 2
    early = [asyncio.create_task(desk.streamed()) for _ in range(3)]
    await provider.paused.wait()
    late = [asyncio.create_task(desk.streamed()) for _ in range(2)]
    await _settled()
    provider.go_on.set()
    answers = await asyncio.gather(*early, *late)
    totals = await desk.totals()

    assert len(provider.seen) == 1
    assert {body for _, body in answers} == {b"".join(says.chat_events(1))}
    assert sorted(told for told, _ in answers) == ["hit; age=0; tier=flight"] * 4 + ["miss"]
    assert (totals.used, totals.saved, totals.calls) == (15, 4 * 15, 1)


async def test_one_who_leaves_does_not_end_the_stream_of_the_others(desk: Coordination, provider: Provider) -> None:
    provider.pause_before = 2
    first = await desk.openai.chat.completions.create(**ASKED, stream=True)
    await provider.paused.wait()
    second = asyncio.create_task(desk.streamed())
    await _settled()
    await first.close()
    provider.go_on.set()

    assert (await second)[1] == b"".join(says.chat_events(1))
    assert len(provider.seen) == 1


async def test_processes_share_a_call(
    open_desk: OpenDesk, url: str | None, open_cache: Callable[..., Awaitable[Cache]], provider: Provider
) -> None:
    if url is None:
        pytest.skip("one process has one memory")
    provider.hold = asyncio.Event()
    desks = [open_desk(cache=await open_cache()) for _ in range(3)]
    calls = [asyncio.create_task(desk.told()) for desk in desks]
    await provider.arrived.wait()
    await _settled()
    provider.hold.set()

    assert sorted(told[:4] for told in await asyncio.gather(*calls)) == ["hit;", "hit;", "miss"]
    assert len(provider.seen) == 1


# Over the network


class Server:
    """Speaks just enough HTTP on loopback to answer with events, in chunks."""

    def __init__(self, events: list[bytes]) -> None:
        self.events = events
        self.calls = 0

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        self.calls += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in (*self.events, b""):
            writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            await writer.drain()
        await reader.read()
        writer.close()


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_the_transport_speaks_to_a_server_by_itself(library: Any, cache: Cache) -> None:
    server = Server(says.chat_events())
    transport = CachingTransport(cache=cache, tenant_id="acme")
    async with server as url, library.AsyncClient(transport=transport) as client:
        answers = [
            await client.post(
                f"{url}/chat/completions", json={**ASKED, "stream": True}, headers={"connection": "close"}
            )
            for _ in range(2)
        ]

    assert {answer.content for answer in answers} == {b"".join(says.chat_events())}
    assert [answer.headers[HEADER][:4] for answer in answers] == ["miss", "hit;"]
    assert server.calls == 1


def test_the_transport_says_what_to_install() -> None:
    code = (
        "import importlib.util as u; f = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('httpx', 'httpx2') else f(name, *a)\n"
        "import alacena.integrations.llm_transport"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert "ImportError: the transport needs httpx2 2.16 or newer" in ran.stderr
    assert "pip install 'alacena[openai]'" in ran.stderr


# Lineage


@pytest.mark.parametrize("stream", [False, True])
async def test_what_began_before_its_document_was_invalidated_is_not_stored(
    desk: Coordination, cache: Cache, provider: Provider, stream: bool
) -> None:
    provider.hold = asyncio.Event()

    async def ask() -> str:
        with based_on(["d1"]):
            return (await desk.streamed())[0] if stream else await desk.told()

    first = asyncio.create_task(ask())
    await provider.arrived.wait()
    await cache.invalidate("acme", document_ids=["d1"])
    provider.hold.set()
    await first

    assert not (await ask()).startswith("hit")
    assert (await ask()).startswith("hit")
    assert len(provider.seen) == 2


async def test_who_comes_after_an_invalidation_does_not_hear_the_stream_before_it(
    desk: Coordination, cache: Cache, provider: Provider
) -> None:
    async def ask() -> tuple[str, bytes]:
        with based_on("d1"):
            return await desk.streamed()

    provider.pause_before = 2
    before = asyncio.create_task(ask())
    await provider.paused.wait()
    provider.arrived.clear()
    await cache.invalidate("acme", document_ids=["d1"])
    after = asyncio.create_task(ask())
    await provider.arrived.wait()
    provider.go_on.set()

    assert await before == ("miss", b"".join(says.chat_events(1)))
    assert await after == ("miss", b"".join(says.chat_events(2)))
    assert (await ask())[1] == b"".join(says.chat_events(2))


async def test_documents_are_named_by_a_block_a_header_or_the_transport(
    open_desk: OpenDesk, provider: Provider, cache: Cache
) -> None:
    desk = open_desk(document_ids=lambda call: [f"doc-{call.model}"])

    async def ask() -> bool:
        with based_on("block"):
            return (await desk.told({"x-alacena-documents": "h1, h2"})).startswith("hit")

    await ask()
    for document in ("block", "h1", "h2", "doc-gpt-4o-mini"):
        assert await ask()
        await cache.invalidate("acme", document_ids=[document])
        assert not await ask()

    assert all("x-alacena-documents" not in request.headers for request in provider.seen)


async def test_a_source_and_the_call_inside_it_depend_on_the_same(open_desk: OpenDesk, cache: Cache) -> None:
    from alacena import depends_on, get_with_cache_aside

    desk = open_desk(tenant_id=None)

    async def answer() -> str:
        depends_on("d1")
        with based_on("d2"):
            return str((await desk.openai.chat.completions.create(**ASKED)).id)

    async def ask() -> str:
        value, _ = await get_with_cache_aside("answer", "a1", "acme", fetch_from_db_func=None, generate_func=answer)
        return str(value)

    with runtime.override(cache):
        set_current_tenant_id("acme")
        for number, document in enumerate(("d1", "d2"), start=1):
            assert await ask() == await ask() == f"chatcmpl-{number}-of-this-provider"
            await cache.invalidate("acme", document_ids=[document])
        assert await ask() == "chatcmpl-3-of-this-provider"


# Tokens


async def test_a_hit_saves_tokens_and_uses_none(desk: Coordination) -> None:
    for _ in range(3):
        await desk.openai.chat.completions.create(**ASKED)
    totals = await desk.totals()

    assert (totals.used, totals.saved, totals.calls) == (27, 54, 1)
    assert {(row.model, row.token_type, row.operation) for row in totals.rows} == {
        ("gpt-4o-mini-2024-07-18", "llm", "chat")
    }
    counts = desk.transport.counts
    assert (counts.misses, counts.hits, counts.used_tokens, counts.saved_tokens) == (1, 2, 27, 54)


async def test_streams_and_messages_count_what_they_say(desk: Coordination) -> None:
    for _ in range(2):
        await desk.streamed()
        await desk.anthropic.messages.create(**PROMPTED)
        async with desk.anthropic.messages.stream(**PROMPTED) as stream:
            await stream.get_final_message()
    totals = await desk.totals()

    assert totals.used == totals.saved == 15 + (5 + 100 + 30 + 9) + (5 + 100 + 9)


async def test_a_call_that_the_application_records_itself_counts_once(open_desk: OpenDesk, cache: Cache) -> None:
    desk = open_desk(prices=PriceTable(()))
    answer = await desk.openai.chat.completions.create(**ASKED)
    counts = read_usage(answer.usage)
    assert counts is not None
    await cache.ledger.record(
        "acme", counts.total, model=answer.model, operation="chat", parts=counts.parts, idempotency_key=answer.id
    )

    assert (await desk.totals()).used == 27


async def test_answers_of_one_set_of_permissions_are_not_anothers(open_desk: OpenDesk, provider: Provider) -> None:
    desk = open_desk(tenant_id=None)
    for user, permissions in (("u1", {"read"}), ("u1", {"read"}), ("u1", {"read", "write"}), ("u2", {"read"})):
        with Serving(Caller(tenant_id="acme", user_id=user, permissions=frozenset(permissions))):
            await desk.told()
    assert len(provider.seen) == 3
    job = labels_of({"tenant_id": "acme", "user_id": "u1"}, {})
    with Serving(Caller(**ids_in(job), permissions=frozenset({"read"}))):  # a worker that asked what its user may do
        await desk.told()
    assert len(provider.seen) == 3
    with Serving({"tenant_id": "acme", "user_id": "u1"}):
        await desk.told()
    assert len(provider.seen) == 4


async def test_nothing_is_recorded_if_nobody_wants_it(open_desk: OpenDesk) -> None:
    desk = open_desk(record_usage=False)
    await desk.told()
    await desk.told()

    assert (await desk.totals()).rows == ()
    assert desk.transport.counts.used_tokens == 27


async def test_a_price_is_kept_with_the_use_and_never_made_up(open_desk: OpenDesk) -> None:
    row = ModelPrice(
        model="gpt-4o-mini-2024-07-18",
        since=date(2024, 7, 18),
        input_usd=Decimal("0.15"),
        output_usd=Decimal("0.6"),
        cache_read_usd=Decimal("0.075"),
        cache_write_usd=Decimal("0.15"),
    )
    desk = open_desk(prices=PriceTable([row]))
    assert desk.transport.counts.priced_ratio is None
    await desk.told()
    await desk.streamed()  # by a model that the table does not name

    assert desk.transport.counts.nanodollars == (5 + 3) * 150 + 12 * 75 + 7 * 600
    assert desk.transport.counts.priced_ratio == 0.5
    totals = await desk.totals()
    assert totals.cost == Decimal("0.000006")
    assert totals.parts == {"input": 31, "output": 11, "cached": 12, "cache_write": 3, "reasoning": 5}


# Embeddings


def vectors(answer: Any) -> list[list[float]]:
    return [one.embedding for one in answer.data]


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_only_texts_that_are_not_known_are_asked_for(
    desk: Coordination, provider: Provider, encoding: Any
) -> None:
    options: dict[str, Any] = {"model": "text-embedding-3-small"}
    if encoding is not None:
        options["encoding_format"] = encoding
    first = await desk.openai.embeddings.with_raw_response.create(input=["bb", "a"], **options)
    mixed = await desk.openai.embeddings.with_raw_response.create(input=["ccc", "a", "bb", "ccc", "dddd"], **options)
    known = await desk.openai.embeddings.with_raw_response.create(input="ccc", **options)

    assert [body["input"] for body in provider.bodies] == [["bb", "a"], ["ccc", "dddd"]]
    assert [one.headers[HEADER] for one in (first, mixed, known)] == [
        "miss",
        "partial; age=0; inputs=5; cached=2",
        "hit; age=0; inputs=1; cached=1",
    ]
    wanted = [says.vector(text) for text in ("ccc", "a", "bb", "ccc", "dddd")]
    if encoding == "base64":
        sent = [one["embedding"] for one in json.loads(mixed.text)["data"]]
        assert [list(struct.unpack("<3f", base64.b64decode(one))) for one in sent] == wanted
    else:
        assert vectors(mixed.parse()) == wanted
    assert [one["index"] for one in json.loads(mixed.text)["data"]] == [0, 1, 2, 3, 4]
    assert [json.loads(one.text)["usage"]["total_tokens"] for one in (first, mixed, known)] == [3, 7, 0]
    totals = await desk.totals()
    assert (totals.used, totals.saved) == (10, 3 + 3 + 3)


async def test_embeddings_differ_by_model_dimensions_and_tenant(open_desk: OpenDesk, provider: Provider) -> None:
    desk = open_desk()
    other = open_desk(tenant_id="globex")
    for one, options in (
        (desk, {"model": "m1"}),
        (desk, {"model": "m2"}),
        (desk, {"model": "m1", "dimensions": 3}),
        (other, {"model": "m1"}),
        (desk, {"model": "m1"}),
    ):
        await one.openai.embeddings.create(input=["a"], **options)

    assert len(provider.seen) == 4


async def test_lists_of_tokens_are_inputs_as_well(desk: Coordination, provider: Provider) -> None:
    provider.answers = [
        (200, {}, {"object": "list", "data": [{"index": 0, "embedding": [1.0]}], "model": "m", "usage": {}})
    ] * 2
    for given in ([1, 2], [[1, 2]], [[3]]):
        await desk.openai.embeddings.create(model="m", input=given, encoding_format="float")

    assert [body["input"] for body in provider.bodies] == [[[1, 2]], [[3]]]


async def test_errors_of_embeddings_pass_as_they_are(desk: Coordination, provider: Provider) -> None:
    await desk.openai.embeddings.create(model="m", input=["a"])
    provider.answers = [(429, {"retry-after": "7"}, {"error": {"message": "slow down"}})]

    with pytest.raises(openai.RateLimitError) as limited:
        await desk.openai.embeddings.create(model="m", input=["a", "b"])

    assert limited.value.response.headers["retry-after"] == "7"
    assert vectors(await desk.openai.embeddings.create(model="m", input=["a", "b"])) == [
        says.vector("a"),
        says.vector("b"),
    ]


async def test_an_answer_of_another_shape_is_not_taken_for_embeddings(desk: Coordination, provider: Provider) -> None:
    await desk.openai.embeddings.create(model="m", input=["a"])
    odd = {"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    provider.answers = [(200, {}, odd)]
    answer = await desk.openai.embeddings.create(model="m", input=["a", "b"])

    assert {one.index: one.embedding for one in answer.data} == {0: says.vector("a"), 1: says.vector("b")}
    assert provider.bodies[-1]["input"] == ["a", "b"]


async def test_embeddings_go_with_their_document(desk: Coordination, cache: Cache, provider: Provider) -> None:
    for _ in range(2):
        with based_on("d1"):
            await desk.openai.embeddings.create(model="m", input=["a"])
        await cache.invalidate("acme", document_ids=["d1"])

    assert len(provider.seen) == 2


async def _settled() -> None:
    """Let everything that can go on go on."""
    for _ in range(200):
        await asyncio.sleep(0)
