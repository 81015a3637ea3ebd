"""Files of Supabase's storage, brought to the local disk."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

from alacena.engine.base.errors import InvalidKeyError, SettingsError, UsageError, show
from alacena.engine.base.scope import identifier
from alacena.sources.call_arguments import check_tenant

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,16}")
_COPY = re.compile(r"[0-9a-f]{32}/[0-9a-f]{32}(\.[A-Za-z0-9]{1,16})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


class Bucket(Protocol):
    """A bucket, as ``client.storage.from_(name)`` gives it."""

    async def download(self, path: str, /) -> bytes:
        """Returns the object's bytes."""
        ...


class StorageDownloads:
    """Downloads objects of a bucket; called with ``(file_key, tenant_id)`` it gives the path of a local copy.

    Usage::

        download_file_logic = StorageDownloads(lambda: get_supabase_client().storage.from_("documents"))
        path = await download_file_logic("reports/2026.pdf", "acme")

    Args:
        bucket: Gives the bucket; asked at each download, so that each event loop uses a client of its own.
        directory: Where the copies go; it stays the caller's. Left out: a private temporary folder, which ``close()``
            removes.
        by_tenant: The bucket keeps each tenant's objects under ``<tenant_id>/``: a key is looked for there, whether it
            says so or not, so that no key leads to another tenant's object. With ``False`` keys are used as they are,
            and the bucket's policies must hold the tenants apart.
        max_files: How many copies are kept; beyond that the oldest are removed.
        max_bytes: How many bytes of copies are kept, likewise. A larger object is an error.

    Raises:
        SettingsError: A limit is less than 1.
    """

    def __init__(
        self,
        bucket: Callable[[], Bucket],
        *,
        directory: Path | None = None,
        by_tenant: bool = True,
        max_files: int = 1_000,
        max_bytes: int = 1024 * 1024 * 1024,
    ) -> None:
        for name, limit in (("max_files", max_files), ("max_bytes", max_bytes)):
            if type(limit) is not int or limit < 1:
                raise SettingsError(f"{name} must be a whole number of at least 1, not {show(limit)}")
        self._bucket = bucket
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._given = directory
        self._own: Path | None = None
        self._by_tenant = by_tenant

    async def __call__(self, file_key: str, tenant_id: str) -> str:
        """Downloads one object and gives the path of its local copy, the same one each time.

        The copy appears whole or not at all, and is replaced whole: readers of the last copy keep theirs.

        Cost: one request; the whole object passes through memory.
        Cancellation: safe, no half-written copy is left.

        Args:
            file_key: The object's path in the bucket.
            tenant_id: The tenant.

        Raises:
            InvalidKeyError: The key or the tenant could lead out of its folder (``..``, a leading ``/``, a backslash).
            MissingTenantError: The tenant is blank.
            TenantMismatchError: The code runs for another tenant.
            UsageError: The object is larger than ``max_bytes``.
        """
        tenant_id = check_tenant(tenant_id)
        path = self.object_path(file_key, tenant_id)
        bucket = self._bucket()
        data = await bucket.download(_as_it_reads(bucket, path))
        if len(data) > self._max_bytes:
            raise UsageError(
                f"the object takes {len(data)} bytes, more than max_bytes={self._max_bytes}: raise the limit, or read it "
                "from the bucket itself"
            )
        return await asyncio.to_thread(self._keep, data, self._local_path(path, tenant_id))

    def _keep(self, data: bytes, target: Path) -> str:
        kept = _write_whole(data, target)
        _remove_oldest(self._directory(), target, self._max_files, self._max_bytes)
        return kept

    def object_path(self, file_key: str, tenant_id: str) -> str:
        """Returns the object's path in the bucket, checked."""
        # A blank key goes on to `_check_path`, whose message shows what a key looks like.
        tenant_id, file_key = check_tenant(tenant_id), identifier("file_key", file_key) if file_key else ""
        _check_path(tenant_id, "tenant_id")
        _check_path(file_key, "file_key")
        if not self._by_tenant:
            return file_key
        if "/" in tenant_id:
            raise InvalidKeyError(f"tenant_id must be one folder, without '/': {tenant_id!r}")
        return file_key if file_key.startswith(f"{tenant_id}/") else f"{tenant_id}/{file_key}"

    def _local_path(self, path: str, tenant_id: str) -> Path:
        """Returns a path made of digests, so that no key can name a place: two parts, kept apart, and a suffix."""
        suffix = PurePosixPath(path).suffix
        ending = suffix if _PLAIN_SUFFIX.fullmatch(suffix) else ""
        return self._directory() / _digest(tenant_id) / f"{_digest(path)}{ending}"

    def _directory(self) -> Path:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = Path(tempfile.mkdtemp(prefix="alacena-files-"))
        return self._own

    async def close(self) -> None:
        """Removes the private temporary folder with its copies; does nothing to a directory that was given."""
        own, self._own = self._own, None
        if own is not None:
            await asyncio.to_thread(shutil.rmtree, own, ignore_errors=True)


def _check_path(path: str, what: str) -> None:
    # As a server may decode it: "%2e%2e" is ".." for a bucket that takes its path for encoded.
    parts = unquote(path).split("/")
    if _CONTROL.search(unquote(path)) or any(part.strip() in {"", ".", ".."} for part in parts):
        raise InvalidKeyError(
            f"{what} must be a relative path such as 'reports/2026.pdf', without empty, '.' or '..' parts, "
            f"backslashes or control characters: {path!r}"
        )


def _as_it_reads(bucket: object, path: str) -> str:
    """Returns the path as the bucket must be given it, so that it asks for this object and no other.

    Supabase's takes percent signs for an encoding, and in some versions ends the path at a question mark.
    """
    return quote(path) if type(bucket).__module__.startswith("storage3.") else path


def _remove_oldest(directory: Path, newest: Path, max_files: int, max_bytes: int) -> None:
    """Removes copies, oldest first, until the rest is within the limits. Other files in the folder are left alone."""
    copies = []
    for path in directory.glob("*/*"):
        # Only names that are made here: the folder may be the caller's, and hold drafts of other downloads.
        if path != newest and _COPY.fullmatch(f"{path.parent.name}/{path.name}"):
            # Another download may remove it in this moment.
            with suppress(FileNotFoundError):
                told = path.stat()
                copies.append((told.st_mtime_ns, told.st_size, path))
    files, size = len(copies) + 1, sum(copy[1] for copy in copies)
    with suppress(FileNotFoundError):
        size += newest.stat().st_size
    for _, its_size, path in sorted(copies):
        if files <= max_files and size <= max_bytes:
            return
        path.unlink(missing_ok=True)
        files, size = files - 1, size - its_size


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _write_whole(data: bytes, target: Path) -> str:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In the folder of the copy: a file is replaced in one step only within one file system.
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as part:
        draft = Path(part.name)
        try:
            part.write(data)
            # Before `replace`: from then on others read the file, and would miss what is still in the buffer.
            part.flush()
            draft.replace(target)
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
    return str(target)
