"""What memory holds: who may hold how much, what it costs to ask, and that nothing stays behind."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

TEXT = "x" * 2_000


def _array() -> np.ndarray:
    array = np.arange(50)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("emptied", [False, True])
async def test_a_cache_that_is_closed_keeps_no_value_alive(emptied, open_cache) -> None:
    """Memory is emptied a little at a time, and the end of that is awaited."""
    cache = await open_cache()
    for number in range(500):
        await cache.set("note", str(number), _array(), f"t{number % 7}")
    values = [weakref.ref(await cache.get("note", str(number), f"t{number % 7}")) for number in range(500)]
    assert all(value() is not None for value in values)
    if emptied:
        cache._parts.memory.clear()  # as a lost connection does
    gc.collect()
    gc.disable()
    try:
        await cache.close()
        del cache
        assert sum(value() is not None for value in values) == 0
    finally:
        gc.enable()


async def test_a_tenant_of_twice_the_weight_is_sure_of_twice_the_bytes(open_cache) -> None:
    cache = await open_cache(memory_max_bytes=300_000, memory_weights={"gold": 2.0})
    for number in range(400):
        for tenant in ("gold", "plain"):
            await cache.set("note", str(number), TEXT, tenant)
    held = cache.stats()["memory"]
    assert 1.7 < held["gold", "note"].bytes / held["plain", "note"].bytes < 2.3


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("document_ids", [(), ("d1",)])
async def test_what_a_load_cost_is_known_to_the_process_that_did_not_pay_it(
    open_cache, url, document_ids, many
) -> None:
    """A process that reads an answer from the server keeps it as long as the one that paid for it would."""
    payer, reader = await open_cache(), await open_cache()
    if url is None:
        reader = payer  # in memory alone there is nothing to share

    async def dear(context) -> str:
        context.cost(usd=0.25)
        return "paid for"

    for name in ("a", "b"):
        await payer.load("answer", name, "acme", dear, document_ids=document_ids)
    if many:
        await reader.get_many("answer", ["a", "b"], "acme")
    else:
        assert await reader.get("answer", "a", "acme") == "paid for"

    paid, read = (cache._parts.memory.entries["acme", "answer", "a"] for cache in (payer, reader))
    assert paid.cost == pytest.approx(25, abs=1)
    assert read.cost == pytest.approx(paid.cost, abs=1)
    assert (await reader.explain("answer", "a", "acme")).get("load_s", 0) < 1


async def test_of_very_many_tenants_the_counts_are_told_in_sum(open_cache) -> None:
    cache = await open_cache(memory_max_bytes=1 << 30, max_value_bytes=10_000)
    for number in range(2_500):
        await cache.set("note", "n", number, f"t{number}")
    cache.snapshot()
    for _ in range(20):
        cache._parts.process_view.recorder.renew()
    held = cache.stats()["memory"]
    assert len(held) < 100
    assert (None, "note") in held
    assert sum(counts.entries for counts in held.values()) == 2_500
