"""``alacena doctor``: checks of the settings, the server and the way there, with remedies."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Final

from alacena.engine import AlacenaError, BackendError, Cache, ServerReplyError, Settings, SettingsError
from alacena.ops import symptom_checks
from alacena.ops.check_runner import Check, Finding, State, report_unreached
from alacena.ops.output import count_processes
from alacena.ops.queue_report import check_dead
from alacena.ops.rights import rights
from alacena.ops.server_names import objects
from alacena.ops.server_questions import EMBEDDED, SAFE_POLICY, escape, facts, servers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alacena.ops.check_runner import Subject
    from alacena.ops.server_questions import Server

_PINGS: Final = 15
_OLDEST: Final = (7, 0)
_FULL_RATIO: Final = 0.9
_OFFSET_S: Final = 2.0
_SETTLE_S: Final = 2.0
_LOOKED_FOR_USE: Final = 20_000
_MOST_NAMED: Final = 3
_MUST_NOT_BE_LOST: Final = {"queue": "queues", "lock": "locks", "tokens": "the token ledger"}
"""Kinds of keys that a server must not lose, and their common names."""


_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps the log lines of the examining cache out of the application's log: the findings say it, every few seconds anew.

    The caches of the application log on: only this task, and those that it starts, are silent.
    """

    def speaks(_: logging.LogRecord) -> bool:
        return not _silent.get()

    log, token = logging.getLogger("alacena"), _silent.set(True)
    log.addFilter(speaks)
    try:
        yield
    finally:
        log.removeFilter(speaks)
        _silent.reset(token)


class _Words(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    words, log = _Words(), logging.getLogger("alacena")
    log.addHandler(words)
    try:
        yield words.said
    finally:
        log.removeHandler(words)


def settings_check(url: str | None) -> Check:
    """Returns the check that reads the settings, with the server that was named on the command line.

    A subject that has settings already keeps them.
    """

    async def look(subject: Subject) -> list[Finding]:
        said: list[str] = []
        if subject.settings is None:
            with _warnings() as said:
                try:
                    subject.settings = Settings.from_env() if url is None else Settings.from_env(redis_url=url)
                except SettingsError as error:
                    mend = "set the variables right; `docs/en/reference/settings.md` names each with its unit"
                    return [Finding("settings", "fail", str(error), "no process with this environment starts", mend)]
        found = [Finding("settings", "warn", words, "they change nothing", "rename or remove them") for words in said]
        if subject.settings.redis_url is None:
            follows = (
                "each process has a cache of its own, in memory; queues, locks and counters reach no other process"
            )
            mend = "set ALACENA_REDIS_URL, or give --url redis://host:6379/0"
            return [*found, Finding("settings", "warn", "no server is configured", follows, mend)]
        if subject.settings.redis_url == EMBEDDED:
            follows = "the server ends with its process, and this command starts one of its own"
            found.append(Finding("settings", "warn", "the server is embedded://", follows, "name a server that stays"))
        return found or [Finding("settings", "pass", f"namespace {subject.settings.namespace!r}")]

    return Check("settings", "nothing", look)


async def _reachable(subject: Subject) -> list[Finding]:
    settings = subject.settings
    assert settings is not None
    if settings.redis_url is None:
        return [Finding("reachable", "skip", "no server is configured")]
    ways: list[str] = []
    try:
        if settings.redis_url == EMBEDDED:
            cache = await subject.held.enter_async_context(Cache(settings))
            subject.settings = settings = Settings.from_env(redis_url=cache.url)
        subject.servers = await subject.held.enter_async_context(servers_of(settings, ways.append))
    except (AlacenaError, OSError) as error:
        return [report_unreached(error)]
    for server in subject.servers:
        # A refusal gives no facts: the checks that need them are skipped, and the right has a check of its own.
        subject.info.append(facts(await server.ask("INFO", "everything")))
    where = ", ".join(server.address for server in subject.servers)
    return [Finding("reachable", "pass", "; ".join([*ways, where]))]


async def _topology(subject: Subject) -> list[Finding]:
    found = []
    for server, info in zip(subject.servers, subject.info, strict=True):
        role = info.get("role", "?")
        if role != "master":
            follows = "it takes no writes: nothing is stored, and it is not used"
            mend = "name the master, or the sentinels: redis+sentinel://host:26379/NAME"
            words = f"{server.address} is a {'replica' if role == 'slave' else role}"
            found.append(Finding("topology", "fail", words, follows, mend))
        if _mode(info) == "cluster":
            found += await _cluster(server)
        # The server gives this figure only if min-replicas-to-write is set.
        least = int(info.get("min_slaves_good_slaves", -1))
        if "min_slaves_good_slaves" in info and least == 0:
            follows = "with min-replicas-to-write the server takes no writes now"
            found.append(Finding("topology", "warn", "no replica is in step", follows, "bring the replicas back"))
    modes = ", ".join(sorted({_mode(info) for info in subject.info}))
    return found or [Finding("topology", "pass", f"{modes}, {len(subject.servers)} master(s)")]


def _mode(info: dict[str, str]) -> str:
    return info.get("redis_mode") or info.get("server_mode", "?")


async def _cluster(server: Server) -> list[Finding]:
    reply = await server.ask("CLUSTER", "INFO")
    state = facts(reply)
    if not state or state.get("cluster_state") == "ok":
        return []
    found = f"{server.address}: cluster_state {state.get('cluster_state')}, {state.get('cluster_slots_ok')} slots are served"
    return [Finding("topology", "fail", found, "keys of other slots are refused", "redis-cli --cluster fix HOST:PORT")]


async def _version(subject: Subject) -> list[Finding]:
    found = []
    for server, info in zip(subject.servers, subject.info, strict=True):
        name = (
            f"Valkey {info['valkey_version']}"
            if "valkey_version" in info
            else f"Redis {info.get('redis_version', '?')}"
        )
        numbers = tuple(int(part) for part in info.get("redis_version", "0.0").split(".")[:2] if part.isdigit())
        if "valkey_version" in info or numbers >= _OLDEST:
            found.append(Finding("version", "pass", name))
        else:
            follows = "scripts and tracking were not tried there"
            found.append(Finding("version", "fail", f"{server.address}: {name}", follows, "run Redis 7.0 or Valkey"))
    return list(dict.fromkeys(found))


async def _eviction(subject: Subject) -> list[Finding]:
    assert subject.settings is not None
    # Noted for later checks, too: the kinds in use decide how bad their findings are.
    for kind, words in _MUST_NOT_BE_LOST.items():
        if (await objects(subject.servers, subject.settings, kind, most=_LOOKED_FOR_USE)).names:
            subject.in_use.append(words)
    policies = {info.get("maxmemory_policy", "") for info in subject.info} - {SAFE_POLICY}
    if not policies:
        return [Finding("eviction", "pass", f"maxmemory-policy {SAFE_POLICY}")]
    used = f"; in use: {', '.join(subject.in_use)}" if subject.in_use else ""
    follows = "queues, locks, counters, limits and the ledger are refused; the cache itself works"
    if subject.in_use:
        follows = f"the server may evict what must not be lost; {follows}"
    mend = "redis-cli CONFIG SET maxmemory-policy noeviction, or a server of their own for queues and locks"
    found = f"maxmemory-policy {', '.join(sorted(policies))}{used}"
    return [Finding("eviction", "fail" if subject.in_use else "warn", found, follows, mend)]


async def _memory(subject: Subject) -> list[Finding]:
    found = []
    for server, info in zip(subject.servers, subject.info, strict=True):
        used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
        amount = f"{used / 2**20:.1f} MiB of {f'{limit / 2**20:.1f} MiB' if limit else 'no limit'}"
        if not limit or used < limit * _FULL_RATIO:
            found.append(Finding("memory", "pass", amount))
            continue
        evicts = info.get("maxmemory_policy") != SAFE_POLICY
        follows = (
            "entries are evicted before their time"
            if evicts
            else "writes are refused when it is full: nothing is stored"
        )
        mend = "redis-cli CONFIG SET maxmemory 2gb, or shorter times to live"
        # A server that evicts is full as a rule; one that does not evict refuses writes then.
        state: State = "fail" if used >= limit and not evicts else "warn"
        found.append(Finding("memory", state, f"{server.address}: {amount}", follows, mend))
    return list(dict.fromkeys(found))


async def _disk(subject: Subject) -> list[Finding]:
    found = []
    for server, info in zip(subject.servers, subject.info, strict=True):
        if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
            follows = "the server refuses writes, or loses them when it ends"
            mend = f"make room on its disk; see its log, and redis-cli INFO persistence at {server.address}"
            found.append(Finding("persistence", "fail", f"{server.address} could not write to its disk", follows, mend))
        elif info.get("aof_enabled") != "1" and subject.in_use:
            follows = f"what is in {', '.join(subject.in_use)} is lost when the server ends"
            mend = "redis-cli CONFIG SET appendonly yes (and in redis.conf)"
            found.append(Finding("persistence", "warn", f"{server.address} keeps no append-only file", follows, mend))
    kind = "append-only file" if all(info.get("aof_enabled") == "1" for info in subject.info) else "none, or snapshots"
    return found or [Finding("persistence", "pass", kind)]


async def _connections(subject: Subject) -> list[Finding]:
    found = []
    for server, info in zip(subject.servers, subject.info, strict=True):
        clients, most = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
        words = f"{clients} of {most or '?'} connections"
        if most and clients >= most * _FULL_RATIO:
            mend = "redis-cli CONFIG SET maxclients 10000"
            found.append(
                Finding("connections", "warn", f"{server.address}: {words}", "new processes are refused", mend)
            )
    return found or [Finding("connections", "pass", "there is room for more")]


async def _clock(subject: Subject) -> list[Finding]:
    worst = 0.0
    for server in subject.servers:
        before = subject.environment.wall()
        reply = await server.ask("TIME")
        after = subject.environment.wall()
        if isinstance(reply, ServerReplyError):
            return [Finding("clock", "skip", f"this user has no right to TIME: {reply}")]
        # The server answered between the two readings: their middle is off by half the round trip at most.
        offset = int(reply[0]) + int(reply[1]) / 1e6 - (before + after) / 2
        worst = max(worst, offset, key=abs)
    words = f"the server's clock is {abs(worst):.3f} s {'ahead of' if worst > 0 else 'behind'} this machine's"
    if abs(worst) < _OFFSET_S:
        return [Finding("clock", "pass", words)]
    follows = "entries and leases are not harmed; days of the ledger and `at=` of queues are off by as much"
    return [
        Finding("clock", "warn", words, follows, "let both machines follow one time server: timedatectl set-ntp true")
    ]


async def _latency(subject: Subject) -> list[Finding]:
    assert subject.settings is not None
    loop, budget_s = asyncio.get_running_loop(), subject.settings.redis_budget_s
    took: list[float] = []
    for server in subject.servers:
        for _ in range(_PINGS):
            began = loop.time()
            await server.ask("PING")
            took.append(loop.time() - began)
    middle = median(took)
    words = f"{middle * 1000:.2f} ms in the middle, {max(took) * 1000:.2f} ms at most, of a budget of {budget_s * 1000:g} ms"
    mend = "put the server nearer, see redis-cli SLOWLOG GET, or raise ALACENA_REDIS_BUDGET_S"
    if middle >= budget_s:
        return [Finding("latency", "fail", words, "most reads give the server up and go to their source", mend)]
    if middle >= budget_s / 2 or max(took) >= budget_s:
        return [Finding("latency", "warn", words, "some reads give the server up and go to their source", mend)]
    return [Finding("latency", "pass", words)]


async def _coherence(subject: Subject) -> list[Finding]:
    """Opens a cache as a service does, and looks at its promises once it has settled."""
    assert subject.settings is not None
    if all(info.get("role", "master") != "master" for info in subject.info):
        # It would wait for a master until its time is up, and be reported as a server that hangs.
        return [Finding("tracking and canary", "skip", "no master is reached: a cache does not use a replica")]
    subject.held.enter_context(_silence())
    unlisted = replace(subject.settings, fleet_every_s=None)  # it looks at the fleet, and is none of it
    cache = subject.cache = await subject.held.enter_async_context(Cache(unlisted))
    loop = asyncio.get_running_loop()
    end = loop.time() + _SETTLE_S
    while not (promised := cache.guarantee())["memory"] and loop.time() < end:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.05)
    found = [Finding("tracking and canary", "pass", "memory is served")]
    if not promised["memory"]:
        follows = "memory stays off: every read asks the server"
        mend = "connect to the server itself, not through a proxy that drops pushes"
        if promised["missing_rights"] or "NOPERM" in str(promised["why"]):
            mend = "see the checks on rights: grant CLIENT TRACKING, INFO and TIME"
        found = [Finding("tracking and canary", "warn", str(promised["why"]), follows, mend)]
    if promised["coordination"] != "all processes":
        follows = "queues, locks, counters, limits and the ledger raise"
        mend = "see the checks on eviction, rights and the disk"
        found.append(
            Finding("coordination", "fail" if subject.in_use else "warn", promised["coordination"], follows, mend)
        )
    if promised["one_load"] != "all processes":
        follows = "nothing is stored on the server: every process loads for itself"
        found.append(Finding("storing", "fail", str(promised["why"]), follows, "see the checks on rights"))
    return found


async def _writes(subject: Subject) -> list[Finding]:
    assert subject.settings is not None
    for server in subject.servers:
        # A write that changes nothing, as the key is not there: a server that takes no writes, or is full, refuses it all
        # the same. It is one that could take memory, as a full server takes the others.
        reply = await server.ask("SET", f"{escape(subject.settings.namespace)}:probe", "1", "XX", "PX", 1)
        if isinstance(reply, ServerReplyError) and reply.code in {"READONLY", "MISCONF", "NOREPLICAS", "OOM"}:
            mends = {
                "READONLY": "name the master; a master that was made a replica: redis-cli REPLICAOF NO ONE",
                "MISCONF": "make room on the server's disk, see its log",
                "NOREPLICAS": "bring the replicas back, or lower min-replicas-to-write",
            }
            mend = mends.get(reply.code, "redis-cli CONFIG SET maxmemory 2gb")
            follows = "nothing is stored, invalidations are owed, queues and locks raise"
            return [Finding("writes", "fail", f"{server.address} says: {reply}", follows, mend)]
    return [Finding("writes", "pass", "the server takes writes")]


async def _fleet(subject: Subject) -> list[Finding]:
    """Looks at the reports of the processes of the namespace."""
    assert subject.cache is not None
    try:
        members = await subject.cache.fleet()
    except BackendError as error:  # the right that is missing has a check of its own
        return [Finding("fleet", "skip", f"the processes could not be listed: {error}")]
    if not members:
        return [Finding("fleet", "pass", "no process of this namespace was heard within a minute")]
    found = []
    silent = [member.name for member in members if member.is_stale]
    if silent:
        words = f"{len(silent)} of {len(members)} processes are silent: {_several(silent)}"
        mend = "see whether they hang; one that was killed is listed for a minute"
        found.append(Finding("fleet", "warn", words, "they have ended without closing, hang or are cut off", mend))
    seen = [member.snapshot for member in members if member.snapshot is not None and not member.is_stale]
    unread = sum(member.snapshot is None and not member.is_stale for member in members)
    versions = sorted({snapshot.version for snapshot in seen})
    if unread or len(versions) > 1:
        others = f", and {unread} of a version that this one cannot read" if unread else ""
        words = f"versions {', '.join(versions) or 'unknown'}{others}"
        follows = "entries are shared as far as their formats agree; others are loaded anew"
        found.append(Finding("fleet", "warn", words, follows, "finish the rollout: one version in all processes"))
    faults = [f"{one.process}: {fault.part}: {fault.fault}" for one in seen for fault in one.faults]
    if faults:
        mend = "see the log of that process; `alacena fleet` lists them all"
        found.append(Finding("fleet", "warn", _several(faults), "work in the background does not get on", mend))
    away = [snapshot.process for snapshot in seen if not snapshot.connected]
    if away:
        follows = "their reads go to the source"
        found.append(
            Finding("fleet", "warn", f"not all connected: {_several(away)}", follows, "see the log of these processes")
        )
    return found or [Finding("fleet", "pass", f"{count_processes(len(members))} heard, of version {versions[0]}")]


def _several(names: list[str]) -> str:
    rest = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return "; ".join(names[:_MOST_NAMED]) + rest


def list_checks(url: str | None = None) -> list[Check]:
    """Returns all checks, in their order."""
    return [
        # The order counts: each check leaves in the subject what later ones need, from the settings to an open cache.
        settings_check(url),
        Check("reachable", "settings", _reachable),
        Check("topology", "info", _topology),
        Check("version", "info", _version),
        Check("writes", "server", _writes),
        Check("rights", "server", rights),
        Check("eviction", "info", _eviction),
        Check("memory", "info", _memory),
        Check("persistence", "info", _disk),
        Check("connections", "info", _connections),
        Check("clock", "server", _clock),
        Check("latency", "server", _latency),
        Check("tracking and canary", "server", _coherence),
        Check("fleet", "cache", _fleet),
        Check("dead letters", "cache", check_dead),
        Check("symptom: values are not in the cache", "settings", symptom_checks.check_values),
        Check("symptom: errors at access", "nothing", symptom_checks.wrong_interface),
        Check("symptom: inconsistent metadata", "server", symptom_checks.metadata),
    ]
