"""A provider on a port of the loopback that speaks OpenAI's API: embeddings, chat, streams; and counts what it is asked."""

from __future__ import annotations

import base64
import json
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.waiting import until

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

DIMENSIONS = 64


def vector(text: str) -> list[float]:
    """Words by their bytes: texts that share words are near."""
    numbers = [0.01] * DIMENSIONS
    for word in text.lower().split():
        numbers[sum(word.encode()) % DIMENSIONS] += 1.0
    return numbers


@dataclass
class Server:
    """What it was asked, and what it is to answer instead of the usual."""

    url: str = ""
    chats: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    hold: asyncio.Event | None = None

    @property
    def tokens(self) -> int:
        """What it has charged for."""
        words = [len(str(chat["messages"]).split()) + 2 for chat in self.chats]
        return sum(words) + sum(len(text.split()) for text in self.texts)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = json.loads(body)
        status, headers, answer = 200, {}, b""
        if self.failures:
            status, headers = self.failures.pop(0)
            answer = json.dumps({"error": {"message": "not now"}}).encode()
        elif scope["path"].endswith("/embeddings"):
            answer = self._embedded(asked)
        else:
            answer = await self._answered(asked)
        kind = "text/event-stream" if asked.get("stream") else "application/json"
        pairs = {"content-type": kind, "content-length": str(len(answer)), **headers}
        raw = [(name.encode(), value.encode()) for name, value in pairs.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": answer})

    def _embedded(self, asked: dict[str, Any]) -> bytes:
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        self.texts += texts
        data = []
        for index, text in enumerate(texts):
            made: Any = vector(text)
            if asked.get("encoding_format") == "base64":
                made = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *made)).decode()
            data.append({"object": "embedding", "index": index, "embedding": made})
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json.dumps({"object": "list", "data": data, "model": asked["model"], "usage": usage}).encode()

    async def _answered(self, asked: dict[str, Any]) -> bytes:
        self.chats.append(asked)
        number = len(self.chats)
        if self.hold is not None:
            await self.hold.wait()
        tokens = len(str(asked["messages"]).split())
        usage = {"prompt_tokens": tokens, "completion_tokens": 2, "total_tokens": tokens + 2}
        head = {"id": f"chatcmpl-{number}-of-this-provider", "created": 1, "model": asked["model"]}
        if asked.get("stream"):
            parts = [
                {"delta": {"content": f"{word} "}, "index": 0, "finish_reason": None} for word in ("answer", number)
            ]
            parts.append({"delta": {}, "index": 0, "finish_reason": "stop"})
            chunks = [{**head, "object": "chat.completion.chunk", "choices": [part]} for part in parts]
            chunks.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
            return b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in chunks) + b"data: [DONE]\n\n"
        said = {"role": "assistant", "content": f"answer {number}"}
        choices = [{"index": 0, "finish_reason": "stop", "message": said}]
        return json.dumps({**head, "object": "chat.completion", "choices": choices, "usage": usage}).encode()


@asynccontextmanager
async def openai_server() -> AsyncIterator[Server]:
    """Runs one on a free port."""
    import asyncio

    import uvicorn

    server = Server()
    running = uvicorn.Server(uvicorn.Config(server, host="127.0.0.1", port=0, lifespan="off", log_level="warning"))
    task = asyncio.create_task(running.serve())
    try:
        await until(lambda: running.started or task.done())
        port = running.servers[0].sockets[0].getsockname()[1]
        server.url = f"http://127.0.0.1:{port}/v1"
        yield server
    finally:
        running.should_exit = True
        await task
