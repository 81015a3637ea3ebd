"""What a simulated server says of itself: the text of ``INFO``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulator.server import SimServer


def information(server: SimServer, sections: list[str]) -> bytes:
    """The sections asked for (all of them if none is), in the server's format."""
    everything: dict[str, dict[str, object]] = {
        "server": _server(server),
        "clients": {"connected_clients": len(server.sessions)},
        "memory": _memory(server),
        "persistence": {"loading": 0, "aof_enabled": 0},
        "stats": {"evicted_keys": server.evictor.evicted},
        "replication": _replication(server),
        "cluster": {"cluster_enabled": 0},
    }
    wanted = [name for name in everything if not sections or name in sections or "all" in sections]
    blocks = []
    for name in wanted:
        lines = [f"{field}:{value}" for field, value in everything[name].items()]
        blocks.append("\r\n".join([f"# {name.capitalize()}", *lines, ""]))
    return "\r\n".join(blocks).encode()


def _server(server: SimServer) -> dict[str, object]:
    return {
        "redis_version": "7.2.4",
        "server_name": "valkey",
        "valkey_version": "9.1.2",
        "redis_mode": "standalone",
        "run_id": server.replid,
        "tcp_port": 6379,
    }


def _memory(server: SimServer) -> dict[str, object]:
    return {
        "used_memory": server.evictor.used_bytes,
        "maxmemory": server.evictor.maxmemory_bytes,
        "maxmemory_policy": server.evictor.policy,
    }


def _replication(server: SimServer) -> dict[str, object]:
    return {
        "role": server.role,
        "connected_slaves": len(server.replications),
        "master_failover_state": "no-failover",
        "master_replid": server.replid,
        "master_replid2": "0" * 40,
        "master_repl_offset": server.offset,
    }
