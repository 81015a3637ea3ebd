"""Is anything stale on a server so small that it evicts half of what it is given; do queues refuse to start there?"""

from __future__ import annotations

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import BackendError, UnsafeServerError
from proving.reliability.journey import Journey, roamed
from proving.reliability.place import Effort, Finding
from proving.servers.redis_server import RedisServer

NUMBERS = ("14",)
POLICIES = (
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
)
_ROOM_BYTES = 1_500_000
_BLOB_BYTES = 16_000
_KEYS = 200


async def run(effort: Effort) -> list[Finding]:
    """Each of the eight policies."""
    found = []
    for policy in POLICIES if not effort.quick else POLICIES[:5:2]:
        journey, evicted, queued = await squeezed(policy, effort)
        # What a server may evict can be lost, so a queue is refused under every policy but this one.
        safe = queued == ("started" if policy == "noeviction" else "refused")
        found.append(
            Finding(
                "14",
                f"eviction, {policy}",
                "alacena",
                f"seed {effort.seed}, {journey.ran}, {_KEYS} keys of {_BLOB_BYTES // 1000} kB in {_ROOM_BYTES // 1000} kB, "
                f"{evicted:,} evictions",
                f"{journey.seen}; a queue {queued}",
                held=journey.held and safe,
                details={"violations": len(journey.report.violations), "evicted": evicted},
            )
        )
    return found


async def squeezed(policy: str, effort: Effort) -> tuple[Journey, int, str]:
    """Roam where there is no room; how much was evicted, and what a queue did."""
    with RedisServer(effort.flavour, maxmemory_policy=policy) as server:
        used = int(_figure(server, "memory", "used_memory"))
        server.call("CONFIG", "SET", "maxmemory", used + _ROOM_BYTES)
        urls = [server.url] * effort.of(4, 2)
        journey = await roamed(
            effort, urls, seconds=effort.of(6.0, 2.5), bound_s=0.5, keys=_KEYS, blob_bytes=_BLOB_BYTES,
            settings={"compress_over_bytes": None},
        )  # fmt: skip
        evicted = int(_figure(server, "stats", "evicted_keys"))
        return journey, evicted, await _queued(server)


async def _queued(server: RedisServer) -> str:
    """What happens to somebody who wants a queue there, once there is room for it."""
    server.call("CONFIG", "SET", "maxmemory", 0)
    async with Cache(Settings(redis_url=server.url)) as cache:
        try:
            await cache.queues("jobs", tenant_id="acme").push({"n": 1})
        except UnsafeServerError:
            return "refused"
        except BackendError as error:
            return f"failed: {error}"
        return "started"


def _figure(server: RedisServer, section: str, name: str) -> str:
    lines = server.call("INFO", section).splitlines()
    return str(next(line for line in lines if line.startswith(f"{name}:")).partition(":")[2])
