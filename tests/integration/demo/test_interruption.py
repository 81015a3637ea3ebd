"""Interrupting the demo at any moment leaves no process and no file, and the next start works."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from examples.rag_service.stage.documents import REPOSITORY
from tests.integration.demo.endpoint import endpoint
from tests.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WITHIN_S = 90.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes through /proc")


def processes_of(folder: Path) -> dict[int, str]:
    """The living processes that work in this folder, or have it for their temporary files; with their commands."""
    mark = f"TMPDIR={folder}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # Postgres writes over its environment, but works where its data are.
                at_home = (entry / "cwd").readlink().is_relative_to(folder)
                if at_home or mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The folder that everything of one demo works in; whatever is still alive at the end is killed."""
    # Not below pytest's own: a unix socket needs a short path, and a server of another account must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    for pid in processes_of(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


def start(temporary: Path, documents: Path, url: str, *options: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ALACENA_", "REDIS"))}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "examples.rag_service", str(documents), *options],
        cwd=REPOSITORY,
        env={**kept, "TMPDIR": str(temporary), "OPENAI_BASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def url() -> Iterator[str]:
    """An endpoint that stands for the model."""
    with endpoint() as served:
        yield served.url


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(20):
        text = "\n".join(
            f"## Part {part} of {number}\n\nSentence {part} about number {number}.\n" for part in range(20)
        )
        (folder / f"{number:02}.md").write_text(f"# Document {number}\n\n{text}")
    return folder


def ended(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=WITHIN_S)
    return output


def said(process: subprocess.Popen[str], words: str) -> None:
    """Read the output as far as a line with these words."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    pytest.fail(f"it ended without saying {words!r}")


def made(name: str) -> Callable[[subprocess.Popen[str], Path], None]:
    return lambda _process, folder: wait_for(lambda: any(folder.glob(name)), name)


def running(word: str) -> Callable[[subprocess.Popen[str], Path], None]:
    return lambda _process, folder: wait_for(
        lambda: any(word in command for command in processes_of(folder).values()), word
    )


def saying(words: str) -> Callable[[subprocess.Popen[str], Path], None]:
    return lambda process, _folder: said(process, words)


MOMENTS = {
    "while Postgres makes its files": made("alacena-postgres-*/data"),
    "while Postgres starts": made("alacena-postgres-*/data/server.log"),
    "while Valkey starts": running("valkey"),
    "while the second process starts": running("--second-process"),
    "while documents are taken in": saying("are up after"),
    "while questions are asked": saying("embedded,"),
    "while a document is edited": saying("puts it back"),
}


@pytest.mark.parametrize(
    ("moment", "order"),
    [
        ("while documents are taken in", signal.SIGINT),
        ("while Postgres starts", signal.SIGTERM),
        ("while the second process starts", signal.SIGINT),
        *((moment, signal.SIGINT) for moment in MOMENTS if os.environ.get("TESTS_CHAOS")),
    ],
)
def test_nothing_is_left(temporary: Path, documents: Path, url: str, moment: str, order: signal.Signals) -> None:
    check_nothing_is_left(temporary, documents, url, moment, order)


def check_nothing_is_left(temporary: Path, documents: Path, url: str, moment: str, order: signal.Signals) -> None:
    process = start(temporary, documents, url)
    MOMENTS[moment](process, temporary)
    process.send_signal(order)
    process.send_signal(order)
    output = ended(process)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert output.rstrip().endswith("nothing was left behind.")
    assert processes_of(temporary) == {}
    assert list(temporary.iterdir()) == []


def test_a_second_start_after_an_interruption_works(
    temporary: Path, documents: Path, folder: Path, url: str, tmp_path: Path
) -> None:
    """And where no questions are given, they come from the headings."""
    check_nothing_is_left(temporary, documents, url, "while questions are asked", signal.SIGHUP)
    figures = tmp_path / "figures.json"
    again = start(temporary, folder, url, "--json", str(figures))
    output = ended(again)
    assert again.returncode == 0, output
    assert len(re.findall(r"^ok ", output, re.MULTILINE)) == 6
    assert list(temporary.iterdir()) == []
    assert json.loads(figures.read_text(encoding="utf-8"))["questions"] == ["Colas?", "Tenants?", "Bloqueos?"]


def test_a_killed_demo_takes_its_servers_with_it(temporary: Path, documents: Path, url: str) -> None:
    process = start(temporary, documents, url)
    said(process, "are up after")
    process.kill()
    ended(process)
    wait_for(lambda: not processes_of(temporary), "every process gone")
    wait_for(lambda: not any(temporary.iterdir()), "every file gone")
