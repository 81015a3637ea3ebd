"""Every code block of the guide, run as it stands, in memory and on a server."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alacena import CacheManager, Context
from alacena.engine.base.errors import MissingTenantError
from tests.conformance.blocks import Block, blocks
from tests.conformance.running import Services, namespace, run, run_as_body

BLOCKS = {block.name: block for block in blocks()}

pytestmark = pytest.mark.usefixtures("cache")


def the(name: str) -> Block:
    """The block of that name."""
    return BLOCKS[name]


@pytest.fixture
def services() -> Services:
    return Services()


async def test_block01_basic_operations(services: Services) -> None:
    names = namespace(services, data_type="document", resource_id="d1", value={"title": "Alacena"})
    await CacheManager.set("document", "d1", "scoped", "acme", collection_id="c")
    assert await run(the("block01"), names) == [None, True, True, pytest.approx(1, abs=5)]
    assert await CacheManager.get("document", "d1", "acme", collection_id="c") is None


async def test_block02_list_operations(services: Services) -> None:
    names = namespace(services, list_name="jobs", value={"id": 1}, start=0, end=-1)
    await CacheManager.get_instance().rpush("jobs", "first", "acme")
    assert await run(the("block02"), names) == [2, "first", [{"id": 1}]]


async def test_block03_cache_aside(services: Services) -> None:
    names = namespace(services)
    await run(the("block03"), names)
    assert names["result"] == services.documents[0]
    assert names["metrics"]["source"] == "supabase"
    await run(the("block03"), names)
    assert names["result"] == services.documents[0]
    assert names["metrics"]["source"] == "cache"
    assert services.calls == ["fetch d1"]


async def test_block04_standardized_metadata(services: Services) -> None:
    node = SimpleNamespace(metadata={"page": 2})
    names = namespace(services, node=node, chunk_id="3", collection_id="c", ctx=Context("acme", "agent"))
    await run(the("block04"), names)
    standard = names["standardized_metadata"]
    assert standard.pop("created_at") > 0
    assert standard == {
        "page": 2,
        "tenant_id": "acme",
        "document_id": "d1",
        "chunk_id": "d1_3",
        "collection_id": "c",
        "agent_id": "agent",
    }
    assert node.metadata == {"page": 2}


async def test_block05_file_download(services: Services, tmp_path: Path) -> None:
    file = tmp_path / "report.pdf"
    file.write_bytes(b"pdf")
    services.path = str(file)
    names = namespace(services)
    await run(the("block05"), names)
    for _ in range(2):
        assert await names["download_file_from_storage"]("acme", "reports/report.pdf") == str(file)
    assert services.calls == ["download reports/report.pdf"]
    key = names["generate_resource_id_hash"]("reports/report.pdf")
    assert 86400 * 0.85 < await CacheManager.ttl("file", key, "acme") <= 86400
    file.unlink()
    await names["download_file_from_storage"]("acme", "reports/report.pdf")
    assert len(services.calls) == 2


async def test_block06_queue(services: Services) -> None:
    job = {"job_id": "j1", "pages": [1, 2]}
    names = namespace(services, job_data=job)
    assert await run(the("block06"), names) == [1]
    assert names["job"] == job
    await run(the("block06"), names)
    assert await CacheManager.get_instance().lpop("ingestion_queue", "acme") is None


async def test_block07_token_tracking_counts_a_key_once(services: Services, cache: Any) -> None:
    names = namespace(
        services,
        model="ada",
        model_name="ada",
        collection_id="c",
        operation="embedding",
        hash="abc",
        token_count=12,
        chunks=["x", "y"],
    )
    assert await run(the("block07"), names) == [True]
    assert await run(the("block07"), names) == [True]
    assert names["idempotency_key"] == "acme:ada:c:embedding:abc"
    assert await tokens_of(cache, "acme") == 12


async def test_block08_tenant_from_the_context(services: Services) -> None:
    names = namespace(services)
    await CacheManager.set("document", "d1", "found", "acme")
    await run(the("block08"), names)
    seen: list[Any] = []
    names["CacheManager"] = SimpleNamespace(get=recorded(seen))
    async with Context(tenant_id="acme"):
        await names["process_document"]("d1")
    async with Context(tenant_id="other"):
        await names["process_document"]("d1")
    assert seen == ["found", None]
    with pytest.raises(MissingTenantError):
        await names["process_document"]("d1")


async def test_block09_supabase(services: Services) -> None:
    names = namespace(services)
    await run(the("block09"), names)
    assert names["document"] == services.documents[0]
    await run(the("block09"), names)
    assert names["metrics"]["cache_hit"] is True
    assert services.supabase.queries == 1
    await run(the("block09"), {**names, "tenant_id": "other"})
    assert services.supabase.queries == 2


async def test_block10_tracking_imported_from_common(services: Services, cache: Any) -> None:
    names = namespace(services, token_count=5, model="ada", collection_id="c", idempotency_key="k1")
    del names["track_token_usage"], names["TOKEN_TYPE_EMBEDDING"], names["OPERATION_EMBEDDING"]
    assert await run(the("block10"), names) == [True]
    assert await tokens_of(cache, "acme") == 5


async def test_block11_static_methods_for_basic_operations(services: Services) -> None:
    names = namespace(services, data_type="document", resource_id="d1", value=0)
    assert await run(the("block11"), names) == [None, True]
    assert (await run(the("block11"), names))[0] == 0


async def test_block12_instance_methods_for_lists(services: Services) -> None:
    names = namespace(services, list_name="acme:jobs", value=[1, {"a": None}])
    assert await run(the("block12"), names) == [1, [1, {"a": None}]]
    assert await CacheManager.get_instance().llen("jobs", "acme") == 0


async def test_block13_static_list_operations_do_not_exist_and_say_what_does(services: Services) -> None:
    names = namespace(services, list_name="acme:jobs", value="v")
    with pytest.raises(AttributeError, match=r"write CacheManager\.get_instance\(\)\.rpush"):
        await run(the("block13.1"), names)
    assert await run(the("block13.2"), names) == [1]


async def test_block14_a_missing_tenant_is_an_error(services: Services) -> None:
    names = namespace(services, doc_id="d1")
    with pytest.raises(MissingTenantError, match="tenant"):
        await run(the("block14.1"), names)
    assert await run(the("block14.2"), names) == [None]


async def test_block15_the_pattern_by_hand_runs_and_the_helper_does_it_better(services: Services) -> None:
    async def fetch_nothing_much(resource_id: str) -> list[Any]:
        services.calls.append("empty")
        return []

    names = namespace(services, data_type="document", resource_id="d1", fetch_from_db=fetch_nothing_much)
    await run(the("block15.1"), names)
    await run(the("block15.1"), names)
    assert services.calls == ["empty", "empty"]
    await run(the("block15.2"), names)
    await run(the("block15.2"), names)
    assert names["value"] == []
    assert services.calls == ["empty", "empty", "empty"]


async def test_block16_job_lock(services: Services) -> None:
    names = namespace(services, job_id="j1")
    assert await run_as_body(the("block16"), names) is None
    assert services.calls == ["job j1"]
    assert await names["acquire_job_lock"]("j1", "acme") is True
    assert await run_as_body(the("block16"), names) is False
    assert services.calls == ["job j1"]
    assert await names["release_job_lock"]("j1", "acme") is True


async def test_block17_lock_over_set_nx(services: Services) -> None:
    names = namespace(services)
    await run(the("block17"), names)
    acquire = names["acquire_job_lock"]
    assert await acquire("j1", "acme") is True
    assert await acquire("j1", "acme") is False
    assert await acquire("j1", "other") is True
    assert await CacheManager.get_instance().delete(key="acme:job:lock:j1") is True
    assert await acquire("j1", "acme", expiry_seconds=5) is True


async def test_block18_embeddings(services: Services, cache: Any) -> None:
    names = namespace(services)
    await run(the("block18"), names)
    chunks = [{"text": "one", "id": "c1"}, {"text": "three"}]
    done = await names["generate_embeddings_for_chunks"](chunks, "acme", "ada", "c")
    assert [chunk["embedding"] for chunk in done] == [[3.0], [5.0]]
    await names["generate_embeddings_for_chunks"](chunks, "acme", "ada", "c")
    assert await tokens_of(cache, "acme") == 14


async def test_block19_semantic_search(services: Services) -> None:
    names = namespace(services)
    await run(the("block19"), names)
    search = names["search_collection"]
    first = await search("what is it?", "c", "acme")
    assert first == [{"document_id": "d1", "score": 0.5}]
    first.clear()
    assert await search("what is it?", "c", "acme") == [{"document_id": "d1", "score": 0.5}]
    assert services.calls == ["search what is it?"]
    await search("what is it?", "c", "acme", top_k=1)
    await search("what is it?", "other", "acme")
    assert len(services.calls) == 3
    await CacheManager.invalidate("acme", collection_id="c")
    await search("what is it?", "other", "acme")
    assert len(services.calls) == 3
    await search("what is it?", "c", "acme")
    assert len(services.calls) == 4


def recorded(seen: list[Any]) -> Any:
    """`CacheManager.get` that keeps what it returns."""

    async def get(*args: Any, **kwargs: Any) -> Any:
        seen.append(await CacheManager.get(*args, **kwargs))
        return seen[-1]

    return get


async def tokens_of(cache: Any, tenant_id: str) -> int:
    """All tokens that the ledger has counted for a tenant."""
    return (await cache.ledger.totals(tenant_id)).used


def test_no_block_is_left_out() -> None:
    """Every block and part has a test here. (Reads the source, so it holds whatever tests are selected.)"""
    source = Path(__file__).read_text("utf-8")
    assert [name for name in BLOCKS if f'the("{name}")' not in source] == []
    assert len(blocks()) == 22
    assert blocks()[-1].number == 19
