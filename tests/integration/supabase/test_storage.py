"""Files come down whole, under names that lead nowhere else, and only from the tenant's own folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from supabase import StorageException

from alacena.common.db import get_supabase_client
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError
from alacena.sources.storage import StorageDownloads

if TYPE_CHECKING:
    from proving.servers.gateway import Gateway


def downloads(directory: Path | None = None, tenant: str = "a", *, by_tenant: bool = True) -> StorageDownloads:
    bucket = lambda: get_supabase_client(tenant).storage.from_("files")  # noqa: E731
    return StorageDownloads(bucket, directory=directory, by_tenant=by_tenant)


async def test_an_object_comes_down_with_its_suffix(project: Gateway, tmp_path: Path) -> None:
    project.objects["files", "a/reports/año 2026.pdf"] = b"\x00pdf"
    path = await downloads(tmp_path)("reports/año 2026.pdf", "a")
    assert isinstance(path, str)
    assert (Path(path).read_bytes(), Path(path).suffix) == (b"\x00pdf", ".pdf")
    assert Path(path).is_relative_to(tmp_path)


async def test_a_key_that_names_its_tenant_is_the_same_object(project: Gateway, tmp_path: Path) -> None:
    project.objects["files", "a/x.txt"] = b"hello"
    download = downloads(tmp_path)
    assert await download("x.txt", "a") == await download("a/x.txt", "a")


async def test_a_key_of_another_tenant_is_looked_for_in_ones_own_folder(project: Gateway, tmp_path: Path) -> None:
    project.objects["files", "b/secret.txt"] = b"secret"
    service = StorageDownloads(
        lambda: get_supabase_client(use_service_role=True).storage.from_("files"), directory=tmp_path
    )
    with pytest.raises(StorageException, match="not found"):
        await service("b/secret.txt", "a")
    assert project.requests == ["GET /storage/v1/object/files/a/b/secret.txt"]
    assert not any(tmp_path.rglob("*"))


async def test_the_buckets_policies_hold_where_keys_are_used_as_they_are(project: Gateway, tmp_path: Path) -> None:
    project.objects["files", "b/secret.txt"] = b"secret"
    with pytest.raises(StorageException, match="security"):
        await downloads(tmp_path, by_tenant=False)("b/secret.txt", "a")


ELSEWHERE = ["../b/x", "a/../b/x", "/etc/passwd", "..", ".", "", "x//y", "a\\..\\b", "x\0y", "%2e%2e/b/x", "x/ /y"]


@pytest.mark.parametrize("key", ELSEWHERE)
async def test_keys_that_lead_elsewhere_are_refused(project: Gateway, tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidKeyError, match="file_key must be a relative path"):
        await downloads(tmp_path)(key, "a")
    assert project.requests == []


@pytest.mark.parametrize("tenant", ["..", "a/..", "/", "a\\b"])
async def test_tenants_that_lead_elsewhere_are_refused(tmp_path: Path, project: Gateway, tenant: str) -> None:
    with pytest.raises(InvalidKeyError, match="tenant_id must be"):
        await downloads(tmp_path)("x", tenant)
    with pytest.raises(InvalidKeyError, match="one folder"):
        await downloads(tmp_path)("x", "a/b")
    with pytest.raises(MissingTenantError):
        await downloads(tmp_path)("x", " ")
    assert project.requests == []


async def test_the_same_name_of_two_tenants_is_two_files(project: Gateway, tmp_path: Path) -> None:
    project.objects["files", "a/x.txt"] = b"of a"
    project.objects["files", "b/x.txt"] = b"of b"
    of_a, of_b = await downloads(tmp_path, "a")("x.txt", "a"), await downloads(tmp_path, "b")("x.txt", "b")
    assert [Path(path).read_bytes() for path in (of_a, of_b)] == [b"of a", b"of b"]


async def test_a_new_version_replaces_the_copy_whole(project: Gateway, tmp_path: Path) -> None:
    project.objects["files", "a/x.txt"] = b"old"
    download = downloads(tmp_path)
    path = await download("x.txt", "a")
    with Path(path).open("rb") as reader:
        project.objects["files", "a/x.txt"] = b"new and longer"
        copies = await asyncio.gather(*(download("x.txt", "a") for _ in range(8)))
        assert reader.read() == b"old"
    assert set(copies) == {path}
    assert Path(path).read_bytes() == b"new and longer"
    assert [entry.name for entry in Path(path).parent.iterdir()] == [Path(path).name]


async def test_a_folder_of_ones_own_is_removed_and_made_again(project: Gateway) -> None:
    project.objects["files", "a/x.txt"] = b"hello"
    download = downloads()
    first = Path(await download("x.txt", "a"))
    await download.close()
    await download.close()
    assert not first.exists()
    second = Path(await download("x.txt", "a"))
    assert second.read_bytes() == b"hello"
    await download.close()
    assert not second.parent.parent.exists()


async def test_a_given_folder_is_left_alone(project: Gateway, tmp_path: Path) -> None:
    project.objects["files", "a/x.txt"] = b"hello"
    download = downloads(tmp_path)
    path = Path(await download("x.txt", "a"))
    await download.close()
    assert path.exists()
