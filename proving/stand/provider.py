"""A provider on a port of this machine, in a process of its own: it answers at once, as OpenAI and Anthropic do.

``python -m proving.stand.provider`` prints its port, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS: Final = 200
"""Words of an answer, and events of a stream."""
_NUMBERS: Final = itertools.count(1)


def answer(path: str, body: dict[str, Any]) -> tuple[str, bytes]:
    """Returns the content type and the body of the answer to a call."""
    number = next(_NUMBERS)
    if path.endswith("/messages"):
        return "application/json", json.dumps(_message(number)).encode()
    if body.get("stream"):
        return "text/event-stream", _events(number)
    return "application/json", json.dumps(_chat(number)).encode()


def _chat(number: int) -> dict[str, Any]:
    usage = {"prompt_tokens": 20, "completion_tokens": WORDS, "total_tokens": 20 + WORDS}
    message = {"role": "assistant", "content": "word " * WORDS}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini"}
    return {**head, "choices": [choice], "usage": usage}


def _events(number: int) -> bytes:
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    choices = [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}] * WORDS
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks = [json.dumps({**head, "choices": [choice]}) for choice in choices]
    return "".join(f"data: {chunk}\n\n" for chunk in (*chunks, "[DONE]")).encode()


def _message(number: int) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-next",
        "content": [{"type": "text", "text": "word " * WORDS}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "output_tokens": WORDS},
    }


@contextmanager
def provider_process() -> Iterator[str]:
    """Yields the URL of a provider in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "proving.stand.provider"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()
            process.wait()


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))))
            kind, content = answer(lines[0].split()[1], body)
            writer.write(
                f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_serve_one, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
