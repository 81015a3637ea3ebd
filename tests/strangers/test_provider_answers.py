"""What providers and the gateways before them answer: failures with status 200, nothing at all, and ids that repeat."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from alacena import CacheManager, Context
from alacena.integrations.llm_transport import CachingTransport
from alacena.integrations.usage import name_of_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.usefixtures("manager")

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.fixture(autouse=True)
async def ambient() -> AsyncIterator[None]:
    """Every case runs for one tenant."""
    with Context("acme"):
        yield


class Provider(httpx2.AsyncBaseTransport):
    """Gives the same answer, or one for each call, and counts the calls."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        answer = self.answer(self.calls) if callable(self.answer) else self.answer
        if isinstance(answer, bytes):
            return httpx2.Response(200, content=answer, headers={"content-type": "text/event-stream"})
        content = json.dumps(answer).encode()
        return httpx2.Response(200, content=content, headers={"content-type": "application/json"})


def client_of(provider: Provider) -> tuple[AsyncOpenAI, CachingTransport]:
    transport = CachingTransport(provider)
    http = httpx2.AsyncClient(transport=transport)
    return AsyncOpenAI(api_key="k", base_url="http://gateway/v1", http_client=http, max_retries=0), transport


def chat(content: str | None = "Hello.", *, response_id: str = "chatcmpl-9fGh2kQwErTyUiOp", **choice: Any) -> Any:
    message = {"role": "assistant", "content": content, **choice.pop("message", {})}
    choices = [{"index": 0, "finish_reason": "stop", "message": message, **choice}]
    return {
        "id": response_id,
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": USAGE,
    }


def events(*deltas: dict[str, Any], **choice: Any) -> bytes:
    head = {"id": "chatcmpl-9fGh2kQwErTyUiOp", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", **choice}]})
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"


async def ask(client: AsyncOpenAI, question: str = "q", **options: Any) -> None:
    answer = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": question}], **options
    )
    if options.get("stream"):
        async for _ in answer:
            pass


NOT_KEPT: dict[str, Any] = {
    # ENTERPILOT/GoModel 827, nodetool-ai/nodetool 5755: the model behind a gateway failed, and the status is 200.
    "an error beside the choices": {**chat(""), "error": {"code": 502, "message": "upstream"}},
    "an error inside a choice": chat("", error={"code": 502}),
    # monarch-initiative/ontogpt 465: an empty answer was served until its time to live ended.
    "an empty text": chat(""),
    "blanks": chat(" \n"),
    "nothing": chat(None),
}


@pytest.mark.parametrize("what", NOT_KEPT)
async def test_a_failure_or_nothing_is_handed_out_and_asked_for_again(what: str) -> None:
    """A momentary fault of the provider became the answer of the next hour."""
    provider = Provider(NOT_KEPT[what])
    client, _ = client_of(provider)
    for _ in range(2):
        await ask(client)
    assert provider.calls == 2


STREAMS: dict[str, tuple[bytes, int]] = {
    "an error inside the last choice": (events({"content": "par"}, error={"code": 502}), 2),
    "no words": (events({"role": "assistant", "content": ""}), 2),
    "thoughts alone": (events({"reasoning_content": "hm"}), 2),
    "words": (events({"content": "Hel"}, {"content": "lo."}), 1),
    "a refusal": (events({"refusal": "I cannot say."}), 1),
}


@pytest.mark.parametrize("what", STREAMS)
async def test_of_a_stream_the_same_holds(what: str) -> None:
    """diegosouzapw/OmniRoute 8210: a stream with nothing in it, ended in good order."""
    answer, calls = STREAMS[what]
    provider = Provider(answer)
    client, _ = client_of(provider)
    for _ in range(2):
        await ask(client, stream=True)
    assert provider.calls == calls


@pytest.mark.parametrize(
    ("content", "calls"),
    [
        ([], 2),
        ([{"type": "text", "text": ""}], 2),
        ([{"type": "thinking", "thinking": "hm", "signature": "s"}], 2),
        ([{"type": "text", "text": "Hello."}], 1),
    ],
)
async def test_of_a_message_the_same_holds(content: list[Any], calls: int) -> None:
    """monarch-initiative/ontogpt 465, by another provider."""
    head = {"id": "msg_01XyZaBcDeFgHiJk", "type": "message", "role": "assistant", "model": "c"}
    usage = {"input_tokens": 1, "output_tokens": 1}
    provider = Provider({**head, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})
    http = httpx2.AsyncClient(transport=CachingTransport(provider))
    client = AsyncAnthropic(api_key="k", base_url="http://gateway", http_client=http, max_retries=0)
    for _ in range(2):
        await client.messages.create(model="c", max_tokens=9, messages=[{"role": "user", "content": "q"}])
    assert provider.calls == calls


async def used() -> int:
    totals = await (await CacheManager.cache()).ledger.totals("acme")
    return sum(row.tokens for row in totals.rows if not row.saved)


IDS: dict[str, Callable[[int], str]] = {
    "three digits": lambda _: "chatcmpl-373",
    "the session": lambda _: "1",
    "the second": lambda _: "chatcmpl-1733000000",
    "none": lambda _: "",
    "an id of its own": lambda number: f"chatcmpl-9fGh2kQwErTyUiOp{number}",
}


@pytest.mark.parametrize("ids", IDS)
async def test_calls_whose_answers_have_one_id_are_counted_each(ids: str) -> None:
    """ogx-ai/ogx 2315 (Ollama), InternLM/lmdeploy 4707: of calls with one id, all but the first were not counted."""
    provider = Provider(lambda number: chat(response_id=IDS[ids](number)))
    client, transport = client_of(provider)
    for number in range(3):
        await ask(client, f"question {number}")
    await transport.settle()
    assert await used() == 45


def test_ids_of_the_known_providers_name_a_call() -> None:
    assert all(
        name_of_call(one) == one
        for one in (
            "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
            "msg_01XFDUDYJgAACzvnptvVoYEL",
            "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
            "chatcmpl-0b1c2d3e4f5061728394a5b6c7d8e9f0",
            "gen-1733000000-Xy1zAbCdEfGhIjKl",
            "550e8400-e29b-41d4-a716-446655440000",
        )
    )
    assert not any(map(name_of_call, ("", None, "1", "chatcmpl-373", "chatcmpl-1733000000123", "20241130192015")))


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


VECTORS: dict[str, tuple[Any, int]] = {
    "an empty row": ([], 2),
    "none": (None, 2),
    "a row with a hole": ([None, 1.0], 2),
    "not finite": ([math.nan, 1.0], 2),
    "not finite, in base64": (packed(math.nan, 1.0), 2),
    "empty base64": ("", 2),
    "numbers": ([1.0, 2.0], 1),
    "base64": (packed(1.0, 2.0), 1),
    "several vectors of a text": ([[1.0, 2.0], [3.0, 4.0]], 1),
}


@pytest.mark.parametrize("what", VECTORS)
async def test_a_vector_that_is_none_is_not_kept(what: str) -> None:
    """langgenius/dify 41988 and 41476, through a client with the transport: what is no vector poisoned what was kept."""
    vector, calls = VECTORS[what]
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    provider = Provider({"object": "list", "model": "e", "data": data, "usage": USAGE})
    client, _ = client_of(provider)
    for _ in range(2):
        await client.embeddings.with_raw_response.create(model="e", input="x", encoding_format="float")
    assert provider.calls == calls
