"""The processes of a namespace: each reports its counts every few seconds, and answers questions about itself."""

from __future__ import annotations

import asyncio
import logging
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from alacena.coordination.background_task_end import ends_a_task, watch_end
from alacena.coordination.coordination_keys import CoordinationKeys, coordination_key
from alacena.coordination.lock_states import HeldLock
from alacena.engine.base.arguments import copy_mapping, milliseconds
from alacena.engine.base.errors import (
    AlacenaError,
    ArgumentError,
    BackendError,
    BackendUnavailableError,
    LimitExceededError,
    OutcomeUnknownError,
    UsageError,
    show,
)
from alacena.engine.base.scope import SYSTEM_TENANT
from alacena.engine.base.snapshot import Snapshot  # noqa: TC001 - msgspec looks it up
from alacena.engine.remote.backend import Script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.health import Health
    from alacena.engine.base.snapshot import Row
    from alacena.engine.remote.backend import Argument, Backend

_log = logging.getLogger("alacena")
_MOST_SAID = 500
"""Characters of an error that another process is told."""

# Publishing empties the inbox, and asking fills it: a second run would find no questions, or ask one twice.
_PUBLISH: Final = Script("fleet_publish", idempotent=False)
_LIST: Final = Script("fleet_list", idempotent=True)
_ASK: Final = Script("fleet_ask", idempotent=False)

_EVERY_S: Final = 2.0
_STALE_AFTER: Final = 2.5
_KEPT_FOR: Final = 5
_LISTED_MS: Final = 60_000
_MOST: Final = 256
_MOST_LOCKS: Final = 200
_MOST_QUESTIONS: Final = 32
_LOOK_EVERY_S: Final = 0.1
_LEAVE_S: Final = 0.2
_PART: Final = "fleet"
TASK: Final = "alacena: fleet"


class FleetKeys(CoordinationKeys, Protocol):
    """Renders keys, and names as they may stand on the server."""

    def render_name(self, name: str) -> str:
        """Returns a name, or its digest if names must not be seen on the server."""
        ...


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """One process of a namespace, as it was heard last.

    Attributes:
        name: Its address for questions: its process and instance.
        age_s: Seconds since it was heard, on the server's clock.
        is_stale: Whether it should have been heard again by now: it has ended, hangs, or is cut off.
        snapshot: Its counts by then; ``None`` if that is so long ago that it is not kept any more.
    """

    name: str
    age_s: float
    is_stale: bool
    snapshot: Snapshot | None = None


class _Report(msgspec.Struct, array_like=True):
    """The report of a process about itself: how often it reports, and its snapshot."""

    every_s: float
    snapshot: Snapshot


class _Question(msgspec.Struct, array_like=True):
    """A question to a process: the id to answer under, the question's name, and its words."""

    answer_id: str
    question: str
    words: dict[str, Any]
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Presence:
    """This process, as the others of its namespace may see and ask it.

    Attributes:
        snapshot: Gives the newest snapshot of this process.
        answers: Its questions, by the question's name.
        every_s: How often it reports; ``None``: never by itself.
        is_seen: Whether it reports at all: else it can but list and ask the others.
        locks: Gives the locks that this process holds.
    """

    snapshot: Callable[[], Snapshot]
    answers: Mapping[str, Callable[..., Awaitable[Any]]]
    every_s: float | None
    is_seen: bool
    locks: Callable[[], list[HeldLock]] = list


class Fleet:
    """This process among the others of its namespace.

    One command each period says that it is there and takes the questions that wait for it: no connection is kept open
    for them, and a question waits for at most a period.

    Args:
        store: The keyspace that all share.
        keys: Renders names.
        environment: Chance.
        health: Where it is said that publishing fails.
        presence: This process, as the others see it.
    """

    def __init__(
        self,
        store: Backend,
        keys: FleetKeys,
        environment: Environment,
        health: Health,
        presence: Presence,
    ) -> None:
        self._store = store
        self._keys = keys
        self._environment = environment
        self._health = health
        self._presence = presence
        self._members = self._key("members")
        self._holders = self._key("holders")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Reports from now on, the first time after a period."""
        every_s = self._presence.every_s
        if every_s is not None:
            self._task = task = asyncio.get_running_loop().create_task(self._run(every_s), name=TASK)
            watch_end(task, lambda: task is self._task, self._health, _PART)

    @property
    def name(self) -> str:
        """The address of this process for questions."""
        snapshot = self._presence.snapshot()
        return f"{snapshot.process}#{snapshot.instance}"

    async def close(self) -> None:
        """Ends the reports, and removes this process from the list if the server answers."""
        # Let go of first: the end of a task that is still ours is reported as a fault.
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait((task,))
        parts = ["said", "inbox"]
        try:
            if self._presence.locks():  # They outlive this process, and somebody may ask whose they were.
                # publish() lists this process once more, so it comes before the removal from the list.
                async with asyncio.timeout(_LEAVE_S):
                    await self.publish()
            else:
                await self._store.call("ZREM", self._holders, self.name, timeout_s=_LEAVE_S)
                parts.append("locks")
            await self._store.call("ZREM", self._members, self.name, timeout_s=_LEAVE_S)
            await self._store.call("DEL", *(self._key(part, self.name) for part in parts), timeout_s=_LEAVE_S)
        except (AlacenaError, TimeoutError) as error:
            _log.debug("the fleet was not told that this process ends: %s", error)

    async def publish(self) -> None:
        """Reports the counts of this process, and answers the questions that wait for it.

        Cost: 1 round trip; 1 more for each question.
        Atomicity: one script.

        Raises:
            BackendError: The server did not take it.
        """
        every_s = self._presence.every_s or _EVERY_S
        snapshot = self._hide_names(self._presence.snapshot())
        try:
            report = msgspec.msgpack.encode(_Report(every_s, snapshot))
        except UnicodeEncodeError:
            # One tenant whose name holds a lone surrogate would else keep this process from being seen at all.
            report = msgspec.msgpack.encode(_Report(every_s, _rename(snapshot, _as_utf8)))
        said = zlib.compress(report, 1)
        name = self.name
        keys = [
            self._members,
            self._key("said", name),
            self._key("inbox", name),
            self._holders,
            self._key("locks", name),
        ]
        # What ends soon is not worth telling: it is the lock that stays behind that somebody looks for.
        held = sorted(self._presence.locks(), key=lambda lock: -lock.left_s)[:_MOST_LOCKS]
        # A lock that is renewed until just before its process dies ends later than it says here.
        held_ms = round(held[0].left_s * 1000 + every_s * 1000) if held else 0
        words: list[Argument] = [name, said, max(round(every_s * _KEPT_FOR * 1000), 1), _LISTED_MS]
        words += [msgspec.msgpack.encode(held) if held else b"", held_ms]
        for question in await self._store.script(_PUBLISH, keys, words):
            await self._answer(question)

    async def members(self) -> list[Member]:
        """Returns the processes of the namespace, those heard last first: 256 at most, silent ones for a minute.

        Cost: 2 round trips; 3 if this process speaks too.

        Raises:
            BackendError: The server did not answer.
        """
        if self._presence.is_seen:
            await self.publish()
        now_ms, *found = await self._store.script(_LIST, [self._members], [_MOST, _LISTED_MS])
        names = [bytes(name).decode() for name in found[::2]]
        if not names:
            return []
        said = await self._store.call("MGET", *(self._key("said", name) for name in names))
        return [
            self._member(name, max(0, now_ms - int(heard)) / 1000, word)
            for name, heard, word in zip(names, found[1::2], said, strict=True)
        ]

    async def find_locks(self) -> dict[str, list[HeldLock]]:
        """Returns the locks that each process holds, by its name: also of one that has died, until they have ended.

        256 processes and 200 locks of each at most, those that last longest.

        Cost: 2 round trips; 3 if this process speaks too.

        Raises:
            BackendError: The server did not answer.
        """
        if self._presence.is_seen:
            await self.publish()
        names = [bytes(name).decode() for name in await self._store.call("ZRANGE", self._holders, -_MOST, -1)]
        if not names:
            return {}
        said = await self._store.call("MGET", *(self._key("locks", name) for name in names))
        return {
            name: msgspec.msgpack.decode(held, type=list[HeldLock])
            for name, held in zip(names, said, strict=True)
            if held is not None
        }

    async def ask(self, name: str, question: str, deadline_s: float, words: Mapping[str, Any]) -> Any:
        """Asks a process a question.

        Args:
            name: The name of a :class:`Member`.
            question: Its name.
            deadline_s: How long to wait for the answer; it comes within the other's period, two seconds.
            words: The words of the question.

        Raises:
            UsageError: There is no such question, or its words are wrong.
            TimeoutError: The process did not answer in time.
            LimitExceededError: Too many questions wait for the process.
            BackendError: The server did not answer.

        Cost: 1 round trip, and 10 a second until the answer is there.
        Cancellation: the question may be answered, and the answer is not read.
        """
        if not isinstance(question, str) or question not in self._presence.answers:
            raise UsageError(
                f"there is no question {show(question)}; there are {', '.join(sorted(self._presence.answers))}"
            )
        asked = copy_mapping(words, "words", "the question's words")
        wait_ms = milliseconds(deadline_s, "deadline_s", least=0)
        if name == self.name:
            # Through bytes, as another process's answer comes: the types are the same whoever is asked.
            return self._read(name, question, await self._reply_to(question, asked))
        answer_id = self._environment.token(16).hex()
        key = self._key("answer", answer_id)
        try:
            packed = msgspec.msgpack.encode(_Question(answer_id, question, asked, wait_ms))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ArgumentError(f"words holds something that cannot be sent: {show(str(error))}") from error
        if not await self._store.script(_ASK, [self._key("inbox", name)], [packed, wait_ms, _MOST_QUESTIONS]):
            raise LimitExceededError(f"{_MOST_QUESTIONS} questions wait for {name!r} already: ask again in a while")
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while (said := await self._store.call("GET", key)) is None:  # noqa: ASYNC110 - another process's event
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise TimeoutError(
                f"{show(name)} did not answer within {wait_ms / 1000:g} s: it may have ended, or hang"
            ) from None
        return self._read(name, question, said)

    def _read(self, name: str, question: str, said: bytes) -> Any:
        answer = msgspec.msgpack.decode(said)
        if "error" in answer:
            raise UsageError(f"{show(name)} could not answer {question!r}: {answer['error']}")
        return answer["answer"]

    async def _run(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.publish()
            except (BackendUnavailableError, OutcomeUnknownError) as error:
                # The verbs that need the server say that it is away.
                self._is_news(error)
            except BackendError as error:
                if self._is_news(error):
                    _log.warning(
                        "this process could not tell the fleet of itself: %s; it is tried again by itself, and the cache "
                        "is not concerned. A server that refuses it must allow ZADD, SET and EVALSHA", error,
                    )  # fmt: skip
            except BaseException as error:
                # An answer to a question runs code of other rooms, which may raise anything: the reports must go on.
                if ends_a_task(error):
                    raise
                if self._is_news(error):
                    _log.exception("telling the fleet of this process failed for a reason that is not the server's")
            else:
                self._health.mend(_PART)

    def _is_news(self, error: BaseException) -> bool:
        return self._health.report(_PART, f"this process is not seen by the others: {type(error).__name__}")

    async def _answer(self, packed: bytes) -> None:
        try:
            asked = msgspec.msgpack.decode(packed, type=_Question)
        except msgspec.MsgspecError as error:
            _log.warning("a question of another process could not be read, and is left out: %s", error)
            return
        said = await self._reply_to(asked.question, asked.words)
        # The server refuses ``PX 0``, to which a very short deadline is rounded.
        await self._store.call("SET", self._key("answer", asked.answer_id), said, "PX", max(asked.wait_ms, 1))

    async def _reply_to(self, question: str, words: dict[str, Any]) -> bytes:
        """Returns the answer, or the reason why there is none, as it is sent."""
        try:
            return msgspec.msgpack.encode({"answer": await self._presence.answers[question](**words)})
        except (AlacenaError, TypeError, ValueError, KeyError) as error:
            why = _as_utf8(f"{type(error).__name__}: {str(error)[:_MOST_SAID]}")
            return msgspec.msgpack.encode({"error": why})

    def _member(self, name: str, age_s: float, said: bytes | None) -> Member:
        if said is None:
            return Member(name, age_s, is_stale=True)
        try:
            report = msgspec.msgpack.decode(zlib.decompress(said), type=_Report)
        except (zlib.error, msgspec.MsgspecError):
            # Another version of the library says it otherwise: it is there all the same.
            return Member(name, age_s, is_stale=age_s > _EVERY_S * _STALE_AFTER)
        return Member(name, age_s, age_s > report.every_s * _STALE_AFTER, report.snapshot)

    def _hide_names(self, snapshot: Snapshot) -> Snapshot:
        """Returns the snapshot as it may stand on the server: with digests for names if names must not be seen there."""
        render = self._keys.render_name
        if render("any") == "any":
            return snapshot
        return _rename(snapshot, render)

    def _key(self, *parts: str) -> str:
        return coordination_key(self._keys, "fleet", SYSTEM_TENANT, *parts)


def _as_utf8(name: str) -> str:
    """Returns a name as UTF-8 carries it: a lone surrogate is written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def _rename(snapshot: Snapshot, render: Callable[[str], str]) -> Snapshot:
    """Returns the snapshot with other names for its tenants and types."""

    def rows(of: Sequence[Row]) -> tuple[Row, ...]:
        renamed = []
        for row in of:
            tenant, kind = row.tenant_id, row.data_type
            names = {
                "tenant_id": None if tenant is None else render(tenant),
                "data_type": None if kind is None else render(kind),
            }
            renamed.append(msgspec.structs.replace(row, **names))
        return tuple(renamed)

    tokens = tuple(
        one if one.tenant_id is None else msgspec.structs.replace(one, tenant_id=render(one.tenant_id))
        for one in snapshot.tokens
    )
    return msgspec.structs.replace(snapshot, rows=rows(snapshot.rows), types=rows(snapshot.types), tokens=tokens)
