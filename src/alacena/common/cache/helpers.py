"""The guide's helpers under the path where its code imports them from."""

from alacena.common.cache.aside import get_with_cache_aside
from alacena.common.cache.embeddings import embedding_id, get_embeddings_batch_with_cache
from alacena.common.cache.hashing import generate_resource_id_hash
from alacena.common.cache.invalidation import (
    invalidate_chunk_cache,
    invalidate_coordinated,
    invalidate_document_update,
    invalidate_resource_cache,
)
from alacena.common.cache.jobs import acquire_job_lock, release_job_lock
from alacena.common.cache.metadata import standardize_langchain_metadata, standardize_llama_metadata
from alacena.common.cache.metrics import METRICS, track_cache_metrics, track_chunk_cache_metrics
from alacena.common.cache.serialization import (
    deserialize_chunk_data,
    deserialize_from_cache,
    estimate_object_size,
    get_default_ttl_for_data_type,
    serialize_chunk_data,
    serialize_for_cache,
)
from alacena.common.cache.source_functions import add_cost, depends_on, set_retry_after, set_ttl, skip
from alacena.engine import collected

__all__ = [
    "METRICS",
    "acquire_job_lock",
    "add_cost",
    "collected",
    "depends_on",
    "deserialize_chunk_data",
    "deserialize_from_cache",
    "embedding_id",
    "estimate_object_size",
    "generate_resource_id_hash",
    "get_default_ttl_for_data_type",
    "get_embeddings_batch_with_cache",
    "get_with_cache_aside",
    "invalidate_chunk_cache",
    "invalidate_coordinated",
    "invalidate_document_update",
    "invalidate_resource_cache",
    "release_job_lock",
    "serialize_chunk_data",
    "serialize_for_cache",
    "set_retry_after",
    "set_ttl",
    "skip",
    "standardize_langchain_metadata",
    "standardize_llama_metadata",
    "track_cache_metrics",
    "track_chunk_cache_metrics",
]
