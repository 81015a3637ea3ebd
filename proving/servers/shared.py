"""Servers that live as long as the test session."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self, TypeVar

from proving.servers.process import Process, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

S = TypeVar("S", bound=Server)


class SharedServers:
    """Starts a server when it is first asked for and keeps it until the end, one for each kind and its arguments."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[Hashable, Server] = {}

    def get(self, kind: Callable[..., S], *args: Hashable) -> S:
        """The running server of this kind."""
        name = (kind, args)
        if name not in self._running:
            known = set(Process.started)
            self._running[name] = self._stack.enter_context(kind(*args))
            Process.shared_homes.update(process.directory for process in set(Process.started) - known)
        return self._running[name]  # type: ignore[return-value]  # made by `kind`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
