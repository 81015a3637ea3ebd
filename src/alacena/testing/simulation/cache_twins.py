"""What the cache's scripts do, in Python, for the simulated server; and the table of all the library's scripts.

Each function keeps to the file of its name in ``engine/redis/lua``, command by command: which keys are read before and
after a write decides what is tracked. A differential test runs both.
"""

from __future__ import annotations

from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from alacena.engine.local.twins import TWINS, Server
from alacena.engine.store import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alacena.engine.local.keyspace import Keyspace

_TOKEN_BYTES = 16
"""What of a lease's token is its own; the rest is the history that it was asked for under."""


def lease(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``lease.lua``."""
    token, lease_ms, nonce, narrow_ms, name = args
    journal, keys = keys[3], [*keys[:3], *keys[4:]]
    length = space.execute([b"STRLEN", journal])
    if length == 0:
        space.execute([b"SET", journal, name, b"PX", narrow_ms])
        length = len(name)
    for number, there in enumerate(space.execute([b"MGET", *keys])):
        if number >= 3 and there is None:
            life = [b"PX", narrow_ms] if number >= 5 else []
            space.execute([b"SET", keys[number], nonce, *life])
    held, history = space.execute([b"GET", keys[1]]), token[_TOKEN_BYTES:]
    if held is None or (history and held[_TOKEN_BYTES:] != history):
        space.execute([b"SET", keys[1], token, b"PX", lease_ms])
    found = space.execute([b"MGET", *keys])
    found[1] = [found[1], space.execute([b"PTTL", keys[1]])]
    found[2] = space.execute([b"EXISTS", keys[2]])
    return [*found[:3], [space.execute([b"GETRANGE", journal, b"0", b"%d" % (len(name) - 1)]), length], *found[3:]]


def mint(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``mint.lua``."""
    nonce, life_ms = args
    for key, there in zip(keys, space.execute([b"MGET", *keys]), strict=True):
        if there is None:
            space.execute([b"SET", key, nonce, *([] if life_ms == b"0" else [b"PX", life_ms])])
    return space.execute([b"MGET", *keys])


def late(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``late.lua``."""
    nonce, life_ms, name_bytes, since = args
    found = mint(space, keys[1:], [nonce, life_ms])
    name = space.execute([b"GETRANGE", keys[0], b"0", b"%d" % (int(name_bytes) - 1)])
    return [name, space.execute([b"GETRANGE", keys[0], since, b"-1"]), *found]


def end_tags(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``end_tags.lua``."""
    space.execute([b"DEL", keys[1]])
    there = [space.execute([b"UNLINK", key]) for key in keys[2:]]
    length = space.execute([b"STRLEN", keys[0]])
    if length + len(args[0]) > int(args[1]):
        space.execute([b"UNLINK", keys[0]])
    elif length > 0:
        space.execute([b"APPEND", keys[0], args[0]])
    return there


def release(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``release.lua``."""
    if space.execute([b"GET", keys[0]]) == args[0]:
        return space.execute([b"DEL", keys[0]])
    return 0


def renew(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``renew.lua``."""
    if space.execute([b"GET", keys[0]]) == args[0]:
        space.execute([b"PEXPIRE", keys[0], args[1]])
        space.execute([b"STRLEN", keys[0]])
        return 1
    return 0


def store(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``store.lua``."""
    refusal = _refusal(space, keys, args)
    if refusal == b"lease":
        return refusal
    if refusal:
        if args[0] and space.execute([b"GET", keys[1]]) == args[0]:
            space.execute([b"DEL", keys[1]])
        return refusal
    life = int(args[1])
    for key in keys[5:]:
        _prolong(space, key, life, int(args[3]))
    space.execute([b"STRLEN", keys[0]])
    space.execute([b"SET", keys[0], args[2], *([b"PX", args[1]] if life else [])])
    space.execute([b"DEL", keys[1]])
    space.execute([b"STRLEN", keys[0]])
    space.execute([b"MGET", *keys[3:]])
    return b"ok"


def _refusal(space: Keyspace, keys: list[bytes], args: list[bytes]) -> bytes:
    if int(args[4]) > 0:
        seconds, microseconds = map(int, space.execute([b"TIME"]))
        if seconds * 1000 + microseconds / 1000 > int(args[4]):
            return b"late"
    if args[0] and space.execute([b"GET", keys[1]]) != args[0]:
        return b"lease"
    if space.execute([b"EXISTS", keys[2]]) == 1:
        return b"hold"
    return b"" if space.execute([b"MGET", *keys[3:]]) == args[5:] else b"generation"


def _prolong(space: Keyspace, key: bytes, life_ms: int, least_ms: int) -> None:
    if life_ms == 0:
        space.execute([b"PERSIST", key])
    elif space.execute([b"PEXPIRE", key, b"%d" % life_ms, b"GT"]) == 1 and least_ms > life_ms:
        space.execute([b"PEXPIRE", key, b"%d" % least_ms])


def hold(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``hold.lua``."""
    space.execute([b"SADD", keys[0], args[0]])
    if space.execute([b"PTTL", keys[0]]) < int(args[1]):
        space.execute([b"PEXPIRE", keys[0], args[1]])
    space.execute([b"UNLINK", keys[2], keys[1]])
    return 1


def unhold(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``unhold.lua``."""
    lasted = space.execute([b"SREM", keys[0], args[0]])
    space.execute([b"UNLINK", keys[2], keys[1]])
    return lasted


CACHE_TWINS: Mapping[str, Callable[[Keyspace, list[bytes], list[bytes]], Any]] = MappingProxyType(
    {
        "end_tags": end_tags,
        "hold": hold,
        "late": late,
        "lease": lease,
        "mint": mint,
        "release": release,
        "renew": renew,
        "store": store,
        "unhold": unhold,
    }
)
"""The twins of the cache's scripts by the scripts' names."""


def _on_server(twin: Callable[[Server, list[bytes], list[bytes]], Any], space: Keyspace, *rest: list[bytes]) -> Any:
    return twin(Server(space), *rest)


@cache
def library_scripts() -> Mapping[str, Callable[[Keyspace, list[bytes], list[bytes]], Any]]:
    """All scripts of the library by their Lua text: what a simulated server knows unless told otherwise."""
    named = dict(CACHE_TWINS) | {name: partial(_on_server, twin) for name, twin in TWINS.items()}
    return MappingProxyType({Script(name, idempotent=False).source: twin for name, twin in named.items()})
