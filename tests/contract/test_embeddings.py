"""Embeddings of many texts, over every remote tier: each is paid for once, and none that was paid for is lost."""

import asyncio

import numpy as np
import pytest

from alacena import get_embeddings_batch_with_cache
from tests.waiting import until

MODEL = "text-embedding-3-small"


class Provider:
    """Counts texts; what it makes of one can be recognised."""

    def __init__(self, *, dimensions=8, fails_on=(), gate=None):
        self.calls = []
        self.dimensions = dimensions
        self.fails_on = set(fails_on)
        self.asked = asyncio.Event()
        self.gate = gate

    @property
    def embedded(self):
        return sorted(text for call in self.calls for text in call)

    async def __call__(self, texts):
        self.calls.append(list(texts))
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        return [None if text in self.fails_on else self.of(text) for text in texts]

    def of(self, text):
        return [float(len(text))] + [float(ord(text[0]))] * (self.dimensions - 1)


async def embed(texts, provider, **options):
    return await get_embeddings_batch_with_cache(texts, "acme", MODEL, provider, **options)


async def test_each_text_is_embedded_once_and_comes_out_alike_cached_or_not(cache, settled):
    provider = Provider()
    texts = ["one", "two", "one", "three"]
    first, metrics = await embed(texts, provider)
    assert first == [provider.of(text) for text in texts]
    assert provider.calls == [["one", "two", "three"]]
    assert (metrics["source"], metrics["cache_misses"], metrics["cache_hits"]) == ("generation", 4, 0)
    await settled()
    second, metrics = await embed(["three", "four", "one"], provider)
    assert second == [provider.of(text) for text in ("three", "four", "one")]
    assert provider.calls[1:] == [["four"]]
    assert (metrics["source"], metrics["cache_misses"], metrics["cache_hits"]) == ("mixed", 1, 2)
    await settled()
    third, metrics = await embed(texts, provider)
    assert third == first
    assert metrics["source"] == "cache"
    assert len(provider.calls) == 2


async def test_arrays_are_float32_read_only_and_not_copied(cache, settled):
    provider = Provider(dimensions=1536)
    for _ in range(2):
        arrays, _ = await embed(["one", "two"], provider, as_arrays=True)
        for array in arrays:
            assert array.dtype == np.float32
            assert array.shape == (1536,)
            assert not array.flags.writeable
        await settled()
    again, _ = await embed(["one", "two"], provider, as_arrays=True)
    once_more, _ = await embed(["one", "two"], provider, as_arrays=True)
    assert all(np.shares_memory(a, b) for a, b in zip(again, once_more, strict=True))


async def test_model_revision_dimensions_and_scope_make_other_embeddings(cache, settled):
    provider = Provider()
    for options in ({}, {"revision": "2"}, {"dimensions": 4}, {"agent_id": "a"}, {"collection_id": "a"}):
        await embed(["one"], provider, **options)
        await settled()
    await get_embeddings_batch_with_cache(["one"], "acme", "other-model", provider)
    await get_embeddings_batch_with_cache(["one"], "rival", MODEL, provider)
    assert provider.embedded == ["one"] * 7


async def test_what_the_provider_leaves_out_is_told_and_asked_for_again_and_nothing_else(cache, settled):
    provider = Provider(fails_on=["two"])
    embeddings, metrics = await embed(["one", "two", "three"], provider)
    assert embeddings == [provider.of("one"), None, provider.of("three")]
    assert (metrics["partial_results"], metrics["missing"]) == (True, [1])
    await settled()
    provider.fails_on = set()
    assert (await embed(["one", "two", "three"], provider))[0][1] == provider.of("two")
    assert provider.calls[1:] == [["two"]]


async def test_a_provider_that_fails_loses_nothing_that_was_paid_for(cache, settled):
    provider = Provider()
    await embed(["one"], provider)
    await settled()

    async def fail(texts):
        raise ConnectionError("the provider's own")

    with pytest.raises(ConnectionError):
        await embed(["one", "two"], fail)
    embeddings, _ = await embed(["one", "two"], provider)
    assert embeddings == [provider.of("one"), provider.of("two")]
    assert provider.calls == [["one"], ["two"]]


async def test_a_caller_who_leaves_does_not_waste_what_is_being_paid_for(cache, settled):
    provider = Provider(gate=asyncio.Event())
    caller = asyncio.create_task(embed(["one", "two"], provider))
    await provider.asked.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    provider.gate.set()
    await settled()
    await embed(["one", "two"], provider)
    assert provider.calls == [["one", "two"]]


async def test_callers_at_the_same_time_pay_once(cache):
    provider = Provider(gate=asyncio.Event())
    pairs = (["one", "two"], ["two", "three"], ["three", "one"])
    callers = [asyncio.create_task(embed(pair, provider)) for pair in pairs]
    await until(lambda: provider.embedded == ["one", "three", "two"])
    provider.gate.set()
    await asyncio.gather(*callers)
    assert provider.embedded == ["one", "three", "two"]


async def test_nothing_to_embed_asks_nobody(cache):
    provider = Provider()
    assert (await embed([], provider))[0] == []
    assert provider.calls == []


async def test_a_provider_that_returns_another_number_is_refused(cache):
    with pytest.raises(ValueError, match="got 2 texts and returned 1 embeddings"):
        await embed(["one", "two"], lambda texts: [[1.0]])
