"""The guide's dialect: one process-wide cache, an ambient tenant, and the habits of RAG services.

::

    from alacena.common.cache import CacheManager, get_with_cache_aside
    from alacena.common.context import Context, with_context
    from alacena.common.tracking import track_token_usage

`alacena.common.install.install_as_common` makes the same modules importable as ``common``.
"""
