"""An OpenAI-compatible endpoint in a thread: just enough of the protocol, and a count of what it was asked."""

from __future__ import annotations

import json
import threading
import zlib
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DIMENSIONS = 48


class Endpoint:
    """What the server does, and what it has done.

    Attributes:
        calls: Requests by path.
        tokens: What it charged, in all.
        refuse: Answer with an error from now on.
    """

    def __init__(self) -> None:
        self.url = ""
        self.calls: Counter[str] = Counter()
        self.tokens = 0
        self.refuse = False
        self._lock = threading.Lock()

    def answer(self, path: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.calls[path] += 1
            if self.refuse:
                return 404, {"error": {"message": f"no model {request['model']}", "type": "invalid_request_error"}}
            return 200, self._embeddings(request) if path.endswith("/embeddings") else self._chat(request)

    def _embeddings(self, request: dict[str, Any]) -> dict[str, Any]:
        rows = [
            {"object": "embedding", "index": place, "embedding": vector(text)}
            for place, text in enumerate(request["input"])
        ]
        return {"object": "list", "data": rows, "model": request["model"], "usage": self._charge(len(rows), "prompt")}

    def _chat(self, request: dict[str, Any]) -> dict[str, Any]:
        asked = request["messages"][-1]["content"]
        message = {"role": "assistant", "content": f"From {zlib.crc32(asked.encode())}."}
        return {
            "id": f"chatcmpl-{sum(self.calls.values())}",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": self._charge(len(asked.split()), "prompt"),
        }

    def _charge(self, tokens: int, kind: str) -> dict[str, int]:
        self.tokens += tokens
        return {f"{kind}_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}


def vector(text: str) -> list[float]:
    found = [0.01] * DIMENSIONS
    for word in text.lower().split():
        found[zlib.crc32(word.strip("#.,?¿").encode()) % DIMENSIONS] += 1
    return found


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """Serve on a loopback port of the system's choice while the block runs."""
    served = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = served.answer(self.path, request)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
