"""The shapes in which services call what the guide's package offers, each as it is written there."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest

from alacena import (
    CacheManager,
    Context,
    deserialize_from_cache,
    estimate_object_size,
    generate_resource_id_hash,
    get_default_ttl_for_data_type,
    get_with_cache_aside,
    install_as_common,
    serialize_for_cache,
    standardize_langchain_metadata,
    standardize_llama_metadata,
)
from alacena.common.cache import deserialize_chunk_data, serialize_chunk_data
from alacena.common.context import get_full_context, set_current_tenant_id, with_context
from alacena.common.core import constants

if TYPE_CHECKING:
    from alacena.engine import Cache

pytestmark = pytest.mark.usefixtures("cache")

MANAGER = CacheManager.get_instance()

CONSTANTS = {
    "TTL_SHORT": 300,
    "TTL_STANDARD": 3600,
    "TTL_EXTENDED": 86400,
    "TTL_PERMANENT": None,
    "SOURCE_CACHE": "cache",
    "SOURCE_SUPABASE": "supabase",
    "SOURCE_GENERATION": "generation",
    "METRIC_CACHE_HIT": "cache_hit",
    "METRIC_CACHE_MISS": "cache_miss",
    "METRIC_LATENCY": "latency",
    "METRIC_CACHE_SIZE": "cache_size",
    "METRIC_CACHE_INVALIDATION": "cache_invalidation",
    "METRIC_CACHE_INVALIDATION_COORDINATED": "cache_invalidation_coordinated",
    "METRIC_SERIALIZATION_ERROR": "serialization_error",
    "METRIC_DESERIALIZATION_ERROR": "deserialization_error",
    "METRIC_CHUNK_CACHE_HIT": "chunk_cache_hit",
    "METRIC_CHUNK_CACHE_MISS": "chunk_cache_miss",
    "METRIC_CHUNK_CACHE_INVALIDATION": "chunk_cache_invalidation",
    "METRIC_CHUNK_EMBEDDING_GENERATION": "chunk_embedding_generation",
    "TOKEN_TYPE_LLM": "llm",
    "TOKEN_TYPE_EMBEDDING": "embedding",
    "TOKEN_TYPE_FINE_TUNING": "fine_tuning",
    "TOKEN_TYPE_TOKENIZATION": "tokenization",
    "OPERATION_QUERY": "query",
    "OPERATION_CHAT": "chat",
    "OPERATION_SUMMARIZE": "summarize",
    "OPERATION_VECTOR_SEARCH": "vector_search",
    "OPERATION_GENERATION": "generation",
    "OPERATION_CLASSIFICATION": "classification",
    "OPERATION_EXTRACTION": "extraction",
    "OPERATION_BATCH": "batch",
    "OPERATION_INTERNAL": "internal",
    "OPERATION_EMBEDDING": "embedding",
    "OPERATION_AGENT_CHAT": "agent_chat",
    "OPERATION_AGENT_RAG": "agent_rag",
    "OPERATION_AGENT_FLOW": "agent_flow",
    "OPERATION_AGENT_TOOL": "agent_tool",
    "OPERATION_AGENT_MULTI": "agent_multi",
    "ERROR_GENERAL": "GENERAL_ERROR",
    "ERROR_NOT_FOUND": "NOT_FOUND",
    "ERROR_VALIDATION": "VALIDATION_ERROR",
    "ERROR_TENANT_REQUIRED": "TENANT_REQUIRED",
    "ERROR_DATABASE": "DATABASE_ERROR",
    "ERROR_CACHE": "CACHE_ERROR",
    "ERROR_CONFIGURATION": "CONFIGURATION_ERROR",
    "COMPONENT_PRIORITY_CORE": 0,
    "COMPONENT_PRIORITY_CONFIG": 10,
    "COMPONENT_PRIORITY_DB": 20,
    "COMPONENT_PRIORITY_CACHE": 30,
    "COMPONENT_PRIORITY_AUTH": 40,
    "COMPONENT_PRIORITY_ERROR": 50,
    "COMPONENT_PRIORITY_SERVICE": 60,
    "COMPONENT_PRIORITY_API": 70,
}

TTLS = {
    "embedding": 86400,
    "vector_store": 3600,
    "query_result": 300,
    "agent_config": 3600,
    "retrieval_cache": 300,
    "semantic_index": 3600,
    "embedding_batch": 86400,
    "document": 3600,
    "file": 86400,
    "agent": 3600,
    "agent_tools": 3600,
    "collection_metadata": 3600,
    "conversation": 86400,
    "conversation_memory": 86400,
    "conversation_message": 86400,
    "conversation_messages_list": 86400,
    "agent_execution_state": 300,
    "whatever": 3600,
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_have_their_values(name: str) -> None:
    assert getattr(constants, name) == CONSTANTS[name]
    assert type(getattr(constants, name)) is type(CONSTANTS[name])


@pytest.mark.parametrize("data_type", TTLS)
def test_types_have_their_ttls(data_type: str) -> None:
    assert get_default_ttl_for_data_type(data_type) == TTLS[data_type]


async def test_get_by_keyword_with_every_argument_of_the_callers() -> None:
    value = await CacheManager.get(
        tenant_id="t",
        data_type="conversation",
        resource_id="c",
        agent_id="a",
        conversation_id="v",
        collection_id=None,
        use_memory=False,
        search_hierarchy=True,
    )
    assert value is None
    assert int(await CacheManager.get(data_type="rate_limit", resource_id="m", tenant_id="t") or 0) == 0


async def test_lists_read_with_or_are_private_to_the_caller() -> None:
    messages = await CacheManager.get(data_type="messages", resource_id="c", tenant_id="t") or []
    messages.append({"role": "user"})
    await CacheManager.set(data_type="messages", resource_id="c", value=messages, tenant_id="t", ttl=24 * 60 * 60)
    messages.append("not saved")
    assert await CacheManager.get(data_type="messages", resource_id="c", tenant_id="t") == [{"role": "user"}]


async def test_what_belongs_to_nobody_is_the_system_tenants() -> None:
    await CacheManager.set(data_type="health", resource_id="ping", value=True, tenant_id="system", ttl=10)
    assert await CacheManager.get(data_type="health", resource_id="ping", tenant_id="system") is True
    await CacheManager.delete(data_type="health", resource_id="ping", tenant_id="system")


async def test_ttl_answers_as_redis_does() -> None:
    await CacheManager.set("rate_limit", "m", 1, "t", ttl=60)
    ttl = await CacheManager.ttl(data_type="rate_limit", resource_id="m", tenant_id="t")
    assert type(ttl) is int
    assert 0 < ttl <= 60
    assert await CacheManager.ttl(data_type="rate_limit", resource_id="none", tenant_id="t") == -2


async def test_messages_are_pushed_read_and_dropped_as_the_memory_service_does() -> None:
    name = "t:conversation:messages"
    await MANAGER.rpush(list_name=name, value={"role": "user", "n": 1}, tenant_id="t")
    await MANAGER.rpush(list_name=name, value={"role": "agent", "n": 2}, tenant_id="t")
    found = await MANAGER.lrange(list_name=name, start=0, end=-1, tenant_id="t")
    assert [message["n"] for message in found] == [1, 2]
    assert await MANAGER.delete(key=name, tenant_id="t") is True
    assert await MANAGER.lrange(list_name=name, start=0, end=-1, tenant_id="t") == []


async def test_a_queue_pushed_with_a_tenant_is_popped_in_its_context() -> None:
    await MANAGER.rpush(list_name="ingestion_queue", value={"job_id": "j"}, tenant_id="t")
    async with Context("t"):
        assert await MANAGER.lpop(list_name="ingestion_queue") == {"job_id": "j"}


async def test_metrics_of_a_read_go_into_the_context() -> None:
    async def load(resource_id: str, tenant_id: str, ctx: Context | None = None) -> dict[str, Any]:
        assert ctx is context
        return {"id": resource_id}

    context = Context("t", "a")
    async with context:
        value, metrics = await get_with_cache_aside(
            data_type="agent_config", resource_id="a", tenant_id="t", fetch_from_db_func=load, agent_id="a", ctx=context
        )
        context.add_metric("cache", metrics)
    assert value == {"id": "a"}
    assert context.metrics["cache"][0]["source"] == "supabase"
    assert json.loads(json.dumps(metrics)) == metrics


async def test_bound_methods_of_services_are_sources(cache: Cache) -> None:
    class Service:
        def __init__(self) -> None:
            self.calls = 0

        async def _load(self, resource_id: str, tenant_id: str) -> str:
            self.calls += 1
            return f"{tenant_id}/{resource_id}"

        def _create_empty_memory(self) -> dict[str, Any]:
            return {"messages": []}

        async def read(self, resource_id: str) -> Any:
            value, _ = await get_with_cache_aside(
                "memory", resource_id, "t", self._load, self._create_empty_memory, ttl=CacheManager.ttl_extended
            )
            return value

    service = Service()
    assert [await service.read("r"), await service.read("r")] == ["t/r", "t/r"]
    assert service.calls == 1


def test_values_are_serialized_with_and_without_a_type() -> None:
    row = {"id": 1, "tags": ["a"]}
    for args in ((), ("query_result",), ("vector_store",)):
        assert deserialize_from_cache(serialize_for_cache(row, *args), *args) == row
    assert estimate_object_size(row) > 0


def test_chunks_are_completed_and_come_back_with_both_names() -> None:
    chunk = {"id": "c1", "text": "x", "model": "ada", "document_id": "d"}
    whole = serialize_chunk_data(chunk)
    assert chunk == {"id": "c1", "text": "x", "model": "ada", "document_id": "d"}
    assert (whole["chunk_id"], whole["embedding_model"], whole["tenant_id"], whole["collection_id"]) == (
        "c1",
        "ada",
        None,
        None,
    )
    assert type(whole["embedding_timestamp"]) is int
    stored = {"chunk_id": "c1", "embedding_model": "ada", "embedding": "[1.0, 2.0]"}
    assert deserialize_chunk_data(stored) == {**stored, "embedding": [1.0, 2.0], "id": "c1", "model": "ada"}
    again = deserialize_from_cache(serialize_for_cache(chunk, "chunk"), "chunk")
    assert (again["id"], again["model"], again["chunk_id"]) == ("c1", "ada", "c1")


def test_metadata_callers_pass_agents_and_conversations() -> None:
    ctx = Context("t")
    assert standardize_llama_metadata(metadata={}, tenant_id="t", agent_id="a", conversation_id="v", ctx=ctx)[
        "agent_id"
    ]
    standard = standardize_langchain_metadata(
        metadata={}, tenant_id="t", agent_id="a", conversation_id="v", collection_id="c", ctx=ctx
    )
    assert standard["source_framework"] == "langchain"


def test_hashes_name_files_queries_and_texts() -> None:
    ids = {generate_resource_id_hash(text) for text in ("folder/file.pdf", "query:c:5", "text")}
    assert len(ids) == 3
    assert all(len(one) == 64 for one in ids)


def test_the_current_tenant_is_set_read_and_listed() -> None:
    token = set_current_tenant_id("t")
    assert get_full_context()["tenant_id"] == "t"
    from alacena.common.context import reset_context

    reset_context(token, "tenant_id")
    assert get_full_context()["tenant_id"] is None


def test_every_combination_of_flags_decorates() -> None:
    for flags in (
        {},
        {"tenant": True},
        {"tenant": True, "validate_tenant": True},
        {"tenant": True, "collection": True},
        {"tenant": True, "agent": True, "conversation": True},
        {"tenant": False},
        {"validate_tenant": False},
        {"tenant": True, "collection": True, "agent": True, "conversation": True},
        {"user": True},
    ):

        @with_context(**flags)
        async def work(ctx: Context | None = None) -> None:
            """Do it."""

        assert work.__doc__ == "Do it."
        assert "ctx" in inspect.signature(work).parameters


async def test_code_written_for_common_runs_unchanged() -> None:
    install_as_common()
    install_as_common()
    names: dict[str, Any] = {}
    exec(
        "from common.cache import CacheManager, get_with_cache_aside\n"
        "from common.cache.manager import CacheManager as Manager\n"
        "from common.cache.helpers import standardize_llama_metadata\n"
        "from common.context import Context, with_context\n"
        "from common.context.vars import get_current_tenant_id\n"
        "from common.core.constants import TTL_SHORT\n"
        "from common.tracking import track_token_usage, TOKEN_TYPE_EMBEDDING, OPERATION_EMBEDDING\n"
        "import common.cache.helpers as helpers\n",
        names,
    )
    assert names["CacheManager"] is CacheManager
    assert names["Manager"] is CacheManager
    assert names["Context"] is Context
