"""LangChain: cached embeddings, the cache of models, a byte store, and usage in the ledger.

The middleware of agents is in `alacena.integrations.langchain_agents`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alacena.common.tracking import OPERATION_GENERATION, TOKEN_TYPE_LLM
from alacena.engine import UNSET, Cache, TtlOrUnset, UsageError
from alacena.engine.base.arguments import list_of
from alacena.integrations.adapter_store import AdapterStore
from alacena.integrations.ambient_scope import digest, reader_scope, tenant_scope
from alacena.integrations.bridge import Access, Bridge
from alacena.integrations.cached_vectors import CachedVectors
from alacena.integrations.finish_reasons import is_whole
from alacena.integrations.get_then_set import GetThenSet
from alacena.integrations.requirement import require_extra
from alacena.integrations.usage import read_usage

with require_extra("alacena.integrations.langchain", "langchain", ("langchain-core", "1.8", "2")):
    from langchain_core._api import suppress_langchain_beta_warning
    from langchain_core.caches import BaseCache
    from langchain_core.callbacks import AsyncCallbackHandler
    from langchain_core.embeddings import Embeddings
    from langchain_core.load import dumps, loads
    from langchain_core.messages import (
        AIMessage,
        AIMessageChunk,
        HumanMessage,
        HumanMessageChunk,
        SystemMessage,
        SystemMessageChunk,
        ToolMessage,
        ToolMessageChunk,
    )
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk, LLMResult
    from langchain_core.stores import BaseStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from uuid import UUID

    from langchain_core.load.serializable import Serializable

_ALLOWED: Final[tuple[type[Serializable], ...]] = (
    AIMessage,
    AIMessageChunk,
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)
_USAGE_ELSEWHERE: Final = ("token_usage", "usage", "usage_metadata")

CACHED: Final = "alacena"
"""The key under which ``response_metadata`` of an answer from the cache says so, with the usage that it once had."""


def is_cached(message: object) -> bool:
    """Returns whether a message was answered from the cache: its tokens are counted already."""
    return CACHED in (getattr(message, "response_metadata", None) or {})


def mark_cached(message: Any) -> Any:
    """Returns a copy of a message without usage: it says that it comes from the cache, and its price then.

    Its id is gone too, since a message with the id of an earlier one would replace that one in an agent's state.
    """
    if not isinstance(message, AIMessage):
        return message
    metadata = dict(message.response_metadata)
    once = {name: metadata.pop(name) for name in _USAGE_ELSEWHERE if name in metadata}
    metadata[CACHED] = {"cached": True, "usage": message.usage_metadata, **once}
    nothing = None
    if message.usage_metadata is not None:
        nothing = UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)
    return message.model_copy(update={"id": None, "usage_metadata": nothing, "response_metadata": metadata})


def without_usage(message: Any) -> Any:
    """Returns a copy of a message without id, usage and mark: equal whether a model or the cache gave it."""
    ours = (*_USAGE_ELSEWHERE, CACHED)
    metadata = {name: value for name, value in message.response_metadata.items() if name not in ours}
    changes = {"id": None, "response_metadata": metadata}
    return message.model_copy(update=changes | ({"usage_metadata": None} if isinstance(message, AIMessage) else {}))


def dump_objects(objects: Any, allowed: Iterable[type[Serializable]] = ()) -> bytes | None:
    """Returns messages or generations as bytes, or ``None`` if they could not be read back."""
    text = dumps(objects)
    try:
        load_objects(text.encode(), allowed)
    except (ValueError, TypeError, NotImplementedError):
        return None
    return text.encode()


def load_objects(stored: bytes, allowed: Iterable[type[Serializable]] = ()) -> Any:
    """Returns the objects that `dump_objects` stored, anew at each call; only messages, generations and ``allowed`` are made.

    Raises:
        ValueError: Something else is in it.
    """
    # LangChain warns at each load that it is beta: an error in programs that turn warnings into errors.
    with suppress_langchain_beta_warning():
        return loads(stored.decode(), allowed_objects=(*_ALLOWED, *allowed))


class LangChainCache(BaseCache):
    """The cache of LangChain's models, for `set_llm_cache` or a model's ``cache=``, apart for each tenant and user.

    The tenant and the user are the ambient ones. A hit is a copy that carries no usage, see `is_cached`. Equal calls at the
    same time are one call, here and in other processes: the first claims the entry, and the others have its answer, or
    call if it fails. The answer of a call that began before an invalidation of its tenant or type is not kept.
    ``stream`` never asks it, since LangChain does not: `CachedModelCalls` of `alacena.integrations.langchain_agents` and
    `CachingTransport` answer that too.

    Args:
        cache: An open cache, or a started `Bridge`, which sync calls need; ``None``: the process-wide cache.
        ttl: Seconds that an answer stays fresh; left out: the type's; ``None``: for ever.
        data_type: The type that its entries have.
        allowed: Classes besides LangChain's messages and generations that answers may hold.
    """

    def __init__(
        self,
        cache: Cache | Bridge | None = None,
        *,
        ttl: TtlOrUnset = UNSET,
        data_type: str = "langchain_llm",
        allowed: Iterable[type[Serializable]] = (),
    ) -> None:
        self._access = Access(cache)
        self._steps = GetThenSet(self._access, data_type)
        self._ttl = ttl
        self._data_type = data_type
        self._allowed = tuple(list_of(allowed, "allowed", "classes"))

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """Returns the generations of an earlier call of the same tenant and user, or ``None``."""
        name = digest(prompt, llm_string)
        return self._read((await self._steps.look([name], reader_scope())).get(name))

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Keeps the generations of a call, if they are whole and LangChain can write them and read them back."""
        name, written = digest(prompt, llm_string), self._write(return_val)
        if written is None:
            self._steps.forget(name, reader_scope())
        else:
            await self._steps.store(name, written, reader_scope(), ttl=self._ttl)

    async def aclear(self, **kwargs: Any) -> None:  # noqa: ARG002 - LangChain's signature
        """Ends all entries of this cache's type of the ambient tenant, of every user. No other tenant's."""
        await self._access.call(lambda cache: cache.invalidate(tenant_scope(), self._data_type))

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """As `alookup`, over a bridge."""
        name = digest(prompt, llm_string)
        return self._read(self._steps.look_now([name], reader_scope(), "LangChainCache.lookup").get(name))

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """As `aupdate`, over a bridge."""
        name, written = digest(prompt, llm_string), self._write(return_val)
        if written is None:
            self._steps.forget(name, reader_scope())
        else:
            self._steps.store_now(name, written, reader_scope(), "LangChainCache.update", ttl=self._ttl)

    def clear(self, **kwargs: Any) -> None:  # noqa: ARG002 - LangChain's signature
        """As `aclear`, over a bridge."""
        scope = tenant_scope()
        self._access.call_now(lambda cache: cache.invalidate(scope, self._data_type), "LangChainCache.clear")

    def _write(self, generations: Sequence[Generation]) -> bytes | None:
        # An answer that was cut short, or says nothing, is for its own caller: another call may do better.
        return dump_objects(list(generations), self._allowed) if all(map(is_whole, generations)) else None

    def _read(self, stored: bytes | None) -> list[Generation] | None:
        if stored is None:
            return None
        try:
            # A list and no other sequence: LangChain takes anything else for a miss.
            generations: list[Generation] = load_objects(stored, self._allowed)
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError):
            # of another version, of an allow-list that has become shorter, or none of ours
            return None
        if not isinstance(generations, list) or not all(isinstance(one, Generation) for one in generations):
            return None
        for generation in generations:
            if isinstance(generation, ChatGeneration):
                # Made anew at each load, so it may be changed: LangChain itself changes the hits of chat models.
                generation.message = mark_cached(generation.message)
        return generations


class CachedEmbeddings(Embeddings):
    """Embeddings that are kept by text, model and use: a query's and a passage's are apart, though their text is equal.

    Each distinct text of a call is embedded once, all that are missing in one call of the model; equal texts that are
    asked for at the same time are embedded once too. Vectors are kept as float32 if numpy is installed.

    Args:
        embeddings: The model's own.
        model: Its name, part of a vector's name; left out: its ``model`` or ``model_name``.
        cache: As for `LangChainCache`.
        revision: The model's revision, if a name is used for several.
        dimensions: The number of dimensions asked for; left out: its ``dimensions``.

    Raises:
        ValueError: The model has no name, and none is given.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        model: str | None = None,
        *,
        cache: Cache | Bridge | None = None,
        revision: str | None = None,
        dimensions: int | None = None,
    ) -> None:
        self.embeddings = embeddings
        self._vectors = CachedVectors.of(embeddings, model, Access(cache), revision, dimensions)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Returns the vectors of passages, in their order."""
        return await self._vectors.get("passage", texts, self.embeddings.aembed_documents)

    async def aembed_query(self, text: str) -> list[float]:
        """Returns the vector of a query."""

        async def source(texts: list[str]) -> list[list[float]]:
            return [await self.embeddings.aembed_query(one) for one in texts]

        return (await self._vectors.get("query", [text], source))[0]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `aembed_documents`, over a bridge."""
        return self._vectors.get_now(
            "passage", texts, self.embeddings.embed_documents, "CachedEmbeddings.embed_documents"
        )

    def embed_query(self, text: str) -> list[float]:
        """As `aembed_query`, over a bridge."""

        def source(texts: list[str]) -> list[list[float]]:
            return [self.embeddings.embed_query(one) for one in texts]

        return self._vectors.get_now("query", [text], source, "CachedEmbeddings.embed_query")[0]


class CachedByteStore(BaseStore[str, bytes]):
    """A `ByteStore` of values that may be forgotten: for values that can be made again, never as the only place of anything.

    Keys are apart for each ambient tenant. Keys are not listed, as a cache does not know them. A get that finds nothing
    is taken to be followed by a set of the new value, as `CacheBackedEmbeddings` does: equal gets at one time wait for
    the first one's set, so that it is made once, and a set after a get that began before an invalidation is not kept. A value
    that was not asked for before is stored as the caller's own word.

    Args:
        namespace: Keeps its keys apart from those of other stores.
        cache: As for `LangChainCache`.
        ttl: Seconds that a value lives; left out: the type's; ``None``: for ever.
        data_type: The type that its entries have.
        fills: ``False``: no get is waited for, and every set is the caller's own word; for code to which a miss is an
            answer.
    """

    def __init__(
        self,
        namespace: str,
        cache: Cache | Bridge | None = None,
        *,
        ttl: TtlOrUnset = UNSET,
        data_type: str = "langchain_bytes",
        fills: bool = True,
    ) -> None:
        self._store = AdapterStore(namespace, cache, data_type=data_type, ttl=ttl, fills=fills, scope=tenant_scope)

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Returns the values in the order of the keys, ``None`` for missing ones."""
        return await self._store.get([(key,) for key in keys])

    async def amset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Stores values."""
        await self._store.set({(key,): value for key, value in key_value_pairs})

    async def amdelete(self, keys: Sequence[str]) -> None:
        """Removes values."""
        await self._store.delete([(key,) for key in keys])

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """As `amget`, over a bridge."""
        return self._store.get_now([(key,) for key in keys], "CachedByteStore.mget")

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """As `amset`, over a bridge."""
        self._store.set_now({(key,): value for key, value in key_value_pairs}, "CachedByteStore.mset")

    def mdelete(self, keys: Sequence[str]) -> None:
        """As `amdelete`, over a bridge."""
        self._store.delete_now([(key,) for key in keys], "CachedByteStore.mdelete")

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:  # noqa: ARG002 - LangChain's signature
        """Refuses: a cache does not know its keys. Raises: `UsageError`."""
        raise UsageError("a cache does not list its keys: keep the list where the values come from")

    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        """Refuses, as `yield_keys` does. Raises: `UsageError`."""
        for key in self.yield_keys(prefix=prefix):
            yield key


class LedgerCallback(AsyncCallbackHandler):
    """Counts the tokens of model calls in the token ledger, for the ambient tenant; those of cached answers as saved.

    One run of a model counts once. For sync models it needs a `Bridge`; a failure is logged by LangChain and fails no run.

    Args:
        cache: As for `LangChainCache`.
        operation: The purpose of the tokens.
    """

    def __init__(self, cache: Cache | Bridge | None = None, *, operation: str = OPERATION_GENERATION) -> None:
        self._access = Access(cache)
        self._operation = operation

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """Counts the usage of a run that ended."""
        tenant_id = tenant_scope().tenant_id
        for prompt, generations in enumerate(response.generations):
            for position, generation in enumerate(generations):
                message = getattr(generation, "message", None)
                if isinstance(message, AIMessage):
                    await self._record(tenant_id, message, f"langchain:{run_id}:{prompt}:{position}")

    async def _record(self, tenant_id: str, message: AIMessage, key: str) -> None:
        saved = is_cached(message)
        usage = message.response_metadata[CACHED]["usage"] if saved else message.usage_metadata
        if not usage:
            return
        model = message.response_metadata.get("model_name") or message.response_metadata.get("model") or "unknown"
        counts = read_usage(usage)
        await self._access.call(
            lambda cache: cache.ledger.record(
                tenant_id,
                usage["total_tokens"],
                model=str(model),
                token_type=TOKEN_TYPE_LLM,
                operation=self._operation,
                parts=None if counts is None else counts.parts,
                idempotency_key=key,
                saved=saved,
            )
        )
