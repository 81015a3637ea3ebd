"""D: keys, tenants, scopes and what an invalidation reaches."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from alacena import (
    CacheManager,
    Context,
    depends_on,
    get_with_cache_aside,
    invalidate_chunk_cache,
    invalidate_coordinated,
    invalidate_document_update,
    invalidate_resource_cache,
)
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError

if TYPE_CHECKING:
    from alacena.engine import Cache

pytestmark = pytest.mark.usefixtures("cache")

SCOPES = [
    dict(zip(("agent_id", "conversation_id", "collection_id"), parts, strict=True))
    for parts in product((None, "x"), repeat=3)
]


async def test_d1_without_a_tenant_nothing_is_read_or_written() -> None:
    manager = CacheManager.get_instance()
    calls = [
        CacheManager.set("document", "x", 1),
        CacheManager.get("document", "x"),
        CacheManager.delete("document", "x"),
        CacheManager.invalidate(None, "document"),
        CacheManager.ttl("document", "x"),
        CacheManager.get_many("document", ["x"]),
        get_with_cache_aside("document", "x"),
        manager.add_to_set("s", 1),
        manager.rpush("l", 1),
        manager.increment_counter("c"),
        manager.set_nx("k", 1),
    ]
    for call in calls:
        with pytest.raises(MissingTenantError):
            await call


async def test_d2_separators_in_ids_never_cross_scopes_or_tenants() -> None:
    await CacheManager.set("document", "x", "scoped", "t", agent_id="A")
    assert await CacheManager.get("document", "agent:A:x", "t") is None
    await CacheManager.set("x", "y", "secret", "t:b")
    assert await CacheManager.get("b:x", "y", "t") is None
    ids = ["a", "a:b", "a:", ":a", "a%3A", "a\x00b", "{a}", "a*", "🎉", "a" * 100_000]
    for one in ids:
        await CacheManager.set("document", one, one, "t")
    assert await CacheManager.get_many("document", ids, "t") == {one: one for one in ids}


async def test_d3_ids_are_never_patterns() -> None:
    for name in ("a[1]", "a1", "a?"):
        await CacheManager.set("document", name, name, "t")
    await CacheManager.set("document", "d", "other tenant", "t2")
    await CacheManager.invalidate("t", "document", "a[1]")
    assert await CacheManager.get_many("document", ["a[1]", "a1", "a?"], "t") == {"a1": "a1", "a?": "a?"}
    await CacheManager.invalidate("*")
    assert await CacheManager.get("document", "d", "t2") == "other tenant"
    assert await CacheManager.get("document", "a1", "t") == "a1"


async def test_d4_verbs_take_scopes_alike_and_only_the_tenant_from_the_context() -> None:
    async with Context("t", "agent", "conversation", "collection"):
        await CacheManager.set("document", "d", 1)
        assert await CacheManager.get("document", "d") == 1
        assert await CacheManager.ttl("document", "d") > 0
        assert await CacheManager.delete("document", "d") is True
        assert await CacheManager.get("document", "d") is None
        await CacheManager.set("document", "d", 2)
    assert await CacheManager.get("document", "d", "t") == 2


async def test_d5_an_invalidation_reaches_every_scope_below() -> None:
    async def fill() -> None:
        for scope in SCOPES:
            await CacheManager.set("document", "d", "v", "t", **scope)

    async def left() -> list[str]:
        return [
            "".join(name[:2] for name, part in scope.items() if part)
            for scope in SCOPES
            if await CacheManager.get("document", "d", "t", search_hierarchy=False, **scope) is not None
        ]

    await fill()
    assert len(await left()) == 8
    await CacheManager.invalidate("t", "document", "d")
    assert await left() == []
    await fill()
    await CacheManager.invalidate("t", agent_id="x")
    assert await left() == ["", "co", "co", "coco"]
    await fill()
    await CacheManager.invalidate("t", "document")
    assert await left() == []
    await fill()
    await CacheManager.invalidate("t")
    assert await left() == []


async def test_d6_updating_a_document_ends_what_depends_on_it_and_nothing_else() -> None:
    def search() -> list[str]:
        depends_on("d1")
        return ["answer"]

    await CacheManager.set("document", "d1", "text", "t", collection_id="c")
    await CacheManager.set("chunk", "d1_0", {"document_id": "d1", "text": "x"}, "t")
    await CacheManager.set("embedding", "m:hash", [1.0], "t", document_id="d1")
    await get_with_cache_aside("query_result", "q", "t", None, search, agent_id="a")
    await CacheManager.set("query_result", "q2", "of the collection", "t", collection_id="c")
    await CacheManager.set("vector_store", "v", "of the collection", "t", agent_id="a", collection_id="c")
    await CacheManager.set("document", "d2", "stays", "t")
    await CacheManager.set("chunk", "d2_0", {"document_id": "d2"}, "t")
    await CacheManager.set("query_result", "q3", "stays", "t", collection_id="other")
    counts = await invalidate_document_update("t", "d1", "c")
    assert sum(counts.values()) > 0
    assert await CacheManager.get("document", "d1", "t", collection_id="c") is None
    assert await CacheManager.get("chunk", "d1_0", "t") is None
    assert await CacheManager.get("embedding", "m:hash", "t") is None
    assert await CacheManager.get("query_result", "q", "t", agent_id="a") is None
    assert await CacheManager.get("query_result", "q2", "t", collection_id="c") is None
    assert await CacheManager.get("vector_store", "v", "t", agent_id="a", collection_id="c") is None
    assert await CacheManager.get("document", "d2", "t") == "stays"
    assert await CacheManager.get("chunk", "d2_0", "t") == {"document_id": "d2"}
    assert await CacheManager.get("query_result", "q3", "t", collection_id="other") == "stays"


async def test_d6_callers_leave_the_document_out_or_put_it_into_metadata() -> None:
    await CacheManager.set("query_result", "q", 1, "t", collection_id="c")
    assert sum((await invalidate_document_update("t", collection_id="c")).values()) > 0
    assert await CacheManager.get("query_result", "q", "t", collection_id="c") is None
    await CacheManager.set("document", "d", 1, "t")
    await invalidate_document_update(None, metadata={"document_id": "d"}, ctx=Context("t"))
    assert await CacheManager.get("document", "d", "t") is None
    with pytest.raises(ValueError, match="nothing names the document"):
        await invalidate_document_update("t")


async def test_d7_a_chunk_is_invalidated_with_its_embeddings() -> None:
    await CacheManager.set("chunk", "c1", {"text": "x"}, "t")
    await CacheManager.set("embedding", "c1", [1.0], "t")
    await CacheManager.set("embedding", "ada:c1", [1.0], "t")
    await CacheManager.set("query_result", "q", 1, "t", document_id="d")
    await invalidate_chunk_cache("t", "c1", document_id="d", model_name="ada", ctx=Context("t"))
    assert await CacheManager.get("chunk", "c1", "t") is None
    assert await CacheManager.get_many("embedding", ["c1", "ada:c1"], "t") == {}
    assert await CacheManager.get("query_result", "q", "t") is None


async def test_d9_every_scope_of_invalidate_cache_clears_what_it_says(cache: Cache) -> None:
    await CacheManager.set("document", "d", "v", "t", agent_id="x")
    await CacheManager.set("document", "d", "v", "tenant")
    await CacheManager.invalidate_cache("agent", "t", agent_id="x")
    assert await CacheManager.get("document", "d", "t", agent_id="x") is None
    await CacheManager.set("document", "e", "v", "t")
    await CacheManager.invalidate_cache("tenant", "t")
    assert await CacheManager.get("document", "e", "t") is None
    assert await CacheManager.get("document", "d", "tenant") == "v"
    with pytest.raises(MissingTenantError):
        await CacheManager.invalidate_cache("tenant")
    with pytest.raises(ValueError, match="collection_id"):
        await CacheManager.invalidate_cache("collection", "t")
    with pytest.raises(ValueError, match="scopes are"):
        await CacheManager.invalidate_cache("galaxy", "t")


async def test_d10_every_combination_of_scopes_is_found_again() -> None:
    for scope in SCOPES:
        await CacheManager.set("message", "m", str(scope), "t", **scope)
    for scope in SCOPES:
        assert await CacheManager.get("message", "m", "t", use_memory=False, **scope) == str(scope)
    await CacheManager.invalidate("t", "message", "m")
    await CacheManager.set("message", "m", "conversation", "t", conversation_id="x")
    whole = {"agent_id": "x", "conversation_id": "x", "collection_id": "x"}
    assert await CacheManager.get("message", "m", "t", **whole) == "conversation"
    assert await CacheManager.get("message", "m", "t", agent_id="x") is None


async def test_invalidate_coordinated_adds_up_by_type() -> None:
    for kind, one in (("agent", "a"), ("agent_config", "a"), ("agent_config", "b")):
        await CacheManager.set(kind, one, 1, "t")
    related = [{"data_type": "agent_config", "resource_id": "*"}, {"data_type": "agent_tools", "agent_id": "a"}]
    counts = await invalidate_coordinated("t", "agent", "a", related)
    assert set(counts) == {"agent", "agent_config", "agent_tools"}
    assert sum(counts.values()) > 0
    assert await CacheManager.get("agent", "a", "t") is None
    assert await CacheManager.get_many("agent_config", ["a", "b"], "t") == {}
    await CacheManager.set("agent", "a", 1, "t")
    assert await invalidate_resource_cache("agent", "a", "t") is True
    assert await CacheManager.get("agent", "a", "t") is None


@pytest.mark.parametrize("blank", ["", "  ", None, 3.5, b"x", ["x"]])
async def test_blank_and_foreign_ids_are_refused(blank: object) -> None:
    with pytest.raises(InvalidKeyError):
        await CacheManager.get("document", blank, "t")
    with pytest.raises(InvalidKeyError):
        await get_with_cache_aside("document", blank, "t", lambda: 1)
    with pytest.raises(InvalidKeyError):
        await CacheManager.set("document", blank, 1, "t")
