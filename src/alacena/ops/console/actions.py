"""The changes that the console can make: each action is asked for twice, and written down with its operator's name."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable  # noqa: TC003 - the table below is made of them
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from starlette.responses import JSONResponse

from alacena.engine import AlacenaError
from alacena.ops import queue_report
from alacena.ops.console.authentication import read_body, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from alacena.engine import Cache
    from alacena.ops.console.activity_log import ActivityLog
    from alacena.ops.console.authentication import Authentication

_log = logging.getLogger("alacena")

CONFIRM_S: Final = 60.0
"""How long a question waits for its answer."""

_LONGEST_BODY: Final = 1_000_000


class Actions:
    """Replays and discards dead letters, and invalidates.

    The first request with an action's parameters is answered with a question and a ``confirm`` code; the same request
    with this code does it. The code belongs to these parameters alone, and to the next minute.

    Args:
        cache: The cache to change.
        activity: Where it is written down.
        access: Knows the operator's name.
        allowed: Whether anything may be changed at all.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        cache: Cache,
        activity: ActivityLog,
        access: Authentication,
        *,
        allowed: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._activity = activity
        self._access = access
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self.allowed = allowed

    async def act(self, request: Request) -> Response:
        """Asks, or does the confirmed action."""
        name = request.path_params["action"]
        if name not in _ACTIONS:
            return refusal(404, "action", f"there is no action {name!r}")
        if not self.allowed:
            return refusal(403, "read-only", "this console is read-only: start it with --allow-actions")
        body = await read_body(request, _LONGEST_BODY)
        if body is None:
            return refusal(413, "parameter", "the request is too long")
        kind, do = _ACTIONS[name]
        try:
            given = msgspec.json.decode(body or b"{}", type=kind)
        except msgspec.MsgspecError as error:
            return refusal(400, "parameter", f"wrong parameters of {name}: {error}")
        # The code is no part of the parameters for which it is made.
        confirm, given.confirm = given.confirm, None
        parameters = msgspec.to_builtins(given)
        if confirm is None or not self._is_confirmed(name, parameters, confirm):
            code = self._code(name, parameters, self._clock())
            question = {"question": name, "parameters": parameters, "confirm": code, "expired": confirm is not None}
            return JSONResponse(question, 409)
        return await self._act(name, parameters, do(self._cache, given), self._access.name(request) or "nobody")

    async def _act(self, name: str, parameters: dict[str, Any], act: Awaitable[Any], operator: str) -> Response:
        try:
            found = await act
        except (AlacenaError, ValueError) as error:
            # Written down as well: an action that failed may have been done all the same.
            self._write(name, parameters, operator, f"{type(error).__name__}: {error}")
            return refusal(422, type(error).__name__, str(error))
        except OSError as error:
            self._write(name, parameters, operator, str(error))
            return refusal(503, "server", str(error))
        self._write(name, parameters, operator, json.dumps(found))
        return JSONResponse(found)

    def _write(self, name: str, parameters: Mapping[str, Any], operator: str, outcome: str) -> None:
        self._activity.write(f"console:{name}", {"operator": operator, **parameters, "outcome": outcome})
        _log.warning("console: %s by %s with %s: %s", name, operator, json.dumps(parameters), outcome)

    def _code(self, name: str, parameters: Mapping[str, Any], at: float) -> str:
        # Sorted, so that equal parameters have one text, and one code.
        words = json.dumps([name, parameters, at], sort_keys=True).encode()
        return f"{at}.{hmac.new(self._key, words, hashlib.sha256).hexdigest()}"

    def _is_confirmed(self, name: str, parameters: Mapping[str, Any], code: str) -> bool:
        try:
            at = float(code.rpartition(".")[0])
        except ValueError:
            return False
        expected = self._code(name, parameters, at).encode()
        # NaN, which float() reads as well, is in no range. As bytes: compare_digest takes no text beyond ASCII.
        return 0 <= self._clock() - at <= CONFIRM_S and hmac.compare_digest(code.encode(), expected)


class _Given(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of every action. A parameter that is not known is refused: a misspelt one would widen the action."""

    tenant: Annotated[str, msgspec.Meta(min_length=1)]
    confirm: str | None = None


class _Letters(_Given, kw_only=True):
    queue: Annotated[str, msgspec.Meta(min_length=1)]
    ids: list[str] = []


class _Entries(_Given, kw_only=True):
    type: str | None = None
    id: str | None = None
    document: str | None = None


async def _replay(cache: Cache, given: _Letters) -> Any:
    return (await queue_report.replay(cache, given.tenant, given.queue, given.ids)).data


async def _discard(cache: Cache, given: _Letters) -> Any:
    return (await queue_report.discard(cache, given.tenant, given.queue, given.ids)).data


async def _invalidate(cache: Cache, given: _Entries) -> Any:
    documents = (given.document,) if given.document else ()
    count = await cache.invalidate(given.tenant, given.type or None, given.id or None, document_ids=documents)
    return {"confirmed": count > 0}


_ACTIONS: Final[dict[str, tuple[type[_Given], Callable[[Cache, Any], Awaitable[Any]]]]] = {
    "replay": (_Letters, _replay),
    "discard": (_Letters, _discard),
    "invalidate": (_Entries, _invalidate),
}
