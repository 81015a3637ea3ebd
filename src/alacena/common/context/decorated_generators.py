"""Generators that run in a context of their own, for any consumer.

A generator runs in the context of its consumer: what it sets would be the consumer's too, and of two generators that
are iterated by turns each would see what the other has set. Here each step runs in a context that belongs to the
generator alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Generator
    from contextvars import Context as Variables


def steps(source: Generator[Any, Any, Any], own: Variables) -> Generator[Any, Any, Any]:
    """Returns a generator of the steps of ``source``, each step of it in the context ``own``."""
    try:
        return (yield from _driven(source, own))
    finally:
        # In its own context: there alone can a `finally` of the source reset the variables that it has set.
        own.run(source.close)


async def async_steps(source: AsyncGenerator[Any, Any], own: Variables) -> AsyncGenerator[Any, Any]:
    """Returns an async generator of the steps of ``source``, each step of it in the context ``own``."""
    try:
        step: Awaitable[Any] = source.asend(None)
        while True:
            try:
                item = await _Within(step, own)
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            # This generator is being closed: the source is closed below, and must not be asked for another item.
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - what the consumer throws is the source's to catch
                step = source.athrow(error)
            else:
                step = source.asend(sent)
    finally:
        await _Within(source.aclose(), own)


class _Within:
    """Awaits something in a context of its own, in the awaiting task."""

    __slots__ = ("_own", "_work")

    def __init__(self, work: Awaitable[Any], own: Variables) -> None:
        self._work = work
        self._own = own

    def __await__(self) -> Generator[Any, Any, Any]:
        # Driven by hand and not as a task: current_task(), timeouts and cancellation stay those of the consumer.
        return _driven(self._own.run(self._work.__await__), self._own)


def _driven(source: Any, own: Variables) -> Generator[Any, Any, Any]:
    """Returns a generator that drives another, or the iterator of an awaitable, in the context ``own``."""
    sent: Any = None
    error: BaseException | None = None
    while True:
        try:
            item = own.run(source.send, sent) if error is None else own.run(source.throw, error)
        except StopIteration as stop:
            return stop.value
        sent, error = None, None
        try:
            sent = yield item
        except BaseException as thrown:  # noqa: BLE001 - likewise
            error = thrown
