"""``make dev``: a server to develop against, which ends with the program that started it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proving.servers.resp import call

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.servers.dev", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def address(running: subprocess.Popen[str]) -> tuple[str, int]:
    """The server that the program names, once it has named it."""
    assert running.stdout is not None
    for line in running.stdout:
        if found := re.search(r"export REDIS_URL=redis://(127\.0\.0\.1):(\d+)/0", line):
            return found[1], int(found[2])
    raise AssertionError("the program named no server")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_asked_to_end_and_ends_the_server(how: signal.Signals) -> None:
    with program("--port", "0") as running:
        at = address(running)
        assert call(at, "PING") == "PONG"

        running.send_signal(how)
        rest, _ = running.communicate(timeout=60)

        assert running.returncode == 0, rest
        with pytest.raises(OSError):
            call(at, "PING")


def test_a_port_that_is_taken_is_said() -> None:
    with program("--port", "0") as first:
        _, port = address(first)
        with program("--port", str(port)) as second:
            said, _ = second.communicate(timeout=60)

            assert second.returncode == 1
            assert f"port {port} is taken" in said
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)


def test_make_has_it() -> None:
    made = subprocess.run(["make", "-n", "dev"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "-m tests.servers.dev" in made
