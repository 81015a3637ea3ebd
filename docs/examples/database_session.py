"""SQLAlchemy: a commit ends what was made of the rows, a write holds it, and a select is cached."""

import asyncio

from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import StaticPool

from alacena import Cache, Settings
from alacena.integrations.sqlalchemy import CachedSelect, CommitHooks, Rule, write


class Base(DeclarativeBase):
    """The tables."""


class Document(Base):
    """A row is one document of one tenant."""

    __tablename__ = "documents"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    title: Mapped[str]


async def main():
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    async with Cache(Settings.from_env()) as cache:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        # --8<-- [start:hooks]
        sessions = async_sessionmaker(engine)
        rule = Rule("document", document="id", also=("titles",))
        CommitHooks(cache, {Document: rule}).listen(sessions)
        # --8<-- [end:hooks]
        async with sessions.begin() as session:
            session.add(Document(id="d1", tenant_id="acme", title="First"))
        # --8<-- [start:select]
        select_rows = CachedSelect(cache, engine)
        statement = select(Document.title).where(Document.tenant_id == "acme")
        titles = (await select_rows(statement, "titles", "acme", ttl=300)).scalars().all()
        # --8<-- [end:select]
        assert titles == ["First"]
        # --8<-- [start:write]
        async with sessions() as session, write(cache, session, "acme", ("document", "d1"), document_ids=["d1"]):
            document = await session.get_one(Document, "d1")
            document.title = "Second"
        # --8<-- [end:write]
        assert (await select_rows(statement, "titles", "acme", ttl=300)).scalars().all() == ["Second"]
    await engine.dispose()
    print("after the commit nothing old was read")


asyncio.run(main())
