"""LlamaIndex on the cache: a changed node transformed alone, identities of the asking node, vectors by use and model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.extractors import BaseExtractor
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, NodeRelationship, TextNode, TransformComponent
from pydantic import PrivateAttr

from alacena import Cache, Context, Settings, UsageError
from alacena.integrations.bridge import Bridge
from alacena.integrations.llama_index import CachedEmbedding, CachedKVStore, CachedTransform, StandardMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TEXT = "One sentence stands here. " * 30


class Halves(TransformComponent):
    """Cuts each node into two, related to it and to each other as a splitter does; notes the texts it was given."""

    suffix: str = ""
    _seen: list[str] = PrivateAttr(default_factory=list)
    _gate: asyncio.Event | None = PrivateAttr(default=None)

    def __call__(self, nodes: Sequence[Any], **kwargs: Any) -> list[Any]:
        made: list[Any] = []
        for node in nodes:
            self._seen.append(node.text)
            middle = len(node.text) // 2
            halves = [
                TextNode(text=part + self.suffix, metadata=dict(node.metadata))
                for part in (node.text[:middle], node.text[middle:])
            ]
            for half in halves:
                half.relationships[NodeRelationship.SOURCE] = node.as_related_node_info()
            halves[0].relationships[NodeRelationship.NEXT] = halves[1].as_related_node_info()
            halves[1].relationships[NodeRelationship.PREVIOUS] = halves[0].as_related_node_info()
            made += halves
        return made

    async def acall(self, nodes: Sequence[Any], **kwargs: Any) -> list[Any]:
        made = self(nodes)
        if self._gate is not None:
            await self._gate.wait()
        return made


class Lengths(BaseExtractor):
    """Notes the length of each node; in place, as extractors do."""

    _calls: list[int] = PrivateAttr(default_factory=list)

    async def aextract(self, nodes: Sequence[Any]) -> list[dict[str, Any]]:
        self._calls.append(len(nodes))
        return [{"length": len(node.text)} for node in nodes]


class Model(BaseEmbedding):
    _passages: list[list[str]] = PrivateAttr(default_factory=list)
    _queries: list[str] = PrivateAttr(default_factory=list)

    def _get_query_embedding(self, query: str) -> list[float]:
        self._queries.append(query)
        return [float(len(query)), 1.0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(len(text)), 0.0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        self._passages.append(texts)
        return [self._get_text_embedding(text) for text in texts]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._get_text_embeddings(texts)


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge(Cache(Settings())) as bridge:
        yield bridge


async def test_changed_node_is_transformed_alone(cache: Cache) -> None:
    halves = Halves()
    ours = CachedTransform(halves, cache)
    with Context(tenant_id="acme"):
        await ours.acall([Document(text=text, id_=text) for text in ("ab", "cd", "ef")])
        await ours.acall([Document(text=text, id_=text) for text in ("ab", "CD", "ef")])

    assert halves._seen == ["ab", "cd", "ef", "CD"]


async def test_texts_that_join_to_one_are_apart(cache: Cache) -> None:
    ours = CachedTransform(Halves(), cache)
    with Context(tenant_id="acme"):
        first = await ours.acall([Document(text="ab"), Document(text="c")])
        second = await ours.acall([Document(text="a"), Document(text="bc")])

    assert [node.text for node in first] != [node.text for node in second]


async def test_second_document_with_one_text_gets_nodes_of_its_own(cache: Cache) -> None:
    halves = Halves()
    ours = CachedTransform(halves, cache)
    with Context(tenant_id="acme"):
        one, two = Document(text="abcd", id_="d1"), Document(text="abcd", id_="d2")
        first, second = await ours.acall([one]), await ours.acall([two])
        again, together = await ours.acall([two]), await ours.acall([one, two])

    assert halves._seen == ["abcd"]
    assert [node.ref_doc_id for node in (*first, *second)] == ["d1", "d1", "d2", "d2"]
    assert len({node.node_id for node in (*first, *second)}) == 4
    assert [node.node_id for node in again] == [node.node_id for node in second]
    assert [node.node_id for node in together] == [node.node_id for node in (*first, *second)]
    assert second[0].next_node.node_id == second[1].node_id
    assert second[1].prev_node.node_id == second[0].node_id


async def test_chunks_of_a_splitter_are_equal_whether_cached_or_not(cache: Cache) -> None:
    splitter = SentenceSplitter(chunk_size=60, chunk_overlap=0)
    ours = CachedTransform(splitter, cache)
    document = Document(text=TEXT, id_="d1", metadata={"title": "t"})
    with Context(tenant_id="acme"):
        made, hit = await ours.acall([document]), await ours.acall([document])
        other = await ours.acall([Document(text=TEXT, id_="d2", metadata={"title": "t"})])

    assert made == hit
    plain = splitter([document])
    assert [node.text for node in made] == [node.text for node in plain]
    assert [sorted(node.relationships) for node in other] == [sorted(node.relationships) for node in plain]
    assert {node.ref_doc_id for node in other} == {"d2"}


async def test_extractor_is_called_once_for_all_that_changed_and_keeps_each_nodes_identity(cache: Cache) -> None:
    lengths = Lengths(show_progress=False)
    ours = CachedTransform(lengths, cache)

    def nodes(*texts: str, document: str = "d1") -> list[TextNode]:
        source = Document(text="", id_=document).as_related_node_info()
        return [
            TextNode(text=text, id_=f"{document}-{text}", relationships={NodeRelationship.SOURCE: source})
            for text in texts
        ]

    with Context(tenant_id="acme"):
        first = await ours.acall(nodes("a", "bb", "a"))
        second = await ours.acall(nodes("a", "ccc", document="d2"))

    assert lengths._calls == [2, 1]
    assert [node.metadata["length"] for node in (*first, *second)] == [1, 2, 1, 1, 3]
    assert [node.node_id for node in second] == ["d2-a", "d2-ccc"]
    assert {node.ref_doc_id for node in second} == {"d2"}


async def test_equal_nodes_at_one_time_are_transformed_once(cache: Cache) -> None:
    halves = Halves()
    halves._gate = asyncio.Event()
    ours = CachedTransform(halves, cache)
    with Context(tenant_id="acme"):
        running = [asyncio.create_task(ours.acall([Document(text="abcd", id_=f"d{n}")])) for n in range(5)]
        while not halves._seen:
            await asyncio.sleep(0)
        halves._gate.set()
        made = await asyncio.gather(*running)

    assert halves._seen == ["abcd"]
    assert [nodes[0].ref_doc_id for nodes in made] == [f"d{n}" for n in range(5)]


async def test_other_settings_versions_and_tenants_are_apart(cache: Cache) -> None:
    plain, marked = Halves(), Halves(suffix="!")
    runs = [("acme", plain, ""), ("acme", marked, ""), ("acme", plain, "2"), ("globex", plain, ""), ("acme", plain, "")]
    for tenant, transform, version in runs:
        with Context(tenant_id=tenant):
            await CachedTransform(transform, cache, version=version).acall([Document(text="abcd")])

    assert (len(plain._seen), len(marked._seen)) == (3, 1)


async def test_metadata_that_makes_no_difference_is_the_asking_nodes(cache: Cache) -> None:
    halves = Halves()
    ours = CachedTransform(halves, cache, ignored_metadata=["file_time"])
    with Context(tenant_id="acme"):
        made = [
            await ours.acall([Document(text="abcd", metadata={"file_time": time, "title": title})])
            for time, title in ((1, "t"), (2, "t"), (2, "u"))
        ]

    assert len(halves._seen) == 2
    assert [nodes[0].metadata for nodes in made] == [
        {"file_time": 1, "title": "t"},
        {"file_time": 2, "title": "t"},
        {"file_time": 2, "title": "u"},
    ]


async def test_outcome_ends_with_its_document_and_an_overtaken_one_is_not_kept(cache: Cache) -> None:
    halves = Halves()
    halves._gate = asyncio.Event()
    ours = CachedTransform(halves, cache)
    document = Document(text="abcd", id_="d1")
    with Context(tenant_id="acme"):
        under_way = asyncio.create_task(ours.acall([document]))
        while not halves._seen:
            await asyncio.sleep(0)
        await cache.invalidate("acme", document_ids=["d1"])
        halves._gate.set()
        await under_way
        await ours.acall([document])
        assert len(halves._seen) == 2
        await ours.acall([document])
        assert len(halves._seen) == 2
        await cache.invalidate("acme", document_ids=["d1"])
        await ours.acall([document])
    assert len(halves._seen) == 3


async def test_asking_nodes_and_hits_are_not_changed_by_others(cache: Cache) -> None:
    ours = CachedTransform(Lengths(show_progress=False), cache)
    node = TextNode(text="a")
    with Context(tenant_id="acme"):
        made = await ours.acall([node])
        made[0].metadata["length"] = "changed"
        assert (await ours.acall([node]))[0].metadata == {"length": 1}
    assert node.metadata == {}


def test_pipeline_runs_over_a_bridge(bridge: Bridge) -> None:
    halves, model = Halves(), Model(model_name="m")
    pipeline = IngestionPipeline(
        transformations=[CachedTransform(halves, bridge), StandardMetadata(), CachedEmbedding(model, bridge)],
        disable_cache=True,
    )
    with Context(tenant_id="acme"):
        runs = [pipeline.run(documents=[Document(text="abcd", id_="d1")]) for _ in range(2)]

    assert halves._seen == ["abcd"]
    assert model._passages == [[node.get_content("embed") for node in runs[0]]]
    assert runs[0][0].embedding == runs[1][0].embedding
    assert runs[0][0].metadata["tenant_id"] == "acme"
    assert runs[0][0].metadata["document_id"] == "d1"


async def test_pipeline_runs_on_the_caches_loop(cache: Cache) -> None:
    halves = Halves()
    pipeline = IngestionPipeline(transformations=[CachedTransform(halves, cache)], disable_cache=True)
    with Context(tenant_id="acme"):
        for _ in range(2):
            nodes = await pipeline.arun(documents=[Document(text="abcd", id_="d1")])

    assert [node.ref_doc_id for node in nodes] == ["d1", "d1"]
    assert halves._seen == ["abcd"]


async def test_equal_texts_are_embedded_once_and_queries_apart_from_passages(cache: Cache) -> None:
    model = Model(model_name="m")
    ours = CachedEmbedding(model, cache)
    with Context(tenant_id="acme"):
        await asyncio.gather(*[ours.aget_text_embedding_batch(["a", "bb", "a"]) for _ in range(5)])
        assert await ours.aget_text_embedding("bb") == [2.0, 0.0]
        assert [await ours.aget_query_embedding("a") for _ in range(2)] == [[1.0, 1.0]] * 2
        await CachedEmbedding(model, cache, name="other").aget_query_embedding("a")
    with Context(tenant_id="globex"):
        await ours.aget_query_embedding("a")

    assert (model._passages, model._queries) == ([["a", "bb"]], ["a", "a", "a"])


def test_embeddings_whose_model_has_no_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r'pass model="\.\.\."'):
        CachedEmbedding(Model())


async def test_kv_store_keeps_llama_indexs_own_values_for_one_tenant(cache: Cache) -> None:
    store = CachedKVStore("ingestion", cache)
    with Context(tenant_id="acme"):
        await store.aput("k", {"nodes": [{"__type__": TextNode.get_type()}]})
        assert await store.aget("k") == {"nodes": [{"__type__": "1"}]}
        assert await store.aget("k", collection="other") is None
        assert await CachedKVStore("other", cache).aget("k") is None
        assert [await store.adelete("k"), await store.adelete("k")] == [True, False]
        with pytest.raises(UsageError, match="does not list"):
            await store.aget_all()
        await store.aput_all([("a", {"n": 1}), ("b", {"n": 2})])
        assert await store.aget("b") == {"n": 2}
    with Context(tenant_id="globex"):
        assert await store.aget("b") is None


async def test_models_own_cache_asks_the_model_once_for_equal_texts_at_one_time(cache: Cache) -> None:
    """LlamaIndex looks up, embeds and puts: its ``embeddings_cache``."""
    store, made = CachedKVStore("embeddings", cache), []

    async def embed() -> dict[str, Any] | None:
        with Context(tenant_id="acme"):
            found = await store.aget("text", "embeddings")
            if found is None:
                made.append("text")
                await asyncio.sleep(0)
                await store.aput("text", {"vector": [1.0]}, "embeddings")
            return await store.aget("text", "embeddings")

    async with asyncio.timeout(30):
        assert await asyncio.gather(*[embed() for _ in range(3)]) == [{"vector": [1.0]}] * 3
    assert made == ["text"]


async def test_put_whose_get_began_before_an_invalidation_is_not_kept(cache: Cache) -> None:
    store, own_word = CachedKVStore("kv", cache), CachedKVStore("kv", cache, fills=False)
    with Context(tenant_id="acme"):
        assert await store.aget("k") is None
        await cache.invalidate("acme")
        await store.aput("k", {"n": 1})
        assert await own_word.aget("k") is None
        await own_word.aput("k", {"n": 2})
        assert await store.aget("k") == {"n": 2}


def test_kv_store_serves_the_frameworks_own_cache_over_a_bridge(bridge: Bridge) -> None:
    halves = Halves()
    pipeline = IngestionPipeline(
        transformations=[halves], cache=IngestionCache(cache=CachedKVStore("ingestion", bridge))
    )
    with Context(tenant_id="acme"):
        for _ in range(2):
            assert len(pipeline.run(documents=[Document(text="abcd", id_="d1")])) == 2

    assert halves._seen == ["abcd"]


def test_missing_framework_names_extra_and_range(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"llama-index-core>=0\.14\.25,<0\.15.*alacena\[llama-index\]"):
        import_without("alacena.integrations.node_identity", "llama_index")
