"""Commits that invalidate, writes that hold, and cached selects, on SQLite through aiosqlite, and pgvector on Postgres."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import (
    ForeignKey,
    Integer,
    String,
    TypeDecorator,
    bindparam,
    create_engine,
    delete,
    func,
    insert,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker

from alacena import Context, InvalidKeyError, MissingTenantError, Scope, SettingsError
from alacena.integrations.sqlalchemy import CachedSelect, CommitHooks, Rule, statement_id, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from alacena import Cache


class Base(DeclarativeBase):
    """The tables of these tests."""


class Document(Base):
    __tablename__ = "documents"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str | None]
    title: Mapped[str]
    price: Mapped[Decimal | None]
    created_at: Mapped[datetime | None]
    chunks: Mapped[list[Chunk]] = relationship(cascade="all, delete-orphan")


class Chunk(Base):
    __tablename__ = "chunks"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    tenant_id: Mapped[str]
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"))


class Note(Base):
    __tablename__ = "notes"

    key: Mapped[int] = mapped_column(primary_key=True)


RULES: Any = {
    Document: Rule("document", document="id", also=("document_list",)),
    Chunk: "chunk",
    Note: Rule("note", id="key", tenant=None),
}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/test.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(
            insert(Document), [{"id": f"d{n}", "tenant_id": "acme", "title": f"Title {n}"} for n in range(3)]
        )
        await connection.execute(insert(Chunk), [{"tenant_id": "acme", "document_id": "d0"} for _ in range(2)])
    yield engine
    await engine.dispose()


@pytest.fixture
async def sessions(cache: Cache, engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    made = async_sessionmaker(engine)
    CommitHooks(cache, RULES).listen(made)
    return made


async def fill(cache: Cache, tenant: str = "acme") -> None:
    for n in range(3):
        await cache.set("document", f"d{n}", "old", tenant)
        await cache.set("answer", f"a{n}", "old", tenant, document_ids=[f"d{n}"])
    await cache.set("document_list", "all", "old", tenant)
    for n in (1, 2):
        await cache.set("chunk", str(n), "old", tenant)
    await cache.set("note", "7", "old", tenant)


async def left(cache: Cache, tenant: str = "acme") -> set[str]:
    named = {"document": ("d0", "d1", "d2"), "answer": ("a0", "a1", "a2"), "document_list": ("all",)}
    named |= {"chunk": ("1", "2"), "note": ("7",)}
    return {one for kind, ids in named.items() for one in await cache.get_many(kind, ids, tenant)}


ALL = {"d0", "d1", "d2", "a0", "a1", "a2", "all", "1", "2", "7"}


async def test_commit_ends_what_was_changed_and_rollback_nothing(
    cache: Cache, sessions: async_sessionmaker[AsyncSession]
) -> None:
    await fill(cache)
    async with sessions() as session:
        document = await session.get_one(Document, "d0")
        document.title = "New"
        await session.flush()
        assert await left(cache) == ALL
        await session.rollback()
        assert await left(cache) == ALL

        document = await session.get_one(Document, "d0")
        document.title = "New"
        await session.commit()
        assert await left(cache) == ALL - {"d0", "a0", "all"}

        await fill(cache)
        await session.commit()  # nothing is left over from the transaction before
        assert await left(cache) == ALL


async def test_many_rows_end_their_type_in_one_step(cache: Cache, sessions: async_sessionmaker[AsyncSession]) -> None:
    await fill(cache)
    async with sessions.begin() as session:
        session.add_all([Chunk(id=100 + n, tenant_id="acme", document_id="d0") for n in range(65)])

    assert await left(cache) == ALL - {"1", "2"}


async def test_row_that_is_not_modified_ends_nothing(cache: Cache, sessions: async_sessionmaker[AsyncSession]) -> None:
    await fill(cache)
    async with sessions.begin() as session:
        document = await session.get_one(Document, "d0")
        document.title = document.title

    assert await left(cache) == ALL


async def test_expired_row_says_whose_it_is(cache: Cache, sessions: async_sessionmaker[AsyncSession]) -> None:
    async with sessions() as session:
        document = await session.get_one(Document, "d0")
        chunk = await session.get_one(Chunk, 1)
        await session.commit()
        await fill(cache)
        document.title = "New"  # its tenant was expired by the commit, and nothing has loaded it again
        await session.delete(chunk)
        await session.commit()

    assert await left(cache) == ALL - {"d0", "a0", "all", "1"}


async def test_row_that_moves_ends_both_places(cache: Cache, sessions: async_sessionmaker[AsyncSession]) -> None:
    for tenant in ("acme", "umbrella"):
        await fill(cache, tenant)
        await cache.set("document", "d9", "absent", tenant)
    async with sessions.begin() as session:
        document = await session.get_one(Document, "d1")
        document.tenant_id = "umbrella"

    for tenant in ("acme", "umbrella"):
        assert await left(cache, tenant) == ALL - {"d1", "a1", "all"}


async def test_new_and_deleted_rows_with_their_cascades(
    cache: Cache, sessions: async_sessionmaker[AsyncSession]
) -> None:
    await fill(cache)
    await cache.set("chunk", "3", "was absent", "acme")
    async with sessions.begin() as session:
        session.add(Chunk(tenant_id="acme", document_id="d2"))
    assert await cache.get("chunk", "3", "acme") is None

    async with sessions.begin() as session:
        document = await session.get_one(Document, "d0", options=[])
        await session.refresh(document, ["chunks"])
        await session.delete(document)
    assert await left(cache) == ALL - {"d0", "a0", "all", "1", "2"}


async def test_orphan_ends_too(cache: Cache, sessions: async_sessionmaker[AsyncSession]) -> None:
    await fill(cache)
    async with sessions.begin() as session:
        document = await session.get_one(Document, "d0")
        await session.refresh(document, ["chunks"])
        document.chunks.pop(0)

    assert await left(cache) == ALL - {"1", "d0", "a0", "all"}  # the document has lost it, and counts as changed


async def test_row_that_moves_before_it_was_loaded(cache: Cache, sessions: async_sessionmaker[AsyncSession]) -> None:
    for tenant in ("acme", "umbrella"):
        await fill(cache, tenant)
    async with sessions() as session:
        document = await session.get_one(Document, "d1")
        await session.commit()
        document.tenant_id = "umbrella"  # nothing knows the old one
        await session.commit()

    for tenant in ("acme", "umbrella"):
        assert await left(cache, tenant) == ALL - {"d1", "a1", "all"}


async def test_savepoint_is_no_commit(cache: Cache, sessions: async_sessionmaker[AsyncSession]) -> None:
    await fill(cache)
    async with sessions() as session:  # noqa: SIM117
        async with session.begin():
            async with session.begin_nested():
                (await session.get_one(Document, "d0")).title = "New"
            assert await left(cache) == ALL
            with pytest.raises(LookupError):  # noqa: PT012 - a block that is left by an error
                async with session.begin_nested():
                    (await session.get_one(Document, "d1")).title = "New"
                    await session.flush()
                    raise LookupError
            assert await left(cache) == ALL

    assert await left(cache) <= ALL - {"d0", "a0", "all"}
    assert "d2" in await left(cache)


@pytest.mark.parametrize(
    ("kind", "answers"),
    [("update", {"a0"}), ("delete", {"a0"}), ("insert", set()), ("table", {"a0", "a1", "a2"})],
)
async def test_bulk_statement_ends_the_type_and_the_documents_that_it_changes(
    cache: Cache, sessions: async_sessionmaker[AsyncSession], kind: str, answers: set[str]
) -> None:
    statements: dict[str, Any] = {
        "update": update(Document).where(Document.id == "d0").values(title="New"),
        "delete": delete(Document).where(Document.id == "d0"),
        "insert": insert(Document).values(id="d8", tenant_id="acme", title="New"),
        "table": Document.__table__.update().values(title="New"),  # type: ignore[attr-defined]
    }
    await fill(cache)
    async with sessions() as session:
        with pytest.raises(MissingTenantError, match="alacena_tenants"):
            await session.execute(statements[kind])
        with Context("acme"):
            await session.execute(statements[kind])
        assert await left(cache) == ALL
        await session.commit()
    assert await left(cache) == ALL - {"d0", "d1", "d2", "all"} - answers

    await fill(cache)
    await fill(cache, "umbrella")
    async with sessions() as session:
        await session.execute(
            update(Document).values(title="Newer"), execution_options={"alacena_tenants": ["acme", "umbrella"]}
        )
        await session.execute(select(Document.id))
        await session.execute(text("select 1"))
        await session.commit()
    assert await left(cache) == await left(cache, "umbrella")
    gone = {"d0"} if kind == "delete" else set()  # a row that is not there is not changed
    assert await left(cache) == {"1", "2", "7"} | {name.replace("d", "a") for name in gone}


async def test_table_without_a_tenant_belongs_to_the_ambient_one(
    cache: Cache, sessions: async_sessionmaker[AsyncSession]
) -> None:
    await fill(cache)
    with pytest.raises(MissingTenantError, match="tenant is not known"):
        async with sessions.begin() as session:
            session.add(Note(key=7))
    with Context("acme"):
        async with sessions.begin() as session:
            session.add(Note(key=7))

    assert await left(cache) == ALL - {"7"}


async def test_row_of_nobody_belongs_to_the_system(cache: Cache, sessions: async_sessionmaker[AsyncSession]) -> None:
    await cache.set("document", "d5", "old", "system")
    async with sessions.begin() as session:
        session.add(Document(id="d5", tenant_id=None, title="For all"))

    assert await cache.get("document", "d5", "system") is None


async def test_synchronous_session_in_a_thread(cache: Cache, engine: AsyncEngine) -> None:
    await fill(cache)
    sync_engine = create_engine(str(engine.url).replace("+aiosqlite", ""))
    made = sessionmaker(sync_engine)
    CommitHooks(cache, RULES).listen(made)

    def change() -> None:
        with made.begin() as session:
            session.get_one(Document, "d0").title = "New"

    await asyncio.to_thread(change)

    assert await left(cache) == ALL - {"d0", "a0", "all"}
    sync_engine.dispose()


async def test_synchronous_session_on_the_loop_itself(
    cache: Cache, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_engine = create_engine(str(engine.url).replace("+aiosqlite", ""))

    class Sessions(Session):
        pass

    ended: asyncio.Queue[object] = asyncio.Queue()
    invalidate = cache.invalidate

    async def told(*args: Any, **kwargs: Any) -> int:
        count = await invalidate(*args, **kwargs)
        ended.put_nowait(args)
        return count

    monkeypatch.setattr(cache, "invalidate", told)
    CommitHooks(cache, {Chunk: "chunk"}).listen(Sessions)
    await fill(cache)
    with Sessions(sync_engine) as session:
        session.add(Chunk(id=1_000, tenant_id="acme", document_id="d0"))
        session.delete(session.get_one(Chunk, 1))
        session.commit()
    # The two rows are of two entities, and the hook ends each by a call of its own, in no promised order.
    while "1" in await left(cache):
        await ended.get()

    assert "1" not in await left(cache)
    sync_engine.dispose()


async def test_hooks_leave_other_sessions_alone(cache: Cache, sessions: Any, engine: AsyncEngine) -> None:
    await fill(cache)
    async with async_sessionmaker(engine).begin() as session:
        (await session.get_one(Document, "d0")).title = "New"

    assert await left(cache) == ALL


async def test_rule_names_attributes_that_are_there(cache: Cache) -> None:
    with pytest.raises(SettingsError, match=r"Note has no attribute 'id'"):
        CommitHooks(cache, {Note: "note"})


async def test_write_holds_from_before_the_transaction_until_after_it(
    cache: Cache, sessions: async_sessionmaker[AsyncSession]
) -> None:
    async def read(_: Any) -> str:
        async with sessions() as other:
            return (await other.get_one(Document, "d0")).title

    assert await cache.load("document", "d0", "acme", read) == "Title 0"
    async with sessions() as session:
        async with write(cache, session, "acme", ("document", "d0"), document_ids=["d0"]) as same:
            assert same is session
            document = await session.get_one(Document, "d0")
            document.title = "New"
            during = await cache.lookup("document", "d0", "acme", read)
            assert (during.value, during.stored) == ("Title 0", False)
        assert await cache.load("document", "d0", "acme", read) == "New"

        with pytest.raises(LookupError):  # noqa: PT012 - a block that is left by an error
            async with write(cache, session, "acme", ("document", "d0")):
                document.title = "Never"
                raise LookupError
        assert await cache.load("document", "d0", "acme", read) == "New"

        await session.get(Document, "d1")
        with pytest.raises(InvalidRequestError):
            async with write(cache, session, "acme", ("document", "d0")):
                pass


async def test_select_is_asked_once(cache: Cache, engine: AsyncEngine) -> None:
    asked = []

    async def prepare(connection: Any, scope: Scope) -> None:
        asked.append(scope)

    select_rows = CachedSelect(cache, engine, prepare=prepare)

    def titles(since: str) -> Any:
        return select(Document.id, Document.title).where(Document.id >= since).order_by(Document.id)

    results = await asyncio.gather(*(select_rows(titles("d1"), "titles", "acme") for _ in range(3)))

    for result in results:
        rows = result.all()
        assert [row.title for row in rows] == ["Title 1", "Title 2"]
        assert [tuple(row) for row in rows] == [("d1", "Title 1"), ("d2", "Title 2")]
    assert asked == [Scope("acme")]
    assert (await select_rows(titles("d2"), "titles", "acme")).scalars().all() == ["d2"]
    assert (await select_rows(titles("d9"), "titles", "acme")).all() == []
    assert (await select_rows(titles("d9"), "titles", "acme")).all() == []
    assert len(asked) == 3
    with Context("umbrella"):
        assert (await select_rows(titles("d1"), "titles")).mappings().first() == {"id": "d1", "title": "Title 1"}
    await select_rows(titles("d1"), "titles", Scope("acme", user_id="u1"))
    await select_rows(titles("d1"), "titles", Scope("acme", permissions=["a"]))
    assert len(asked) == 6
    await cache.invalidate("acme", "titles")
    await select_rows(titles("d1"), "titles", "acme")
    assert len(asked) == 7
    with pytest.raises(MissingTenantError):
        await select_rows(titles("d1"), "titles")


async def test_select_gives_columns_and_never_instances(cache: Cache, engine: AsyncEngine) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - SQLite keeps no zone
    async with engine.begin() as connection:
        await connection.execute(
            update(Document).where(Document.id == "d0").values(price=Decimal("1.50"), created_at=when)
        )
    select_rows = CachedSelect(cache, engine)
    for _ in range(2):
        row = (await select_rows(select(Document).where(Document.id == "d0"), "document", "acme")).one()
        assert not isinstance(row[0], Document)
        assert (row.id, row.price, row.created_at) == ("d0", Decimal("1.50"), when)


async def test_select_never_keeps_what_is_not_committed(cache: Cache, engine: AsyncEngine, tmp_path: Path) -> None:
    select_rows = CachedSelect(cache, engine)
    statement = select(Document.title).where(Document.id == "d0")
    async with async_sessionmaker(engine)() as session:
        (await session.get_one(Document, "d0")).title = "Draft"
        assert (await session.scalars(statement)).one() == "Draft"
        assert (await select_rows(statement, "titles", "acme")).scalar() == "Title 0"
        await session.rollback()


async def test_commit_ends_cached_selects_of_its_type(
    cache: Cache, engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession]
) -> None:
    select_rows = CachedSelect(cache, engine)
    statement = select(func.count()).select_from(Document)

    assert (await select_rows(statement, "document_list", "acme")).scalar() == 3
    async with sessions.begin() as session:
        session.add(Document(id="d7", tenant_id="acme", title="Seventh"))
    assert (await select_rows(statement, "document_list", "acme")).scalar() == 4


class Upper(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value.upper()


class Secret(TypeDecorator[str]):
    impl = String
    cache_ok = False


def test_statement_id_tells_statements_apart() -> None:
    engine = create_async_engine("sqlite+aiosqlite:///one.db")
    other = create_async_engine("sqlite+aiosqlite:///two.db")
    title = Document.title
    apart = [
        select(title),
        select(Document.id),
        select(type_coerce(title, Upper())),  # the same SQL, other values
        select(title).where(Document.id == "1"),
        select(title).where(Document.id == "2"),
        select(title).where(Document.id == bindparam("x", 1, Integer)),
        select(title).where(Document.id == bindparam("x", True, Integer)),
        select(title).where(Document.id.in_(["1", "2"])),
        select(title).where(Document.id.in_(["1,2"])),
        select(title).where(Document.created_at == datetime(2026, 1, 1, tzinfo=UTC)),
        select(title).where(Document.price == Decimal(1)),
        select(title).where(Document.id == bindparam("x", UUID(int=1))),
        select(title).limit(1),
        select(title).limit(2),
        select(title).execution_options(schema_translate_map={None: "other"}),
    ]
    ids = [statement_id(statement, engine) for statement in apart] + [statement_id(apart[0], other)]

    assert len(set(ids)) == len(ids)
    assert ids[:-1] == [statement_id(statement, engine) for statement in apart]
    assert statement_id(select(title).where(Document.id == "1"), engine) == ids[3]


def test_statement_id_is_the_same_in_every_process() -> None:
    program = """
from decimal import Decimal
from sqlalchemy import column, select
from sqlalchemy.ext.asyncio import create_async_engine
from alacena.integrations.sqlalchemy import statement_id
statement = select(column("title")).where(column("id").in_(["1", "2"]), column("price") > Decimal("1.0"))
print(statement_id(statement, create_async_engine("sqlite+aiosqlite:///one.db")))
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert len(printed) == 1


def test_statement_without_a_stable_form_is_refused() -> None:
    engine = create_async_engine("sqlite+aiosqlite:///one.db")

    class Own:
        pass

    with pytest.raises(InvalidKeyError, match="Own has no stable form"):
        statement_id(select(Document.title).where(Document.id == bindparam("x", Own(), String)), engine)
    with pytest.raises(InvalidKeyError, match="cache_ok"):
        statement_id(select(type_coerce(Document.title, Secret())), engine)


async def test_vectors_are_values_and_rows(cache: Cache, postgres: Any) -> None:
    numpy = pytest.importorskip("numpy")
    pgvector = pytest.importorskip("pgvector.sqlalchemy")
    from sqlalchemy import Column, MetaData, Table

    metadata = MetaData()
    vectors = Table("test_vectors", metadata, Column("id", String, primary_key=True), Column("v", pgvector.VECTOR(3)))
    import asyncpg

    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(postgres.dsn))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            await connection.execute(insert(vectors), [{"id": "a", "v": [1, 0, 0]}, {"id": "b", "v": [0, 1, 0]}])
        select_rows = CachedSelect(cache, engine)

        def nearest(vector: Any) -> Any:
            return select(vectors.c.id, vectors.c.v).order_by(vectors.c.v.l2_distance(vector)).limit(1)

        for query, expected in (([1, 0, 0], "a"), ([0, 1, 0], "b")):
            for kind in (list, numpy.array):
                for _ in range(2):
                    row = (await select_rows(nearest(kind(query)), "search", "acme")).one()
                    assert row.id == expected
                    assert list(row.v) == query
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.drop_all)
        await engine.dispose()


def test_missing_framework_is_named_with_its_extra(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"pip install 'alacena\[sqlalchemy\]'"):
        import_without("alacena.integrations.sqlalchemy", "sqlalchemy")
