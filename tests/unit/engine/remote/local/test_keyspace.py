"""The keyspace beyond what the differential test compares: time, hooks, eviction."""

from __future__ import annotations

import pytest

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local import Keyspace


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _run(space: Keyspace, line: str) -> object:
    return space.execute([word.encode() for word in line.split()])


def test_a_key_lives_to_the_millisecond_of_its_deadline_and_not_past_it(clock: Clock) -> None:
    space = Keyspace(clock)
    _run(space, "SET k v PX 500")
    clock.seconds += 0.5
    assert _run(space, "GET k") == b"v"
    clock.seconds += 0.001
    assert _run(space, "GET k") is None
    assert len(space) == 0


def test_the_clock_is_the_one_that_was_given(clock: Clock) -> None:
    clock.seconds = 1_700_000_000.25
    assert _run(Keyspace(clock), "TIME") == [b"1700000000", b"250000"]


def test_every_change_is_told_and_nothing_else(clock: Clock) -> None:
    touched: list[bytes] = []
    space = Keyspace(clock, on_touch=touched.append)
    changes = [
        ("SET a 1", [b"a"]),
        ("SET a 2 NX", []),
        ("GET a", []),
        ("INCRBY a 1", [b"a"]),
        ("PEXPIRE a 5000", [b"a"]),
        ("DEL a missing", [b"a"]),
        ("RPUSH l 1", [b"l"]),
        ("LPOP l", [b"l"]),
        ("LPOP l", []),
        ("SADD s 1", [b"s"]),
        ("SADD s 1", []),
        ("HDEL h x", []),
        ("ZADD z 1 m", [b"z"]),
        ("ZADD z 1 m", []),
        ("ZREM z m", [b"z"]),
    ]
    for line, expected in changes:
        touched.clear()
        _run(space, line)
        assert touched == expected, line


def test_expiry_and_eviction_are_changes_too(clock: Clock) -> None:
    touched: list[bytes] = []
    space = Keyspace(clock, on_touch=touched.append)
    for key in ("a", "b", "c"):
        _run(space, f"SET {key} 1 EX 5")
    _run(space, "SET d 1")
    touched.clear()
    clock.seconds += 6
    assert _run(space, "GET a") is None
    assert touched == [b"a"]
    assert space.sweep() == 2
    assert space.evict(b"d")
    assert not space.evict(b"d")
    assert touched == [b"a", b"b", b"c", b"d"]


def test_reads_are_told_of_every_key_named_there_or_not(clock: Clock) -> None:
    read: list[bytes] = []
    space = Keyspace(clock, on_read=read.append)
    _run(space, "SET a 1")
    _run(space, "MGET a b a")
    _run(space, "HGETALL c")
    _run(space, "SCAN 0")
    assert read == [b"a", b"b", b"a", b"c"]


def test_a_container_that_is_emptied_is_gone_with_its_expiry(clock: Clock) -> None:
    space = Keyspace(clock)
    _run(space, "RPUSH l 1")
    _run(space, "PEXPIRE l 100000")
    _run(space, "LPOP l")
    _run(space, "RPUSH l 2")
    assert _run(space, "PTTL l") == -1


def test_published_messages_go_to_whoever_listens(clock: Clock) -> None:
    heard: list[tuple[bytes, bytes]] = []
    space = Keyspace(clock, on_publish=lambda channel, message: heard.append((channel, message)) or 3)
    assert _run(space, "PUBLISH c hello") == 3
    assert heard == [(b"c", b"hello")]


@pytest.mark.parametrize(
    ("line", "error"),
    [("", "empty"), ("NOPE", "unknown command"), ("GET", "wrong number"), ("INCRBY l 1", "WRONGTYPE")],
)
def test_refusals_name_what_is_wrong(clock: Clock, line: str, error: str) -> None:
    space = Keyspace(clock)
    _run(space, "RPUSH l 1")
    with pytest.raises(ServerReplyError, match=error):
        _run(space, line)
