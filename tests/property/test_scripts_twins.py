"""Every script and its twin: the same history gives the same answers and leaves the same keys behind."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.backend import Script
from alacena.engine.remote.local import Keyspace
from alacena.engine.remote.local.local_backend import run_twin
from alacena.engine.remote.local.twins import TWINS
from proving.servers.redis_server import RedisServer
from tests.integration.coordination.live import blocking_client
from tests.servers.fixtures import FLAVOURS, require_flavour

if TYPE_CHECKING:
    from collections.abc import Iterator

START_MS = 1_700_000_000_000
STEP_US = 7
STALL_S = 0.4
"""Times to live and turns are such that keys of the real server have half a second left, or none."""
CLOCK = b"clock"
CHANNELS = [b"ch", b"bell:t1", b"bell:t2"]
"""Who is listened to; rings on other channels find nobody."""

Step = tuple[str, list[bytes], list[bytes]]


class Twice:
    """A real server and the model, driven together on one clock that the test turns.

    The scripts' ``TIME`` reads a key on the server; expiries are shortened by what the clock is turned. The server's
    history is hidden from them: the model has only one.
    """

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.client.execute_command("FLUSHALL")
        self.now_us = START_MS * 1000
        self.space = Keyspace(lambda: self.now_us / 1_000_000, on_publish=self._ring)
        self.rings: dict[bytes, list[bytes]] = {channel: [b"listened to"] for channel in CHANNELS}
        for channel in CHANNELS:
            self.client.execute_command("RPUSH", channel, "listened to")
        self._tell()

    def _tell(self) -> None:
        self.client.execute_command("DEL", CLOCK)
        self.client.execute_command("RPUSH", CLOCK, self.now_us // 1_000_000, self.now_us % 1_000_000)

    def _ring(self, channel: bytes, message: bytes) -> int:
        """What ``RPUSHX`` does on the server: only a list that is there takes a ring; 0 says that nobody listens."""
        listening = self.rings.get(channel, [])
        if listening:
            listening.append(message)
        return len(listening)

    def aimed(self, args: list[bytes]) -> list[bytes]:
        """Put an item that is in flight, and the slot that holds it, where the history says so."""
        flight = list(self.space.execute([b"ZRANGE", FLIGHT, b"0", b"-1"]))
        item = flight[len(args) % len(flight)] if flight else b"none"
        slot = self.space.execute([b"HGET", DATA, b"o:" + item]) or b"none"
        return [{b"?item": item, b"?slot": slot}.get(word, word) for word in args]

    def turn(self, by_ms: int) -> None:
        for key in self.client.execute_command("KEYS", "*"):
            left = self.client.execute_command("PTTL", key)
            if left >= 0:
                self.client.execute_command("PEXPIRE", key, max(left - by_ms, 0))
        self.now_us += by_ms * 1000
        self.space.sweep()  # What has expired does not come back with an earlier clock.
        self._tell()

    def both(self, name: str, keys: list[bytes], args: list[bytes]) -> tuple[Any, Any]:
        source = Script(name, idempotent=True).source.replace("'PUBLISH'", "'RPUSHX'")
        source = source.replace("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, -1)")
        source = source.replace("redis.pcall('INFO', 'replication')", "''")
        try:
            real = self.client.execute_command("EVAL", source, len(keys), *keys, *args)
        except redis.ResponseError as refusal:
            real = "!" + str(refusal).split(" ", 1)[0]
        try:
            model = run_twin(self.space, name, keys, args)
        except ServerReplyError as refusal:
            model = "!" + refusal.code
        return real, model

    def left(self) -> tuple[dict[bytes, Any], dict[bytes, Any]]:
        keys = set(self.client.execute_command("KEYS", "*")) - {CLOCK}
        real = {key: _content(self.client.execute_command, key) for key in keys}
        return real, {
            **self.rings,
            **{key: _content(lambda *words: self.space.execute(list(words)), key) for key in self.space.names()},
        }


def _content(ask: Any, key: bytes) -> Any:
    kind = ask(b"TYPE", key)
    reader = {b"string": (b"GET",), b"hash": (b"HGETALL",), b"list": (b"LRANGE",), b"set": (b"SMEMBERS",)}
    if kind == b"zset":
        return dict(ask(b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"))
    words = reader[kind]
    reply = ask(words[0], key, *([b"0", b"-1"] if kind == b"list" else []))
    return sorted(reply) if kind == b"set" else reply


def _nearly(real: Any, model: Any) -> bool:
    """Equal, but for milliseconds that a real expiry lost while the test ran."""
    if isinstance(real, list) and isinstance(model, list):
        return len(real) == len(model) and all(map(_nearly, real, model))
    if isinstance(real, int) and isinstance(model, int):
        return real == model or (model > 100 and math.isclose(real, model, abs_tol=2_000) and model < 10**7)
    return bool(real == model)


@pytest.fixture(scope="module", params=FLAVOURS)
def live(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """A server of each kind: they do not turn every number into the same text."""
    require_flavour(request.param)
    with RedisServer(request.param) as running, blocking_client(str(running.socket_path)) as client:
        yield client


def _run(live: redis.Redis, history: list[Step | int]) -> None:
    began = time.monotonic()
    try:
        _play(live, history)
    except AssertionError:
        if time.monotonic() - began > STALL_S:
            reject()  # The machine stood still, and keys of the real server have expired meanwhile.
        raise


def _play(live: redis.Redis, history: list[Step | int]) -> None:
    twice = Twice(live)
    for step in history:
        if isinstance(step, int):
            twice.turn(step)
        else:
            name, keys, args = step
            real, model = twice.both(name, keys, twice.aimed(args) if keys[0] == DATA else args)
            assert _nearly(real, model), (step, real, model)
            twice.now_us += STEP_US
            twice._tell()
    real_left, model_left = twice.left()
    assert real_left == model_left


def _step(name: str, keys: list[bytes], *args: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    def words(values: tuple[Any, ...]) -> Step:
        flat = [word for value in values for word in (value if isinstance(value, list) else [value])]
        return name, keys, [word if isinstance(word, bytes) else str(word).encode() for word in flat]

    return st.tuples(*args).map(words)


TURNS = st.sampled_from([1, 7_000, 10_000, 33_000, 70_000, 4_000_000, -70_000, -4_000_000])
"""Milliseconds by which the clock is turned; the server's may also be set back."""
IDS = st.sampled_from([b"a", b"b", b"c", b"~d", b"\x00:1"])
TOKENS = st.sampled_from([b"t1", b"t2", b"t3"])
SLOTS = st.sampled_from([b"t1:1", b"t1:2", b"t2:1", b"t3:1", b"no:1"])
LEASES = st.sampled_from([5_500, 30_500, 60_500])
DATA, READY, DELAYED, FLIGHT, DEAD, DONE = (
    b"q:" + word for word in (b"data", b"ready", b"delay", b"flight", b"dead", b"done")
)
SIX = [DATA, READY, DELAYED, FLIGHT, DEAD, DONE]
REVIVE = st.sampled_from([b"0", b"1"])
PUSHERS = st.sampled_from([b"a1", b"b2"])
PAIRS = st.lists(st.tuples(IDS, SLOTS), min_size=1, max_size=3).map(
    lambda pairs: [word for pair in pairs for word in pair]
)

QUEUE = st.one_of(
    TURNS,
    _step("queue_push", SIX, st.just(b"ch"), REVIVE, PUSHERS, IDS, st.sampled_from([b"0", b"20500"]), IDS),
    _step(
        "queue_push",
        SIX,
        st.just(b"ch"),
        REVIVE,
        PUSHERS,
        IDS,
        st.just(b"0"),
        IDS,
        IDS,
        st.sampled_from([b"@%d" % (START_MS - 5), b"@%d" % (START_MS + 40_500)]),
        IDS,
    ),
    _step("queue_reserve", SIX, TOKENS, st.integers(1, 3), LEASES, st.integers(1, 3), st.sampled_from([20, 9_999])),
    _step("queue_reserve", SIX, TOKENS, st.integers(1, 3), LEASES, st.integers(1, 3), st.sampled_from([20, 9_999])),
    _step("queue_ack", SIX, st.just(b"3600000"), st.just(b"60000"), PAIRS),
    _step("queue_extend", SIX, LEASES, PAIRS),
    _step(
        "queue_nack",
        SIX,
        st.just(b"ch"),
        IDS,
        SLOTS,
        st.sampled_from([0, 9_500]),
        st.sampled_from([b"", b"why"]),
        st.integers(0, 3),
        st.sampled_from([0, 1]),
    ),
    _step("queue_ack", SIX, st.just(b"3600000"), st.just(b"60000"), st.just([b"?item", b"?slot"])),
    _step("queue_extend", SIX, LEASES, st.just([b"?item", b"?slot"])),
    _step(
        "queue_nack",
        SIX,
        st.just(b"ch"),
        st.just([b"?item", b"?slot"]),
        st.sampled_from([0, 9_500]),
        st.sampled_from([b"", b"why"]),
        st.integers(0, 3),
        st.sampled_from([0, 1]),
    ),
    _step("queue_return", SIX, st.just(b"ch"), TOKENS, st.integers(1, 3)),
    _step("queue_dead", SIX, st.integers(0, 1), st.integers(1, 3), st.sampled_from([20, 9_999])),
    _step("queue_replay", SIX, st.just(b"ch"), st.lists(IDS, max_size=2)),
    _step("queue_discard", SIX, st.lists(IDS, max_size=2)),
    _step("queue_stats", SIX),
)

LOCK_KEYS = [b"l:lock", b"l:state", b"l:line", b"l:alive"]
LOCK = st.one_of(
    TURNS,
    _step("lock_acquire", LOCK_KEYS, TOKENS, LEASES, st.sampled_from([0, 15_500]), st.just(6_500), st.just(b"bell:")),
    _step("lock_acquire", LOCK_KEYS, TOKENS, LEASES, st.just(15_500), st.just(6_500), st.just(b"bell:")),
    _step("lock_release", LOCK_KEYS, TOKENS, st.just(6_500), st.just(b"bell:")),
    _step("lock_renew", LOCK_KEYS[:2], TOKENS, LEASES),
)

AMOUNTS = st.sampled_from([0, 1, 3, 10, 2**53 - 2])
BUDGET_KEYS = [b"b:data", b"b:open", b"b:done"]
KEEP = st.sampled_from([0, 900_500])
BUDGET = st.one_of(
    TURNS,
    _step("budget_reserve", BUDGET_KEYS, st.just(12), TOKENS, AMOUNTS, LEASES, KEEP),
    _step("budget_settle", BUDGET_KEYS, TOKENS, AMOUNTS, st.just(60_000), KEEP),
    _step("budget_extend", BUDGET_KEYS, TOKENS, LEASES, KEEP),
    _step("budget_state", BUDGET_KEYS),
)

FIELDS = st.sampled_from([b"llm", b"embedding"])
ROSTER = [b"r", b"r:announced", b"r:clock"]
MARKS = [START_MS * 1000 + STEP_US * steps for steps in range(4)]
LEDGER_KEYS = [b"ever", b"month", b"day", b"outbox"]
FLEET = [b"f", b"f:said", b"f:inbox", b"f:holders", b"f:locks"]
SMALL = st.one_of(
    TURNS,
    _step(
        "counter_add",
        [b"c"],
        st.sampled_from([1, -5, 2**53 - 1, -(2**53) + 1]),
        st.sampled_from([0, 20_500]),
        st.just(0),
    ),
    _step("counter_add", [b"c", b"c:r1"], st.sampled_from([1, 2]), st.sampled_from([0, 20_500]), st.just(30_500)),
    _step("set_add", [b"s"], st.sampled_from([0, 20_500]), st.lists(IDS, min_size=1, max_size=3)),
    _step("limit_window", [b"w"], st.integers(1, 5), st.sampled_from([1_000, 60_000]), st.integers(1, 3), st.just(60)),
    _step("limit_bucket", [b"g"], st.sampled_from([333_333.3333, 1_000_000.0]), st.integers(1, 4), st.integers(1, 5)),
    _step("ready_tenants_announce", ROSTER, IDS, st.sampled_from([0, 1]), st.just(b"ch")),
    _step(
        "ready_tenants_announce",
        [*ROSTER, b"r:list"],
        IDS,
        st.sampled_from([0, 1]),
        st.just(b"ch"),
        st.sampled_from([b"o1", b"o2", b"o3"]),
        st.integers(1, 2),
    ),
    _step("ready_tenants_turns", ROSTER, st.integers(1, 3)),
    _step("ready_tenants_park", ROSTER, IDS, st.sampled_from([0, *MARKS]), st.sampled_from([-1, 5_000])),
    _step(
        "fleet_publish",
        FLEET,
        IDS,
        IDS,
        st.sampled_from([10_500, 20_500]),
        st.sampled_from([30_500, 60_500]),
        IDS,
        st.sampled_from([0, 20_500, 40_500]),
    ),
    _step("fleet_list", FLEET[:1], st.integers(1, 3), st.sampled_from([30_500, 60_500])),
    _step("fleet_ask", FLEET[2:3], IDS, st.just(20_500), st.integers(1, 3)),
    *[
        _step(
            "ledger_record",
            [receipt, *LEDGER_KEYS],
            IDS,
            st.just(99_500),
            AMOUNTS,
            FIELDS,
            st.sampled_from([b"", b"r1"]),
            st.just(b" figures"),
            *parts,
        )
        for parts in ([], [st.just(b"input"), AMOUNTS])
        for receipt in (b"i:1", b"i:2")
    ],
)

HARD = settings(
    max_examples=int(os.environ.get("TESTS_EXAMPLES", "60")), deadline=None, suppress_health_check=list(HealthCheck)
)


@HARD
@given(history=st.lists(QUEUE, min_size=20, max_size=60))
def test_queue_scripts_do_what_their_twins_do(live: redis.Redis, history: list[Step | int]) -> None:
    _run(live, history)


@HARD
@given(history=st.lists(LOCK, min_size=20, max_size=60))
def test_lock_scripts_do_what_their_twins_do(live: redis.Redis, history: list[Step | int]) -> None:
    _run(live, history)


@HARD
@given(history=st.lists(BUDGET, min_size=20, max_size=60))
def test_budget_scripts_do_what_their_twins_do(live: redis.Redis, history: list[Step | int]) -> None:
    _run(live, history)


@HARD
@given(history=st.lists(SMALL, min_size=20, max_size=60))
def test_the_other_scripts_do_what_their_twins_do(live: redis.Redis, history: list[Step | int]) -> None:
    _run(live, history)


def test_every_twin_has_its_script_and_its_place_in_a_history() -> None:
    drawn = {"queue_push", "queue_reserve", "queue_ack", "queue_extend", "queue_nack", "queue_dead", "queue_replay"}
    drawn |= {"queue_discard", "queue_stats", "lock_acquire", "lock_release", "lock_renew", "counter_add", "set_add"}
    drawn |= {"budget_reserve", "budget_settle", "budget_extend", "budget_state", "ledger_record", "limit_window"}
    drawn |= {"limit_bucket", "ready_tenants_announce", "ready_tenants_turns", "ready_tenants_park", "queue_return"}
    drawn |= {"fleet_publish", "fleet_list", "fleet_ask"}
    assert set(TWINS) == drawn
    assert all(Script(name, idempotent=True).source for name in TWINS)
