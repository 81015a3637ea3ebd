"""Commands that may be sent a second time, and the remedy for each refusal."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from alacena.engine.base.errors import ServerReplyError

if TYPE_CHECKING:
    from alacena.engine.remote.redis.wire.command import Argument, Command

_LONGEST_WORD = 32


class Kind(Enum):
    """The effect of a command's second execution."""

    READ = "read"
    """Nothing: it only looks."""

    IDEMPOTENT = "idempotent"
    """Leave the same state behind, even if its answer differs."""

    MUTATION = "mutation"
    """Something else again: it is never sent twice where the first may have been executed. Unknown commands are taken
    for this."""

    BLOCKING = "blocking"
    """Wait in the server: it needs a connection of its own."""

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when the outcome of the first is unknown."""
        return self in (Kind.READ, Kind.IDEMPOTENT)


class Remedy(Enum):
    """The remedy for a refusal of the server."""

    WAIT = "wait"
    """Not executed, and it passes: again, a little later."""

    REDISCOVER = "rediscover"
    """Not executed, and this server is not the one to ask: leave it, find the right one."""

    REDIRECT = "redirect"
    """Not executed: the answer names the node that has the slot."""

    LOAD_SCRIPT = "load script"
    """Not executed: the server forgot the script."""

    RAISE = "raise"
    """A mistake, a missing right or a full server: repeating it would not help."""


_REMEDIES = {
    "LOADING": Remedy.WAIT,
    "MASTERDOWN": Remedy.WAIT,
    "CLUSTERDOWN": Remedy.WAIT,
    "TRYAGAIN": Remedy.WAIT,
    "BUSY": Remedy.WAIT,
    "READONLY": Remedy.REDISCOVER,
    "MOVED": Remedy.REDIRECT,
    "ASK": Remedy.REDIRECT,
    "NOSCRIPT": Remedy.LOAD_SCRIPT,
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READS = _words(
    """
    BITCOUNT DBSIZE DUMP ECHO EVALSHA_RO EVAL_RO EXISTS EXPIRETIME FCALL_RO GET GETBIT GETRANGE HEXISTS HGET HGETALL
    HKEYS HLEN HMGET HSCAN HSTRLEN HVALS INFO KEYS LINDEX LLEN LPOS LRANGE MGET PEXPIRETIME PFCOUNT PING PTTL ROLE
    SCAN SCARD SDIFF SINTER SINTERCARD SISMEMBER SMEMBERS SMISMEMBER SSCAN STRLEN SUBSTR SUNION TIME TTL TYPE XINFO
    XLEN XPENDING XRANGE XREAD XREVRANGE ZCARD ZCOUNT ZMSCORE ZRANGE ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANK ZSCAN
    ZSCORE
    """
)

_IDEMPOTENT = _words(
    """
    ASKING AUTH DEL EXPIRE EXPIREAT HDEL HELLO HMSET HSET LSET MSET PERSIST PEXPIRE PEXPIREAT PSETEX READONLY SADD
    SELECT SET SETEX SREM TOUCH UNLINK UNWATCH WATCH XACK XDEL XGROUP ZADD ZREM ZREMRANGEBYSCORE
    """
)

_BLOCKING = _words(
    """
    BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAIT WAITAOF
    """
)

_IDEMPOTENT_PAIRS = frozenset(
    {
        ("CLIENT", "TRACKING"),
        ("CLIENT", "SETNAME"),
        ("CLIENT", "SETINFO"),
        ("CLIENT", "CACHING"),
        ("CLIENT", "NO-EVICT"),
        ("CLIENT", "NO-TOUCH"),
        ("SCRIPT", "LOAD"),
        ("FUNCTION", "LOAD"),
    }
)

_READ_PAIRS = frozenset(
    {
        ("CLIENT", "ID"),
        ("CLIENT", "INFO"),
        ("CLIENT", "GETNAME"),
        ("CLIENT", "TRACKINGINFO"),
        ("CLIENT", "LIST"),
        ("SCRIPT", "EXISTS"),
        ("CONFIG", "GET"),
        ("MEMORY", "USAGE"),
        ("OBJECT", "ENCODING"),
        ("OBJECT", "FREQ"),
        ("OBJECT", "IDLETIME"),
        ("ACL", "WHOAMI"),
        ("CLUSTER", "SLOTS"),
        ("CLUSTER", "SHARDS"),
        ("CLUSTER", "INFO"),
        ("COMMAND", "INFO"),
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME"),
        ("SENTINEL", "SENTINELS"),
    }
)

_CONDITIONS = {"SET": frozenset({"NX", "XX", "GET", "IFEQ"}), "ZADD": frozenset({"INCR", "NX", "XX", "GT", "LT"})}
"""Words that make the answer, or the effect, depend on what was there before."""


def classify(command: Command) -> Kind:
    """Returns the effect of a second execution of ``command``; unknown commands are mutations."""
    name = _word(command[0])
    # Before the reads: `XREAD` is one, but with `BLOCK` it holds up everybody behind it.
    if name in _BLOCKING or (name in ("XREAD", "XREADGROUP") and _has(command, frozenset({"BLOCK"}))):
        return Kind.BLOCKING
    if name in _READS:
        return Kind.READ
    if name in _IDEMPOTENT:
        return Kind.MUTATION if _has(command, _CONDITIONS.get(name, frozenset())) else Kind.IDEMPOTENT
    pair = (name, _word(command[1]) if len(command) > 1 else "")
    if pair in _READ_PAIRS:
        return Kind.READ
    return Kind.IDEMPOTENT if pair in _IDEMPOTENT_PAIRS else Kind.MUTATION


def remedy(code: str) -> Remedy:
    """Returns the remedy for the first word of the server's error."""
    return _REMEDIES.get(code, Remedy.RAISE)


_LASTING: Final = frozenset({"WRONGPASS", "NOAUTH", "NOPERM", "NOPROTO"})
# These come under the code `ERR`, which says nothing: only their words tell.
_LASTING_WORDS: Final = (
    "invalid db index",
    "db index is out of range",
    "select is not allowed in cluster mode",
    "invalid password",
    "without any password configured",
    "does not speak resp3",
    "one node of a cluster",
    "unknown command",
)


def is_lasting(error: BaseException | None) -> bool:
    """Returns whether a refusal at connect lasts until the settings change: a wrong password, a wrong database.

    All others pass by themselves: no room for another client, data being loaded, a script that blocks the server.
    """
    if not isinstance(error, ServerReplyError):
        return False
    text = str(error).lower()
    return error.code in _LASTING or any(words in text for words in _LASTING_WORDS)


def is_forbidden(reply: object) -> bool:
    """Returns whether an answer says that the user may not do this, or that the command was renamed away."""
    if not isinstance(reply, ServerReplyError):
        return False
    text = str(reply).lower()
    return reply.code == "NOPERM" or "unknown command" in text or "unknown subcommand" in text


def _has(command: Command, words: frozenset[str]) -> bool:
    # Behind the key, which may be called `NX`. A value of that name makes the command a mutation: that errs on the safe
    # side.
    return bool(words) and any(_word(argument) in words for argument in command[2:])


def _word(argument: Argument) -> str:
    """Returns a keyword in capitals; nothing for a word too long to be one, such as a value."""
    if not isinstance(argument, str | bytes) or len(argument) > _LONGEST_WORD:
        return ""
    text = argument if isinstance(argument, str) else argument.decode("ascii", "replace")
    return text.upper()
