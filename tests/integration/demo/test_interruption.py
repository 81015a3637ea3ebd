"""Interrupting the demo at any moment leaves no process and no file, and the next start works."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from examples.rag_service.documents import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN_S = 60.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes through /proc")


def processes_of(folder: Path) -> set[int]:
    """The living processes that were started with this folder for their temporary files."""
    mark = f"TMPDIR={folder}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if mark in (entry / "environ").read_bytes().split(b"\0") and state != "Z":
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def until(condition: object, what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """The folder that everything of one demo works in; whatever is still alive at the end is killed."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield folder
    for pid in processes_of(folder):
        os.kill(pid, signal.SIGKILL)


def start(temporary: Path, documents: Path) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ALACENA_", "REDIS"))}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "examples.rag_service", str(documents)],
        cwd=REPOSITORY,
        env={**kept, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(40):
        text = "\n".join(
            f"## Part {part} of {number}\n\nSentence {part} about number {number}.\n" for part in range(20)
        )
        (folder / f"{number:02}.md").write_text(f"# Document {number}\n\n{text}")
    return folder


def ended(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=WITHIN_S)
    return output


def servers_started(temporary: Path) -> int:
    return len(processes_of(temporary))


MOMENTS = {
    "while Postgres makes its files": lambda temporary: any(temporary.glob("alacena-postgres-*/data")),
    "while the servers start": lambda temporary: any(temporary.glob("alacena-postgres-*/data/server.log")),
    "while Postgres is ready": lambda temporary: any(temporary.glob("alacena-postgres-*/data/.s.PGSQL.5432")),
    "with many processes up": lambda temporary: servers_started(temporary) >= 10,
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left(temporary: Path, documents: Path, moment: str, order: signal.Signals) -> None:
    process = start(temporary, documents)
    until(lambda: MOMENTS[moment](temporary), moment)
    process.send_signal(order)
    process.send_signal(order)
    output = ended(process)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert output.rstrip().endswith("nothing was left behind.")
    assert processes_of(temporary) == set()
    assert list(temporary.iterdir()) == []


def test_a_second_start_after_an_interruption_works(temporary: Path, documents: Path) -> None:
    process = start(temporary, documents)
    until(lambda: servers_started(temporary) >= 8, "servers")
    process.send_signal(signal.SIGINT)
    ended(process)
    again = start(temporary, documents)
    output = ended(again)
    assert again.returncode == 0, output
    assert len(re.findall(r"^ok ", output, re.MULTILINE)) == 6
    assert list(temporary.iterdir()) == []


def test_a_killed_demo_takes_its_servers_with_it(temporary: Path, documents: Path) -> None:
    process = start(temporary, documents)
    until(lambda: servers_started(temporary) >= 10, "servers")
    process.kill()
    ended(process)
    until(lambda: not processes_of(temporary), "every process gone")
    until(lambda: not any(temporary.iterdir()), "every file gone")
