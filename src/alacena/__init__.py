"""Alacena: a centralised, multi-tenant, multi-level asyncio cache: memory, then Redis or Valkey, then the source.

Two faces: the guide's dialect (`CacheManager`, `get_with_cache_aside`, `Context` ...) over one process-wide cache, and
the engine (`Cache`, `Tenant`, `Settings` ...), explicit and without globals. Names are imported at their first use.

The guide's constants are in `alacena.constants`, and may be imported from here too. So may the names of `_MORE`, which
are for code that already uses them. Type checkers read the types of all of them in ``__init__.pyi``.
"""

from importlib import import_module

__version__ = "0.2.0"

_PUBLIC = {
    "alacena.common.cache.decorator": "cached",
    "alacena.common.cache.helpers": """
        acquire_job_lock depends_on deserialize_from_cache generate_resource_id_hash get_embeddings_batch_with_cache
        get_with_cache_aside invalidate_chunk_cache invalidate_coordinated invalidate_document_update
        invalidate_resource_cache release_job_lock serialize_for_cache standardize_langchain_metadata
        standardize_llama_metadata
    """,
    "alacena.common.cache.manager": "CacheManager",
    "alacena.common.context": "Context get_current_tenant_id with_context",
    "alacena.common.db": "configure_supabase get_supabase_client",
    "alacena.common.install": "install_as_common",
    "alacena.common.runtime": "configure override",
    "alacena.common.tracking": "track_token_usage",
    "alacena.coordination.fences": "check_fence",
    "alacena.engine": """
        Cache Claim Keyring LoadContext Lookup Policy Scope Settings Tenant UNCHANGED collected register
        AlacenaError BackendError IdempotencyConflictError LimitExceededError LoadCancelledError LoadTimeoutError
        LockLostError LockTimeoutError MissingTenantError SettingsError TenantMismatchError
        BackendFailed Event FillRefused Invalidated LookupFinished Observer
    """,
}
"""What `__all__` names, by where it is defined."""

_MORE = {
    "alacena.common.cache.helpers": """
        add_cost deserialize_chunk_data estimate_object_size get_default_ttl_for_data_type serialize_chunk_data
        set_retry_after set_ttl skip track_cache_metrics track_chunk_cache_metrics
    """,
    "alacena.common.context": """
        get_current_agent_id get_current_collection_id get_current_conversation_id get_full_context reset_context
        set_current_agent_id set_current_collection_id set_current_conversation_id set_current_tenant_id
    """,
    "alacena.engine": """
        ArgumentError Authority BackendUnavailableError CacheClosedError CircularLoadError ClaimError CodecError
        CoordinationError
        CredentialProvider DecodeError EncodeError EntryRejected Environment
        InvalidKeyError ItemRejected LoadFailed LoadFinished MISSING MemorySwitched NotOwnerError OneShotValueError
        OutcomeUnknownError Reading Row SYSTEM_TENANT ServerFound ServerLost ServerReplyError Snapshot
        SystemEnvironment TtlOrUnset UNSET UnsafeServerError UnsharableValueError UsageError WrongLoopError
    """,
}
"""What can be imported from here too."""

_HOME_OF = {name: home for table in (_MORE, _PUBLIC) for home, names in table.items() for name in names.split()}

__all__ = [name for names in _PUBLIC.values() for name in names.split()]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None and name.isupper() and hasattr(import_module("alacena.constants"), name):
        home = "alacena.constants"
    if home is None:
        raise AttributeError(f"module 'alacena' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
