"""Embeddings of many texts: what is cached from the cache, the rest from the provider in one call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Final

from alacena.common import runtime
from alacena.common.cache.tenancy import Id, Permissions, scope_of
from alacena.common.context import Context
from alacena.common.core.constants import SOURCE_CACHE, SOURCE_GENERATION, SOURCE_MIXED
from alacena.common.runtime import PROCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_TYPE: Final = "embedding"


def embedding_id(text: str, model_name: str, *, revision: str | None = None, dimensions: int | None = None) -> str:
    """The resource id of a text's embedding: another one for another model, revision or number of dimensions."""
    return _embedding_ids((text,), model_name, revision, dimensions)[0]


def _embedding_ids(texts: Iterable[str], model_name: str, revision: str | None, dimensions: int | None) -> list[str]:
    """The digest of what tells an embedding from the others, as a JSON list, behind the model's name."""
    shared = json.dumps([model_name, revision, dimensions], separators=(",", ":"))[:-1]
    try:
        return [f"{model_name}:{sha256(f'{shared},{quoted(text)}]'.encode()).hexdigest()}" for text in texts]
    except TypeError as error:
        msg = "texts is a list of strings: something else is among them"
        raise TypeError(msg) from error


async def get_embeddings_batch_with_cache(
    texts: Sequence[str],
    tenant_id: str | None,
    model_name: str,
    embedding_provider: Callable[[list[str]], Any],
    agent_id: Id = None,
    conversation_id: Id = None,
    collection_id: Id = None,
    ctx: Context | None = None,
    *,
    revision: str | None = None,
    dimensions: int | None = None,
    as_arrays: bool = False,
    user_id: Id = None,
    permissions: Permissions = None,
) -> tuple[list[Any], dict[str, Any]]:
    """The embeddings of texts, in their order. Each distinct text is embedded once and kept for the next time.

    Embeddings are kept as float32 where numpy is installed, and come out the same whether they were cached or not.

    Args:
        texts: The texts; repeated ones cost nothing.
        tenant_id: Whose; ``None``: the tenant of ``ctx``, else the ambient one. All that are named must agree.
        model_name: The model; part of what identifies an embedding.
        embedding_provider: Called once, with the list of the texts that are not cached; sync or async. Returns one
            embedding for each, in their order; ``None`` in the place of one that it could not make. It may return a
            dict with them under ``"embeddings"``.
        agent_id: Keep them as the agent's own. The same holds for the next two.
        conversation_id: Keep them as the conversation's own.
        collection_id: Keep them as the collection's own.
        ctx: The context that the call works in.
        revision: The model's revision, where a name is used for several.
        dimensions: The number of dimensions asked for, where the model offers several.
        user_id: Keep them as the user's own.
        permissions: Keep them for this set of permissions.
        as_arrays: Return float32 arrays, read-only, instead of lists: no conversion, about a hundredth of the time.

    Returns:
        The embeddings, and a dict with ``source`` (``"cache"``, ``"generation"`` or ``"mixed"``), ``data_type``,
        ``texts_count``, ``cache_hits``, ``cache_misses`` (in texts, repeated ones included), ``total_time_ms``,
        ``generation_time_ms``; ``partial_results`` and ``missing`` (positions) where the provider left some out.

    Raises:
        ValueError: The provider returned another number of embeddings than it was given texts.
        Exception: What the provider raises, as it is.

    Cost: at most 1 round trip a node for what is cached; the provider's answer is stored behind.
    If Redis fails: the provider answers for all, and nothing that it was paid for is lost.
    """
    started = PROCESS.now()
    scope = scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions, ctx=ctx)
    ids = _embedding_ids(texts, model_name, revision, dimensions)
    provider = _Provider(embedding_provider, dict(zip(ids, texts, strict=True)), scope.tenant_id)
    found: Mapping[str, Any] = {}
    if ids:
        cache = await runtime.opened()
        found = await cache.load_many(_TYPE, tuple(dict.fromkeys(ids)), scope, provider)
    embeddings = [found.get(one) for one in ids]
    if not as_arrays:
        embeddings = [one if one is None or isinstance(one, list) else one.tolist() for one in embeddings]
    misses = sum(one in provider.asked for one in ids) if provider.asked else 0
    metrics: dict[str, Any] = {
        "source": SOURCE_CACHE if not misses else SOURCE_GENERATION if misses == len(ids) else SOURCE_MIXED,
        "data_type": "embedding_batch",
        "texts_count": len(ids),
        "cache_hits": len(ids) - misses,
        "cache_misses": misses,
        "generation_time_ms": provider.spent_ms,
        "total_time_ms": (PROCESS.now() - started) * 1000.0,
    }
    missing = [index for index, embedding in enumerate(embeddings) if embedding is None]
    if missing:
        metrics |= {"partial_results": True, "missing": missing}
    return embeddings, metrics


class _Provider:
    """Calls the embedding provider for the ids that are missing, and remembers which ones these were."""

    def __init__(self, provider: Callable[[list[str]], Any], texts: dict[str, str], tenant_id: str) -> None:
        self._provider = provider
        self._texts = texts
        self._tenant_id = tenant_id
        self.asked: set[str] = set()
        self.spent_ms = 0.0

    async def __call__(self, ids: Sequence[str]) -> dict[str, Any]:
        """The embeddings by id; without those that the provider left out."""
        self.asked.update(ids)
        started = PROCESS.now()
        with Context(self._tenant_id):
            answer = self._provider([self._texts[one] for one in ids])
            if inspect.isawaitable(answer):
                answer = await answer
        self.spent_ms += (PROCESS.now() - started) * 1000.0
        made = list(answer["embeddings"] if isinstance(answer, Mapping) else answer)
        if len(made) != len(ids):
            msg = (
                f"the embedding provider got {len(ids)} texts and returned {len(made)} embeddings: return one for each "
                "in their order, None for those it could not make"
            )
            raise ValueError(msg)
        return {one: _kept(embedding) for one, embedding in zip(ids, made, strict=True) if embedding is not None}


def _kept(embedding: Any) -> Any:
    """An embedding as it is stored: a float32 array nobody writes to; without numpy, a list."""
    try:
        import numpy as np
    except ImportError:
        return list(embedding)
    array = np.array(embedding, dtype=np.float32)
    array.setflags(write=False)
    return array
