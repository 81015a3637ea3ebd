"""The door of a Supabase project: ``/rest/v1`` leads to PostgREST, ``/storage/v1`` to objects in memory."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from email import message_from_bytes
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import jwt

from proving.servers.process import Server
from proving.servers.tokens import claims_of

if TYPE_CHECKING:
    from pathlib import Path

REST = "/rest/v1"
OBJECT = "/storage/v1/object/"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class Gateway(Server):
    """An HTTP server on a loopback port, in threads of this process, so that a test can look at what came in.

    Attributes:
        requests: Every request since ``reset()``: ``"GET /rest/v1/documents"``, without the query.
        objects: The storage, by bucket and path. A tenant's token reaches ``<tenant_id>/...`` only.
        fail_next: Statuses that the next requests get instead of an answer.
    """

    def __init__(self, postgrest_socket: Path) -> None:
        self.postgrest_socket = postgrest_socket
        self.requests: list[str] = []
        self.objects: dict[tuple[str, str], bytes] = {}
        self.fail_next: list[int] = []

    @property
    def url(self) -> str:
        """What ``SUPABASE_URL`` would be."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def start(self) -> Self:
        self._http = _HTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="gateway", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def reset(self) -> None:
        """Forgets requests, objects and planned failures."""
        self.requests.clear()
        self.objects.clear()
        self.fail_next.clear()

    def requests_to(self, path: str) -> int:
        """How many requests had this path, whatever the method."""
        return sum(request.split(" ", 1)[1] == path for request in self.requests)


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: two small writes would meet a delayed acknowledgement (40 ms)
    disable_nagle_algorithm = True

    def __init__(self, gateway: Gateway, *args: Any) -> None:
        self.gateway = gateway
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        """Says nothing: ``Gateway.requests`` has them."""

    def answer(self) -> None:
        """Sends a request to where its path says."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?", 1)[0]
        self.gateway.requests.append(f"{self.command} {path}")
        if self.gateway.fail_next:
            self.reply_json(self.gateway.fail_next.pop(0), {"message": "a planned failure"})
        elif path.startswith(REST):
            self.forward(body)
        elif path.startswith(OBJECT):
            self.storage(unquote(path.removeprefix(OBJECT)), body)
        else:
            self.reply_json(404, {"message": f"nothing at {path}"})

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    def forward(self, body: bytes) -> None:
        """Hands the request to PostgREST and its answer back."""
        connection = _UnixConnection(self.gateway.postgrest_socket)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path.removeprefix(REST) or "/", body or None, headers)
            response = connection.getresponse()
            self.reply(response.status, response.read(), response.getheaders())
        except OSError as error:
            self.reply_json(503, {"message": f"PostgREST is not there: {error}"})
        finally:
            connection.close()

    def storage(self, where: str, body: bytes) -> None:
        """Objects: ``GET`` downloads, ``POST`` uploads, ``POST list/<bucket>`` lists."""
        listing = where.startswith("list/")
        bucket, _, path = where.removeprefix("list/").partition("/")
        if listing:
            path = json.loads(body).get("prefix", "")
        if not self._may_touch(path):
            self.reply_json(403, {"statusCode": "403", "error": "Unauthorized", "message": "row-level security"})
        elif listing:
            names = [name for held, name in self.gateway.objects if held == bucket and name.startswith(path)]
            self.reply_json(200, [{"name": name.removeprefix(path).lstrip("/"), "id": name} for name in names])
        elif self.command == "POST":
            self.gateway.objects[bucket, path] = _file_of(self.headers.get("Content-Type", ""), body)
            self.reply_json(200, {"Key": f"{bucket}/{path}", "Id": path})
        elif (data := self.gateway.objects.get((bucket, path))) is None:
            self.reply_json(400, {"statusCode": "404", "error": "not_found", "message": "Object not found"})
        else:
            self.reply(200, data, [("Content-Type", "application/octet-stream")])

    def _may_touch(self, path: str) -> bool:
        try:
            claims = claims_of(self.headers.get("Authorization", "").removeprefix("Bearer "))
        except jwt.InvalidTokenError:
            return False
        if claims["role"] == "service_role":
            return True
        return "tenant_id" in claims and path.split("/", 1)[0] == claims["tenant_id"]

    def reply_json(self, status: int, value: object) -> None:
        """A JSON answer."""
        self.reply(status, json.dumps(value).encode(), [("Content-Type", "application/json")])

    def reply(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        """An answer with its length."""
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _file_of(content_type: str, body: bytes) -> bytes:
    """The uploaded file: the part that has a file name where the body is a form, else the body."""
    if not content_type.startswith("multipart/form-data"):
        return body
    form = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    files = (part.get_payload(decode=True) for part in form.walk() if part.get_filename())
    data = next(files)
    assert isinstance(data, bytes)
    return data
