"""The views of the console, as JSON: the same answers that the commands print with ``--json``."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse

from alacena.engine import AlacenaError, BackendError, Scope
from alacena.ops import cache_report, check_runner, doctor_checks, fleet_report, queue_report, server_names
from alacena.ops.console import summary
from alacena.ops.console.authentication import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from alacena.engine import Cache, Member, Snapshot
    from alacena.ops.console.activity_log import ActivityLog
    from alacena.ops.output import CommandResult

    View = Callable[[Request], Awaitable[CommandResult | Any]]

_HEALTH_S: Final = 10.0
"""How old the findings of the doctor may be: an examination opens connections of its own."""

_ANSWERS_S: Final = 4.0
_MOST_NAMES: Final = 20_000
_MOST_LETTERS: Final = 200
_PROCESS: Final = ("version", "uptime_s", "connected", "memory_serves", "memory_bytes", "loads_under_way", "why")
_SCOPE: Final = ("agent_id", "conversation_id", "collection_id", "user_id")
_COMMA: Final = re.compile(r"\s*,\s*")
_LONGEST_PARAMETER: Final = 20_000


class WrongParameterError(Exception):
    """A request lacks a parameter, or has a wrong one."""


class Views:
    """Answers the page's questions.

    Args:
        cache: The cache that is shown.
        activity: Its last events.
        clock: Seconds that only grow.
    """

    def __init__(self, cache: Cache, activity: ActivityLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._activity = activity
        self._clock = clock
        self._examination: asyncio.Task[dict[str, Any]] | None = None
        self._examined_at = 0.0

    async def health(self, _: Request) -> dict[str, Any]:
        """Returns the findings of the doctor, the worst first, and which promises hold."""
        task = self._examination
        if task is None or (task.done() and self._clock() - self._examined_at > _HEALTH_S):
            # Their age counts from the beginning, so that the findings are never older than it says.
            self._examined_at = self._clock()
            task = self._examination = asyncio.ensure_future(self._examine())
        # A page that is closed meanwhile must not end what the next one waits for.
        found = await asyncio.shield(task)
        return {
            **found,
            "guarantee": cache_report.plain(self._cache.guarantee()),
            "age_s": self._clock() - self._examined_at,
        }

    async def _examine(self) -> dict[str, Any]:
        findings = await check_runner.examine(
            doctor_checks.list_checks(), check_runner.Subject(server_names.find_settings(self._cache))
        )
        worst = {"fail": 0, "warn": 1, "skip": 2, "pass": 3}
        ordered = sorted(findings, key=lambda finding: worst[finding.state])
        return {**check_runner.report(findings), "checks": [asdict(finding) for finding in ordered]}

    async def fleet(self, _: Request) -> dict[str, Any]:
        """Returns the processes of the namespace, each with its age and how it is."""
        return {"processes": [self._process(member) for member in await self._cache.fleet()]}

    def _process(self, member: Member) -> dict[str, Any]:
        seen = member.snapshot
        known = {} if seen is None else {name: getattr(seen, name) for name in _PROCESS}
        reads = None if seen is None else seen.total.reads.total
        return {"name": member.name, "age_s": member.age_s, "is_stale": member.is_stale, "reads": reads, **known}

    async def overview(self, request: Request) -> dict[str, Any]:
        """Returns the counts of the processes of the namespace, all of them or one."""
        snapshots, alone = await self._snapshots(request.query_params.get("process"))
        return {"at": time.time(), "alone": alone, **summary.overview(snapshots)}

    async def tenants(self, request: Request) -> dict[str, Any]:
        """Returns the entries and counts of each tenant and type; those that are not listed are summed up.

        A tenant that is named is asked of every process, so that it is found if it is not listed either.
        """
        if whose := request.query_params.get("tenant"):
            found = (await fleet_report.tenant(self._cache, whose, _ANSWERS_S)).data
            return {name: found[name] for name in ("rows", "asked", "answered")}
        snapshots, alone = await self._snapshots(request.query_params.get("process"))
        return {"rows": summary.tenants(snapshots), "alone": alone}

    async def _snapshots(self, process: str | None) -> tuple[list[Snapshot], str]:
        """Returns the snapshots of the processes, and why they are those of this process alone; empty if they are not."""
        try:
            members = await self._cache.fleet()
        except BackendError as error:  # Without the server this process still knows its own.
            return [self._cache.snapshot()], str(error)
        if not process:  # One that has died would stay in the sums for as long as it is listed.
            return fleet_report.fresh_snapshots(members), ""
        return [one.snapshot for one in members if one.snapshot is not None and process == one.name], ""

    async def explain(self, request: Request) -> CommandResult:
        """Returns the explanation of a read of one entry, and each other process's knowledge of it."""
        # An empty field of the page stands for none.
        parts = {name: request.query_params.get(name) or None for name in _SCOPE}
        permissions = list(filter(None, _COMMA.split((request.query_params.get("permissions") or "").strip()))) or None
        scope = Scope(_require(request, "tenant"), **parts, permissions=permissions)
        return await cache_report.explanation(self._cache, _require(request, "type"), _require(request, "id"), scope)

    async def queues(self, request: Request) -> CommandResult:
        """Returns the queues."""
        return await queue_report.queues(self._cache, request.query_params.get("tenant") or None, None, _MOST_NAMES)

    async def dead(self, request: Request) -> CommandResult:
        """Returns the dead letters of one queue."""
        return await queue_report.dead(
            self._cache, _require(request, "tenant"), _require(request, "queue"), _MOST_LETTERS
        )

    async def locks(self, request: Request) -> CommandResult:
        """Returns the locks that are held or waited for."""
        # The page asks every two seconds: no keys are looked at.
        return await cache_report.locks(self._cache, request.query_params.get("tenant") or None, 0)

    async def tokens(self, request: Request) -> CommandResult:
        """Returns the totals of one tenant's ledger."""
        given = {name: request.query_params.get(name) or None for name in ("day", "month")}
        return await cache_report.tokens(self._cache, _require(request, "tenant"), given["day"], given["month"])

    async def log(self, _: Request) -> dict[str, Any]:
        """Returns the activity, the newest line first."""
        return {"lines": self._activity.lines()}


def make_endpoint(view: View) -> Callable[[Request], Awaitable[Response]]:
    """Returns the endpoint of a view: an error of ours is an answer with a remedy."""

    async def answer(request: Request) -> Response:
        try:
            found = await view(request)
        except WrongParameterError as error:
            return refusal(400, "parameter", str(error))
        except (AlacenaError, ValueError) as error:
            return refusal(422, type(error).__name__, str(error) or type(error).__name__)
        except OSError as error:
            return refusal(503, "server", str(error) or type(error).__name__)
        if isinstance(found, dict):
            return JSONResponse(found)
        words = {name: [asdict(cell) for cell in getattr(found, name)] for name in ("sentences", "last")}
        return JSONResponse({"data": cache_report.plain(found.data), **words, "code": found.code})

    return answer


def _require(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value:
        raise WrongParameterError(f"the request names no {name!r}")
    if len(value) > _LONGEST_PARAMETER:
        raise WrongParameterError(f"{name!r} has {len(value)} characters; {_LONGEST_PARAMETER} are read")
    return value
