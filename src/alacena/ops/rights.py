"""Rights of a server's user, tried one by one with commands that leave nothing behind."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from alacena.engine import ServerReplyError
from alacena.ops.check_runner import Finding, State
from alacena.ops.server_questions import NEEDS, escape, is_forbidden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.ops.check_runner import Subject
    from alacena.ops.server_questions import Server

_LUA: Final = "return redis.call('GET', KEYS[1])"
_PROBE_MS: Final = 1_000
_READ: Final = "grant reads of the keys of the namespace (+@read ~{ns}:*): without them nothing is found"
_HEAR: Final = "grant SUBSCRIBE on the channels of the namespace (&{ns}:*): without it waiters are not woken"
_TIME: Final = "grant TIME: without it memory stays off, and scripts that ask for it are refused: nothing is stored"
_SAFE: Final = "grant WAITAOF and BLPOP if the ledger is used with mode='safe'; nothing else needs them"
_RULES: Final = {
    "read": "+@read", "write": "+@write", "UNLINK": "+unlink", "scripts": "+@scripting", "tracking": "+client|tracking",
    "channels": "+publish", "subscribe": "+subscribe", "INFO": "+info", "TIME": "+time", "WAITAOF": "+waitaof +blpop",
}  # fmt: skip
_OPTIONAL: Final = frozenset({"UNLINK", "channels", "subscribe", "tracking", "INFO", "WAITAOF"})
"""Rights without which the cache works, at a cost."""


async def rights(subject: Subject) -> list[Finding]:
    """Tries the rights that the cache, the locks, the queues and the ledger need."""
    assert subject.settings is not None
    namespace = escape(subject.settings.namespace)
    found: dict[str, Finding] = {}
    for server in subject.servers:
        for finding in await _of(server, namespace):
            known = found.get(finding.check)
            # One server that refuses is enough: a right that another one grants does not replace its finding.
            if known is None or known.state == "pass":
                found[finding.check] = finding
    return list(found.values())


async def _of(server: Server, namespace: str) -> list[Finding]:
    tag = await _tag(server)
    key = f"{namespace}:probe:{{{tag}}}"
    script = await server.ask("SCRIPT", "LOAD", _LUA)
    # If loading is refused, a digest that no script has still shows whether EVALSHA is allowed.
    sha = script if isinstance(script, bytes) else b"0" * 40
    replies: dict[str, Sequence[object]] = {
        "read": [await server.ask("GET", key), await server.ask("MGET", key)],
        # The key ends by itself if UNLINK is refused.
        "write": [await server.ask("SET", key, "1", "PX", _PROBE_MS), await server.ask("PEXPIRE", key, _PROBE_MS)],
        "UNLINK": [await server.ask("UNLINK", key)],
        "scripts": [script, await server.ask("EVALSHA", sha, 1, key), await server.ask("EVAL", _LUA, 1, key)],
        "tracking": [await server.ask("CLIENT", "TRACKING", "ON"), await server.ask("CLIENT", "TRACKING", "OFF")],
        "channels": [await server.ask("PUBLISH", f"{namespace}:probe", "")],
        "subscribe": [await server.hears(f"{namespace}:probe")],
        "INFO": [await server.ask("INFO", "memory")],
        "TIME": [await server.ask("TIME")],
        "WAITAOF": [await server.ask("COMMAND", "INFO", "WAITAOF"), await server.ask("WAITAOF", 0, 0, 1)],
    }
    user = await server.ask("ACL", "WHOAMI")
    # One who may not ask for a name of its own has one all the same.
    name = user.decode("utf-8", "replace") if isinstance(user, bytes) else "USER"
    findings = [_describe_right(right, answers, server, namespace) for right, answers in replies.items()]
    return [
        replace(one, mend=f"{one.mend}: {_grant(name, _rules(right, one.found, namespace))}") if one.mend else one
        for one, right in zip(findings, replies, strict=True)
    ]


def _grant(user: str, rules: Sequence[str]) -> str:
    # Quoted: a shell would take the | of `+client|tracking` for a pipe, and grant all of CLIENT, and the & of a channel
    # for work in the background.
    return shlex.join(("redis-cli", "ACL", "SETUSER", user, *rules))


def _rules(right: str, refusal: str, namespace: str) -> Sequence[str]:
    """Returns the rules that grant a right: a pattern if the keys or channels were refused, and else the commands.

    A server refuses a pattern beside one that allows everything, so both are not given at once.
    """
    if "permissions to access" not in refusal:
        return _RULES[right].split()
    return (f"{'&' if 'channel' in refusal else '~'}{namespace}:*",)


def _describe_right(right: str, answers: Sequence[object], server: Server, namespace: str) -> Finding:
    refused = [answer for answer in answers if is_forbidden(answer)]
    name = f"right: {right}"
    if not refused:
        # A refusal of another kind, such as of a server that takes no writes, says nothing of rights.
        other = next((str(answer) for answer in answers if isinstance(answer, ServerReplyError)), "")
        if other and right != "WAITAOF":
            return Finding(name, "skip", f"the server refuses for another reason: {other}")
        return Finding(name, "pass", "granted")
    extra = {"read": _READ, "subscribe": _HEAR, "TIME": _TIME, "WAITAOF": _SAFE}
    need = {**NEEDS, **extra}[right].replace("{ns}", namespace)
    mend, _, follows = need.partition(": ")
    state: State = "warn" if right in _OPTIONAL else "fail"
    if right == "WAITAOF":
        mend, _, follows = need.partition("; ")
        if "unknown" in str(refused[0]).lower():
            return Finding(name, "skip", "this server has no WAITAOF: Redis 7.2 has")
    return Finding(name, state, f"{server.address} says: {refused[0]}", follows, mend)


async def _tag(server: Server) -> str:
    """Returns a hash tag of a slot that the server has; any will do if there is no cluster."""
    for number in range(256):
        reply = await server.ask("EXISTS", f"{{{number}}}")
        if not (isinstance(reply, ServerReplyError) and reply.code in {"MOVED", "ASK"}):
            return str(number)
    return "0"
