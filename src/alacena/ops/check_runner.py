"""Checks of ``doctor``: one after the other, each with a deadline, and all of them with one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from alacena.engine import AlacenaError, ServerReplyError, SystemEnvironment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from alacena.engine import Cache, Environment, Settings
    from alacena.ops.server_questions import Server

State = Literal["pass", "warn", "fail", "skip"]

CHECK_S: Final = 3.0
"""How long one check may take."""

ALL_S: Final = 10.0
"""How long all of them may take."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of one check.

    Attributes:
        check: Which check.
        state: ``"pass"``; ``"warn"``: it works, but at a cost; ``"fail"``: it does not work, or loses data;
            ``"skip"``: it could not be looked at.
        found: The finding; for ``"skip"``: why it was not looked at.
        follows: The consequence.
        mend: The command or setting that mends it.
    """

    check: str
    state: State
    found: str
    follows: str = ""
    mend: str = ""


_REMEDIES: Final = (
    ("certificate", "correct the certificates (?ssl_ca_certs=FILE), or use redis:// if the server speaks no TLS"),
    ("RESP3", "run Redis 7.0 or newer, or Valkey"),
    ("rediss://", "correct the scheme in ALACENA_REDIS_URL: rediss:// with TLS, redis:// without"),
    ("sentinel_password", "give the sentinels' password in ALACENA_REDIS_URL: ?sentinel_password="),
    ("no master", "give the sentinels' addresses, mostly port 26379, and the master's name as they know it"),
    ("no sentinel", "give the sentinels' addresses, mostly port 26379, and the master's name as they know it"),
    (
        "NOAUTH",
        "correct user and password in ALACENA_REDIS_URL (redis+cluster://user:password@host), percent-encoded",
    ),
    (
        "WRONGPASS",
        "correct user and password in ALACENA_REDIS_URL (redis+cluster://user:password@host), percent-encoded",
    ),
)
"""Words of a failure, and the remedy of the first of them that it has."""


def report_unreached(error: Exception) -> Finding:
    """Returns the finding of a server that was not reached, with the remedy that its error or its words call for."""
    said = str(error) or type(error).__name__
    mend = "start the server, or correct host and port in ALACENA_REDIS_URL; try: redis-cli -u URL PING"
    if isinstance(error, ServerReplyError):
        mends = {
            "WRONGPASS": "correct user and password in ALACENA_REDIS_URL (redis://user:password@host), percent-encoded",
            "NOAUTH": "give a password in ALACENA_REDIS_URL: redis://:password@host:6379/0",
            "NOPERM": "grant HELLO, CLIENT and AUTH (+@connection) to this user",
            "LOADING": "wait until the server has read its data",
            "DENIED": "set a password, or protected-mode no, on the server",
        }
        mend = mends.get(error.code, mend)
        if "max number of clients" in said:
            mend = "raise maxclients (redis-cli CONFIG SET maxclients 10000), or end clients that are not needed"
    else:
        is_tls = isinstance(error, OSError) and "ssl" in type(error).__module__
        mend = next((one for word, one in _REMEDIES if word in said), _REMEDIES[0][1] if is_tls else mend)
    follows = "every read goes to its source; queues, locks and counters raise"
    return Finding("reachable", "fail", said, follows, mend)


@dataclass(slots=True)
class Subject:
    """The subject of the checks, as far as they have come.

    Attributes:
        settings: The settings; ``None`` if they are wrong.
        environment: The clock of this machine.
        source: A folder with the application's code; ``None``: none was given.
        servers: The servers that answered.
        info: The fields of each, by field; empty if it does not tell.
        cache: A cache that was opened on them.
        in_use: Kinds of objects that must not be lost and are there, as people call them.
        held: Closed at the end.
    """

    settings: Settings | None = None
    environment: Environment = field(default_factory=SystemEnvironment)
    source: str | None = None
    servers: list[Server] = field(default_factory=list)
    info: list[dict[str, str]] = field(default_factory=list)
    cache: Cache | None = None
    in_use: list[str] = field(default_factory=list)
    held: AsyncExitStack = field(default_factory=AsyncExitStack)


Needs = Literal["nothing", "settings", "server", "info", "cache"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: Its name.
        needs: The findings needed before; without it the check is skipped.
        look: Does it.
    """

    name: str
    needs: Needs
    look: Callable[[Subject], Awaitable[Iterable[Finding]]]


async def examine(checks: Sequence[Check], subject: Subject, *, all_s: float = ALL_S) -> list[Finding]:
    """Runs the checks in their order. It ends in time: the rest is skipped, with the reason."""
    loop = asyncio.get_running_loop()
    end = loop.time() + all_s
    findings: list[Finding] = []
    for check in checks:
        left_s = end - loop.time()
        reason = "no time is left: an earlier check hung" if left_s <= 0 else _describe_missing(check, subject)
        if reason:
            findings.append(Finding(check.name, "skip", reason))
            continue
        findings += await _look(check, subject, min(CHECK_S, left_s))
    try:
        # Outside of ``all_s``: connections are closed even if the checks have used up their time.
        async with asyncio.timeout(2.0):
            await subject.held.aclose()
    except (TimeoutError, AlacenaError, OSError):
        pass  # The process ends now; what did not close in time is closed by that.
    return findings


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """Returns the findings for programs."""
    counts = {state: sum(finding.state == state for finding in findings) for state in ("pass", "warn", "fail", "skip")}
    return {
        "ok": not counts["fail"],
        "verdict": verdict(findings),
        "counts": counts,
        "checks": [asdict(finding) for finding in findings],
    }


def verdict(findings: Sequence[Finding]) -> str:
    """Returns the outcome in one sentence."""
    failed = [finding.check for finding in findings if finding.state == "fail"]
    doubtful = [finding.check for finding in findings if finding.state == "warn"]
    skipped = sum(finding.state == "skip" for finding in findings)
    rest = f" {skipped} checks were skipped." if skipped else ""
    if failed:
        return f"Not well: {', '.join(dict.fromkeys(failed))}.{rest}"
    if doubtful:
        return f"It works; look at: {', '.join(dict.fromkeys(doubtful))}.{rest}"
    return f"All is well.{rest}"


async def _look(check: Check, subject: Subject, limit_s: float) -> list[Finding]:
    try:
        async with asyncio.timeout(limit_s):
            return list(await check.look(subject))
    except TimeoutError:
        # Caught before OSError, of which TimeoutError is one: its own text is empty.
        found = f"no answer within {limit_s:.1f} s"
    except (AlacenaError, OSError) as error:
        found = str(error) or type(error).__name__
    follows = "what depends on it is not known"
    return [Finding(check.name, "fail", found, follows, "see whether the server hangs, and run this again")]


def _describe_missing(check: Check, subject: Subject) -> str:
    # In the order in which one thing needs the other: the first that is missing is the one to mend.
    if check.needs == "nothing":
        return ""
    if subject.settings is None:
        return "the settings are wrong"
    if check.needs == "settings":
        return ""
    if subject.settings.redis_url is None:
        return "no server is configured"
    if not subject.servers:
        return "no server is reached"
    if any(server.silent for server in subject.servers):
        return "the server has stopped answering"
    if check.needs == "info" and not all(subject.info):
        return "this user has no right to INFO"
    if check.needs == "cache" and subject.cache is None:
        return "no cache could be opened on the server"
    return ""
