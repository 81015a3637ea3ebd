"""The ingestion service: documents wait in a queue that loses none, and one worker at a time turns each into chunks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alacena import (
    CacheManager,
    acquire_job_lock,
    invalidate_document_update,
    release_job_lock,
    standardize_llama_metadata,
)
from examples.rag_service.stage.chunking import split_into_chunks
from examples.rag_service.stage.database import StoredChunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.rag_service.embedding import EmbeddingService
    from examples.rag_service.stage.chunking import Chunk
    from examples.rag_service.stage.database import Database, StoredDocument
    from examples.rag_service.stage.documents import Document

QUEUE = "ingestion"
WORK_S = 120.0


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one document: its version, its chunks, how many were embedded, and the tokens that took."""

    document_id: str
    version: int
    chunks: int
    embedded: int
    tokens: int


class IngestionService:
    """Takes documents in, cuts them, embeds them and keeps the answers made of them honest.

    Args:
        database: Where documents and chunks live.
        embedding: Gives chunks their vectors.
    """

    def __init__(self, database: Database, embedding: EmbeddingService) -> None:
        self._database = database
        self._embedding = embedding

    async def submit(self, document: Document, *, tenant_id: str, collection_id: str) -> None:
        """Store a new document and queue the job that will make it searchable."""
        await self._database.save_document(
            tenant_id, collection_id, document.document_id, document.title, document.text
        )
        await self._enqueue(document.document_id, tenant_id)

    async def edit(self, document_id: str, text: str, *, tenant_id: str) -> None:
        """Replace a stored document's text and queue the job that will make the new text searchable."""
        await self._database.edit_document(tenant_id, document_id, text)
        await self._enqueue(document_id, tenant_id)

    async def work(self, *, tenant_id: str) -> Ingested | None:
        """Do the next job in the queue; ``None`` when it is empty.

        A job is ours for ``WORK_S``: the job of a worker that is killed is another's after that. One that fails is tried
        again, and set aside after its last attempt.
        """
        for job in await (await self._queue(tenant_id)).reserve(visibility_s=WORK_S):
            document_id = job.value["document_id"]
            if not await acquire_job_lock(document_id, tenant_id):
                # Somebody is at this document; the job comes again, for its text may be newer than theirs.
                await job.nack(delay_s=0.1, reason="another worker is at it", count_attempt=False)
                continue
            try:
                ingested = await self._ingest(document_id, tenant_id)
            except Exception as error:
                await job.nack(reason=repr(error))
                raise
            finally:
                await release_job_lock(document_id, tenant_id)
            await job.ack()
            return ingested
        return None

    async def _enqueue(self, document_id: str, tenant_id: str) -> None:
        queue = await self._queue(tenant_id)
        await queue.push({"document_id": document_id})

    async def _queue(self, tenant_id: str) -> Any:
        return (await CacheManager.cache()).tenant(tenant_id).queues(QUEUE)

    async def _ingest(self, document_id: str, tenant_id: str) -> Ingested:
        document = await self._database.document(tenant_id, document_id)
        if document is None:
            return Ingested(document_id, 0, 0, 0, 0)
        chunks = split_into_chunks(document.content)
        batch = await self._embedding.embed(
            [chunk.context for chunk in chunks], tenant_id=tenant_id, collection_id=document.collection_id
        )
        rows = [_row(chunk, vector, document, tenant_id) for chunk, vector in zip(chunks, batch.vectors, strict=True)]
        await self._database.replace_chunks(tenant_id, document, rows)
        # Last, when the new chunks are committed: from here on no answer made of the old ones is served.
        await invalidate_document_update(tenant_id, document_id)
        return Ingested(document_id, document.version, len(rows), batch.computed, batch.tokens)


async def drain(
    service: IngestionService, *, tenant_id: str, done: Callable[[Ingested], None] | None = None
) -> list[Ingested]:
    """Work until the queue is empty, telling ``done`` of each document."""
    finished = []
    while (ingested := await service.work(tenant_id=tenant_id)) is not None:
        finished.append(ingested)
        if done is not None:
            done(ingested)
    return finished


def _row(chunk: Chunk, vector: Any, document: StoredDocument, tenant_id: str) -> StoredChunk:
    chunk_id = f"{document.document_id}#{chunk.ordinal}"
    metadata = standardize_llama_metadata(
        metadata={"title": document.title, "heading": chunk.heading, "version": document.version},
        tenant_id=tenant_id,
        document_id=document.document_id,
        chunk_id=chunk_id,
        collection_id=document.collection_id,
    )
    return StoredChunk(chunk_id, chunk.heading, chunk.text, json.dumps(metadata, ensure_ascii=False), vector)
