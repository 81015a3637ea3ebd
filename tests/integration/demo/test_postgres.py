"""The demo's private Postgres: starts wherever it is installed, serves pgvector, leaves nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import numpy as np
import pytest

from examples.rag_service.stage import postgres
from examples.rag_service.stage.database import StoredChunk, open_database
from examples.rag_service.stage.postgres import private_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, alone for one test."""
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def made_in(folder: Path) -> list[Path]:
    return list(folder.glob("alacena-postgres-*"))


async def version(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


async def test_it_serves_while_its_block_runs_and_leaves_nothing(temporary: Path) -> None:
    async with private_postgres() as dsn:
        assert int((await version(dsn)).split(".")[0]) >= 16
        (folder,) = made_in(temporary)
        assert folder.stat().st_mode & 0o077 == 0
    assert made_in(temporary) == []
    with pytest.raises(OSError, match=r"No such file|Connection refused"):
        await version(dsn)


async def test_an_error_in_the_block_ends_it_as_well(temporary: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with private_postgres():
            raise ZeroDivisionError
    assert made_in(temporary) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another account")
async def test_as_root_it_runs_from_a_place_that_other_accounts_cannot_enter(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = postgres._installed_binaries()
    package = installed.parents[1]
    for name in (f"{package.name}/{installed.parent.name}", f"{package.name}.libs"):
        shutil.copytree(package.parent / name, tmp_path / "closed" / name, symlinks=True)
    (tmp_path / "closed").chmod(0o700)
    closed = tmp_path / "closed" / installed.relative_to(package.parent)
    monkeypatch.setattr(postgres, "_installed_binaries", lambda: closed)
    async with private_postgres() as dsn:
        assert await version(dsn)
    assert made_in(temporary) == []


async def test_a_folder_with_a_long_name_is_passed_over_for_a_short_one(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = temporary / ("d" * 90)
    deep.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    async with private_postgres() as dsn:
        assert await version(dsn)
        assert made_in(deep) == []


async def test_a_server_that_does_not_start_shows_its_log(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_SERVER_OPTIONS", ("max_connections=none",))
    with pytest.raises(RuntimeError, match=r"Postgres did not start(.|\n)*max_connections"):
        async with private_postgres():
            pytest.fail("it started")
    assert made_in(temporary) == []


async def test_the_database_finds_what_is_near_and_keeps_tenants_apart(temporary: Path) -> None:
    def chunk(name: str, *vector: float) -> StoredChunk:
        return StoredChunk(name, "H", f"text of {name}", "{}", np.asarray(vector, np.float32))

    async with private_postgres() as dsn, open_database(dsn, dimensions=2) as database:
        for tenant in ("a", "b"):
            await database.save_document(tenant, "c", "d", "Title", "text")
            document = await database.document(tenant, "d")
            assert document is not None
            await database.replace_chunks(tenant, document, [chunk(f"{tenant}0", 1, 0), chunk(f"{tenant}1", 0, 1)])
        hits = await database.nearest("a", "c", np.asarray([0.1, 1], np.float32), 5)
        assert [hit.chunk_id for hit in hits] == ["a1", "a0"]
        assert await database.passages("b", ["a0"]) == []
        assert await database.edit_document("a", "d", "new") == 2
        edited = await database.document("a", "d")
        assert edited is not None
        await database.replace_chunks("a", edited, [chunk("a9", 1, 1)])
        (passage,) = await database.passages("a", ["a0", "a9"])
        assert (passage.version, passage.context) == (2, "H\n\ntext of a9")
        assert (await database.count_chunks("a"), await database.count_chunks("b")) == (1, 2)
        assert await database.document("a", "none") is None
