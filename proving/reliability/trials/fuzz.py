"""What does a client make of bytes that no server of ours sends: strange pushes, lying lengths, damage, another protocol?

Something between a server and the cache now and then says something of its own. Nothing of that may raise, give a
wrong answer, or keep the cache from serving again once it has stopped.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import BackendError
from alacena.testing.proxy import FaultProxy
from proving.reliability.grumbler import Grumbler
from proving.reliability.journal import now
from proving.reliability.place import OURS, Effort, Finding, attempted
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = ("9",)
_NULL = b">2\r\n$10\r\ninvalidate\r\n_\r\n"
_BACK_S = 8.0


def _damaged(chance: random.Random) -> bytes:
    whole = bytearray(
        chance.choice((_NULL, b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"))
    )
    for _ in range(chance.randint(1, 4)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    return bytes(whole[: chance.randint(1, len(whole))])


STRANGE: dict[str, Callable[[random.Random], bytes]] = {
    "null push": lambda _: _NULL,
    "unknown pushes": lambda chance: (
        b">2\r\n$%d\r\n%s\r\n:1\r\n" % (len(w := chance.choice((b"message", b"x" * 99))), w)
    ),
    "push of 10,000 keys": lambda _: b">2\r\n$10\r\ninvalidate\r\n*10000\r\n" + b"$1\r\nk\r\n" * 10_000,
    "arrays announced of up to 2 thousand million": lambda chance: b"*%d\r\n" % chance.randint(10**7, 2**31 - 1),
    "strings announced of up to 2 GB": lambda chance: b"$%d\r\nx" % chance.randint(2**28 + 1, 2**31 - 1),
    "answers that nobody asked for": lambda _: b"+OK\r\n",
    "attributes": lambda _: b"|1\r\n$1\r\na\r\n:1\r\n",
    "random bytes": lambda chance: chance.randbytes(chance.randint(1, 200)),
    "pushes and answers with bytes changed or missing": _damaged,
}


async def run(effort: Effort) -> list[Finding]:
    """Each kind of strangeness, then a server that does not speak RESP3."""
    times = effort.of(200, 20)
    found = []
    for name, strange in STRANGE.items():
        chance = random.Random(f"{effort.seed}/{name}")
        ran = f"seed {effort.seed}, said {times} times, among 8 readers"
        found.append(
            await attempted("9", f"strange bytes: {name}", OURS, _said(name, ran, effort, chance, strange, times))
        )
    return [*found, await attempted("9", "a server that speaks RESP2 only", OURS, old_server())]


async def _said(
    name: str, ran: str, effort: Effort, chance: random.Random, strange: Callable[[random.Random], bytes], times: int
) -> Finding:
    wrong, back_s = await said(effort, chance, strange, times)
    return Finding(
        "9",
        f"strange bytes: {name}",
        OURS,
        ran,
        f"errors or wrong answers: {len(wrong)}; memory served again after {back_s:.1f} s"
        + (f"; first: {wrong[0]:.200}" if wrong else ""),
        held=not wrong and back_s < _BACK_S,
        details={"wrong": len(wrong), "back_s": back_s},
    )


class _Ventriloquist(FaultProxy):
    """Speaks for the server."""

    def say(self, data: bytes) -> None:
        """Say something to the client, between two pieces of what the server says."""
        for channel in self._channels:
            with suppress(RuntimeError):  # it may be hanging up
                channel.client.write(data)


async def said(
    effort: Effort, chance: random.Random, strange: Callable[[random.Random], bytes], times: int
) -> tuple[list[str], float]:
    """Errors and wrong answers of readers meanwhile, and how long it took afterwards until memory was served again."""
    wrong: list[str] = []
    # An answer that makes no sense is reported there, as a bug would be; what counts here is what readers get.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(effort.flavour, tcp=True))
        proxy = await stack.enter_async_context(_Ventriloquist(server.address))
        cache = await stack.enter_async_context(Cache(Settings(redis_url=f"redis://127.0.0.1:{proxy.port}")))
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(_read(cache, number, wrong)) for number in range(8)]
            for _ in range(times):
                proxy.say(strange(chance))
                await asyncio.sleep(0.002 + 0.01 * chance.random())
            for reader in readers:
                reader.cancel()
        began = now()
        while not cache.guarantee()["memory"] and now() - began < _BACK_S:
            await asyncio.sleep(0.01)
        return wrong, now() - began


async def old_server() -> Finding:
    """A server that knows no ``HELLO`` cannot push in order: it is refused when the cache is opened."""
    async with Grumbler() as server:
        server.old = True
        seen = "opened"
        try:
            async with Cache(Settings(redis_url=server.url)):
                pass
        except BackendError as error:
            seen = f"refused: {error}"
    return Finding("9", "a server that speaks RESP2 only", OURS, "opened on it", seen, held=seen.startswith("refused"))


async def _read(cache: Cache, number: int, wrong: list[str]) -> None:
    async def source() -> int:
        return number

    while True:
        try:
            seen = await cache.load("document", f"d{number}", "acme", source)
        except Exception as error:
            wrong.append(repr(error))
        else:
            if seen != number:
                wrong.append(f"{seen} instead of {number}")
        await asyncio.sleep(0.002)
