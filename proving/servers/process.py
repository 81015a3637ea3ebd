"""A child process in a private directory, ended by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self
from weakref import WeakSet

from proving.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 10.0


class StartError(RuntimeError):
    """A server did not come up; the message ends with the tail of its log."""


class PortTakenError(StartError):
    """Somebody else bound the port between the choice and the bind: choose another one."""


def private_directory(prefix: str) -> Path:
    """A new directory of ours under the temporary directory; short, because a socket path has at most 107 bytes."""
    root = Path("/tmp") if len(tempfile.gettempdir()) > 60 else Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=f"alacena-{prefix}-", dir=root))


class Process:
    """One child process and its log.

    Where ``setpriv`` exists (util-linux), the kernel ends the child when the thread that started it ends, so that a
    killed test run leaves nothing behind: start servers from the main thread.
    """

    started: ClassVar[WeakSet[Process]] = WeakSet()
    """Those that were started and still have an owner."""
    shared_homes: ClassVar[set[Path]] = set()
    """Directories of servers that outlive the test which asked for them."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        directory: Path,
        *,
        name: str,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.argv = [str(part) for part in argv]
        self.directory = directory
        self.name = name
        self.log = directory / f"{name}.log"
        self._user = user
        self._env = env
        self._stop_signal = stop_signal
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; ``RuntimeError`` where it does not run."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} is not running: call start() first")
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self, ready: Callable[[], bool], deadline_s: float = START_DEADLINE_S) -> None:
        """Starts the process and returns once ``ready()`` holds."""
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._until_parent_dies(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self._env is None else {**os.environ, **self._env},
                user=self._user,
                extra_groups=None if self._user is None else [],
            )
        Process.started.add(self)
        try:
            wait_for(lambda: self._alive() and ready(), f"start of {self.name}", deadline_s)
        except TimeoutError as error:
            self.kill()
            raise StartError(f"{error}\n{self.tail()}") from error

    def _until_parent_dies(self) -> list[str]:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            return self.argv
        return [setpriv, "--pdeathsig", self._stop_signal.name.removeprefix("SIG"), "--", *self.argv]

    def _alive(self) -> bool:
        if self.running:
            return True
        self._popen = None
        tail = self.tail()
        kind = PortTakenError if "already in use" in tail else StartError
        raise kind(f"{self.name} ended while starting\n{tail}")

    def stop(self) -> None:
        """Asks the process to end, and waits; kills it after ``STOP_DEADLINE_S``. Nothing where it does not run."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """Ends the process as a crash would (SIGKILL) and reaps it."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        popen, self._popen = self._popen, None
        if popen is None:
            return
        with suppress(ProcessLookupError):
            popen.send_signal(how)
            popen.send_signal(signal.SIGCONT)
        try:
            popen.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()

    def pause(self) -> None:
        """Freezes the process (SIGSTOP): connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undoes ``pause()``."""
        os.kill(self.pid, signal.SIGCONT)

    def tail(self, lines: int = 30) -> str:
        """The end of the log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Server:
    """What all servers share: a private directory, and ``with server:``."""

    directory: Path

    def start(self) -> Self:
        """Returns once the server answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends the server and removes its directory."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def remove_directory(self) -> None:
        """Removes the private directory with all that is in it."""
        shutil.rmtree(self.directory, ignore_errors=True)
