"""Tables: what was made from rows ends with them, however a session changes them, and rows are one database's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document as Passage
from sqlalchemy import ForeignKey, column, delete, event, select, table, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from alacena import Context
from alacena.integrations.langgraph import NodeCache
from alacena.integrations.sqlalchemy import CachedSelect, CommitHooks, Rule, statement_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from alacena.engine import Cache


class Base(DeclarativeBase):
    pass


class Folder(Base):
    __tablename__ = "folders"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    documents: Mapped[list[Document]] = relationship(cascade="all, delete-orphan", passive_deletes=True)


class Document(Base):
    __tablename__ = "documents"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    title: Mapped[str] = mapped_column(default="")
    kind: Mapped[str] = mapped_column(default="text")
    folder_id: Mapped[str | None] = mapped_column(ForeignKey("folders.id", ondelete="CASCADE"))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "text"}  # noqa: RUF012


class Scan(Document):
    __tablename__ = "scans"

    id: Mapped[str] = mapped_column(ForeignKey("documents.id"), primary_key=True)
    pages: Mapped[int] = mapped_column(default=1)
    __mapper_args__ = {"polymorphic_identity": "scan"}  # noqa: RUF012


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/test.db")
    event.listen(engine.sync_engine, "connect", lambda connection, _: connection.execute("pragma foreign_keys=on"))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with async_sessionmaker(engine).begin() as session:
        session.add(Folder(id="f", tenant_id="acme"))
        await session.flush()
        session.add_all([Document(id="d1", tenant_id="acme", folder_id="f"), Document(id="d2", tenant_id="acme")])
        session.add(Scan(id="s1", tenant_id="acme"))
    yield engine
    await engine.dispose()


async def _upsert(session: AsyncSession, **values: Any) -> None:
    statement = insert(Document).values(id="d1", tenant_id="acme", kind="text", **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


async def _upsert_several(session: AsyncSession) -> None:
    statement = insert(Document)
    statement = statement.on_conflict_do_update(index_elements=["id"], set_={"title": statement.excluded.title})
    await session.execute(statement, [{"id": "d1", "tenant_id": "acme", "title": "New", "kind": "text"}])


async def _delete_folder(session: AsyncSession) -> None:
    await session.delete(await session.get_one(Folder, "f"))


CHANGES: dict[str, tuple[str, Callable[[AsyncSession], Awaitable[Any]]]] = {
    "update": ("d1", lambda one: one.execute(update(Document).where(Document.id == "d1").values(title="New"))),
    "delete": ("d1", lambda one: one.execute(delete(Document).where(Document.id == "d1"))),
    "by keys": ("d1", lambda one: one.execute(update(Document), [{"id": "d1", "title": "New"}])),
    "of a table": ("d1", lambda one: one.execute(update(Document.__table__).values(title="New"))),  # type: ignore[arg-type]
    "upsert": ("d1", lambda one: _upsert(one, title="New")),
    "upsert of several": ("d1", _upsert_several),
    "of a subclass": ("s1", lambda one: one.execute(update(Scan).where(Scan.id == "s1").values(pages=2))),
    "of the table of a subclass": ("s1", lambda one: one.execute(update(Scan.__table__).values(pages=2))),  # type: ignore[arg-type]
    "by the database, below a row": ("d1", _delete_folder),
    "by the database, below a statement": ("d1", lambda one: one.execute(delete(Folder).where(Folder.id == "f"))),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_answers_end_with_their_document_whatever_statement_changed_it(
    cache: Cache, engine: AsyncEngine, change: str
) -> None:
    """langgenius/dify#38518 in its kind: a document was gone from the table, and answers made from it were given on."""
    document_id, run = CHANGES[change]
    sessions = async_sessionmaker(engine)
    CommitHooks(cache, {Document: Rule("document", document="id", also=("titles",))}).listen(sessions)
    await cache.set("document", document_id, "old", "acme")
    await cache.set("titles", "all", "old", "acme")
    await cache.set("answer", "q", "old", "acme", document_ids=[document_id])
    with Context("acme"):
        async with sessions.begin() as session:
            await run(session)
    for kind, one in (("document", document_id), ("titles", "all"), ("answer", "q")):
        assert await cache.get(kind, one, "acme") is None, kind


async def test_a_statement_ends_the_answers_of_no_other_document(cache: Cache, engine: AsyncEngine) -> None:
    sessions = async_sessionmaker(engine)
    CommitHooks(cache, {Document: Rule("document", document="id")}).listen(sessions)
    await cache.set("answer", "q", "old", "acme", document_ids=["d2"])
    with Context("acme"):
        for change in ("update", "by keys", "upsert", "upsert of several", "of a subclass", "delete"):
            async with sessions.begin() as session:
                await CHANGES[change][1](session)
            assert await cache.get("answer", "q", "acme") == "old", change


async def test_selected_rows_end_with_the_documents_that_a_column_names(cache: Cache, engine: AsyncEngine) -> None:
    """run-llama/llama_index#8832 in its kind: kept as tuples, rows no longer said whose they were."""
    rows = select(Document.id.label("document_id"), Document.title).where(Document.id == "d1")
    select_rows = CachedSelect(cache, engine)
    assert (await select_rows(rows, "rows", "acme")).all() == [("d1", "")]
    async with async_sessionmaker(engine).begin() as session:
        await session.execute(update(Document).values(title="New"))
    assert (await select_rows(rows, "rows", "acme")).all() == [("d1", "")]
    await cache.invalidate("acme", document_ids=["d1"])
    assert (await select_rows(rows, "rows", "acme")).all() == [("d1", "New")]


def test_rows_of_two_databases_are_two_entries() -> None:
    """agno-agi/agno#8664 in its kind: two databases of one name, as each tenant has one, were one entry."""
    base = "postgresql+asyncpg://app:secret@db1/data"
    one = create_async_engine(base)
    engines = [
        one,
        *map(create_async_engine, (base.replace("db1", "db2"), base.replace("app", "other"), f"{base}?options=x")),
        *(one.execution_options(schema_translate_map={None: tenant}) for tenant in ("acme", "globex")),
    ]
    statement = select(table("rows", column("a")).c.a)
    assert len({statement_id(statement, engine) for engine in engines}) == len(engines)
    assert statement_id(statement, create_async_engine(base)) == statement_id(statement, one)


async def test_the_result_of_a_node_ends_with_the_documents_that_it_found(cache: Cache) -> None:
    """run-llama/llama_index#8832 in its kind: a graph's retrieval was bytes to the cache, and outlived its documents."""
    nodes: NodeCache[Any] = NodeCache("graph", cache)
    key = (("retrieve",), "input")
    found = [("passages", [Passage("The rent is 900.", metadata={"document_id": "d1"})])]
    with Context("acme"):
        await nodes.aset({key: (found, None)})
        await cache.invalidate("acme", document_ids=["d2"])
        assert key in await nodes.aget([key])
        await cache.invalidate("acme", document_ids=["d1"])
        assert await nodes.aget([key]) == {}
