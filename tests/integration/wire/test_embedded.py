"""The embedded server leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from alacena.engine.base.errors import BackendUnavailableError
from alacena.engine.remote.redis import embedded
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


def test_a_server_that_stands_still_ends_with_its_process_too() -> None:
    """One that was stopped, or runs a script without an end, does not hear a request to end."""
    host = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert host.stdout is not None
    folder = Path(host.stdout.readline().decode().strip()).parent
    [server] = [pid for pid in processes_of(folder) if b"/bin/sh" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(server, signal.SIGSTOP)
    host.kill()
    host.wait()
    host.stdout.close()
    wait_for(lambda: not folder.exists() and not processes_of(folder), "folder and processes gone")


def test_a_child_that_is_forked_while_a_server_starts_does_not_keep_it_alive() -> None:
    """Forked by another thread between the server's pipe and the note of it, it held the pipe for as long as it lived."""
    gate_out, gate_in = os.pipe()
    children: list[int] = []
    launch = embedded._launch
    forking: list[threading.Thread] = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os.close(gate_in)
            os.read(gate_out, 1)
            os._exit(0)
        children.append(child)

    def launch_and_fork(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
        guard = launch(command, folder)
        forking.append(threading.Thread(target=fork))
        forking[0].start()
        forking[0].join(0.2)
        return guard

    async def story() -> Path:
        server = EmbeddedServer()
        endpoint = await server.start()
        await asyncio.to_thread(forking[0].join)
        await server.close()
        return Path(str(endpoint.address.path)).parent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "_launch", launch_and_fork)
        folder = asyncio.run(story())
    assert not folder.exists()
    os.close(gate_in)
    os.close(gate_out)
    os.waitpid(children[0], 0)


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
