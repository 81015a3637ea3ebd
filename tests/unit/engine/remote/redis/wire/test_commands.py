"""What may be sent twice."""

from __future__ import annotations

from typing import Any

import pytest

from alacena.engine.remote.redis.command_safety import Kind, Remedy, classify, remedy


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("GET", "k"), Kind.READ),
        ((b"mget", "a", "b"), Kind.READ),
        (("INFO", "replication"), Kind.READ),
        (("CLIENT", "TRACKING", "ON"), Kind.IDEMPOTENT),
        (("client", b"id"), Kind.READ),
        (("CLIENT", "KILL", "ID", 3), Kind.MUTATION),
        (("SCRIPT", "LOAD", "return 1"), Kind.IDEMPOTENT),
        (("SCRIPT", "FLUSH"), Kind.MUTATION),
        (("SET", "k", b"v", "PX", 10), Kind.IDEMPOTENT),
        (("SET", "k", b"v", "NX"), Kind.MUTATION),
        (("set", "k", b"v", b"nx", "px", 5), Kind.MUTATION),
        (("SET", "k", b"v", "GET"), Kind.MUTATION),
        (("SET", "nx", b"x" * 10_000_000), Kind.IDEMPOTENT),
        (("UNLINK", "k"), Kind.IDEMPOTENT),
        (("SADD", "k", "nx"), Kind.IDEMPOTENT),
        (("ZADD", "k", "INCR", 1, "m"), Kind.MUTATION),
        (("INCR", "k"), Kind.MUTATION),
        (("INCRBY", "k", 3), Kind.MUTATION),
        (("LPOP", "k"), Kind.MUTATION),
        (("RPUSH", "k", "v"), Kind.MUTATION),
        (("EVALSHA", "sha", 0), Kind.MUTATION),
        (("EXEC",), Kind.MUTATION),
        (("PUBLISH", "c", "m"), Kind.MUTATION),
        (("SOMETHINGNEW", "k"), Kind.MUTATION),
        (("BLPOP", "k", 1), Kind.BLOCKING),
        (("XREADGROUP", "GROUP", "g", "c", "BLOCK", 10, "STREAMS", "s", ">"), Kind.BLOCKING),
        (("XREAD", "STREAMS", "s", "0"), Kind.READ),
    ],
)
def test_commands_are_known_for_what_a_second_execution_does(command: tuple[Any, ...], kind: Kind) -> None:
    assert classify(command) is kind
    assert kind.repeatable == (kind in (Kind.READ, Kind.IDEMPOTENT))


def test_refusals_ask_for_what_they_ask_for() -> None:
    waiting = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY")
    assert {remedy(code) for code in waiting} == {Remedy.WAIT}
    assert remedy("READONLY") is Remedy.REDISCOVER
    assert remedy("MOVED") is remedy("ASK") is Remedy.REDIRECT
    assert remedy("NOSCRIPT") is Remedy.LOAD_SCRIPT
    raising = ("OOM", "NOAUTH", "NOPERM", "WRONGTYPE", "CROSSSLOT", "ERR", "EXECABORT", "BUSYKEY", "BUSYGROUP", "")
    assert {remedy(code) for code in raising} == {Remedy.RAISE}
