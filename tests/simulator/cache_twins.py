"""What the cache's scripts do, in Python, for the simulated server; and the table of all the library's scripts.

Each function keeps to the file of its name in ``engine/remote/redis/lua``, command by command: which keys are read before and
after a write decides what is tracked. A differential test runs both.
"""

from __future__ import annotations

from functools import cache, partial
from hashlib import sha1
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from alacena.engine.remote.backend import Script
from alacena.engine.remote.local.twins import TWINS, TwinServer
from tests.simulator import keyspace_commands  # noqa: F401 - registers the commands that the scripts use

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alacena.engine.remote.local.keyspace import Keyspace

_TOKEN_BYTES = 16
"""What of a lease's token is its own; the rest is the history that it was asked for under."""
_STAMP_BYTES = 48
"""What a lease says behind its token of what it rests on."""


def lease(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``lease.lua``."""
    (count, token, lease_ms, nonce, wide, narrow_ms, name), wanted = args[:7], list(map(int, args[7:]))
    journal, several, generations = keys[0], keys[1 : 1 + 3 * int(count)], keys[1 + 3 * int(count) :]
    entries, leases, holds = several[::3], several[1::3], several[2::3]
    length = space.execute([b"STRLEN", journal])
    if length == 0:
        space.execute([b"SET", journal, name, b"PX", narrow_ms])
        length = len(name)
    nonces = space.execute([b"MGET", *generations])
    for place, there in enumerate(nonces):
        if there is None:
            nonces[place] = nonce
            space.execute([b"SET", generations[place], nonce, *([b"PX", narrow_ms] if place >= int(wide) else [])])
    held, left, stamp = space.execute([b"MGET", *leases]), [], b""
    for number, (key, there) in enumerate(zip(leases, held, strict=True)):
        depends, *rest = wanted
        if depends:
            places, rest = [place - 1 for place in rest[1 : 1 + depends]], rest[1 + depends :]
            stamp = _stamp([generations[place] for place in places], [nonces[place] for place in places], wanted[1])
        wanted = rest
        if there is None or not _stands(there, token[_TOKEN_BYTES:], stamp):
            held[number] = token + stamp
            space.execute([b"SET", key, held[number], b"PX", lease_ms])
            left.append(int(lease_ms))
        else:
            left.append(space.execute([b"PTTL", key]))
    values = space.execute([b"MGET", *entries])
    space.execute([b"EXISTS", *leases])
    under_hold = space.execute([b"EXISTS", *holds]) > 0
    held_by = [_holds(space, key) if under_hold else 0 for key in holds]
    nonces = space.execute([b"MGET", *generations])
    name = space.execute([b"GETRANGE", journal, b"0", b"%d" % (len(name) - 1)])
    return [name, length, nonces, values, held, left, held_by]


def _stamp(generations: list[bytes], nonces: list[bytes], own: int) -> bytes:
    """What a lease rests on: its own generations' nonces, its tags' names and their nonces, as digests."""
    return _digest(nonces[:own]) + _digest(generations[own:]) + _digest(nonces[own:])


def _digest(parts: list[bytes]) -> bytes:
    return sha1(b"\0".join(parts), usedforsecurity=False).hexdigest()[:16].encode()


def _stands(held: bytes, history: bytes, stamp: bytes) -> bool:
    """Whether somebody else's lease can be redeemed yet, as far as it can be told."""
    if history and held[_TOKEN_BYTES:-_STAMP_BYTES] != history:
        return False
    own, tags, nonces = held[-48:-32], held[-32:-16], held[-16:]
    return own == stamp[:16] and (tags != stamp[16:32] or nonces == stamp[32:])


def _holds(space: Keyspace, hold: bytes, began_ms: int | None = None) -> Any:
    """How many holds have not come to their end; with those that have, by themselves, since a reading began."""
    now = _now_ms(space)
    since = now if began_ms is None else min(now, began_ms)
    return space.execute([b"ZCOUNT", hold, b"(%d" % since, b"+inf"])


def _now_ms(space: Keyspace) -> int:
    seconds, microseconds = map(int, space.execute([b"TIME"]))
    return seconds * 1000 + microseconds // 1000


def mint(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``mint_generations.lua``."""
    nonce, life_ms = args
    for key, there in zip(keys, space.execute([b"MGET", *keys]), strict=True):
        if there is None:
            space.execute([b"SET", key, nonce, *([] if life_ms == b"0" else [b"PX", life_ms])])
    return space.execute([b"MGET", *keys])


def late(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``late_tags.lua``."""
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
    """``lease_release.lua``."""
    if space.execute([b"GET", keys[0]]) == args[0]:
        return space.execute([b"DEL", keys[0]])
    return 0


def renew(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``lease_renew.lua``."""
    if space.execute([b"GET", keys[0]]) == args[0]:
        space.execute([b"PEXPIRE", keys[0], args[1]])
        space.execute([b"STRLEN", keys[0]])
        return 1
    return 0


class Stored(NamedTuple):
    """One of the entries that ``store.lua`` is to store."""

    entry: bytes
    lease: bytes
    hold: bytes
    token: bytes
    life: bytes
    value: bytes
    generations: list[tuple[bytes, bytes]]
    began: tuple[bytes, bytes, bytes, bytes] | None = None
    records: bytes = b""


def stored(keys: list[bytes], args: list[bytes]) -> list[Stored]:
    """What ``store.lua`` is asked to store; of each its generations with the nonces that they are to have.

    What a reading brought has the journal, the journal's name and its length when the reading began, and the time, too.
    """
    count, readings = int(args[0]), int(args[3])
    names = _generations(keys, args)
    pairs = list(zip(names, args[5:], strict=False))
    wanted: list[Stored] = []
    at = 5 + len(names)
    for number in range(count):
        places = args[at + 4 : at + 4 + int(args[at + 3])]
        rests_on = [pairs[int(place) - 1] for place in places] or wanted[-1].generations
        entry, lease, hold_key = keys[3 * number : 3 * number + 3]
        token, life, value = args[at : at + 3]
        wanted.append(Stored(entry, lease, hold_key, token, life, value, rests_on))
        at += 4 + len(places)
    if readings:
        begun, asked = [None, *_begun(keys, args)], iter(args[at + 3 * readings :])
        wanted = [one._replace(began=begun[int(next(asked))], records=next(asked)) for one in wanted]
    return wanted


def _begun(keys: list[bytes], args: list[bytes]) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """Of each reading the journal, the journal's name and its length when the reading began, and the time."""
    count, readings = int(args[0]), int(args[3])
    at = len(args) - 3 * readings - 2 * count
    journals = _journals(keys, args)
    begun = (args[at + 3 * place : at + 3 * place + 3] for place in range(readings))
    return [(journal, name, since, began_ms) for journal, (name, since, began_ms) in zip(journals, begun, strict=True)]


def _generations(keys: list[bytes], args: list[bytes]) -> list[bytes]:
    return keys[3 * int(args[0]) : len(keys) - int(args[3]) - len(_parts(keys, args))]


def _journals(keys: list[bytes], args: list[bytes]) -> list[bytes]:
    beyond = len(keys) - len(_parts(keys, args))
    return keys[beyond - int(args[3]) : beyond]


def _parts(keys: list[bytes], args: list[bytes]) -> list[bytes]:
    """The key under which a value lies that was sent in pieces, if one was."""
    return keys[-1:] if args[4] != b"0" else []


def piece(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``large_piece.lua``."""
    if space.execute([b"STRLEN", keys[0]]) != int(args[1]):
        return 0
    space.execute([b"APPEND", keys[0], args[0]])
    space.execute([b"PEXPIRE", keys[0], args[2]])
    return 1


def store(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``store.lua``."""
    wanted = stored(keys, args)
    names = _generations(keys, args)
    late = 0 < int(args[2]) < _now_ms(space)
    if parts := _parts(keys, args):
        late = late or space.execute([b"STRLEN", *parts]) != int(args[4])
        wanted = [one if late else one._replace(value=space.execute([b"GET", *parts])) for one in wanted]
    leases = [one.lease for one in wanted if one.token]
    held = iter(space.execute([b"MGET", *leases]) if leases else ())
    holders = [next(held) if one.token else b"" for one in wanted]
    under_hold = space.execute([b"EXISTS", *(one.hold for one in wanted)]) > 0
    nonces = dict(zip(names, space.execute([b"MGET", *names]), strict=True))
    ended = {began: _ended_since(space, *began[:3]) for began in _begun(keys, args)}
    fates = []
    for one, holder in zip(wanted, holders, strict=True):
        fates.append(_fate(space, one, holder, nonces, late=late, under_hold=under_hold, ended=ended))
        if fates[-1] != b"ok" and one.token and holder == one.token:
            space.execute([b"DEL", one.lease])
    accepted = [one for one, fate in zip(wanted, fates, strict=True) if fate == b"ok"]
    if parts:
        space.execute([b"DEL", *parts])
    if not accepted:
        return fates
    space.execute([b"EXISTS", *(one.entry for one in accepted)])
    for one in accepted:
        for name, _ in one.generations[2:]:
            _prolong(space, name, int(one.life), int(args[1]))
        space.execute([b"SET", one.entry, one.value, *([b"PX", one.life] if int(one.life) else [])])
    space.execute([b"DEL", *(one.lease for one in accepted)])
    space.execute([b"EXISTS", *(one.entry for one in accepted)])
    space.execute([b"MGET", *names])
    return fates


def _ended_since(space: Keyspace, journal: bytes, name: bytes, since: bytes) -> set[bytes] | None:
    """The records of a journal since a reading began; ``None`` if any may have ended."""
    if space.execute([b"GETRANGE", journal, b"0", b"%d" % (len(name) - 1)]) != name:
        return None
    return _records(space.execute([b"GETRANGE", journal, since, b"-1"]))


def _is_overtaken(since: set[bytes] | None, records: bytes) -> bool:
    return since is None or not since.isdisjoint(_records(records))


def _records(text: bytes) -> set[bytes]:
    return {text[at : at + 8] for at in range(0, len(text), 8)}


def _fate(
    space: Keyspace,
    one: Stored,
    holder: bytes,
    nonces: dict[bytes, bytes],
    *,
    late: bool,
    under_hold: bool,
    ended: dict[Any, set[bytes] | None],
) -> bytes:
    if late:
        return b"late"
    if holder != one.token:
        return b"lease"
    if under_hold and _holds(space, one.hold, None if one.began is None else int(one.began[3])) > 0:
        return b"hold"
    if one.began is not None and _is_overtaken(ended[one.began], one.records):
        return b"generation"
    return b"ok" if all(nonces[name] == nonce for name, nonce in one.generations) else b"generation"


def _prolong(space: Keyspace, key: bytes, life_ms: int, least_ms: int) -> None:
    if life_ms == 0:
        space.execute([b"PERSIST", key])
    elif space.execute([b"PEXPIRE", key, b"%d" % life_ms, b"GT"]) == 1 and least_ms > life_ms:
        space.execute([b"PEXPIRE", key, b"%d" % least_ms])


def hold(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``hold.lua``."""
    now = _now_ms(space)
    hold_ms, remembered_ms = map(int, args[1:])
    space.execute([b"ZREMRANGEBYSCORE", keys[0], b"-inf", b"%d" % (now - remembered_ms)])
    space.execute([b"ZADD", keys[0], b"%d" % (now + hold_ms), args[0]])
    if space.execute([b"PTTL", keys[0]]) < hold_ms + remembered_ms:
        space.execute([b"PEXPIRE", keys[0], b"%d" % (hold_ms + remembered_ms)])
    space.execute([b"UNLINK", keys[3], keys[2], keys[1]])
    return 1


def unhold(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``unhold.lua``."""
    there = space.execute([b"ZREM", keys[0], args[0]])
    space.execute([b"UNLINK", keys[2], keys[1]])
    return there


def discard(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``lease_discard.lua``."""
    if space.execute([b"GET", keys[1]]) == args[0]:
        space.execute([b"UNLINK", keys[1], keys[0]])
        return 1
    return 0


def begin(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """``begin.lua``."""
    nonce, wide, life_ms, name = args
    length = space.execute([b"STRLEN", keys[0]])
    if length == 0:
        space.execute([b"SET", keys[0], name, b"PX", life_ms])
        length = len(name)
    found = [space.execute([b"GETRANGE", keys[0], b"0", b"%d" % (len(name) - 1)]), length, _now_ms(space)]
    for number, key in enumerate(keys[1:], 1):
        if space.execute([b"EXISTS", key]) == 0:
            space.execute([b"SET", key, nonce, *([b"PX", life_ms] if number > int(wide) else [])])
        found.append(space.execute([b"GET", key]))
    return found


CACHE_TWINS: Mapping[str, Callable[[Keyspace, list[bytes], list[bytes]], Any]] = MappingProxyType(
    {
        "begin": begin,
        "lease_discard": discard,
        "end_tags": end_tags,
        "hold": hold,
        "late_tags": late,
        "lease": lease,
        "mint_generations": mint,
        "large_piece": piece,
        "lease_release": release,
        "lease_renew": renew,
        "store": store,
        "unhold": unhold,
    }
)
"""The twins of the cache's scripts by the scripts' names."""


def _on_server(twin: Callable[[TwinServer, list[bytes], list[bytes]], Any], space: Keyspace, *rest: list[bytes]) -> Any:
    return twin(TwinServer(space), *rest)


@cache
def library_scripts() -> Mapping[str, Callable[[Keyspace, list[bytes], list[bytes]], Any]]:
    """All scripts of the library by their Lua text: what a simulated server knows unless told otherwise."""
    named = dict(CACHE_TWINS) | {name: partial(_on_server, twin) for name, twin in TWINS.items()}
    return MappingProxyType({Script(name, idempotent=False).source: twin for name, twin in named.items()})
