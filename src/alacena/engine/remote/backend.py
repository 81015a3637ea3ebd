"""The port on which coordination stands: commands, scripts and bells of one keyspace.

Locks, queues, counters and the ledger are written once against :class:`Backend`. A Redis or Valkey server is one store;
:class:`alacena.engine.remote.local.local_backend.LocalBackend`, which lives in this process, is the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from importlib.resources.abc import Traversable

Reply: TypeAlias = Any
"""What a server answers, in RESP3 shapes: ``bytes``, ``int``, ``float``, ``None``, ``list`` or ``dict`` of these."""

Argument: TypeAlias = str | bytes | int | float
"""A word of a command; text goes as UTF-8, numbers in decimal."""


def _folder() -> Traversable:
    """Returns where the scripts are: under the root package, so that reading them imports no client library."""
    return importlib.resources.files("alacena") / "engine" / "remote" / "redis" / "lua"


@cache
def _source(name: str) -> str:
    return (_folder() / f"{name}.lua").read_text("utf-8")


def read_scripts() -> None:
    """Reads the text of every script, so that a process keeps those of the version that it runs.

    Read at their first use, they would be those of a version that was installed under the process meanwhile, or could not
    be read for want of a file descriptor.
    """
    for file in _folder().iterdir():
        if file.name.endswith(".lua"):
            _source(file.name.removesuffix(".lua"))


@dataclass(frozen=True)
class Script:
    """An atomic step: ``engine/remote/redis/lua/NAME.lua`` on a server, the twin of the same name in memory.

    Attributes:
        name: The file's name without its ending; also the twin's.
        idempotent: True where running it twice with the same arguments has the effect of once, and answers alike. Only
            such a script may be sent again after :class:`~alacena.engine.base.errors.OutcomeUnknownError`.
    """

    name: str
    idempotent: bool

    @cached_property
    def source(self) -> str:
        """The Lua text."""
        return _source(self.name)

    @cached_property
    def sha(self) -> str:
        """The SHA-1 of the text in hexadecimal, by which a server knows the script (``EVALSHA``)."""
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class Notification(Protocol):
    """Rings when something is published on its channel. It says that it is worth looking, and nothing of the content."""

    async def wait(self, timeout_s: float) -> bool:
        """Waits for a ring, or for one that came since the last wait.

        A ring may be lost (the connection was away): a waiting caller must look again after a while by itself.

        Returns:
            True if it rang, False if ``timeout_s`` seconds passed.
        """
        ...


class ChannelNotification:
    """A channel's ring, remembered until a caller waits for it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Rings, now or for the next wait."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """See :meth:`Notification.wait`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        # Only after a ring was heard: one that comes without a waiting caller is kept for the next wait.
        self._rung.clear()
        return True


class Backend(Protocol):
    """One keyspace, its scripts and its bells."""

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Reply:
        """Runs one command, routed by its first key.

        Raises:
            BackendError: :class:`~alacena.engine.base.errors.BackendUnavailableError` if nothing was executed,
                :class:`~alacena.engine.base.errors.OutcomeUnknownError` if it may have been,
                :class:`~alacena.engine.base.errors.ServerReplyError` where the server refused.
        """
        ...

    async def script(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        args: Sequence[Argument],
        *,
        timeout_s: float | None = None,
    ) -> Reply:
        """Runs one script atomically. All keys share one hash tag. A script unknown to the server is loaded and re-run.

        Raises:
            BackendError: As :meth:`call`.
        """
        ...

    def listen(self, channel: str) -> AbstractAsyncContextManager[Notification]:
        """Yields a notification of one channel, subscribed when the context is entered, until it is left."""
        ...

    async def require_safe(self) -> None:
        """Checks that the server evicts nothing, by its last word.

        Raises:
            UnsafeServerError: ``maxmemory-policy`` is not ``noeviction``, or the server does not tell.
            BackendUnavailableError: No server is connected.
        """
        ...

    async def wait_aof(self, key: str, *, replicas: int = 0, timeout_s: float = 5.0) -> bool:
        """Waits until all that was acknowledged so far on the node of ``key`` is fsynced to its append-only file.

        ``WAITAOF`` counts from the last write of its own connection and blocks it, and some servers answer it too early:
        an implementation uses a connection apart, writes something there first, and makes sure of the fsync.

        Returns:
            True if this node (and ``replicas`` replicas) confirmed; False if it did not, or cannot.
        """
        ...
