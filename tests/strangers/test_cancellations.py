"""Callers that are cancelled at any await of a verb, and blocks that end in another task than they began in."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from alacena import Context, override
from alacena.integrations.caller import Caller, Serving
from alacena.integrations.llm_transport import based_on
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from alacena.engine import Cache

MOST_STEPS = 60


class Stepped:
    """Awaits a coroutine, and cancels the running task at one of its awaits.

    Args:
        work: The coroutine.
        step: The await, counted from 1.
        late: Cancel in the step in which the answer has come, not when the wait begins.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], step: int, *, late: bool) -> None:
        self.work, self.step, self.late = work, step, late
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        awaited = self.work.__await__()
        while True:
            try:
                waits_for = awaited.throw(error) if error else awaited.send(None)
            except StopIteration as end:
                return end.value
            self.steps += 1
            if self.steps == self.step:
                self._cancel(waits_for)
            try:
                error = None
                yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - the cancellation goes to the work
                error = thrown

    def _cancel(self, waits_for: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self.late and waits_for is not None:
            waits_for.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


async def cancelled_everywhere(
    make: Callable[[int], Coroutine[Any, Any, Any]], check: Callable[[int], Awaitable[Any]]
) -> None:
    """Runs work again and again, cancelled at each of its awaits in turn, and checks after each."""
    number = 0
    for late in (False, True):
        for step in range(1, MOST_STEPS):
            number += 1
            work = Stepped(make(number), step, late=late)

            async def run(work: Stepped = work) -> None:
                await work

            await asyncio.wait([asyncio.ensure_future(run())])
            await check(number)
            if work.steps < step:
                break
        else:
            pytest.fail("the work never ended by itself")


async def test_a_write_block_that_is_cancelled_anywhere_leaves_no_hold(cache: Cache) -> None:
    """A report on redis-py (issue 3847): a lock whose holder is cancelled at the wrong await stays for ever.

    Here the hold was granted, and its block was cancelled before it heard of its token.
    """

    async def write(number: int) -> None:
        async with cache.write("acme", ("document", f"d{number}"), document_ids=["d"], hold_s=600):
            await asyncio.sleep(0)

    async def stores_again(number: int) -> None:
        await until(lambda: cache.set("document", f"d{number}", "new", "acme"), "it is held for nobody")

    await cancelled_everywhere(write, stores_again)


async def test_a_lock_a_claim_and_a_reservation_that_are_cancelled_anywhere_are_free(cache: Cache) -> None:
    budget = cache.budgets("tokens", tenant_id="acme", limit=10)

    async def work(number: int) -> None:
        lock, claimed = (
            cache.locks.acquire(f"l{number}", tenant_id="acme"),
            cache.claim("document", f"d{number}", "acme"),
        )
        async with lock, await budget.reserve(10), claimed as claim:
            await asyncio.sleep(0)
            await claim.store("made")

    async def is_free(number: int) -> None:
        await until(lambda: cache.locks.try_acquire(f"l{number}", tenant_id="acme"), "the lock is held for nobody")

        async def nothing_is_reserved() -> bool:
            return (await budget.state()).reserved == 0

        await until(nothing_is_reserved, "money is set aside for nobody")
        assert await cache.load("document", f"d{number}", "acme", lambda _: "loaded") in {"made", "loaded"}

    await cancelled_everywhere(work, is_free)


def blocks(cache: Cache) -> dict[str, Callable[[], Any]]:
    """Every block that may stand around code."""
    return {
        "claim": lambda: cache.claim("document", "d1", "acme"),
        "write": lambda: cache.write("acme", ("document", "d1")),
        "reading": lambda: cache.reading("acme"),
        "lock": lambda: cache.locks.acquire("l1", tenant_id="acme"),
        "context": lambda: Context(tenant_id="acme"),
        "override": lambda: override(cache),
        "documents": lambda: based_on(["d1"]),
        "caller": lambda: Serving(Caller(tenant_id="acme", user_id="ana")),
    }


@pytest.mark.parametrize("name", ["claim", "write", "reading", "lock", "context", "override", "documents", "caller"])
async def test_a_block_may_end_in_another_task_than_it_began_in(cache: Cache, name: str) -> None:
    """A report on FastAPI (pull request 4575): what a dependency sets before its `yield` was undone in another context.

    Fixtures of some versions of pytest-asyncio do the same, and generators that the garbage collector closes.
    """
    stack = AsyncExitStack()

    async def enter() -> None:
        block = blocks(cache)[name]()
        if hasattr(block, "__aenter__"):
            await stack.enter_async_context(block)
        else:
            stack.enter_context(block)

    await asyncio.create_task(enter())
    await asyncio.create_task(stack.aclose())

    # And everything that it had is free.
    assert await cache.locks.try_acquire("l1", tenant_id="acme")
    assert await cache.load("document", "d1", "acme", lambda _: "loaded") == "loaded"
