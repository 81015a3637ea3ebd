"""How fast is one GET, asked by 1, 10, 100 and 1,000 tasks at a time?

Ours, the bare protocol and redis-py, against one embedded server over a unix socket; rounds are interleaved, and the
median of each is compared with the bare protocol's of the same rounds.

    python -m bench.wire.hits [asyncio|uvloop] [rounds]
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import time
from typing import Any

import redis.asyncio

from alacena.engine.remote.redis.embedded import EmbeddedServer
from alacena.engine.remote.redis.wire import Connection
from bench.wire.bare import Bare

KEY = "alacena:e:{acme.0}:document:d1"
TOTALS = {1: 2000, 10: 6000, 100: 20_000, 1000: 20_000}

Ask = "Callable[[], Awaitable[Any]]"


async def contenders(path: str) -> tuple[dict[str, Ask], list[Any]]:
    """One way to ask for the key a contender, and what is to be closed."""
    loop = asyncio.get_running_loop()
    _, bare = await loop.create_unix_connection(Bare, path)
    _, ours = await loop.create_unix_connection(Connection, path)
    peer = redis.asyncio.Redis(unix_socket_path=path, protocol=3, max_connections=2000)
    await ours.call("SET", KEY, b"x" * 300, timeout_s=5)
    asks: dict[str, Ask] = {
        "bare": lambda: bare.call("GET", KEY),
        "ours": lambda: ours.call("GET", KEY, timeout_s=0.5),
        "ours, settled in the parser": lambda: ours.exchange([("GET", KEY)], settle=_first, timeout_s=0.5),
        "redis-py": lambda: peer.get(KEY),
    }
    return asks, [ours, peer]


def _first(replies: list[Any]) -> Any:
    return replies[0]


async def rate(ask: Ask, callers: int, total: int) -> tuple[float, float]:
    """Answers a second, and microseconds of this process's CPU an answer."""

    async def caller() -> None:
        for _ in range(total // callers):
            await ask()

    before = _cpu_s()
    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took_s = time.perf_counter() - began
    return total / took_s, (_cpu_s() - before) / total * 1e6


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def compare(rounds: int) -> None:
    """Print the table."""
    server = EmbeddedServer()
    endpoint = await server.start()
    asks, closing = await contenders(str(endpoint.address.path))
    try:
        print(f"{type(asyncio.get_running_loop()).__module__}, Python {sys.version.split()[0]}, {rounds} rounds")
        print(f"{'callers':>7}  {'contender':28}{'k/s':>8}{'spread':>14}{'µs CPU':>8}{'of bare':>9}")
        for callers, total in TOTALS.items():
            figures: dict[str, list[tuple[float, float]]] = {name: [] for name in asks}
            for _ in range(rounds):
                for name, ask in asks.items():
                    share = total // 10 if name == "redis-py" else total
                    figures[name].append(await rate(ask, callers, max(share, callers)))
            report(callers, figures)
    finally:
        closing[0].close()
        await closing[1].aclose()
        await server.close()


def report(callers: int, figures: dict[str, list[tuple[float, float]]]) -> None:
    """One row a contender; the ratio is the median of the rounds' ratios."""
    for name, rows in figures.items():
        rates = sorted(row[0] / 1000 for row in rows)
        cpu = statistics.median(row[1] for row in rows)
        ratio = statistics.median(row[0] / bare[0] for row, bare in zip(rows, figures["bare"], strict=True))
        spread = f"{rates[0]:.0f}-{rates[-1]:.0f}"
        print(f"{callers:>7}  {name:28}{statistics.median(rates):>8.1f}{spread:>14}{cpu:>8.1f}{ratio:>9.2f}")


def main() -> None:
    loop = sys.argv[1] if len(sys.argv) > 1 else "asyncio"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    if loop == "uvloop":
        import uvloop

        uvloop.run(compare(rounds))
    else:
        asyncio.run(compare(rounds))


if __name__ == "__main__":
    main()
