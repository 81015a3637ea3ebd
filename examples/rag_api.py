"""A RAG service in which nothing is paid for twice: `uvicorn examples.rag_api:app`, with OPENAI_API_KEY set."""

import os
from contextlib import asynccontextmanager

from fastapi import Body, FastAPI
from langchain_core.vectorstores import InMemoryVectorStore
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Mapped, declarative_base, mapped_column

from alacena.integrations.asgi import TenantMiddleware, cache_lifespan, from_header
from alacena.integrations.fastapi import CurrentCache, CurrentTenant, current_cache
from alacena.integrations.langchain import CachedEmbeddings
from alacena.integrations.llm_transport import CachingTransport, based_on
from alacena.integrations.sqlalchemy import CommitHooks, Rule

engine = create_async_engine(os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///rag_api.db"))
sessions, Row = async_sessionmaker(engine), declarative_base()
client = AsyncOpenAI(http_client=DefaultAsyncHttpxClient(transport=CachingTransport()))


class StoredDocument(Row):  # a commit ends the answers that rest on the rows that it changed
    __tablename__ = "documents"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str]


class Vectors:  # or the Embeddings of langchain-openai
    model = "text-embedding-3-small"

    async def aembed_query(self, text):
        return (await self.aembed_documents([text]))[0]

    async def aembed_documents(self, texts):
        return [one.embedding for one in (await client.embeddings.create(model=self.model, input=texts)).data]


@asynccontextmanager
async def lifespan(_):
    CommitHooks(await current_cache(), {StoredDocument: Rule("document", document="id")}).listen(sessions)
    async with engine.begin() as connection:
        await connection.run_sync(Row.metadata.create_all)
    yield
    await client.close()
    await engine.dispose()


app = FastAPI(lifespan=cache_lifespan(lifespan, redis_url=os.environ.get("REDIS_URL") or None))
app.add_middleware(TenantMiddleware, who=from_header("X-Tenant-ID"))  # which your gateway sets; or a token's claims


@app.put("/documents/{document_id}")
async def put(document_id: str, tenant_id: CurrentTenant, text: str = Body(media_type="text/plain")):
    async with sessions.begin() as session:
        await session.merge(StoredDocument(tenant_id=tenant_id, id=document_id, text=text))


@app.get("/ask")
async def ask(question: str, tenant_id: CurrentTenant):
    async with sessions() as session:
        rows = (await session.scalars(select(StoredDocument).where(StoredDocument.tenant_id == tenant_id))).all()
    index = InMemoryVectorStore(CachedEmbeddings(Vectors()))  # or your vector store: only new texts are embedded
    await index.aadd_texts([row.text for row in rows], ids=[row.id for row in rows])
    found = await index.as_retriever(search_kwargs={"k": 2}).ainvoke(question)
    prompt = "\n\n".join([*(one.page_content for one in found), f"From this alone: {question}"])
    with based_on([one.id for one in found]):  # the answer ends with the documents that it was made from
        answer = await client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}]
        )
    return {"answer": answer.choices[0].message.content, "documents": sorted(one.id for one in found)}


@app.get("/usage")
async def usage(tenant_id: CurrentTenant, cache: CurrentCache):
    totals = await cache.ledger.totals(tenant_id)
    return {"tokens": totals.used, "tokens_saved": totals.saved, "cost": str(totals.cost)}
