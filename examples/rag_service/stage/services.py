"""The three services, put together over one cache and one database."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alacena import CacheManager, configure
from alacena.common.runtime import opened
from alacena.engine.remote.redis.embedded import EmbeddedServer
from alacena.integrations.llm_transport import CachingTransport
from examples.rag_service.embedding import EmbeddingService
from examples.rag_service.ingestion import IngestionService, drain
from examples.rag_service.query import QueryService
from examples.rag_service.stage.answer import ChatAnswerer, ExtractiveAnswerer
from examples.rag_service.stage.database import open_database
from examples.rag_service.stage.embedder import OpenAIEmbedder, has_endpoint, openai_client
from examples.rag_service.stage.local_model import NAME, PASSAGE, QUERY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from examples.rag_service.ingestion import Ingested
    from examples.rag_service.query import Reply
    from examples.rag_service.stage.answer import Answerer
    from examples.rag_service.stage.database import Database, StoredDocument
    from examples.rag_service.stage.embedder import Embedder

TENANT = "demo"
COLLECTION = "library"


@dataclass(frozen=True, slots=True)
class Providers:
    """What the services ask for vectors and for answers, and what the model of the vectors is called."""

    embedder: Embedder
    answerer: Answerer
    name: str


@dataclass(frozen=True, slots=True)
class Services:
    """One process of the product, open."""

    database: Database
    ingestion: IngestionService
    query: QueryService

    async def ask(self, question: str) -> Reply:
        """Answer a question for the demo's tenant."""
        return await self.query.ask(question, tenant_id=TENANT, collection_id=COLLECTION)

    async def stored(self, document_id: str) -> StoredDocument:
        """A document as the database has it.

        Raises:
            LookupError: There is none.
        """
        document = await self.database.document(TENANT, document_id)
        if document is None:
            raise LookupError(f"There is no document {document_id!r}.")
        return document

    async def edit(self, document_id: str, text: str) -> Ingested:
        """Give a stored document another text, and make that text searchable."""
        await self.ingestion.edit(document_id, text, tenant_id=TENANT)
        (ingested,) = await drain(self.ingestion, tenant_id=TENANT)
        return ingested


def choose_providers(local_url: str | None) -> Providers:
    """The model's server at this URL; ``None``: the endpoint that the environment configures.

    ``OPENAI_EMBEDDING_MODEL`` and ``OPENAI_CHAT_MODEL`` name the endpoint's models. Its answers are kept by the query
    service, so only vectors are asked for through the caching transport.

    Raises:
        InputError: The ``openai`` package is not installed.
    """
    transport = CachingTransport()
    client = openai_client(local_url, transport)
    if local_url is not None:
        embedder = OpenAIEmbedder(client, PASSAGE, query_model=QUERY, transport=transport)
        return Providers(embedder, ExtractiveAnswerer(), NAME)
    name = os.environ.get("OPENAI_EMBEDDING_MODEL") or "text-embedding-3-small"
    chat = ChatAnswerer(openai_client(), os.environ.get("OPENAI_CHAT_MODEL") or "gpt-4o-mini")
    return Providers(OpenAIEmbedder(client, name, transport=transport), chat, name)


def needs_local_model(*, offline: bool) -> bool:
    """Whether no endpoint is configured, or none is wanted."""
    return offline or not has_endpoint()


@asynccontextmanager
async def open_services(
    providers: Providers, *, redis_url: str, dsn: str, create_tables: bool = False
) -> AsyncIterator[Services]:
    """Open the process-wide cache and the database, and close both.

    Args:
        providers: Vectors and answers.
        redis_url: The server's URL.
        dsn: The Postgres to use.
        create_tables: Make the tables first.
    """
    # A laptop that is busy may take longer than the default, and the demo counts what was asked of the source.
    configure(redis_url=redis_url, redis_budget_s=5.0)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(CacheManager.close)
        await CacheManager.initialize()
        dimensions = await providers.embedder.dimensions() if create_tables else None
        database = await stack.enter_async_context(open_database(dsn, dimensions))
        embedding = EmbeddingService(providers.embedder)
        yield Services(
            database=database,
            ingestion=IngestionService(database, embedding),
            query=QueryService(database, embedding, providers.answerer),
        )


@asynccontextmanager
async def private_valkey() -> AsyncIterator[str]:
    """Run the server that ``embedded://`` runs, and give its URL, so that more than one process can use it."""
    server = EmbeddedServer()
    try:
        endpoint = await server.start()
        yield f"unix://{endpoint.address.path}"
    finally:
        await server.close()


async def tokens_on_ledger() -> int:
    """The tokens that the ledger holds for the demo's tenant."""
    cache = await opened()
    return (await cache.ledger.totals(TENANT)).used
