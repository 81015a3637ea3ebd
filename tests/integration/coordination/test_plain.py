"""Lists, sets, flags and counters."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from alacena.coordination.counters import Counters
from alacena.coordination.flags import Flags
from alacena.coordination.lists import Lists
from alacena.coordination.sets import Sets
from alacena.engine.base.errors import (
    EncodeError,
    IdempotencyConflictError,
    InvalidKeyError,
    LimitExceededError,
    MissingTenantError,
    OutcomeUnknownError,
    ServerReplyError,
)
from tests.waiting import until

if TYPE_CHECKING:
    from alacena.coordination.coordination_context import CoordinationContext
    from tests.integration.coordination.stand import LossyStore

VALUES: list[Any] = [{"a": [1, None]}, 0, "", False, [], {}, 3.5, "ñ", b"\x00\xff", None]


async def test_values_come_out_of_a_list_as_they_went_in(port: CoordinationContext) -> None:
    lists = Lists(port)
    assert await lists.rpush("l", *VALUES, tenant_id="t") == len(VALUES)
    assert await lists.lrange("l", tenant_id="t") == VALUES
    assert await lists.lrange("l", 1, 2, tenant_id="t") == [0, ""]
    assert await lists.lpop("l", tenant_id="t") == VALUES[0]
    assert await lists.llen("l", tenant_id="t") == len(VALUES) - 1
    assert await lists.delete("l", tenant_id="t")
    assert await lists.lpop("l", tenant_id="t") is None


async def test_lists_of_two_tenants_are_two_lists(port: CoordinationContext) -> None:
    lists = Lists(port)
    await lists.rpush("l", 1, tenant_id="a")
    assert await lists.llen("l", tenant_id="b") == 0


async def test_a_value_that_cannot_be_stored_is_refused_before_anything_is_pushed(port: CoordinationContext) -> None:
    lists = Lists(port)
    with pytest.raises(EncodeError, match="object cannot be stored"):
        await lists.rpush("l", 1, object(), tenant_id="t")
    assert await lists.llen("l", tenant_id="t") == 0


@pytest.mark.parametrize("tenant", ["", " ", None])
async def test_a_missing_tenant_is_refused(port: CoordinationContext, tenant: Any) -> None:
    with pytest.raises(MissingTenantError):
        await Lists(port).rpush("l", 1, tenant_id=tenant)
    with pytest.raises(InvalidKeyError):
        await Lists(port).rpush(" ", 1, tenant_id="t")


async def test_a_push_whose_reply_is_lost_is_not_sent_again(port: CoordinationContext, store: LossyStore) -> None:
    lists = Lists(port)
    store.lose["RPUSH"] = 1
    with pytest.raises(OutcomeUnknownError):
        await lists.rpush("l", 1, tenant_id="t")
    assert await lists.lrange("l", tenant_id="t") == [1]


async def test_sets_hold_each_value_once_and_expire_as_a_whole(port: CoordinationContext) -> None:
    sets = Sets(port)
    assert await sets.add("s", "a", "b", "a", tenant_id="t") == 2
    assert await sets.add("s", "b", 7, tenant_id="t") == 1
    assert sorted(map(str, await sets.members("s", tenant_id="t"))) == ["7", "a", "b"]
    assert await sets.contains("s", 7, tenant_id="t")
    assert await sets.remove("s", "a", "zz", tenant_id="t") == 1
    assert await sets.add("s", "c", tenant_id="t", ttl_s=0.1) == 1

    async def gone() -> bool:
        return await sets.members("s", tenant_id="t") == []

    await until(gone)


async def test_set_nx_is_a_strict_bool_and_the_first_one_wins(port: CoordinationContext) -> None:
    flags = Flags(port)
    answers = await asyncio.gather(*(flags.set_nx("f", n, tenant_id="t", ttl_s=10) for n in range(20)))
    assert answers.count(True) == 1
    assert set(map(type, answers)) == {bool}
    assert await flags.get("f", tenant_id="t") == answers.index(True)
    assert await flags.delete("f", tenant_id="t")
    assert await flags.set_nx("f", 1, tenant_id="t")


async def test_a_counter_counts_from_zero_and_expires_from_its_first_increment(
    port: CoordinationContext, store: LossyStore
) -> None:
    counters = Counters(port)
    names = map(str, itertools.count())
    name = next(names)
    assert await counters.get(name, tenant_id="t") == 0

    async def incremented_while_it_lives() -> bool:
        nonlocal name
        name = next(names)
        assert await counters.increment(name, 5, tenant_id="t", ttl_s=0.2) == 5
        return await counters.increment(name, -7, tenant_id="t", ttl_s=1000) == -2

    async def gone() -> bool:
        return await counters.get(name, tenant_id="t") == 0

    await until(incremented_while_it_lives)
    await until(gone)
    assert await counters.increment(name, tenant_id="t") == 1
    assert await counters.reset(name, tenant_id="t")
    assert await counters.get(name, tenant_id="t") == 0


async def test_an_increment_with_an_id_counts_once_however_often_its_reply_is_lost(
    port: CoordinationContext, store: LossyStore
) -> None:
    counters = Counters(port)
    store.lose["counter_add"] = 2
    assert await counters.increment("c", 3, tenant_id="t", idempotency_id="x") == 3
    assert await counters.increment("c", 3, tenant_id="t", idempotency_id="x") == 3
    assert await counters.get("c", tenant_id="t") == 3
    with pytest.raises(IdempotencyConflictError):
        await counters.increment("c", 4, tenant_id="t", idempotency_id="x")


async def test_an_increment_without_an_id_is_not_sent_again(port: CoordinationContext, store: LossyStore) -> None:
    counters = Counters(port)
    store.lose["counter_add"] = 1
    with pytest.raises(OutcomeUnknownError):
        await counters.increment("c", tenant_id="t")
    assert await counters.get("c", tenant_id="t") == 1


async def test_a_counter_never_leaves_the_range_of_exact_integers(port: CoordinationContext) -> None:
    counters = Counters(port)
    most = 2**53 - 1
    assert await counters.increment("c", most, tenant_id="t") == most
    with pytest.raises(LimitExceededError):
        await counters.increment("c", 1, tenant_id="t")
    assert await counters.get("c", tenant_id="t") == most
    for wrong in (2**53, 1.5, True, "1"):
        with pytest.raises(ValueError, match="amount must"):
            await counters.increment("c", wrong, tenant_id="t")  # type: ignore[arg-type]


async def test_a_foreign_key_of_another_type_is_an_error_and_stays(
    port: CoordinationContext, store: LossyStore
) -> None:
    await store.call("SET", port.key("list", "t", "l"), "mine")
    with pytest.raises(ServerReplyError, match="WRONGTYPE"):
        await Lists(port).rpush("l", 1, tenant_id="t")


async def test_each_verb_takes_one_round_trip(port: CoordinationContext, store: LossyStore) -> None:
    counters, lists, sets, flags = Counters(port), Lists(port), Sets(port), Flags(port)
    await lists.rpush("l", 1, 2, tenant_id="t")
    await lists.lpop("l", tenant_id="t")
    await lists.lrange("l", tenant_id="t")
    await sets.add("s", 1, 2, tenant_id="t", ttl_s=9)
    await flags.set_nx("f", 1, tenant_id="t", ttl_s=9)
    await counters.increment("c", 2, tenant_id="t", ttl_s=9, idempotency_id="x")
    assert store.sent == ["RPUSH", "LPOP", "LRANGE", "set_add", "SET", "counter_add"]
