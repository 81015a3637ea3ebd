"""The contract of every cache of this library, as tests to inherit: for a cache set up your way, or one that wraps it.

::

    class TestOurCache(CacheContract):
        @asynccontextmanager
        async def open_cache(self):
            async with Cache(Settings(redis_url=OUR_REDIS), policies=OUR_POLICIES) as cache:
                yield cache

The tests are synchronous methods that any test runner collects; each opens a cache of its own, for a tenant of its own.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from alacena.engine.api.cache import Cache

T = TypeVar("T")

FALSY: tuple[Any, ...] = (0, 0.0, "", b"", [], {}, False)
"""Values, all of them: only ``None`` is a miss."""


class CacheContract(ABC):
    """Behaviour that does not depend on how a cache is set up. Implement `open_cache`; override `run` for another loop.

    Attributes:
        data_type: The type that the tests use; its policy must allow memory and storing.
    """

    data_type = "contract"

    @abstractmethod
    def open_cache(self) -> AbstractAsyncContextManager[Cache]:
        """Returns an open cache; closed when the context is left."""

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs one test; by default on a fresh asyncio loop."""
        asyncio.run(test())

    def check(self, body: Callable[[Cache, str], Coroutine[Any, Any, None]]) -> None:
        """Runs ``body`` with an open cache and the name of a tenant that no other test uses."""
        # Not a count: contracts in several test processes may share a server.
        tenant = f"tenant-{uuid4().hex}"

        async def test() -> None:
            async with self.open_cache() as cache:
                await body(cache, tenant)

        self.run(test)

    def test_a_miss_is_none_and_the_default_is_the_callers(self) -> None:
        """A read of nothing."""

        async def body(cache: Cache, tenant: str) -> None:
            assert await cache.get(self.data_type, "absent", tenant) is None
            assert await cache.get(self.data_type, "absent", tenant, default=7) == 7

        self.check(body)

    def test_values_come_back_with_their_types(self) -> None:
        """Falsy values are values, in memory and beyond it."""

        async def body(cache: Cache, tenant: str) -> None:
            for number, value in enumerate((*FALSY, 1, "text", b"bytes", [1, "two"], {"three": [3]}, True, 2**40)):
                assert await cache.set(self.data_type, f"r{number}", value, tenant)
                # Past memory, too: a type that the codec changes is seen only on what comes from the server.
                for use_memory in (True, False):
                    found = await cache.get(self.data_type, f"r{number}", tenant, use_memory=use_memory)
                    # With its type: 0, 0.0 and False are equal.
                    assert (type(found), found) == (type(value), value)

        self.check(body)

    def test_what_a_reader_changes_nobody_else_sees(self) -> None:
        """Containers are private copies."""

        async def body(cache: Cache, tenant: str) -> None:
            mine = {"list": [1]}
            await cache.set(self.data_type, "r", mine, tenant)
            mine["list"].append(2)
            first = await cache.get(self.data_type, "r", tenant)
            first["list"].append(3)
            assert await cache.get(self.data_type, "r", tenant) == {"list": [1]}

        self.check(body)

    def test_none_and_senseless_lifetimes_are_refused(self) -> None:
        """Bad input is an error of the caller."""

        async def body(cache: Cache, tenant: str) -> None:
            for value, ttl in ((None, 60), ("v", 0), ("v", -1), ("v", float("nan"))):
                error = await _catch(cache.set(self.data_type, "r", value, tenant, ttl=ttl))
                assert isinstance(error, ValueError)
            assert isinstance(await _catch(cache.get(self.data_type, "r", "")), ValueError)

        self.check(body)

    def test_tenants_types_and_scopes_are_apart(self) -> None:
        """The same id elsewhere is another entry."""

        async def body(cache: Cache, tenant: str) -> None:
            other = f"{tenant}:other"
            await cache.set(self.data_type, "r", "here", tenant)
            await cache.set(self.data_type, "r", "there", other)
            await cache.set(self.data_type, "r", "agent's", tenant, agent_id="a")
            assert await cache.get(self.data_type, "r", tenant) == "here"
            assert await cache.get(self.data_type, "r", other) == "there"
            assert await cache.get(self.data_type, "r", tenant, agent_id="a") == "agent's"
            assert await cache.get(self.data_type, "r", tenant, agent_id="b") == "here"
            assert await cache.get(f"{self.data_type}2", "r", tenant) is None

        self.check(body)

    def test_delete_removes_the_entry_named_and_no_other(self) -> None:
        """And says whether it was there."""

        async def body(cache: Cache, tenant: str) -> None:
            await cache.set(self.data_type, "r1", 1, tenant)
            await cache.set(self.data_type, "r2", 2, tenant)
            assert await cache.delete(self.data_type, "r1", tenant) is True
            assert await cache.delete(self.data_type, "r1", tenant) is False
            assert await cache.get(self.data_type, "r1", tenant) is None
            assert await cache.get(self.data_type, "r2", tenant) == 2

        self.check(body)

    def test_an_invalidation_covers_its_scope_and_nothing_else(self) -> None:
        """Resource, type, tenant, tag."""

        async def body(cache: Cache, tenant: str) -> None:
            async def fill() -> None:
                await cache.set(self.data_type, "r1", 1, tenant, tags=["red"])
                await cache.set(self.data_type, "r2", 2, tenant)
                await cache.set(f"{self.data_type}2", "r1", 3, tenant)

            async def left() -> list[Any]:
                places = ((self.data_type, "r1"), (self.data_type, "r2"), (f"{self.data_type}2", "r1"))
                return [await cache.get(*place, tenant) for place in places]

            expected: list[tuple[tuple[Any, ...], dict[str, Any], list[Any]]] = [
                ((self.data_type, "r1"), {}, [None, 2, 3]),
                ((self.data_type,), {}, [None, None, 3]),
                ((), {}, [None, None, None]),
                ((), {"tags": ["red"]}, [None, 2, 3]),
            ]
            for arguments, options, remaining in expected:
                await fill()
                assert await left() == [1, 2, 3]
                assert await cache.invalidate(tenant, *arguments, **options) > 0
                assert await left() == remaining

        self.check(body)

    def test_many_callers_share_one_load(self) -> None:
        """And get the same value."""

        async def body(cache: Cache, tenant: str) -> None:
            source = _Source()
            tasks = [asyncio.ensure_future(cache.load(self.data_type, "r", tenant, source.load)) for _ in range(20)]
            await source.asked.wait()
            source.answer.set()
            assert set(await asyncio.gather(*tasks)) == {"value 1"}
            assert source.loads == 1

        self.check(body)

    def test_a_caller_that_is_cancelled_cancels_nobody_else(self) -> None:
        """The load goes on for the callers that stay."""

        async def body(cache: Cache, tenant: str) -> None:
            source = _Source()
            tasks = [asyncio.ensure_future(cache.load(self.data_type, "r", tenant, source.load)) for _ in range(3)]
            await source.asked.wait()
            # The caller that began the load: if the load ran in its task, all would be cancelled.
            tasks[0].cancel()
            source.answer.set()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(outcomes[0], asyncio.CancelledError)
            assert outcomes[1:] == ["value 1", "value 1"]
            assert source.loads == 1

        self.check(body)

    def test_what_is_invalidated_while_it_loads_is_not_stored(self) -> None:
        """By key and by scope; and later callers do not join that load."""

        async def body(cache: Cache, tenant: str) -> None:
            for resource, scope in (("r1", ("r1",)), ("r2", ()), ("r3", ())):
                source = _Source()
                early = asyncio.ensure_future(cache.load(self.data_type, resource, tenant, source.load))
                await source.asked.wait()
                await cache.invalidate(tenant, self.data_type, *scope)
                late = asyncio.ensure_future(cache.load(self.data_type, resource, tenant, source.load))
                source.answer.set()
                assert await early == "value 1"
                assert await late == "value 2"
                # Nothing yet, if the fill of the second load is still on its way.
                assert await cache.get(self.data_type, resource, tenant) in {None, "value 2"}

        self.check(body)

    def test_a_set_wins_over_a_load_under_way(self) -> None:
        """The caller's own word is newer than a value read before."""

        async def body(cache: Cache, tenant: str) -> None:
            source = _Source()
            loading = asyncio.ensure_future(cache.load(self.data_type, "r", tenant, source.load))
            await source.asked.wait()
            await cache.set(self.data_type, "r", "mine", tenant)
            source.answer.set()
            assert await loading == "value 1"
            # The load's fill is sent behind its answer: it must arrive, and be refused, before the next line.
            await asyncio.sleep(0.05)
            assert await cache.get(self.data_type, "r", tenant) == "mine"

        self.check(body)

    def test_the_sources_error_passes_as_it_is_and_is_not_remembered(self) -> None:
        """The next caller asks again."""

        async def body(cache: Cache, tenant: str) -> None:
            failure = KeyError("no such row")

            async def fail() -> str:
                raise failure

            async def succeed() -> str:
                return "value"

            assert await _catch(cache.load(self.data_type, "r", tenant, fail)) is failure
            assert await cache.load(self.data_type, "r", tenant, succeed) == "value"

        self.check(body)

    def test_a_loader_is_a_function_or_a_method_with_or_without_the_context(self) -> None:
        """Async or not."""

        class Repository:
            def plain(self) -> str:
                return "plain"

            async def fetch(self) -> str:
                return "fetched"

            async def fetch_for(self, context: Any) -> str:
                return f"fetched {context.resource_id}"

        async def body(cache: Cache, tenant: str) -> None:
            repository = Repository()
            assert await cache.load(self.data_type, "r1", tenant, lambda: "lambda") == "lambda"
            assert await cache.load(self.data_type, "r2", tenant, lambda context: context.resource_id) == "r2"
            assert await cache.load(self.data_type, "r3", tenant, repository.plain) == "plain"
            assert await cache.load(self.data_type, "r4", tenant, repository.fetch) == "fetched"
            assert await cache.load(self.data_type, "r5", tenant, repository.fetch_for) == "fetched r5"

        self.check(body)

    def test_the_guarantee_is_stated(self) -> None:
        """The promises of this server with these settings can be asked for."""

        async def body(cache: Cache, tenant: str) -> None:
            await cache.set(self.data_type, "r", 1, tenant)
            guarantee = cache.guarantee()
            assert guarantee["no_stale_fill"] is True
            assert isinstance(guarantee["staleness_bound_s"], float)

        self.check(body)


class _Source:
    """A source that answers when it is told to, with the number of the load."""

    def __init__(self) -> None:
        self.loads = 0
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def load(self, _context: object) -> str:
        self.loads += 1
        value = f"value {self.loads}"
        self.asked.set()
        await self.answer.wait()
        return value


async def _catch(call: Coroutine[Any, Any, Any]) -> BaseException | None:
    """Returns the exception that a call ends with."""
    outcome: Any = (await asyncio.gather(call, return_exceptions=True))[0]
    return outcome if isinstance(outcome, BaseException) else None
