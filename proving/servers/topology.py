"""Several servers that know each other: a cluster, and a primary with its replica under Sentinels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from proving.servers.process import PortTakenError, Process, Server
from proving.servers.redis_server import Flavour, RedisServer, free_port
from proving.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

SLOTS = 16_384
LAST_CLIENT_PORT = 55_535
"""A cluster node's bus listens 10,000 ports higher."""
NODE_TIMEOUT_MS = 1_000
DOWN_AFTER_MS = 500
PROMPT_REPLICATION = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
TRIES = 8


class RedisCluster(Server):
    """A cluster of primaries on loopback ports, made with plain ``CLUSTER`` commands.

    Args:
        flavour: ``"valkey"`` or ``"redis"``.
        nodes: Primaries; they share the slots evenly.
        replicas: Replicas of each primary.
    """

    def __init__(self, flavour: Flavour = "valkey", *, nodes: int = 3, replicas: int = 0) -> None:
        flags = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), *PROMPT_REPLICATION)
        self.nodes = [_ClusterNode(flavour, databases=1, tcp=True, extra=flags) for _ in range(nodes * (1 + replicas))]
        self.primaries = self.nodes[:nodes]

    @property
    def url(self) -> str:
        """``redis://`` URL of the first node."""
        return self.nodes[0].tcp_url

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", node.port) for node in self.nodes]

    def start(self) -> Self:
        """Starts the nodes, joins them, and returns once each of them says that the cluster is whole."""
        for node in self.nodes:
            node.start()
        self._share_slots()
        self._join()
        self._attach_replicas()
        wait_for(self._whole, "a whole cluster")
        return self

    def _share_slots(self) -> None:
        bounds = [SLOTS * i // len(self.primaries) for i in range(len(self.primaries) + 1)]
        for epoch, node in enumerate(self.nodes, start=1):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for node, first, after in zip(self.primaries, bounds, bounds[1:], strict=False):
            node.call("CLUSTER", "ADDSLOTSRANGE", first, after - 1)

    def _join(self) -> None:
        for node in self.nodes[1:]:
            self.nodes[0].call("CLUSTER", "MEET", "127.0.0.1", node.port)
        wait_for(lambda: all(node.known_nodes() == len(self.nodes) for node in self.nodes), "cluster nodes that met")

    def _attach_replicas(self) -> None:
        for index, replica in enumerate(self.nodes[len(self.primaries) :]):
            primary = self.primaries[index % len(self.primaries)].call("CLUSTER", "MYID")
            replica.call("CLUSTER", "REPLICATE", primary)
        replicas = self.nodes[len(self.primaries) :]
        wait_for(lambda: all(_in_step(replica) for replica in replicas), "cluster replicas in step")

    def _whole(self) -> bool:
        return all("cluster_state:ok" in node.call("CLUSTER", "INFO") for node in self.nodes)

    def node_of(self, key: str | bytes) -> RedisServer:
        """The primary that held the slot of ``key`` when the cluster was made."""
        slot = int(self.nodes[0].call("CLUSTER", "KEYSLOT", key))
        return self.primaries[min(slot * len(self.primaries) // SLOTS, len(self.primaries) - 1)]

    def move_slot(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Hands an empty slot over: afterwards ``source`` answers ``MOVED``."""
        target_id = target.call("CLUSTER", "MYID")
        for node in (target, source, *self.primaries):
            node.call("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def reset(self) -> None:
        """Empties every primary."""
        for node in self.primaries:
            node.reset()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


class _ClusterNode(RedisServer):
    """A node: its bus port must be free too, and its configuration file is its own."""

    def start(self) -> Self:
        if self.port:
            return super().start()
        for _ in range(TRIES):
            port = free_port()
            if port > LAST_CLIENT_PORT:
                continue
            self.port = port
            try:
                return super().start()
            except PortTakenError:
                self.port = 0
        raise PortTakenError(f"{TRIES} pairs of ports in a row were taken by somebody else")

    def known_nodes(self) -> int:
        """How many nodes it has shaken hands with, itself included."""
        lines = self.call("CLUSTER", "NODES").splitlines()
        return sum("handshake" not in line for line in lines)


class RedisSentinel(Server):
    """A primary, its replicas, and Sentinels that replace it within about a second.

    Args:
        flavour: ``"valkey"`` or ``"redis"``.
        replicas: Replicas of the primary.
        sentinels: Sentinels; more than half of them must agree.
    """

    service = "alacena"
    """The name under which the Sentinels know the primary."""

    def __init__(self, flavour: Flavour = "valkey", *, replicas: int = 1, sentinels: int = 3) -> None:
        flags = PROMPT_REPLICATION
        self.servers = [RedisServer(flavour, tcp=True, extra=flags) for _ in range(1 + replicas)]
        self.primary = self.servers[0]
        quorum = sentinels // 2 + 1
        self.sentinels = [_SentinelNode(flavour, self.service, quorum=quorum) for _ in range(sentinels)]

    @property
    def replicas(self) -> list[RedisServer]:
        """The data servers that are not the primary now."""
        return [server for server in self.servers if server is not self.primary]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each Sentinel."""
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]

    def start(self) -> Self:
        """Returns once the replicas are in step and each Sentinel knows the others."""
        self.primary.start()
        for replica in self.replicas:
            replica.start()
            replica.call("REPLICAOF", "127.0.0.1", self.primary.port)
        wait_for(lambda: all(_in_step(replica) for replica in self.replicas), "replicas in step")
        for sentinel in self.sentinels:
            sentinel.watch(self.primary.port)
            sentinel.start()
        wait_for(self._acquainted, "Sentinels that know each other")
        return self

    def _acquainted(self) -> bool:
        return all(
            sentinel.state()["num-other-sentinels"] == str(len(self.sentinels) - 1)
            and len(sentinel.call("SENTINEL", "REPLICAS", self.service)) == len(self.replicas)
            for sentinel in self.sentinels
        )

    def current_port(self) -> int:
        """The port of what the first Sentinel takes for the primary."""
        return int(self.sentinels[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)[1])

    def fail_over(self) -> RedisServer:
        """Kills the primary, waits for the Sentinels to promote a replica, and gives that one."""
        dead = self.primary
        dead.crash()
        wait_for(lambda: self.current_port() != dead.port, "a promoted replica")
        self.primary = next(server for server in self.servers if server.port == self.current_port())
        wait_for(lambda: "role:master" in self.primary.call("INFO", "replication"), "a replica that knows its new role")
        return self.primary

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.stop()


class _SentinelNode(RedisServer):
    """A Sentinel. It rewrites its configuration file as it learns, so the file is written once, before the start."""

    def __init__(self, flavour: Flavour, service: str, *, quorum: int) -> None:
        super().__init__(flavour, tcp=True)
        self._service = service
        self._quorum = quorum

    def watch(self, primary_port: int) -> None:
        """Says which primary to watch."""
        self._primary_port = primary_port

    def _launch(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        configuration = self.directory / "sentinel.conf"
        configuration.write_text(self._configuration())
        argv: list[str | Path] = [self._binary.path, configuration, "--sentinel"]
        self._process = Process(argv, self.directory, name=f"{self.flavour}-sentinel", env=self._binary.env)
        self._process.start(self.answers)

    def _configuration(self) -> str:
        return "\n".join(
            [
                f"port {self.port}",
                "bind 127.0.0.1",
                f"unixsocket {self.socket_path}",
                f"dir {self.directory}",
                f"sentinel monitor {self._service} 127.0.0.1 {self._primary_port} {self._quorum}",
                f"sentinel down-after-milliseconds {self._service} {DOWN_AFTER_MS}",
                f"sentinel failover-timeout {self._service} {DOWN_AFTER_MS * 4}",
                f"sentinel parallel-syncs {self._service} 1",
                "",
            ]
        )

    def state(self) -> dict[str, str]:
        """What it knows of the primary, by field name."""
        flat = self.call("SENTINEL", "MASTER", self._service)
        return dict(zip(flat[::2], flat[1::2], strict=True))


def _in_step(replica: RedisServer) -> bool:
    return "master_link_status:up" in replica.call("INFO", "replication")
