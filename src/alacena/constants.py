"""The guide's constants: durations, sources, metrics, token types, operations, error codes.

Durations are whole seconds, as the guide's table gives them. ``TTL_PERMANENT`` is ``None``: it never expires.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

TTL_SHORT: Final = 300
TTL_STANDARD: Final = 3600
TTL_EXTENDED: Final = 86400
TTL_PERMANENT: Final = None

SOURCE_CACHE: Final = "cache"
SOURCE_SUPABASE: Final = "supabase"
SOURCE_GENERATION: Final = "generation"
SOURCE_STALE: Final = "stale"
SOURCE_NOT_FOUND: Final = "not_found"
SOURCE_MIXED: Final = "mixed"

METRIC_CACHE_HIT: Final = "cache_hit"
METRIC_CACHE_MISS: Final = "cache_miss"
METRIC_LATENCY: Final = "latency"
METRIC_CACHE_SIZE: Final = "cache_size"
METRIC_CACHE_INVALIDATION: Final = "cache_invalidation"
METRIC_CACHE_INVALIDATION_COORDINATED: Final = "cache_invalidation_coordinated"
METRIC_SERIALIZATION_ERROR: Final = "serialization_error"
METRIC_DESERIALIZATION_ERROR: Final = "deserialization_error"
METRIC_CHUNK_CACHE_HIT: Final = "chunk_cache_hit"
METRIC_CHUNK_CACHE_MISS: Final = "chunk_cache_miss"
METRIC_CHUNK_CACHE_INVALIDATION: Final = "chunk_cache_invalidation"
METRIC_CHUNK_EMBEDDING_GENERATION: Final = "chunk_embedding_generation"

TOKEN_TYPE_LLM: Final = "llm"  # noqa: S105 - a kind of usage; so are the next three
TOKEN_TYPE_EMBEDDING: Final = "embedding"  # noqa: S105
TOKEN_TYPE_FINE_TUNING: Final = "fine_tuning"  # noqa: S105
TOKEN_TYPE_TOKENIZATION: Final = "tokenization"  # noqa: S105

OPERATION_QUERY: Final = "query"
OPERATION_CHAT: Final = "chat"
OPERATION_SUMMARIZE: Final = "summarize"
OPERATION_VECTOR_SEARCH: Final = "vector_search"
OPERATION_GENERATION: Final = "generation"
OPERATION_CLASSIFICATION: Final = "classification"
OPERATION_EXTRACTION: Final = "extraction"
OPERATION_BATCH: Final = "batch"
OPERATION_INTERNAL: Final = "internal"
OPERATION_EMBEDDING: Final = "embedding"
OPERATION_AGENT_CHAT: Final = "agent_chat"
OPERATION_AGENT_RAG: Final = "agent_rag"
OPERATION_AGENT_FLOW: Final = "agent_flow"
OPERATION_AGENT_TOOL: Final = "agent_tool"
OPERATION_AGENT_MULTI: Final = "agent_multi"

ERROR_GENERAL: Final = "GENERAL_ERROR"
ERROR_NOT_FOUND: Final = "NOT_FOUND"
ERROR_VALIDATION: Final = "VALIDATION_ERROR"
ERROR_TENANT_REQUIRED: Final = "TENANT_REQUIRED"
ERROR_DATABASE: Final = "DATABASE_ERROR"
ERROR_CACHE: Final = "CACHE_ERROR"
ERROR_CONFIGURATION: Final = "CONFIGURATION_ERROR"

COMPONENT_PRIORITY_CORE: Final = 0
COMPONENT_PRIORITY_CONFIG: Final = 10
COMPONENT_PRIORITY_DB: Final = 20
COMPONENT_PRIORITY_CACHE: Final = 30
COMPONENT_PRIORITY_AUTH: Final = 40
COMPONENT_PRIORITY_ERROR: Final = 50
COMPONENT_PRIORITY_SERVICE: Final = 60
COMPONENT_PRIORITY_API: Final = 70

SYSTEM_TENANT_ID: Final = "system"
"""The reserved tenant of what belongs to nobody."""

NIL_TENANT_ID: Final = "00000000-0000-0000-0000-000000000000"
"""What databases put where no tenant was known: never a tenant."""

JOB_LOCK_PREFIX: Final = "job_lock"
JOB_LOCK_EXPIRY: Final = 600
INGESTION_QUEUE: Final = "ingestion_queue"
JOBS_QUEUE_KEY: Final = "ingestion:jobs"

DEFAULT_TTL_MAPPING: Final[Mapping[str, int | None]] = MappingProxyType(
    {
        "agent": TTL_STANDARD,
        "agent_config": TTL_STANDARD,
        "agent_execution_state": TTL_SHORT,
        "agent_response": TTL_SHORT,
        "agent_tools": TTL_STANDARD,
        "chunk": TTL_STANDARD,
        "collection_metadata": TTL_STANDARD,
        "configurations": TTL_STANDARD,
        "conversation": TTL_EXTENDED,
        "conversation_memory": TTL_EXTENDED,
        "conversation_message": TTL_EXTENDED,
        "conversation_messages_list": TTL_EXTENDED,
        "document": TTL_STANDARD,
        "embedding": TTL_EXTENDED,
        "embedding_batch": TTL_EXTENDED,
        "file": TTL_EXTENDED,
        "query_result": TTL_SHORT,
        "retrieval_cache": TTL_SHORT,
        "semantic_index": TTL_STANDARD,
        "vector_store": TTL_STANDARD,
    }
)
"""Seconds an entry of a data type lives where no ``ttl`` is given. Types that are not listed: ``TTL_STANDARD``."""
