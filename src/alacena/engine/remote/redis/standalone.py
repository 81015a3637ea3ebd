"""One server that has everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.engine.remote.redis.link import Link
    from alacena.engine.remote.redis.slot_map import Key
    from alacena.engine.remote.redis.wire import Argument, Command, Reply

T = TypeVar("T")


class Standalone:
    """A topology in which one server at a time has everything.

    Attributes:
        link: The connection to it.
        fetch: `Link.fetch`, without a layer in between.
        script: `Link.script`, likewise.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.fetch = link.fetch
        self.script = link.script

    async def open(self, *, timeout_s: float) -> None:
        """Connects. See `Topology.open`."""
        await self.link.open(timeout_s=timeout_s)

    async def close(self) -> None:
        """Disconnects."""
        await self.link.close()

    def links(self) -> Sequence[Link]:
        """Returns the one link."""
        return (self.link,)

    def link_for(self, key: Key) -> Link:  # noqa: ARG002 - the same for every key
        """Returns the one link."""
        return self.link

    def tag_at(self, link: Link) -> str | None:  # noqa: ARG002
        """Returns any tag: the one server has all keys."""
        return "here"

    def exchange(
        self,
        key: Key,  # noqa: ARG002
        commands: Sequence[Command],
        *,
        settle: Callable[[list[Reply]], T] | None = None,
        timeout_s: float,
        answered: Callable[[Link], None] | None = None,  # noqa: ARG002 - nobody else can answer
    ) -> Awaitable[T]:
        """Runs `Link.exchange`."""
        return self.link.exchange(commands, settle=settle, timeout_s=timeout_s)

    async def call(
        self,
        key: Key,  # noqa: ARG002
        *command: Argument,
        timeout_s: float,
        repeatable: bool | None = None,
    ) -> Any:
        """Runs `Link.call`."""
        return await self.link.call(*command, timeout_s=timeout_s, repeatable=repeatable)
