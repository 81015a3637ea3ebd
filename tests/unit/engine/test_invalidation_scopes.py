"""What an invalidation ends, and what it leaves alone: every combination of a scope with a type and a resource."""

import itertools

import pytest

from alacena.engine import Cache, InvalidKeyError

TENANT = "acme"
AGENTS, CONVERSATIONS, COLLECTIONS = (None, "a1", "a2"), (None, "v1", "v2"), (None, "c1", "c2")
SCOPES = [
    {name: value for name, value in zip(("agent_id", "conversation_id", "collection_id"), parts, strict=True) if value}
    for parts in itertools.product(AGENTS, CONVERSATIONS, COLLECTIONS)
]
RESOURCES = [("note", "n1"), ("note", "n2"), ("answer", "n1")]


async def filled(cache):
    for number, (scope, (data_type, resource_id)) in enumerate(itertools.product(SCOPES, RESOURCES)):
        await cache.set(data_type, resource_id, number, TENANT, **scope)
    await cache.set("note", "n1", "rival's", "rival")


async def left(cache):
    return [
        (data_type, resource_id, scope)
        for scope, (data_type, resource_id) in itertools.product(SCOPES, RESOURCES)
        if await cache.get(data_type, resource_id, TENANT, search_hierarchy=False, **scope) is not None
    ]


def within(scope, asked):
    return all(scope.get(name) == value for name, value in asked.items())


@pytest.mark.parametrize("asked", [scope for scope in SCOPES if len(scope) <= 1], ids=str)
@pytest.mark.parametrize("target", [(None, None), ("note", None), ("note", "*"), ("note", "n1")], ids=str)
async def test_exactly_what_matches_is_gone(asked, target):
    data_type, resource_id = target
    async with Cache() as cache:
        await filled(cache)
        assert await cache.invalidate(TENANT, data_type, resource_id, **asked) > 0
        expected = [
            (kind, one, scope)
            for scope, (kind, one) in itertools.product(SCOPES, RESOURCES)
            if not (within(scope, asked) and data_type in {None, kind} and resource_id in {None, "*", one})
        ]

        assert await left(cache) == expected
        assert await cache.get("note", "n1", "rival") == "rival's"


@pytest.mark.parametrize("asked", [scope for scope in SCOPES if len(scope) > 1], ids=str)
async def test_a_scope_of_several_parts_ends_at_least_what_matches_and_nothing_outside_its_narrowest_part(asked):
    narrowest = next(name for name in ("conversation_id", "agent_id", "collection_id") if name in asked)
    async with Cache() as cache:
        await filled(cache)
        await cache.invalidate(TENANT, "note", "n1", **asked)
        remaining = await left(cache)

        for scope, (kind, one) in itertools.product(SCOPES, RESOURCES):
            if (kind, one) == ("note", "n1") and within(scope, asked):
                assert (kind, one, scope) not in remaining
            elif (kind, one) != ("note", "n1") or scope.get(narrowest) != asked[narrowest]:
                assert (kind, one, scope) in remaining


async def test_a_resource_without_its_type_is_refused():
    async with Cache() as cache:
        with pytest.raises(InvalidKeyError, match="data_type"):
            await cache.invalidate(TENANT, resource_id="n1")
