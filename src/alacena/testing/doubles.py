"""Stand-ins for tests: an environment with clocks that move by hand, and an observer that remembers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, TypeVar

from alacena.engine.base.arguments import text_id
from alacena.engine.base.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class FakeEnvironment:
    """An `alacena.engine.base.environment.Environment` that stands still until told otherwise, with chance from a seed.

    ::

        environment = FakeEnvironment()
        async with Cache(settings, environment=environment) as cache:
            await cache.set("document", "d1", "text", "acme", ttl=60)
            environment.advance(61)
            assert await cache.get("document", "d1", "acme") is None

    Args:
        now: Where ``now`` starts, in seconds.
        wall: Where ``wall`` starts, in epoch seconds.
        seed: Names the random numbers and tokens.
    """

    def __init__(self, *, now: float = 1_000.0, wall: float = 1_750_000_000.0, seed: int | str = 0) -> None:
        # Attributes, as an `Environment` has them: the library binds them once, for all hits.
        self.now: Callable[[], float] = lambda: self._now
        self.wall: Callable[[], float] = lambda: self._wall
        self._now = now
        self._wall = wall
        # With a word before it: another generator with the same seed must not give the same numbers.
        self._random = random.Random(f"fake/{text_id('seed', seed)}")  # noqa: S311 - reproducible on purpose

    def random(self) -> float:
        """Returns a float in ``[0, 1)`` from the seed."""
        return self._random.random()

    def token(self, size: int) -> bytes:
        """Returns ``size`` bytes from the seed."""
        return self._random.randbytes(size)

    def advance(self, seconds: float) -> None:
        """Lets time pass on both clocks.

        Raises:
            ValueError: ``seconds`` is negative; only the wall clock can go back, see `step_wall`.
        """
        if seconds < 0:
            raise ArgumentError("now() never goes back; step_wall() sets the wall clock")
        self._now += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        """Sets the wall clock, forwards or back."""
        self._wall += seconds


class RecordingObserver:
    """An observer of a cache that keeps every event.

    Attributes:
        events: The events in their order.
    """

    def __init__(self) -> None:
        self.events: list[Any] = []

    def observe(self, event: Any) -> None:
        """Keeps one event."""
        self.events.append(event)

    def of(self, kind: type[T]) -> list[T]:
        """Returns the events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def clear(self) -> None:
        """Forgets all of them."""
        self.events.clear()
