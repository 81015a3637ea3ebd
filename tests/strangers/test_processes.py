"""Processes as strangers start them: spawned, optimized, in pools; what crosses their borders, and what is left of words."""

from __future__ import annotations

import copy
import errno
import gc
import inspect
import json
import pkgutil
import subprocess
import sys
from importlib import import_module
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import pytest

import alacena
from alacena.engine import (
    AlacenaError,
    Cache,
    CacheClosedError,
    MissingTenantError,
    Settings,
    TenantMismatchError,
    UsageError,
    WrongLoopError,
)
from alacena.engine.remote import backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.redis_server import RedisServer


def _sent(one: Any) -> Any:
    """Returns what another process gets of an object."""
    return ForkingPickler.loads(ForkingPickler.dumps(one))


_OTHER_PROCESS: tuple[Callable[[Any], Any], ...] = (_sent, copy.deepcopy, copy.copy)


def _own_errors() -> list[type[AlacenaError]]:
    for module in pkgutil.walk_packages(alacena.__path__, "alacena."):
        if ".integrations" not in module.name and not module.name.startswith("alacena.ops"):
            import_module(module.name)
    found = [AlacenaError]
    for kind in found:
        found += [one for one in kind.__subclasses__() if one not in found and one.__module__.startswith("alacena.")]
    return found


def _made(kind: type[AlacenaError]) -> AlacenaError:
    asked = list(inspect.signature(kind.__init__).parameters.values())[1:]
    given = [one for one in asked if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    return kind(*(f"word {number}" for number in range(max(len(given), 1))))


def test_every_error_reaches_the_process_that_waits_for_it() -> None:
    """python/cpython 79492 and hgrecco/pint 914: a pool that cannot make an error anew waits for its result for ever."""
    for kind in _own_errors():
        error = _made(kind)
        for across in _OTHER_PROCESS:
            there = across(error)
            assert type(there) is kind
            assert (str(there), there.__dict__) == (str(error), error.__dict__), kind
    error = TenantMismatchError("the argument tenant_id", "globex", "acme")
    assert _sent(error).named == "globex"


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(redis_url="redis://h", tenant_buckets={"a": 2}, memory_weights={"a": 2.0})]
)
def test_settings_are_given_to_a_process_that_is_spawned(settings: Settings) -> None:
    """redis/redis-py 3141: workers are spawned, and each is given the settings of its parent as an argument."""
    for across in _OTHER_PROCESS:
        assert across(settings) == settings


async def test_answers_are_handed_on(cache: Cache) -> None:
    """A health check answers with what the cache says of itself; a task answers with the id that it pushed."""
    assert json.loads(json.dumps(cache.guarantee()))["faults"] == {}
    pushed = await cache.queues("jobs", tenant_id="acme").push("job", id="j1")
    for across in _OTHER_PROCESS:
        there = across(pushed)
        assert (there, there.outcome, there.is_new) == ("j1", "taken", True)
    decision = await cache.limits.sliding_window("limit", tenant_id="acme", limit=1, window_s=60)
    for answer in (decision, await cache.queues("jobs", tenant_id="acme").stats(), await cache.ledger.totals("acme")):
        assert _sent(answer) == answer


_SAYS = """
import asyncio, alacena
from alacena.engine import Cache, Settings
async def main():
    try:
        await alacena.CacheManager.get("document", "d1")
    except alacena.MissingTenantError as error:
        print(error)
    try:
        Cache(Settings()).guarantee()
    except alacena.engine.CacheClosedError as error:
        print(error)
    await alacena.CacheManager.close()
asyncio.run(main())
"""


def test_errors_say_as_much_in_a_process_without_docstrings() -> None:
    """klen/adrest 28, stephenmcd/mezzanine 667: images are built with -OO, and what a program needs goes with the asserts."""
    said = [
        subprocess.run([sys.executable, *flags, "-c", _SAYS], check=True, capture_output=True, text=True).stdout
        for flags in ([], ["-OO"])
    ]
    assert said[0] == said[1]
    assert "Context(tenant_id=...)" in said[0]
    assert "async with Cache(...)" in said[0]


@pytest.mark.parametrize("kind", [MissingTenantError, CacheClosedError, WrongLoopError])
def test_a_class_that_always_means_the_same_says_what_its_page_says(kind: type[UsageError]) -> None:
    assert str(kind()) == " ".join((kind.__doc__ or "").split()).removesuffix(".")


async def test_a_process_keeps_the_scripts_that_it_was_started_with(
    valkey_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sidekiq/sidekiq 5721: no descriptor was left when one was needed; and a deploy replaces the files under a process."""

    def is_gone() -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    # As in a process that has used none of them yet.
    backend._source.cache_clear()
    for script in [one for one in gc.get_objects() if type(one) is backend.Script]:
        vars(script).pop("source", None)
        vars(script).pop("sha", None)
    async with Cache(Settings(redis_url=valkey_server.url, redis_budget_s=5.0)) as cache:
        monkeypatch.setattr(backend, "_folder", is_gone)
        acme = cache.tenant("acme")
        assert await acme.set("note", "n", "x", document_ids=["d1"])
        assert await acme.load("note", "m", lambda: "x") == "x"
        assert await acme.invalidate(document_ids=["d1"])
        async with acme.write(("note", "n")):
            pass
        async with acme.locks.acquire("lock"), await acme.budgets("budget", limit=1).reserve(1) as reservation:
            await reservation.extend(60)
        queue = acme.queues("jobs", max_attempts=1)
        await queue.push_many([1, 2], ids=["a", "b"])
        first, second = await queue.reserve(2)
        await first.extend(60)
        await first.ack()
        await second.nack()
        assert (await queue.replay(), await queue.discard(), len(await queue.dead())) == (1, 0, 0)
        assert await acme.counters.increment("count") == 1
        assert await acme.limits.sliding_window("limit", limit=1, window_s=1)
        assert await acme.limits.token_bucket("limit", rate_per_s=1, burst=1)
        assert await acme.ledger.record(1, model="m", idempotency_key="k")
        await cache.fleet()
