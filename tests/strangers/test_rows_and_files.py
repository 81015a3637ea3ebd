"""Rows of Supabase and Postgres, files of the storage, and large values."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from asyncpg.protocol.protocol import _create_record as create_record

from alacena import get_with_cache_aside, invalidate_document_update
from alacena.common.db import all_rows, close_supabase_clients, configure_supabase, get_supabase_client, truncation
from alacena.engine import Cache, Policy, Settings, SettingsError, UsageError
from alacena.sources import postgres
from alacena.sources.storage import StorageDownloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from alacena import CacheManager
    from proving.servers.redis_server import RedisServer


@pytest.fixture
async def supabase() -> AsyncIterator[None]:
    """A project that nobody asks: what is tested here goes wrong before a request is sent."""
    configure_supabase(url="http://127.0.0.1:9", key="public")
    yield
    await close_supabase_clients()
    configure_supabase()


@pytest.mark.usefixtures("supabase")
async def test_a_query_that_was_not_executed_is_an_error(manager: type[CacheManager]) -> None:
    """supabase/supabase-py#511: who forgot ``.execute()`` got the query for a value, with an advice to register it."""

    async def forgot(resource_id: str) -> Any:
        return get_supabase_client().table("documents").select("*").eq("document_id", resource_id)

    for source in (forgot, lambda: get_supabase_client().table("documents").select("*")):
        with pytest.raises(TypeError, match=r"\.execute\(\)"):
            await get_with_cache_aside("document", "d1", "acme", source)


async def test_a_coroutine_of_an_async_source_is_awaited(manager: type[CacheManager]) -> None:
    """supabase/supabase-py#1207: a sync source's awaitable was awaited, an async one's handed out."""

    async def rows() -> list[int]:
        return [1]

    async def forgot_await() -> Any:
        return rows()

    assert (await get_with_cache_aside("document", "d1", "acme", forgot_await))[0] == [1]


@pytest.mark.usefixtures("supabase")
async def test_a_token_is_text_and_no_coroutine() -> None:
    """supabase/supabase#4544: requests went out with ``Bearer <coroutine object ...>``."""

    async def mint(tenant: str) -> str:
        return "token"

    for wrong in (mint, lambda tenant: None, lambda tenant: b"token"):
        configure_supabase(url="http://127.0.0.1:9", key="public", tenant_token=wrong)  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match="plain function"):
            get_supabase_client("acme")


class _Query:
    """A query of a table with more rows than the server gives at once."""

    def __init__(self, rows: list[int], most: int) -> None:
        self._rows, self._most = rows, most

    def range(self, start: int, end: int) -> _Query:
        return _Query(self._rows[start : end + 1], self._most)

    async def execute(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(data=self._rows[: self._most])


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 2_500])
@pytest.mark.parametrize("most", [1_000, 700])
async def test_every_row_comes_though_the_server_gives_pages(count: int, most: int) -> None:
    """mem0ai/mem0#6694, #6695: exactly 1,000 rows were taken, and kept, for all there are."""
    rows = list(range(count))
    assert await all_rows(lambda: _Query(rows, most)) == rows
    with pytest.raises(ValueError, match="page_rows"):
        await all_rows(lambda: _Query(rows, most), page_rows=0)


class _Request:
    def __init__(self) -> None:
        self.params: dict[str, str] = {}


class _Limited(_Query):
    """A query with parameters, as PostgREST's have them."""

    def __init__(self, rows: list[int], most: int, **params: int) -> None:
        super().__init__(rows, most)
        self.request = _Request()
        self.request.params = {name: str(number) for name, number in params.items()}


async def test_the_limit_of_a_query_is_the_limit_of_all_its_pages() -> None:
    """supabase/supabase-py#127: a range of the query's own was replaced without a word, and all rows came."""
    rows = list(range(60))
    assert await all_rows(lambda: _Limited(rows, 10, limit=25)) == rows[:25]
    assert await all_rows(lambda: _Limited(rows, 10, offset=50, limit=25)) == rows[50:]
    assert await all_rows(lambda: _Limited(rows, 10, offset=58), page_rows=1) == rows[58:]


@pytest.mark.usefixtures("supabase")
@pytest.mark.parametrize("last", ["single", "maybe_single", "csv", "execute"])
async def test_a_query_that_gives_no_list_is_refused_before_it_is_sent(last: str) -> None:
    """supabase/supabase-py#390, #511 in their kind: the end of a query decides about its answer."""
    select = get_supabase_client().table("t").select("*")
    with pytest.raises(ValueError, match=r"without \.single\(\)"):
        await all_rows(getattr(select, last))


@pytest.mark.parametrize("data", [{"a": 1}, 5, "a,b"])
async def test_pages_that_are_no_lists_are_neither_joined_nor_asked_for_for_ever(data: object) -> None:
    class OneAnswer:
        def range(self, *_: int) -> OneAnswer:
            return self

        async def execute(self) -> Any:
            return types.SimpleNamespace(data=data)

    with pytest.raises(ValueError, match=type(data).__name__):
        await all_rows(OneAnswer)
    one = OneAnswer()
    with pytest.raises(ValueError, match="anew"):
        await all_rows(lambda: one)


async def test_a_pool_lets_the_application_prepare_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """langchain-ai/langchain-postgres#124: vectors came as text, and there was no place to register them."""
    import asyncpg

    prepared: list[Any] = []

    async def create_pool(dsn: str, *, init: Callable[[Any], Awaitable[None]], **_: Any) -> str:
        await init(Connection())
        return "pool"

    class Connection:
        async def set_type_codec(self, name: str, **_: Any) -> None:
            prepared.append(name)

    async def register_vector(connection: Any) -> None:
        prepared.append("vector")
        raise ValueError("unknown type: public.vector")

    async def own(connection: Any) -> None:
        prepared.append("own")

    monkeypatch.setattr(asyncpg, "create_pool", create_pool)
    monkeypatch.setitem(sys.modules, "pgvector.asyncpg", types.SimpleNamespace(register_vector=register_vector))
    assert await postgres.create_pool("postgresql://u@h/db", init=own) == "pool"
    assert prepared == ["json", "jsonb", "vector", "own"]


class _Bucket:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.data = b"x" * 10

    async def download(self, path: str, /) -> bytes:
        self.asked.append(path)
        return self.data


class _SupabaseBucket(_Bucket):
    """A bucket of Supabase's, which decodes the path that it is given."""


_SupabaseBucket.__module__ = "storage3._async.file_api"


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("why?.pdf", "acme/why%3F.pdf"),
        ("report #1.pdf", "acme/report%20%231.pdf"),
        ("a%20b.pdf", "acme/a%2520b.pdf"),
        ("reports/ñ.pdf", "acme/reports/%C3%B1.pdf"),
        ("plain.pdf", "acme/plain.pdf"),
    ],
)
async def test_a_key_asks_for_its_own_file(tmp_path: Path, key: str, sent: str) -> None:
    """supabase/supabase-py#1640: "why?.pdf" brought the file "why", and a name with %20 that with a blank."""
    for bucket, path in ((_SupabaseBucket(), sent), (_Bucket(), f"acme/{key}")):
        await StorageDownloads(lambda bucket=bucket: bucket, directory=tmp_path)(key, "acme")
        assert bucket.asked == [path]


async def test_copies_on_the_disk_are_bounded(tmp_path: Path) -> None:
    """supabase/storage#133: every object that was ever asked for stayed on the disk."""
    bucket = _Bucket()
    mine = tmp_path / "mine" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("not a copy")
    download = StorageDownloads(lambda: bucket, directory=tmp_path, max_files=3, max_bytes=45)
    paths = []
    for number in range(6):
        paths.append(await download(f"{number}.pdf", "acme"))
        os.utime(paths[-1], (number, number))  # the order in which they came, whatever the disk's clock can tell
    assert [Path(path).exists() for path in paths] == [False, False, False, True, True, True]
    bucket.data = b"x" * 30
    paths.append(await download("large.pdf", "acme"))
    assert [Path(path).exists() for path in paths] == [False] * 5 + [True, True]
    assert mine.read_text() == "not a copy"
    bucket.data = b"x" * 46
    with pytest.raises(UsageError, match="max_bytes=45"):
        await download("too large.pdf", "acme")
    for wrong in ({"max_files": 0}, {"max_bytes": 1.5}):
        with pytest.raises(SettingsError, match="at least 1"):
            StorageDownloads(lambda: bucket, **wrong)  # type: ignore[arg-type]


async def test_a_type_of_large_values_has_a_budget_of_its_own(valkey_server: RedisServer) -> None:
    """redis/redis#3893: 6 MB at 100 Mbit/s never came within the budget of a read: loaded and stored anew each time."""
    policies = {"large": Policy(redis_budget_s=30.0, use_memory=False), "small": Policy(use_memory=False)}
    settings = Settings(redis_url=valkey_server.url, redis_budget_s=0.05, staleness_bound_s=60.0, redis_timeout_s=30.0)
    async with Cache(settings, policies=policies) as cache:
        for kind in policies:
            assert await cache.set(kind, "r", "value", "acme")
            assert await cache.get(kind, "r", "acme") == "value"
        valkey_server.process.pause()  # slower than any link
        try:
            waits = [
                asyncio.ensure_future(cache.get("large", "r", "acme")),
                asyncio.ensure_future(cache.tenant("acme").get("large", "r")),
                asyncio.ensure_future(cache.get_many("large", ["r"], "acme")),
            ]
            assert await cache.get("small", "r", "acme") is None
            assert not any(wait.done() for wait in waits)
        finally:
            valkey_server.process.resume()
        assert await asyncio.gather(*waits) == ["value", "value", {"r": "value"}]
    with pytest.raises(SettingsError, match="redis_budget_s"):
        Policy(redis_budget_s=0)


@pytest.fixture
async def project() -> AsyncIterator[Callable[[str, int], None]]:
    """A project on this machine; it answers every query with so many rows, under the ``Content-Range`` it was told."""
    told: dict[str, Any] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            body = json.dumps([{"n": number} for number in range(told["rows"])]).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Range: {told['range']}\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def say(content_range: str, rows: int) -> None:
        told.update(range=content_range, rows=rows)

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    configure_supabase(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", key="public")
    truncation._said.clear()
    yield say
    await close_supabase_clients()
    configure_supabase()
    server.close()
    await server.wait_closed()


WHOLE_OR_PAGE: dict[str, tuple[str, int, int | None, bool]] = {
    "a full page": ("0-999/*", 1_000, None, True),
    "cut although more was asked for": ("0-999/*", 1_000, 5_000, True),
    "more were counted": ("0-999/1001", 1_000, None, True),
    "exactly so many were counted": ("0-999/1000", 1_000, None, False),
    "exactly so many were asked for": ("0-999/*", 1_000, 1_000, False),
    "less than a page": ("0-998/*", 999, None, False),
    "no rows": ("*/*", 0, None, False),
}


@pytest.mark.parametrize("case", WHOLE_OR_PAGE)
async def test_a_page_is_not_taken_for_the_whole(
    manager: type[CacheManager], project: Callable[[str, int], None], case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """mem0ai/mem0#6694: 1,000 rows of a longer table were cached as all of it, and nothing said so."""
    content_range, rows, limit, is_page = WHOLE_OR_PAGE[case]
    project(content_range, rows)

    async def chunks(resource_id: str) -> Any:
        query = get_supabase_client().table("chunks").select("*").eq("document_id", resource_id)
        return (await (query if limit is None else query.limit(limit)).execute()).data

    for _ in range(2):
        value, metrics = await get_with_cache_aside("chunks", "d1", "acme", chunks)
        assert len(value) == rows
        assert metrics.get("truncated", False) is is_page
        assert metrics["stored"] is not is_page
        assert metrics.get("reason") == ("truncated" if is_page else None)
    said = [record.getMessage() for record in caplog.records if "all_rows()" in record.getMessage()]
    assert len(said) == is_page


def make_rows() -> dict[str, Any]:
    engine = sqlalchemy.create_engine("sqlite://")
    query = "SELECT 'd1' AS document_id, 'lease' AS name"
    with engine.connect() as connection:
        row = connection.execute(sqlalchemy.text(query)).one()
        mapping = connection.execute(sqlalchemy.text(query)).mappings().one()
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    plain = connection.execute(query).fetchone()
    connection.close()
    record = create_record({"document_id": 0, "name": 1}, ("d1", "lease"))
    return {"sqlalchemy, row": row, "sqlalchemy, mapping": mapping, "sqlite3": plain, "asyncpg": record}


ROWS = make_rows()


@pytest.mark.parametrize("of", ROWS)
@pytest.mark.parametrize("many", [False, True], ids=["one", "a list"])
async def test_rows_of_a_database_are_kept_and_end_with_their_document(
    manager: type[CacheManager], of: str, many: bool
) -> None:
    """onyx-dot-app/onyx 6776, MagicStack/asyncpg 451: a plain select was loaded at each read, or outlived its document."""
    row = ROWS[of]
    calls = []

    def select() -> Any:
        calls.append(1)
        return [row] if many else row

    for _ in range(2):
        value, _ = await get_with_cache_aside("row", "r", "acme", select)
    back = value[0] if many else value
    names = back._mapping if of == "sqlalchemy, row" else back
    assert dict(names) == {"document_id": "d1", "name": "lease"}
    assert len(calls) == 1
    if of.startswith("sqlalchemy"):
        assert (type(back), back) == (type(row), row)
    assert (await invalidate_document_update("acme", "d1"))["dependents"] == 1
    assert await manager.get("row", "r", "acme") is None
