"""The keyspace in this process answers as a real server does, command by command."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local import COMMANDS, Keyspace
from tests.integration.coordination.live import blocking_client, server
from tests.simulator import keyspace_commands  # noqa: F401 - registers commands, which are held to the server's too

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = st.sampled_from([b"a", b"b", b"c"])
WORDS = st.sampled_from(
    [b"x", b"y", b"z", b"", b"10", b"-3", b"01", b"1.5", b"9223372036854775807", b"nan", b"\xff\x00"]
)
NUMBERS = st.integers(-4, 4).map(lambda n: b"%d" % n)
SCORES = st.sampled_from([b"1", b"2", b"2.5", b"-1", b"inf", b"-inf", b"nan", b"(2", b"x"])
LIFETIMES = st.sampled_from([b"100000", b"0", b"-1", b"x"])


def _calls() -> st.SearchStrategy[list[bytes]]:
    def of(name: str, *parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
        return st.tuples(*parts).map(lambda words: [name.encode(), *words])

    flag = st.sampled_from([b"NX", b"XX", b"GT", b"LT", b"CH"])
    set_flag = st.sampled_from([b"NX", b"XX", b"GET", b"KEEPTTL", b"BAD"])
    return st.one_of(
        *[of(name, KEYS) for name in ("GET", "STRLEN", "HGETALL")],
        *[of(name, KEYS) for name in ("LPOP", "LLEN", "SMEMBERS", "ZCARD", "TYPE", "PTTL", "PERSIST")],
        *[of(name, KEYS, WORDS) for name in ("APPEND", "HGET", "HEXISTS", "RPUSH", "LPUSH", "SADD", "SREM")],
        *[of(name, KEYS, WORDS) for name in ("SISMEMBER", "ZREM", "ZSCORE", "ZRANK", "INCRBY", "SET")],
        *[of(name, KEYS, WORDS, WORDS) for name in ("HSET", "HMGET", "HDEL", "RPUSH", "SADD", "HINCRBY")],
        *[of(name, KEYS, KEYS) for name in ("MGET", "DEL", "UNLINK", "EXISTS")],
        *[of(name, KEYS, NUMBERS) for name in ("LPOP", "LINDEX")],
        *[of(name, KEYS, NUMBERS, NUMBERS) for name in ("LRANGE", "ZRANGE", "GETRANGE")],
        of("PEXPIRE", KEYS, LIFETIMES),
        of("PEXPIRE", KEYS, LIFETIMES, flag),
        *[of(name, KEYS, SCORES, SCORES) for name in ("ZCOUNT", "ZREMRANGEBYSCORE", "ZRANGEBYSCORE")],
        of("SET", KEYS, WORDS, set_flag),
        of("SET", KEYS, WORDS, set_flag, set_flag),
        of("SET", KEYS, WORDS, st.sampled_from([b"EX", b"PX"]), LIFETIMES),
        of("MSET", KEYS, WORDS, KEYS, WORDS),
        of("MSET", KEYS, WORDS, KEYS),
        of("HSET", KEYS, WORDS, WORDS, WORDS),
        of("ZADD", KEYS, SCORES, WORDS),
        of("ZADD", KEYS, flag, SCORES, WORDS),
        of("ZADD", KEYS, flag, flag, SCORES, WORDS),
        of("ZADD", KEYS, SCORES, WORDS, SCORES, WORDS),
        of("ZRANGE", KEYS, NUMBERS, NUMBERS, st.just(b"WITHSCORES")),
        of("ZRANGEBYSCORE", KEYS, SCORES, SCORES, st.just(b"LIMIT"), NUMBERS, NUMBERS),
        of("ZRANGEBYSCORE", KEYS, SCORES, SCORES, st.just(b"WITHSCORES"), st.just(b"LIMIT"), NUMBERS, NUMBERS),
        of("GET"),
        of("GET", KEYS, KEYS),
        of("SCAN", st.just(b"0"), st.just(b"MATCH"), st.sampled_from([b"*", b"[a-b]", b"?", b"[^a]", b"\\a", b"a*"])),
    )


@pytest.fixture(scope="module")
def live() -> Iterator[redis.Redis]:
    with server() as path, blocking_client(path) as client:
        yield client


def _comparable(call: list[bytes], reply: Any) -> Any:
    """Leave out what may differ: the order of sets and hashes, the time that passed, pages of a scan."""
    name = call[0]
    if name == b"SCAN":
        return sorted(reply[1])
    if name == b"SMEMBERS" and not isinstance(reply, str):
        return sorted(reply)
    if name == b"PTTL" and isinstance(reply, int) and reply > 1000:
        return round(reply, -5)
    return reply


def _code(message: str) -> str:
    return "!" + message.split(" ", 1)[0].replace("ERR", "")


def _ask(client: redis.Redis, call: list[bytes]) -> Any:
    try:
        return client.execute_command(*call)
    except redis.ResponseError as refusal:
        text = str(refusal)
        return _code(text if text.startswith("WRONGTYPE") else "ERR")


def _model(space: Keyspace, call: list[bytes]) -> Any:
    try:
        return space.execute(call)
    except ServerReplyError as refusal:
        return _code(str(refusal))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(calls=st.lists(_calls(), min_size=1, max_size=60))
def test_every_reply_and_refusal_is_the_servers(live: redis.Redis, calls: list[list[bytes]]) -> None:
    live.execute_command("FLUSHALL")
    space = Keyspace(time.time)
    for call in calls:
        said, expected = _comparable(call, _model(space, call)), _comparable(call, _ask(live, call))
        assert said == expected, call
    left = sorted(space.names())
    assert left == sorted(live.execute_command("KEYS", "*"))


def test_every_command_of_the_model_is_one_of_the_servers(live: redis.Redis) -> None:
    known = {entry[0].upper() for entry in live.execute_command("COMMAND")}
    assert known >= set(COMMANDS)


def test_reading_commands_are_those_that_the_server_marks_so(live: redis.Redis) -> None:
    flags = {entry[0].upper(): entry[2] for entry in live.execute_command("COMMAND")}
    for name, command in COMMANDS.items():
        if name not in {b"TIME", b"PING"}:
            assert command.reads == (b"readonly" in flags[name]), name
