"""What a contender must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contender plays.

    Attributes:
        load: The source: what a key's value is.
        path: The unix socket of the server; empty where no server plays.
        port: Its port on 127.0.0.1, where it is to be reached by that; 0: by its socket.
        entries: How many entries memory must have room for.
        ttl_s: How long every entry lives; in whole seconds where a server plays.
        stale_s: For how long after that it may be served all the same, to who can.
    """

    load: Callable[[str], Awaitable[Any]]
    path: str = ""
    entries: int = 100_000
    ttl_s: float = 3600
    stale_s: float = 0.0
    port: int = 0

    @property
    def url(self) -> str:
        """The server, for whoever takes a URL."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.path}"


class Ask(NamedTuple):
    """One way of asking, without a layer of ours in between.

    Attributes:
        function: What is called.
        arguments: With what.
        awaited: Whether what it returns is awaited; the synchronous ones answer at once.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    awaited: bool = True


class Rival(ABC):
    """A cache behind five methods. Keys and values are those of the contender's own API.

    Attributes:
        about: Settings and serializer that it plays with, in a few words.
    """

    about: ClassVar[str]

    @abstractmethod
    async def open(self, place: Place) -> None:
        """Get ready."""

    @abstractmethod
    async def get(self, key: str) -> Any:
        """A value, or ``None``."""

    @abstractmethod
    async def set(self, key: str, value: Any) -> None:
        """Keep a value for the place's time."""

    @abstractmethod
    async def get_or_load(self, key: str) -> Any:
        """A value; what is not there is loaded from the place's source and kept, by the contender's own means."""

    @abstractmethod
    async def close(self) -> None:
        """End connections and tasks."""

    async def settle(self) -> None:
        """Wait for what the contender does behind its answers; most do nothing there."""

    def hit(self, key: str) -> Ask:
        """`get`, as its users call it."""
        return Ask(self.get, (key,))

    def loaded_hit(self, key: str) -> Ask:
        """`get_or_load`, as its users call it."""
        return Ask(self.get_or_load, (key,))


class Drops(Rival):
    """A contender that can also forget one entry."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Forget an entry, as its users would when the source changed."""


class BatchRunner(Rival):
    """A contender that takes many keys in one call."""

    @abstractmethod
    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        """Values in the order of the keys; ``None`` where there is none."""

    @abstractmethod
    async def set_many(self, values: Mapping[str, Any]) -> None:
        """Keep many values."""
