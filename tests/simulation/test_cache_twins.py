"""The cache's scripts and their twins: the same answers, keys left behind and pushes, on both servers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.remote.redis.cache_scripts import CACHE_SCRIPTS, STORE
from tests.simulation.test_tracking_differential import Pair, pair_of, real_server  # noqa: F401 - a fixture
from tests.simulator.cache_twins import CACHE_TWINS, store, stored

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Script
    from alacena.engine.remote.local.keyspace import Keyspace

TWINS = {script.source: CACHE_TWINS[script.name] for script in CACHE_SCRIPTS}
GENERATIONS = ("gt", "gy", "gr", "gk")
TOKENS = ("token-1-xxxxxxxxhistory1", "token-2-xxxxxxxxhistory1", "token-3-xxxxxxxxhistory2", "token-4")
NONCES = ("n1", "n2")
RECORDS = ("abcd", "efgh", "ijkl")


def _keys_and_args(script: Script, chance: random.Random) -> tuple[list[str], list[str]]:
    token, nonce = chance.choice(TOKENS), chance.choice(NONCES)
    generations = list(GENERATIONS[: chance.randint(2, 4)])
    nonces = [chance.choice(NONCES) for _ in generations]
    latest = chance.choice(("0", "0", "1", "99999999999999"))
    return {
        "lease": _lease(chance, generations, token, nonce),
        "large_piece": (["p"], [nonce, chance.choice(("0", "2")), "150000"]),
        "mint_generations": (generations, [nonce, chance.choice(("0", "300000"))]),
        "late_tags": (["j", *generations], [nonce, "200000", "4", str(chance.randint(0, 3) * 4)]),
        "end_tags": (["j", *generations], ["".join(chance.choices(RECORDS, k=len(generations))), "40"]),
        "lease_release": (["l"], [token]),
        "lease_renew": (["l"], [token, "100000"]),
        "store": _store(chance, generations, nonces, latest),
        "lease_discard": (["e", "l"], [token]),
        "begin": (["j", *generations], [nonce, "2", "200000", chance.choice(RECORDS)]),
        "hold": (["h", "e", "l", "gr"], [token, str(chance.randint(10**6, 10**10)), chance.choice(("0", "100000000"))]),
        "unhold": (["h", "e", "l"], [token]),
    }[script.name]


def _lease(chance: random.Random, generations: list[str], token: str, nonce: str) -> tuple[list[str], list[str]]:
    """One or two entries, each with some generations of its own and some that are tags'."""
    count = chance.randint(1, 2)
    args = [str(count), token, "100000", nonce, "2", "200000", chance.choice(RECORDS)]
    for number in range(count):
        if number and chance.random() < 0.5:
            args.append("0")  # the same as the first
            continue
        places = ["1", "2", *(str(place) for place in range(3, len(generations) + 1) if chance.random() < 0.7)]
        args += [str(len(places)), str(chance.randint(2, len(places))), *places]
    return ["j", *["e", "l", "h", "e2", "l2", "h2"][: 3 * count], *generations], args


def _store(
    chance: random.Random, generations: list[str], nonces: list[str], latest: str
) -> tuple[list[str], list[str]]:
    """One or two entries, maybe of readings; they rest on the first two generations and on some of the others, or on none."""
    count = chance.randint(1, 2)
    keys = ["e", "l", "h", "e2", "l2", "h2"][: 3 * count]
    readings = chance.choice((0, 0, 1, 2))
    length = chance.choice(("0", "2", "4")) if count == 1 else "0"
    args = [str(count), "150000", latest, str(readings), length, *nonces]
    for number in range(count):
        places = ["1", "2", *(str(place) for place in range(3, len(generations) + 1) if chance.random() < 0.7)]
        token, life = chance.choice(("", *TOKENS)), chance.choice(("0", "100000"))
        if number and chance.random() < 0.5:
            places = []  # the same as the first
        args += [token, life, "value", str(len(places)), *places]
    for _ in range(readings):
        began = chance.choice(("0", "2", "99999999999999"))
        args += [chance.choice(RECORDS), str(4 * chance.randint(1, 3)), began]
    for _ in range(count if readings else 0):
        args += [str(chance.randint(0, readings)), "".join(chance.choices(RECORDS, k=2 * chance.randint(0, 3)))]
    return [*keys, *generations, *["j"] * readings, *["p"] * (length != "0")], args


def _step(chance: random.Random) -> tuple[str, ...]:
    if chance.random() < 0.65:
        script = chance.choice(CACHE_SCRIPTS)
        keys, args = _keys_and_args(script, chance)
        return ("EVAL", script.source, str(len(keys)), *keys, *args)
    key = chance.choice(("e", "l", "h", "j", *GENERATIONS))
    plain: list[tuple[str, ...]] = [
        ("MGET", "e", *GENERATIONS),
        ("UNLINK", key),
        ("MGET", "e2", "l2"),
        ("SET", "l2", chance.choice(TOKENS)),
        ("ZADD", "h2", "99999999999999", "token"),
        ("UNLINK", "h2"),
        ("SET", "p", chance.choice(NONCES)),
        ("UNLINK", "l"),
        ("UNLINK", "h"),
        ("ZADD", "h", chance.choice(("1", "99999999999999")), chance.choice(TOKENS)),
        ("SET", chance.choice(("e", "l", "j", *GENERATIONS)), chance.choice(NONCES)),
        ("SET", "l", chance.choice(TOKENS)),
        ("FLUSHALL",),
    ]
    return chance.choice(plain)


@pytest.mark.parametrize("seed", range(40))
def test_random_histories_of_four_clients_agree(real_server: str, seed: int) -> None:  # noqa: F811 - the fixture
    chance = random.Random(seed)
    with pair_of(real_server, seed, scripts=TWINS) as pair:
        for _ in range(120):
            pair.step(chance.choice(("noloop", "loop", "loop", "untracked")), _step(chance), rounded=_rounded)
        _same_keys(pair)


def _rounded(answers: list[Any]) -> list[Any]:
    """What a lease has left goes by each server's own clock, so to within 10 s; a time is one; other numbers are small."""
    return [_rounded(one) if isinstance(one, list) else _round(one) for one in answers]


def _round(one: Any) -> Any:
    if not isinstance(one, int) or one <= 10_000:
        return one
    return "a time" if one > 10**11 else round(one, -4)


def _same_keys(pair: Pair) -> None:
    for key in ("e", "l", "h", "e2", "l2", "h2", "j", "p", *GENERATIONS):
        pair.step("untracked", ("GET", key))
        pair.step("untracked", ("EXISTS", key))


def _store_by_the_first(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    """The fate of the first entry of a batch is that of all."""
    fates = []
    for one in stored(keys, args):
        names, nonces = zip(*one.generations, strict=True)
        places = [b"%d" % (place + 1) for place in range(len(names))]
        readings = [one.began] if one.began else []
        alone = [
            b"1",
            *args[1:3],
            b"%d" % len(readings),
            args[4],
            *nonces,
            one.token,
            one.life,
            one.value,
            b"%d" % len(places),
        ]
        alone += [*places, *(word for began in readings for word in (*began[1:], b"1", one.records))]
        journals = [began[0] for began in readings]
        parts = keys[-1:] if args[4] != b"0" else []
        if not fates or fates[0] == b"ok":
            fates += store(space, [one.entry, one.lease, one.hold, *names, *journals, *parts], alone)
        else:
            fates.append(fates[0])
    return [fates[0]] * len(fates)


def test_a_batch_that_is_judged_by_its_first_entry_is_told_from_the_script(real_server: str) -> None:  # noqa: F811
    """The random histories hold batches of which one entry is stored and the other is not."""
    mutant = TWINS | {STORE.source: _store_by_the_first}
    with pytest.raises(AssertionError):
        _compare_histories(real_server, mutant)


def _compare_histories(server: str, twins: dict[str, Any]) -> None:
    for seed in range(40):
        chance = random.Random(seed)
        with pair_of(server, seed, scripts=twins) as pair:
            for _ in range(120):
                pair.step("loop", _step(chance), rounded=_rounded)
            _same_keys(pair)
