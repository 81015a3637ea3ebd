"""The database: documents and their chunks in Postgres, with pgvector for the search."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
from pgvector.asyncpg import register_vector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from examples.rag_service.stage.embedder import Vector

_SCHEMA = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE documents (
    tenant_id     text NOT NULL,
    document_id   text NOT NULL,
    collection_id text NOT NULL,
    title         text NOT NULL,
    content       text NOT NULL,
    version       integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, document_id)
);
CREATE TABLE chunks (
    tenant_id     text NOT NULL,
    chunk_id      text NOT NULL,
    document_id   text NOT NULL,
    collection_id text NOT NULL,
    version       integer NOT NULL,
    heading       text NOT NULL,
    content       text NOT NULL,
    metadata      jsonb NOT NULL,
    embedding     vector({dimensions}) NOT NULL,
    PRIMARY KEY (tenant_id, chunk_id),
    FOREIGN KEY (tenant_id, document_id) REFERENCES documents ON DELETE CASCADE
);
CREATE INDEX ON chunks (tenant_id, document_id);
"""

# Exact search: some thousands of chunks are scanned in a few milliseconds. A larger collection adds an HNSW index.
_NEAREST = """
SELECT chunk_id, document_id FROM chunks WHERE tenant_id = $1 AND collection_id = $2
ORDER BY round((embedding <=> $3)::numeric, 5), chunk_id LIMIT $4
"""
_PASSAGES = """
SELECT c.chunk_id, c.document_id, d.title, c.version, c.heading, c.content
FROM chunks c JOIN documents d USING (tenant_id, document_id)
WHERE c.tenant_id = $1 AND c.chunk_id = ANY($2) ORDER BY array_position($2, c.chunk_id)
"""
_INSERT_CHUNK = """
INSERT INTO chunks (tenant_id, chunk_id, document_id, collection_id, version, heading, content, metadata, embedding)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9)
"""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A row of ``documents``. ``version`` counts its edits, from 1."""

    document_id: str
    collection_id: str
    title: str
    content: str
    version: int


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A row of ``chunks``, without its tenant and document. ``metadata`` is JSON text."""

    chunk_id: str
    heading: str
    text: str
    metadata: str
    embedding: Vector


@dataclass(frozen=True, slots=True)
class Hit:
    """What a search finds: which chunk, of which document."""

    chunk_id: str
    document_id: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as an answer uses it. ``version`` is that of the document it was cut from."""

    chunk_id: str
    document_id: str
    title: str
    version: int
    heading: str
    text: str

    @property
    def context(self) -> str:
        """The passage under its headings."""
        return f"{self.heading}\n\n{self.text}" if self.heading else self.text


class Database:
    """The source of truth. Every query names its tenant.

    Args:
        pool: Connections that know pgvector's type; ``open_database`` makes them.
    """

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def save_document(self, tenant_id: str, collection_id: str, document_id: str, title: str, text: str) -> None:
        """Store a document for the first time, as version 1."""
        await self._pool.execute(
            "INSERT INTO documents (tenant_id, document_id, collection_id, title, content) VALUES ($1, $2, $3, $4, $5)",
            *(tenant_id, document_id, collection_id, title, text),
        )

    async def edit_document(self, tenant_id: str, document_id: str, text: str) -> int:
        """Replace a document's text; its new version comes back."""
        version: int = await self._pool.fetchval(
            "UPDATE documents SET content = $3, version = version + 1 WHERE tenant_id = $1 AND document_id = $2 "
            "RETURNING version",
            *(tenant_id, document_id, text),
        )
        return version

    async def document(self, tenant_id: str, document_id: str) -> StoredDocument | None:
        """A document as it is now, or ``None``."""
        row = await self._pool.fetchrow(
            "SELECT document_id, collection_id, title, content, version FROM documents "
            "WHERE tenant_id = $1 AND document_id = $2",
            *(tenant_id, document_id),
        )
        return StoredDocument(*row) if row else None

    async def replace_chunks(self, tenant_id: str, document: StoredDocument, chunks: Sequence[StoredChunk]) -> None:
        """Put these chunks in the place of all the document's chunks, in one transaction."""
        owner = (document.document_id, document.collection_id, document.version)
        rows = [
            (tenant_id, chunk.chunk_id, *owner, chunk.heading, chunk.text, chunk.metadata, chunk.embedding)
            for chunk in chunks
        ]
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "DELETE FROM chunks WHERE tenant_id = $1 AND document_id = $2", tenant_id, document.document_id
            )
            await connection.executemany(_INSERT_CHUNK, rows)

    async def nearest(self, tenant_id: str, collection_id: str, vector: Vector, limit: int) -> list[Hit]:
        """The chunks nearest to a vector by cosine, nearest first."""
        return [Hit(*row) for row in await self._pool.fetch(_NEAREST, tenant_id, collection_id, vector, limit)]

    async def passages(self, tenant_id: str, chunk_ids: Sequence[str]) -> list[Passage]:
        """The chunks with these ids as they are now, in that order; ids that are gone are left out."""
        return [Passage(*row) for row in await self._pool.fetch(_PASSAGES, tenant_id, list(chunk_ids))]

    async def count_chunks(self, tenant_id: str) -> int:
        """How many chunks a tenant has."""
        count: int = await self._pool.fetchval("SELECT count(*) FROM chunks WHERE tenant_id = $1", tenant_id)
        return count


@asynccontextmanager
async def open_database(dsn: str, dimensions: int | None = None) -> AsyncIterator[Database]:
    """Connect to Postgres; with ``dimensions``, make the tables first, for vectors of that length."""
    if dimensions is not None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(_SCHEMA.format(dimensions=dimensions))
        finally:
            await connection.close()
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4, init=register_vector) as pool:
        yield Database(pool)
