"""The embedded server leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alacena.engine.base.errors import BackendUnavailableError
from alacena.engine.remote.redis.embedded import EmbeddedServer
from tests.waiting import wait_for

HOST = """
import asyncio
from alacena.engine.remote.redis.embedded import EmbeddedServer

async def main():
    endpoint = await EmbeddedServer().start()
    print(endpoint.address.path, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def processes_of(folder: Path) -> list[int]:
    """Who has the folder on its command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in line:
                found.append(int(entry.name))
    return found


async def test_it_starts_serves_and_is_gone_after_close() -> None:
    server = EmbeddedServer()
    endpoint = await server.start()
    folder = Path(str(endpoint.address.path)).parent
    assert folder.stat().st_mode & 0o077 == 0
    assert len(processes_of(folder)) == 2
    await server.close()
    assert not folder.exists()
    assert processes_of(folder) == []
    with pytest.raises(BackendUnavailableError, match="start"):
        _ = server.endpoint


async def test_two_at_once_do_not_meet() -> None:
    first, second = EmbeddedServer(), EmbeddedServer()
    endpoints = await asyncio.gather(first.start(), second.start())
    assert endpoints[0] != endpoints[1]
    await asyncio.gather(first.close(), second.close())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_its_process_however_that_ends(how: signal.Signals) -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert host.stdout is not None
    folder = Path(host.stdout.readline().decode().strip()).parent
    assert processes_of(folder)
    host.send_signal(how)
    host.wait()
    host.stdout.close()
    wait_for(lambda: not folder.exists() and not processes_of(folder), "folder and processes gone")


async def test_a_forked_child_does_not_keep_it_alive() -> None:
    server = EmbeddedServer()
    endpoint = await server.start()
    folder = Path(str(endpoint.address.path)).parent
    gate_out, gate_in = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(gate_in)
        os.read(gate_out, 1)
        os._exit(0)
    await server.close()
    assert not folder.exists()
    os.close(gate_in)
    os.close(gate_out)
    await asyncio.to_thread(os.waitpid, child, 0)


async def test_one_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedServer(("--no-such-option", "1"))
    with pytest.raises(BackendUnavailableError, match="no-such-option"):
        await server.start(timeout_s=0.5)
