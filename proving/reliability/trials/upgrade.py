"""What happens to entries of another version, or with any byte changed: are they misses, and does anybody notice?"""

from __future__ import annotations

import random
from typing import NamedTuple

from alacena.engine import Cache, Settings
from proving.reliability.place import Effort, Finding
from proving.servers.redis_server import RedisServer
from proving.servers.resp import call

NUMBERS = ("40",)
_KEY = "alacena:e:{acme.0}:document:d1"
_VALUE = {"text": "the value", "version": 1}
_VERSION_BYTE = 3


class Mixed(NamedTuple):
    """What readers made of entries that were tampered with.

    Attributes:
        tried: How many.
        accepted: Those that gave another value than the one that was stored.
        errors: What surfaced.
    """

    tried: int
    accepted: int
    errors: list[str]


async def run(effort: Effort) -> list[Finding]:
    """Every other version number, then random damage."""
    found = []
    for title, damage in (("other versions of the header", False), ("damaged entries", True)):
        mixed = await read_mixed(effort, damage=damage)
        found.append(
            Finding(
                "40",
                title,
                "alacena",
                f"seed {effort.seed}, {mixed.tried:,} entries, read without memory, by get and by load",
                f"accepted: {mixed.accepted}; errors: {len(mixed.errors)}",
                held=not mixed.accepted and not mixed.errors,
                details={"accepted": mixed.accepted},
            )
        )
    return found


async def read_mixed(effort: Effort, *, damage: bool) -> Mixed:
    """Put changed entries under a key, and read."""
    chance = random.Random(effort.seed)
    accepted, errors, tried = 0, [], 0
    with RedisServer(effort.flavour) as server:
        async with Cache(Settings(redis_url=server.url)) as cache:
            await cache.set("document", "d1", _VALUE, "acme")
            whole = call(server.address, "GET", _KEY).encode("utf-8", "surrogateescape")
            for entry in _damaged(whole, chance, effort.of(20_000, 1_000)) if damage else _versions(whole):
                tried += 1
                call(server.address, "SET", _KEY, entry)
                try:
                    seen = await cache.get("document", "d1", "acme", use_memory=False)
                except Exception as error:
                    errors.append(repr(error))
                else:
                    accepted += seen is not None
            loaded = await cache.load("document", "d1", "acme", lambda: _VALUE, use_memory=False)
            errors += [] if loaded == _VALUE else [f"loaded {loaded!r}"]
    return Mixed(tried, accepted, errors)


def _versions(whole: bytes) -> list[bytes]:
    present = whole[_VERSION_BYTE]
    return [
        whole[:_VERSION_BYTE] + bytes([version]) + whole[_VERSION_BYTE + 1 :]
        for version in range(256)
        if version != present
    ]


def _damaged(whole: bytes, chance: random.Random, times: int) -> list[bytes]:
    """Bits flipped, cut off, run on, and pieces taken from elsewhere."""

    def damaged() -> bytes:
        place = chance.randrange(len(whole))
        match chance.randrange(4):
            case 0:
                return whole[:place] + bytes([whole[place] ^ (1 << chance.randrange(8))]) + whole[place + 1 :]
            case 1:
                return whole[:place]
            case 2:
                return whole + chance.randbytes(1 + chance.randrange(20))
            case _:
                return whole[:place] + chance.randbytes(1 + chance.randrange(20)) + whole[place + 1 :]

    return [entry for entry in (damaged() for _ in range(times)) if entry != whole]
