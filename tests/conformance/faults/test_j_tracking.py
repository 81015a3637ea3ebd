"""J: tokens are counted once each, and every one of them."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import alacena.common
from alacena import Context, configure, track_token_usage
from alacena.common import runtime
from alacena.common.core.constants import OPERATION_BATCH, OPERATION_EMBEDDING, OPERATION_INTERNAL, TOKEN_TYPE_EMBEDDING
from alacena.common.tracking import estimate_prompt_tokens, track_embedding_usage, track_query
from alacena.engine.base.errors import BackendError, IdempotencyConflictError, MissingTenantError

if TYPE_CHECKING:
    from alacena.engine import Cache


async def used(cache: Cache, tenant_id: str = "t", **when: Any) -> int:
    return (await cache.ledger.totals(tenant_id, **when)).used


async def test_j1_one_call_counts_once_and_says_true(cache: Cache) -> None:
    assert await track_token_usage("t", 10, "m", idempotency_key="k") is True
    assert await used(cache) == 10


async def test_j2_a_repeated_key_counts_once_and_other_figures_under_it_are_an_error(cache: Cache) -> None:
    for _ in range(3):
        assert await track_token_usage("t", 10, "m", idempotency_key="k") is True
    assert await used(cache) == 10
    with pytest.raises(IdempotencyConflictError):
        await track_token_usage("t", 11, "m", idempotency_key="k")
    assert await track_token_usage("other", 11, "m", idempotency_key="k") is True
    assert (await used(cache), await used(cache, "other")) == (10, 11)


async def test_j3_the_tenant_is_needed_and_may_be_ambient(cache: Cache) -> None:
    with pytest.raises(MissingTenantError):
        await track_token_usage(tokens=5)
    async with Context("t", "agent"):
        assert await track_token_usage(tokens=5) is True
    assert await used(cache) == 5


async def test_j4_without_a_key_every_call_counts_and_no_key_comes_from_the_time(cache: Cache) -> None:
    for _ in range(2):
        await track_token_usage("t", 5, "m")
    assert await used(cache) == 10


async def test_j5_and_j6_concurrent_repeats_count_once(cache: Cache) -> None:
    answers = await asyncio.gather(*(track_token_usage("t", 7, "m", idempotency_key="k") for _ in range(20)))
    assert answers == [True] * 20
    assert await used(cache) == 7


async def test_j7_every_operation_and_type_is_counted_under_its_name(cache: Cache) -> None:
    operations = [OPERATION_EMBEDDING, OPERATION_BATCH, OPERATION_INTERNAL, "generate", "agent_chat", "a word of mine"]
    for operation in operations:
        await track_token_usage("t", 1, "m", token_type=TOKEN_TYPE_EMBEDDING, operation=operation)
    totals = await cache.ledger.totals("t")
    assert totals.by("operation") == dict.fromkeys(operations, 1)
    assert totals.by("token_type") == {TOKEN_TYPE_EMBEDDING: 6}


async def test_j8_the_second_use_of_a_day_reaches_the_month(cache: Cache) -> None:
    from datetime import UTC, datetime

    for _ in range(3):
        await track_token_usage("t", 2, "m")
    today = datetime.now(UTC).date()
    assert await used(cache, day=today) == 6
    assert await used(cache, month=today) == 6


async def test_j9_nothing_is_nothing_and_less_than_nothing_is_an_error(cache: Cache) -> None:
    assert await track_token_usage("t", 0, "m", idempotency_key="k") is True
    assert await track_token_usage("t", 3, "m", idempotency_key="k") is True
    assert await used(cache) == 3
    for wrong in (-1, 1.5, "3", True):
        with pytest.raises(ValueError, match="tokens"):
            await track_token_usage("t", wrong, "m")
    await track_token_usage("t", 1, "m", metadata={"model": "another", "tokens": 99}, idempotency_key="k2")
    assert (await cache.ledger.totals("t")).by("model") == {"m": 4}


@pytest.mark.usefixtures("unopened")
async def test_j10_a_failure_is_raised_and_not_counted_as_done(start_redis: Any) -> None:
    server = start_redis()
    configure(redis_url=server.url, redis_timeout_s=0.2, redis_connect_timeout_s=0.2)
    await runtime.opened()
    server.crash()
    with pytest.raises(BackendError):
        await track_token_usage("t", 3, "m", idempotency_key="k")


def test_j11_every_module_imports_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for module in pkgutil.walk_packages(alacena.common.__path__, "alacena.common."):
            if not module.name.startswith("alacena.common.db"):
                importlib.import_module(module.name)


async def test_j_queries_and_embeddings_have_words_of_their_own(cache: Cache) -> None:
    assert await track_embedding_usage("t", 5, "m", idempotency_key="e") is True
    assert await track_query("t", "query", "m", tokens_in=3, tokens_out=4, idempotency_key="q") is True
    totals = await cache.ledger.totals("t")
    assert totals.by("token_type") == {"embedding": 5, "llm": 7}


async def test_j_prompts_are_estimated() -> None:
    assert await estimate_prompt_tokens("") == 0
    assert await estimate_prompt_tokens("a") == 1
    assert 20 < await estimate_prompt_tokens("the quick brown fox jumps over the lazy dog " * 3, model="x") < 60
