"""The one server that all contenders use, and what it says about itself."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Self

import hiredis

from alacena.engine.remote.redis.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEARTBEAT = frozenset({"info", "time"})
"""What our connections say of their own accord, once or more a second; nobody else says it here."""


class Server:
    """A Valkey of the benchmark's own, on a unix socket and on a port of loopback, and a plain connection to ask it.

    Args:
        options: More of its command line.

    Attributes:
        path: Its unix socket, once it runs.
        port: Its port on 127.0.0.1.
    """

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.port = _free_port()
        self._server = EmbeddedServer(("--port", str(self.port), "--bind", "127.0.0.1", *options))
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader()
        self._id = 0
        self.path = ""

    @property
    def url(self) -> str:
        """For whoever takes a URL."""
        return f"unix://{self.path}"

    def __enter__(self) -> Self:
        endpoint = asyncio.run(self._server.start())
        self.path = str(endpoint.addresses[0].path)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self.path)
        self._id = self.ask("CLIENT", "ID")
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
        asyncio.run(self._server.close())

    def ask(self, *command: Any) -> Any:
        """One command, and its answer. Blocks: for moments in which nothing is timed.

        Raises:
            hiredis.ReplyError: What the server refused.
        """
        return self.ask_all([command])[0]

    def ask_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Many commands in one write, and their answers."""
        assert self._socket is not None
        self._socket.sendall(b"".join(hiredis.pack_command(command) for command in commands))
        answers: list[Any] = []
        while len(answers) < len(commands):
            answer = self._reader.gets()
            if answer is False:
                self._reader.feed(self._socket.recv(1 << 20))
                continue
            if isinstance(answer, hiredis.ReplyError):
                raise answer
            answers.append(answer)
        return answers

    def flush(self) -> None:
        """Forget every entry; scripts stay."""
        self.ask("FLUSHALL", "SYNC")

    def info(self, section: str) -> dict[str, str]:
        """One section of what it says about itself."""
        lines = self.ask("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        facts = self.info("cpu")
        return float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])

    def used_bytes(self) -> int:
        """What its data take."""
        return int(self.info("memory")["used_memory"])

    def version(self) -> str:
        """Which server it is."""
        facts = self.info("server")
        return f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {facts['redis_version']}"

    def calls(self) -> dict[str, int]:
        """How often each command was executed, by scripts too, without the heartbeat of our connections."""
        names = {name.removeprefix("cmdstat_"): facts for name, facts in self.info("commandstats").items()}
        counts = {name: int(facts.split(",")[0].removeprefix("calls=")) for name, facts in names.items()}
        return {
            name: count for name, count in counts.items() if name not in _HEARTBEAT and not name.startswith("client|")
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
