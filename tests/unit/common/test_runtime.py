"""The process-wide cache: set up, opened, watched, replaced."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from alacena import Cache, CacheManager, Context, Policy, configure, get_with_cache_aside
from alacena.common import runtime
from alacena.common.runtime import PROCESS, override
from alacena.engine import MISSING
from alacena.engine.base.errors import SettingsError
from alacena.engine.memory import MemoryEntry
from alacena.testing.doubles import RecordingObserver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
async def unopened() -> AsyncIterator[None]:
    yield
    await runtime.close()
    configure()


class Unreachable:
    """Stands where a cache does and fails whoever goes past memory."""

    def __init__(self, **values: Any) -> None:
        self.values = {("t", "document", name): value for name, value in values.items()}
        self.asked: list[tuple[Any, ...]] = []

    def peek(self, ident: tuple[Any, ...]) -> Any:
        self.asked.append(ident)
        return self.values.get(ident, MISSING)

    def peek_entry(self, ident: tuple[Any, ...], _: float) -> MemoryEntry | None:
        value = self.peek(ident)
        return None if value is MISSING else MemoryEntry(ident, value, wire_key=b"", charge=0)


async def test_a_hit_in_memory_asks_nothing_else() -> None:
    stand_in: Any = Unreachable(d="value", zero=0)
    with override(stand_in):
        assert await CacheManager.get("document", "d", "t") == "value"
        assert await CacheManager.get(data_type="document", resource_id="zero", tenant_id="t") == 0
        value, metrics = await get_with_cache_aside("document", "d", "t", lambda: "never")
        assert (value, metrics["tier"], metrics["source"]) == ("value", "memory", "cache")
        async with Context("t"):
            assert await CacheManager.get("document", "d") == "value"
            assert (await get_with_cache_aside("document", "d"))[0] == "value"
        with pytest.raises(AttributeError):
            await CacheManager.get("document", "d", "t", agent_id="a")
        with pytest.raises(AttributeError):
            await CacheManager.get("document", "d", "t", use_memory=False)
    assert stand_in.asked[-1] == ("t", "document", "d", "a", None, None)
    assert PROCESS.cache is None


async def test_a_hit_in_memory_never_suspends() -> None:
    await CacheManager.set("document", "d", {"a": [1]}, "t")
    for call in (CacheManager.get("document", "d", "t"), get_with_cache_aside("document", "d", "t", lambda: 1)):
        with pytest.raises(StopIteration):
            call.send(None)


async def test_another_thread_never_gets_an_answer_from_memory() -> None:
    from alacena.engine.base.errors import WrongLoopError

    await CacheManager.set("document", "d", 1, "t")

    def there() -> None:
        with pytest.raises(WrongLoopError):
            asyncio.run(CacheManager.get("document", "d", "t"))

    await asyncio.to_thread(there)
    assert await CacheManager.get("document", "d", "t") == 1


async def test_an_override_ends_with_its_block_and_leaves_the_cache_before_it() -> None:
    mine = await runtime.opened()
    await CacheManager.set("document", "d", "mine", "t")
    async with Cache() as theirs:
        with override(theirs):
            assert await CacheManager.get("document", "d", "t") is None
    assert await runtime.opened() is mine
    assert await CacheManager.get("document", "d", "t") == "mine"


def test_a_forked_child_opens_a_cache_of_its_own() -> None:
    code = """
import asyncio, os
from alacena import CacheManager

async def use(expected):
    assert await CacheManager.get("document", "d", "t") == expected
    await CacheManager.set("document", "d", 1, "t")
    if expected is None and os.fork() == 0:
        os._exit(child())
    await CacheManager.close()

def child():
    asyncio.set_event_loop(None)
    asyncio._set_running_loop(None)
    asyncio.run(use_in_child())
    return 0

async def use_in_child():
    assert await CacheManager.get("document", "d", "t") is None
    await CacheManager.set("document", "d", 2, "t")
    await CacheManager.close()

asyncio.run(use(None))
_, status = os.wait()
assert status == 0, status
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_wrong_settings_are_refused_where_they_are_written() -> None:
    with pytest.raises(SettingsError) as error:
        configure(memory_max_bytes=-1, ttl_jitter_ratio=2)
    assert "memory_max_bytes" in str(error.value)
    assert "ttl_jitter_ratio" in str(error.value)


async def test_without_configure_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    PROCESS.set_up(None, {}, PROCESS.environment, ())
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("ALACENA_NAMESPACE", "from-env")
    assert (await runtime.opened()).settings.namespace == "from-env"


def test_a_setting_that_does_not_exist_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(SettingsError, match=r"redisurl: no such setting; .*\(is redis_url meant\?\)"):
        configure(redisurl="redis://localhost")


async def test_observers_and_policies_leave_the_settings_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that listens to events, or names a policy, goes on sharing the server that its deployment names."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("ALACENA_NAMESPACE", "from-env")
    configure(observers=[RecordingObserver()], policies={"price": Policy(ttl=60)})
    assert (await runtime.opened()).settings.namespace == "from-env"
    await CacheManager.close()
    configure(ttl_jitter_ratio=0.0)  # code has the word: nothing of the environment is mixed in
    assert (await runtime.opened()).settings.namespace == "alacena"


async def test_an_opening_that_fails_is_tried_again_by_the_next_call() -> None:
    configure(redis_url="rediss://h?ssl_ca_certs=/nowhere/ca.pem")
    with pytest.raises(SettingsError):
        await CacheManager.initialize()
    assert PROCESS.opening is None
    configure()
    assert await CacheManager.initialize() is True


async def test_what_runs_beside_the_cache_ends_with_it() -> None:
    await runtime.opened()
    ended = []

    async def forever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    runtime.own(forever())
    await asyncio.sleep(0)
    await runtime.close()
    assert ended == [True]
    assert PROCESS.tasks == set()


async def test_closing_while_it_is_being_opened_closes_what_was_opened() -> None:
    opening = asyncio.create_task(runtime.opened())
    await asyncio.sleep(0)
    await runtime.close()
    await opening
    assert PROCESS.cache is None
