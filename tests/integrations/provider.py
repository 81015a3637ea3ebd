"""A provider that answers in the test's own process, as OpenAI and Anthropic do, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import TYPE_CHECKING, Any

import httpx
import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def chat(content: str = "Hello.", *, number: int = 1, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number}-of-this-provider",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "a_field_of_tomorrow": {"kept": True},
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "logprobs": None,
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": {
            "prompt_tokens": 20,
            "completion_tokens": 7,
            "total_tokens": 27,
            "prompt_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
    }


def event(data: Any, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def chat_events(number: int = 1, words: tuple[str, ...] = ("Hel", "lo."), finish: str | None = "stop") -> list[bytes]:
    head = {
        "id": f"chatcmpl-{number}-of-this-provider",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini",
    }
    chunks = [{**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]} for word in words]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({**head, "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}})
    return [*map(event, chunks), event("[DONE]")]


def message(number: int = 1, stop: str = "end_turn") -> dict[str, Any]:
    return {
        "id": f"msg_{number}_of_this_provider",
        "type": "message",
        "role": "assistant",
        "model": "claude-next",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
            "output_tokens": 9,
        },
    }


def message_events(number: int = 1) -> list[bytes]:
    start = {**message(number), "content": [], "stop_reason": None}
    start["usage"] = {"input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]
    return [event(one, one["type"]) for one in events]


def response_object(number: int = 1, status: str = "completed") -> dict[str, Any]:
    return {
        "id": f"resp_{number}_of_this_provider",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "gpt-5-mini",
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
            }
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 30,
            "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0},
            "output_tokens": 6,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 36,
        },
    }


def response_events(number: int = 1) -> list[bytes]:
    started = {**response_object(number, "in_progress"), "output": [], "usage": None}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": started},
        {
            "type": "response.output_text.delta",
            "sequence_number": 1,
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": "Hello.",
            "logprobs": [],
        },
        {"type": "response.completed", "sequence_number": 2, "response": response_object(number)},
    ]
    return [event(one, one["type"]) for one in events]


def vector(text: str) -> list[float]:
    return [float(len(text)), float(ord(text[0])), 0.5]


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    given = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = []
    for index, text in enumerate(given):
        made: Any = vector(text)
        if body.get("encoding_format") == "base64":
            made = base64.b64encode(struct.pack("<3f", *made)).decode()
        data.append({"object": "embedding", "index": index, "embedding": made})
    tokens = sum(map(len, given))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    # The order of the list is not promised; `index` tells which is which.
    return {"object": "list", "data": data[::-1], "model": "text-embedding-3-small", "usage": usage}


class Body(httpx2.AsyncByteStream, httpx.AsyncByteStream):
    """Events as a provider sends them: one at a time, the next when the test lets it."""

    def __init__(self, provider: Provider, chunks: list[bytes]) -> None:
        self.provider, self.chunks = provider, chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for index, chunk in enumerate(self.chunks):
            if index == self.provider.pause_before:
                self.provider.paused.set()
                await self.provider.go_on.wait()
            if index == self.provider.break_before:
                raise httpx2.ReadError("the connection broke")
            yield chunk

    async def aclose(self) -> None:
        self.provider.closed += 1


class Provider(httpx2.AsyncBaseTransport, httpx.AsyncBaseTransport):
    """The provider, as the transport of a client.

    Attributes:
        seen: The requests.
        bodies: What they sent.
        answers: Answers to give in turn, instead of the usual ones: status, headers, body.
    """

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.bodies: list[Any] = []
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.events: list[bytes] | None = None
        self.pause_before: int | None = None
        self.break_before: int | None = None
        self.paused = asyncio.Event()
        self.go_on = asyncio.Event()
        self.arrived = asyncio.Event()
        self.hold: asyncio.Event | None = None
        self.closed = 0
        self.is_closed = False

    async def handle_async_request(self, request: Any) -> Any:
        content = await request.aread()
        self.seen.append(request)
        is_json = "json" in request.headers.get("content-type", "")
        self.bodies.append(json.loads(content) if is_json else None)
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        status, headers, body = self.answers.pop(0) if self.answers else self.usual(request)
        library = httpx if isinstance(request, httpx.Request) else httpx2
        headers = {"x-request-id": f"req_{len(self.seen)}", "set-cookie": "session=1", **headers}
        if isinstance(body, list):
            return library.Response(
                status, headers={"content-type": "text/event-stream", **headers}, stream=Body(self, body)
            )
        return library.Response(status, headers=headers, json=body)

    def usual(self, request: Any) -> tuple[int, dict[str, str], Any]:
        path, body, number = request.url.path, self.bodies[-1], len(self.seen)
        if path.endswith("/embeddings"):
            return 200, {}, embeddings(body)
        streams = bool(body and body.get("stream"))
        if streams and self.events is not None:
            return 200, {}, self.events
        if path.endswith("/chat/completions"):
            return 200, {}, chat_events(number) if streams else chat(number=number)
        if path.endswith("/responses"):
            return 200, {}, response_events(number) if streams else response_object(number)
        if path.endswith("/v1/messages"):
            return 200, {}, message_events(number) if streams else message(number)
        return 200, {}, {"id": "file-1", "object": "file"}

    async def aclose(self) -> None:
        self.is_closed = True
