"""Servers that would lose what is entrusted to them are refused; scripts survive a server that forgot them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.coordination.counters import Counters
from alacena.engine.coordination.lists import Lists
from alacena.engine.coordination.locks import Locks
from alacena.engine.coordination.port import Port
from alacena.engine.coordination.queues import Queues
from alacena.engine.environment import SystemEnvironment
from alacena.engine.errors import ServerReplyError, UnsafeServerError
from alacena.engine.redis.scripts import evaluate
from alacena.engine.store import Script
from tests.integration.coordination.live import LiveStore, server
from tests.integration.coordination.stand import PlainKeys

if TYPE_CHECKING:
    from alacena.engine.store import Argument, Reply


async def test_a_server_that_evicts_is_refused_before_anything_is_entrusted_to_it() -> None:
    with server("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as path:
        store = LiveStore(path)
        port = Port(store, PlainKeys(), SystemEnvironment())
        verbs: list[Any] = [
            Lists(port).rpush("l", 1, tenant_id="t"),
            Counters(port).increment("c", tenant_id="t"),
            Queues(port)("q", tenant_id="t").push(1),
            Locks(port).try_acquire("l", tenant_id="t"),
        ]
        for verb in verbs:
            with pytest.raises(UnsafeServerError):
                await verb
        assert await store.call("DBSIZE") == 0
        await store.aclose()


async def test_a_forgotten_script_is_loaded_and_run_once(server_path: str) -> None:
    store = LiveStore(server_path)
    await store.call("FLUSHALL")
    counters = Counters(Port(store, PlainKeys(), SystemEnvironment()))
    assert await counters.increment("c", tenant_id="t") == 1
    await store.call("SCRIPT", "FLUSH", "SYNC")
    assert await counters.increment("c", tenant_id="t") == 2
    await store.aclose()


async def test_other_refusals_of_a_script_are_not_tried_again() -> None:
    sent = []

    async def send(*command: Argument) -> Reply:
        sent.append(command[0])
        raise ServerReplyError("OOM command not allowed")

    with pytest.raises(ServerReplyError, match="OOM"):
        await evaluate(send, Script("lock_renew", idempotent=True), ["k"], ["t", 5])
    assert sent == ["EVALSHA"]
