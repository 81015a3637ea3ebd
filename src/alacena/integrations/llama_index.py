"""LlamaIndex: transformations cached a node at a time, cached embeddings, and a key-value store.

`standardize_llama_metadata` of `alacena.common.cache` is applied to nodes by `StandardMetadata`.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from alacena.common.cache import standardize_llama_metadata
from alacena.engine import UNSET, Cache, TtlOrUnset, UsageError
from alacena.engine.base.arguments import list_of
from alacena.integrations.adapter_store import AdapterStore
from alacena.integrations.ambient_scope import digest, reader_scope, tenant_scope
from alacena.integrations.bridge import Access, Bridge
from alacena.integrations.cached_vectors import CachedVectors
from alacena.integrations.node_identity import Maker
from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.llama_index", "llama-index", ("llama-index-core", "0.14.25", "0.15")):
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.extractors import BaseExtractor
    from llama_index.core.schema import BaseNode, MetadataMode, TransformComponent
    from llama_index.core.storage.docstore.utils import doc_to_json
    from llama_index.core.storage.kvstore.types import DEFAULT_BATCH_SIZE, DEFAULT_COLLECTION, BaseKVStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from alacena.integrations.bridge import Ask


class CachedTransform(TransformComponent):
    """A transformation that keeps its outcome for each node, by its content: a changed node is transformed alone.

    ::

        IngestionPipeline(transformations=[CachedTransform(SentenceSplitter()), CachedTransform(TitleExtractor())])

    A kept outcome is given back with the ids and the source of the node that asks: two documents with one text have nodes of
    their own. Equal nodes that are asked for at one time are transformed once. The entry ends with the document that it was
    made from. Nodes are given to the transformation one at a time, unless it makes one node of each; so its outcome for a
    node must not depend on the nodes beside it.

    Args:
        transform: The transformation.
        cache: An open cache, or a started `Bridge`, which ``run`` and a plain call need; ``None``: the process-wide one.
        version: Names all that the transformation's own settings do not tell, such as the model behind a function.
        ignored_metadata: Fields of the metadata that make no difference, such as the file's time: they are the asking
            node's, and are not shown to the transformation.
        ttl: Seconds that an outcome stays fresh; left out: the type's; ``None``: for ever.
        data_type: The type that its entries have.
    """

    transform: TransformComponent
    version: str = ""
    ignored_metadata: tuple[str, ...] = ()
    data_type: str = "llama_node"
    _access: Access = PrivateAttr()
    _ttl: TtlOrUnset = PrivateAttr()

    def __init__(
        self,
        transform: TransformComponent,
        cache: Cache | Bridge | None = None,
        *,
        version: str = "",
        ignored_metadata: Sequence[str] = (),
        ttl: TtlOrUnset = UNSET,
        data_type: str = "llama_node",
    ) -> None:
        fields: dict[str, Any] = {
            "version": version,
            "ignored_metadata": tuple(list_of(ignored_metadata, "ignored_metadata", "names of fields")),
        }
        super().__init__(**fields, transform=transform, data_type=data_type)  # type: ignore[call-arg]
        self._access = Access(cache)
        self._ttl = ttl

    @classmethod
    def class_name(cls) -> str:
        """Returns the name under which LlamaIndex knows the class."""
        return "CachedTransform"

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Transforms nodes."""
        batch = _NodeBatch(self, nodes, kwargs)

        async def source(ids: Sequence[str]) -> dict[str, Any]:
            made: dict[str, Any] = {}
            for group in batch.groups(ids):
                made |= batch.keep(group, await self.transform.acall(batch.copy_nodes(group), **kwargs))
            return made

        # One load for each document: all that a load brings ends with the documents that are named for it.
        loads = [self._access.load(source, self._verb(ids, one)) for one, ids in batch.by_document().items()]
        kept: dict[str, Any] = {}
        for found in await asyncio.gather(*loads):
            kept |= found
        return batch.restore(kept)

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """As `acall`, over a bridge."""
        batch = _NodeBatch(self, nodes, kwargs)

        def source(ids: Sequence[str]) -> dict[str, Any]:
            made: dict[str, Any] = {}
            for group in batch.groups(ids):
                made |= batch.keep(group, self.transform(batch.copy_nodes(group), **kwargs))
            return made

        kept: dict[str, Any] = {}
        for document, ids in batch.by_document().items():
            verb = self._verb(ids, document)
            kept |= self._access.load_now(source, verb, "CachedTransform()")
        return batch.restore(kept)

    def _verb(
        self, ids: Sequence[str], document: str | None
    ) -> Callable[[Cache, Ask], Coroutine[Any, Any, dict[str, Any]]]:
        scope, documents = tenant_scope(), () if document is None else (document,)
        return lambda cache, ask: cache.load_many(
            self.data_type, ids, scope, ask, ttl=self._ttl, document_ids=documents
        )


class _NodeBatch:
    """The nodes of one call, by the name of their content."""

    def __init__(self, cached: CachedTransform, nodes: Sequence[BaseNode], kwargs: dict[str, Any]) -> None:
        self._nodes = list(nodes)
        self._ignored = cached.ignored_metadata
        self._keeps_nodes = isinstance(cached.transform, BaseExtractor | BaseEmbedding)
        kind = type(cached.transform)
        told = ["typed", kind.__module__, kind.__qualname__, cached.transform.to_dict(), cached.version, kwargs]
        # One for each place and not for each id: pages of a file may all have the file's.
        shown = [self._copy_node(node) for node in self._nodes]
        self._names = [digest(told, _content(node)) for node in shown]
        # Backwards, so that of several nodes with one content the first is the one that stays.
        self._shown_by_name = dict(zip(reversed(self._names), reversed(shown), strict=True))

    def by_document(self) -> dict[str | None, list[str]]:
        """Returns the names by the document that their first node belongs to, or is."""
        grouped: dict[str | None, list[str]] = {}
        for name in dict.fromkeys(self._names):
            node = self._shown_by_name[name]
            grouped.setdefault(node.metadata.get("document_id") or node.ref_doc_id or node.node_id, []).append(name)
        return grouped

    def groups(self, names: Sequence[str]) -> list[list[str]]:
        """Returns the names in groups, each of which is transformed in one call."""
        return [list(names)] if self._keeps_nodes else [[name] for name in names]

    def copy_nodes(self, names: Sequence[str]) -> list[BaseNode]:
        """Returns copies of the nodes for the transformation, which may change its arguments."""
        return [self._shown_by_name[name].model_copy(deep=True) for name in names]

    def keep(self, names: Sequence[str], made: Sequence[BaseNode]) -> dict[str, dict[str, Any]]:
        """Returns the part of the outcome that is stored, by name."""
        if not self._keeps_nodes:
            return {name: self._serialize(name, made) for name in names}
        ids = [self._shown_by_name[name].node_id for name in names]
        if [node.node_id for node in made] != ids:
            raise UsageError(
                f"the transformation was given {len(ids)} nodes and did not return these in their order: keep it out of the cache"
            )
        return {name: self._serialize(name, [node]) for name, node in zip(names, made, strict=True)}

    def _serialize(self, name: str, made: Sequence[BaseNode]) -> dict[str, Any]:
        maker = Maker.of(self._shown_by_name[name])
        # Not as JSON: metadata may hold dates, which come back as such.
        return {"maker": maker.as_json(), "nodes": [doc_to_json(node) for node in made]}

    def restore(self, kept: dict[str, dict[str, Any]]) -> list[BaseNode]:
        """Returns the outcome for each node, with its own ids, in the order of the nodes."""
        outcome: list[BaseNode] = []
        for name, node in zip(self._names, self._nodes, strict=True):
            stored = kept[name]
            for made in Maker.from_json(stored["maker"]).give(stored["nodes"], node):
                made.metadata.update({one: node.metadata[one] for one in self._ignored if one in node.metadata})
                outcome.append(made)
        return outcome

    def _copy_node(self, node: BaseNode) -> BaseNode:
        metadata = {name: value for name, value in node.metadata.items() if name not in self._ignored}
        return node.model_copy(update={"metadata": metadata})


def _content(node: BaseNode) -> dict[str, Any]:
    """Returns all of a node that a transformation may look at, but not its identity."""
    content = node.to_dict()
    for identity in ("id_", "relationships", "doc_id"):
        content.pop(identity, None)
    content["text"] = node.get_content(metadata_mode=MetadataMode.NONE)
    return content


class StandardMetadata(TransformComponent):
    """Gives every node the fields that all services rely on, for the ambient tenant: see `standardize_llama_metadata`."""

    @classmethod
    def class_name(cls) -> str:
        """Returns the name under which LlamaIndex knows the class."""
        return "StandardMetadata"

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:  # noqa: ARG002
        """Standardizes the metadata of nodes, in place."""
        for node in nodes:
            document = node.metadata.get("document_id") or node.ref_doc_id or node.node_id
            node.metadata = standardize_llama_metadata(node.metadata, document_id=document)
        return nodes


class CachedEmbedding(BaseEmbedding):
    """An embedding model that keeps its vectors by text, model and use: a query's and a passage's are apart.

    Each distinct text of a call is embedded once, all that are missing in one call of the model; equal texts that are
    asked for at one time are embedded once too.

    Args:
        model: The embedding model.
        cache: As for `CachedTransform`.
        name: The model's name, part of a vector's name; left out: its ``model_name``.
        revision: The model's revision, if a name is used for several.
        dimensions: The number of dimensions asked for; left out: its ``dimensions``.

    Raises:
        ValueError: The model has no name, and none is given.
    """

    _inner: BaseEmbedding = PrivateAttr()
    _vectors: CachedVectors = PrivateAttr()

    def __init__(
        self,
        model: BaseEmbedding,
        cache: Cache | Bridge | None = None,
        *,
        name: str | None = None,
        revision: str | None = None,
        dimensions: int | None = None,
    ) -> None:
        vectors = CachedVectors.of(model, name, Access(cache), revision, dimensions)
        super().__init__(model_name=name or model.model_name, embed_batch_size=model.embed_batch_size)
        self._inner = model
        self._vectors = vectors

    @classmethod
    def class_name(cls) -> str:
        """Returns the name under which LlamaIndex knows the class."""
        return "CachedEmbedding"

    async def _aget_query_embedding(self, query: str) -> list[float]:
        async def source(texts: list[str]) -> list[Any]:
            return [await self._inner.aget_query_embedding(text) for text in texts]

        return (await self._vectors.get("query", [query], source))[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._vectors.get("passage", texts, self._inner.aget_text_embedding_batch)

    def _get_query_embedding(self, query: str) -> list[float]:
        def source(texts: list[str]) -> list[Any]:
            return [self._inner.get_query_embedding(text) for text in texts]

        return self._vectors.get_now("query", [query], source, "CachedEmbedding.get_query_embedding")[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._vectors.get_now(
            "passage", texts, self._inner.get_text_embedding_batch, "CachedEmbedding.get_text_embedding_batch"
        )


class CachedKVStore(BaseKVStore):
    """A key-value store of values that may be forgotten: for values that can be made again. It does not list its keys.

    Keys are apart for each ambient tenant and user. A get that finds nothing is taken to be followed by a
    put of the new value, as LlamaIndex's own caches do: equal gets at one time wait for the first one's put, so that it is
    made once, and a put after a get that began before an invalidation is not kept. A value without an earlier look-up
    is stored as the caller's own word.

    Args:
        namespace: Keeps its keys apart from those of other stores.
        cache: As for `CachedTransform`.
        ttl: Seconds that a value lives; left out: the type's; ``None``: for ever.
        data_type: The type that its entries have.
        fills: ``False``: no get is waited for, and every put is the caller's own word; for code to which a miss is an
            answer.
    """

    def __init__(
        self,
        namespace: str,
        cache: Cache | Bridge | None = None,
        *,
        ttl: TtlOrUnset = UNSET,
        data_type: str = "llama_kv",
        fills: bool = True,
    ) -> None:
        self._store = AdapterStore(namespace, cache, data_type=data_type, ttl=ttl, fills=fills, scope=reader_scope)

    async def aput(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Stores a value."""
        await self._store.set({(collection, key): _text(val)})

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """As `aput`, over a bridge."""
        self._store.set_now({(collection, key): _text(val)}, "CachedKVStore.put")

    async def aput_all(
        self,
        kv_pairs: list[tuple[str, dict[str, Any]]],
        collection: str = DEFAULT_COLLECTION,
        batch_size: int = DEFAULT_BATCH_SIZE,  # noqa: ARG002 - LlamaIndex's signature
    ) -> None:
        """Stores values."""
        await self._store.set({(collection, key): _text(val) for key, val in kv_pairs})

    def put_all(
        self,
        kv_pairs: list[tuple[str, dict[str, Any]]],
        collection: str = DEFAULT_COLLECTION,
        batch_size: int = DEFAULT_BATCH_SIZE,  # noqa: ARG002 - LlamaIndex's signature
    ) -> None:
        """As `aput_all`, over a bridge."""
        self._store.set_now({(collection, key): _text(val) for key, val in kv_pairs}, "CachedKVStore.put_all")

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Returns a value, or ``None``."""
        return _value((await self._store.get([(collection, key)]))[0])

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """As `aget`, over a bridge."""
        return _value(self._store.get_now([(collection, key)], "CachedKVStore.get")[0])

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Removes a value; returns whether there was one."""
        return await self._store.delete([(collection, key)]) > 0

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """As `adelete`, over a bridge."""
        return self._store.delete_now([(collection, key)], "CachedKVStore.delete") > 0

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Refuses: a cache does not know its keys. Raises: `UsageError`."""
        raise UsageError(f"a cache does not list the keys of {collection!r}: to end them all, invalidate the data type")

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Refuses, as `get_all` does. Raises: `UsageError`."""
        return self.get_all(collection)


def _text(value: dict[str, Any]) -> str:
    # As JSON, which LlamaIndex makes for it: some of what it holds is an Enum of LlamaIndex's own.
    return json.dumps(value)


def _value(text: str | None) -> dict[str, Any] | None:
    return None if text is None else dict(json.loads(text))
