"""One multiplexed RESP3 connection."""

from __future__ import annotations

import asyncio
import os
import select
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakSet

from alacena.engine.base.errors import (
    AlacenaError,
    BackendError,
    BackendUnavailableError,
    ServerReplyError,
    WrongLoopError,
)
from alacena.engine.remote.redis.wire.command import pack, pack_unchecked, refusal
from alacena.engine.remote.redis.wire.incoming import Incoming
from alacena.engine.remote.redis.wire.pending_replies import (
    PENDING_REPLY_BYTES,
    Group,
    PendingReply,
    ProtocolDoubtError,
    Settling,
    fail_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alacena.engine.remote.redis.wire.command import Argument, Command, Reply
    from alacena.engine.remote.redis.wire.wire_limits import WireLimits

T = TypeVar("T")

_WRITE_BUFFER_BYTES = 256 * 1024

_SHORT_KEY = 512
_GET_HEADS = tuple(b"*2\r\n$3\r\nGET\r\n$%d\r\n" % length for length in range(_SHORT_KEY))
"""The bytes before the key in a ``GET``, by the key's length."""

_open: WeakSet[Connection] = WeakSet()


class Connection(Incoming, asyncio.Protocol):
    """Commands out, answers and pushes in, strictly in the order of the bytes.

    The protocol object, not the awaiting task, matches answers to their callers: a waiter that is cancelled or
    overdue keeps its place in line, its ``settle`` still runs, and its result is dropped. Commands of one turn of the loop
    leave in one write; a lone command leaves at once. Any doubt about the stream (bytes that do not parse,
    an answer to no request, a length beyond the limits) ends the connection.

    Deadlines count the loop's time. Not for blocking commands: on a shared connection they hold up all commands behind
    them.

    Attributes:
        on_push: Called in the parser with each push, in byte order with the answers around it. If it raises, the
            connection ends. on_lost: Called once, before any waiter is told, as soon as the connection is known to be
            lost. error: Why the connection ended; ``None`` while it has not.
    """

    __slots__ = (
        "__weakref__",
        "_flush_due",
        "_now",
        "_paused",
        "_refusal",
        "_transport",
        "_unsent_limit",
        "on_lost",
    )

    def __init__(
        self,
        *,
        limits: WireLimits | None = None,
        on_push: Callable[[list[Any]], None] | None = None,
        on_error: Callable[[ServerReplyError], None] | None = None,
        on_lost: Callable[[BackendError], None] | None = None,
    ) -> None:
        super().__init__(limits, on_push, on_error)
        self.on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._refusal: AlacenaError | None = BackendUnavailableError("the connection is not open yet")
        self._unsent_limit = self._limits.unsent_bytes
        self._now = 0.0
        self._flush_due = False
        self._paused = False
        _open.add(self)

    # Asking

    def exchange(
        self, commands: Sequence[Command], *, settle: Callable[[list[Reply]], T] | None = None, timeout_s: float
    ) -> asyncio.Future[T]:
        """Sends commands with nothing between them, and gives their answers to ``settle``.

        ``settle(replies)`` runs inside the parser when the last answer is in, in byte order with pushes and other
        answers. An error that the server answered with is a ``ServerReplyError`` inside the list. The return value of
        ``settle`` becomes the result, and so does an error of this library that it raises. Any other error says that the
        answer does not fit the command, and ends the connection. Without ``settle`` the result is the one answer
        (raised if it is an error), or the list of them.

        Cost: one round trip.
        Cancellation: the place in line is kept and ``settle`` still runs; only the result is dropped.
        If Redis fails: ``BackendUnavailableError`` (not executed) or ``OutcomeUnknownError`` (sent, no answer in time).

        Raises:
            BackendUnavailableError: At once, when the connection is closed or holds as much as it may.
            WrongLoopError: The connection belongs to another event loop or process.
            UsageError: A command cannot be sent.
        """
        data = pack(commands)
        is_plain = settle is None and len(commands) == 1
        return self._ask(data, None if is_plain else Group(len(commands), settle), timeout_s)

    def fetch(self, key: bytes, settle: Callable[[Reply], T], timeout_s: float) -> asyncio.Future[T]:
        """Sends ``GET`` by the shortest way, and gives its one answer to ``settle``. See `exchange`."""
        length = len(key)
        # To format bytes takes three times as long as to join them, and each hit on the server comes by here.
        head = _GET_HEADS[length] if length < _SHORT_KEY else b"*2\r\n$3\r\nGET\r\n$%d\r\n" % length
        return self._ask(head + key + b"\r\n", settle, timeout_s)

    def call(self, *command: Argument, timeout_s: float) -> asyncio.Future[Any]:
        """Sends one command; the result is its answer. See `exchange`."""
        if not command:
            raise refusal(command)
        try:
            data = pack_unchecked(command)
        except (TypeError, ValueError) as error:
            raise refusal(command) from error
        return self._ask(data, None, timeout_s)

    def tell(self, *command: Argument) -> None:
        """Sends a command that is answered by pushes alone, such as ``SUBSCRIBE``: it gets no place in line.

        Raises:
            BackendUnavailableError: The connection is closed, or the socket takes no more.
        """
        data = pack((command,))
        self._admit()
        # What was asked for earlier in this turn goes first: bytes leave in the order of the calls.
        self._flush()
        if self._paused:
            # Without a place in line it could not be taken back when it is overdue, so it is not kept for later.
            raise BackendUnavailableError("the socket takes no more: nothing was sent")
        cast("asyncio.Transport", self._transport).write(data)

    def check(self) -> None:
        """Raises if the connection does not stand.

        Raises:
            BackendUnavailableError: Why it does not.
        """
        if self.error is not None:
            raise BackendUnavailableError(f"the connection is closed: {self.error}") from self.error

    def _ask(self, data: bytes, settling: Settling, timeout_s: float) -> asyncio.Future[Any]:
        # A flush that is due says that a command of this turn was admitted. Bytes are counted for each all the same:
        # one turn may bring any number of commands.
        if not self._flush_due:
            self._admit()
        elif self._unsent_bytes > self._unsent_limit:
            raise BackendUnavailableError(f"{self._unsent_bytes} bytes wait to be sent: nothing more is taken on")
        deadline = self._now + timeout_s
        if deadline < self._alarm:
            self._set_alarm(deadline)
        future: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        place: PendingReply = (future, deadline, settling)
        if self._flush_due:
            self._unsent.append(place)
            self._out.append(data)
            self._unsent_bytes += len(data) + PENDING_REPLY_BYTES
        else:
            self._first_of_turn(data, place)
        return future

    def _admit(self) -> None:
        """Checks the connection once a turn of the loop, for all commands of the turn."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self._loop:
            raise WrongLoopError("this connection belongs to another event loop or process: open one here")
        if self._refusal is not None:
            # A new exception for each: one object raised in many tasks would gather the tracebacks of all of them.
            raise type(self._refusal)(*self._refusal.args) from self.error
        in_flight = len(self._waiters) + len(self._unsent)
        if in_flight >= self._limits.in_flight:
            raise BackendUnavailableError(f"{in_flight} exchanges are in flight: nothing more is taken on")
        if self._unsent_bytes > self._unsent_limit:
            raise BackendUnavailableError(f"{self._unsent_bytes} bytes wait to be sent: nothing more is taken on")
        self._now = self._time()

    def _first_of_turn(self, data: bytes, place: PendingReply) -> None:
        # Nobody waits, so there is nobody to leave together with: a lone command saves a turn of the loop.
        if not self._waiters and not self._paused:
            self._waiters.append(place)
            cast("asyncio.Transport", self._transport).write(data)
            return
        self._unsent.append(place)
        self._out.append(data)
        self._unsent_bytes += len(data) + PENDING_REPLY_BYTES
        if not self._paused:
            self._flush_soon()

    def _flush_soon(self) -> None:
        self._flush_due = True
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._paused or not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._waiters.extend(self._unsent)
        self._unsent.clear()
        self._out.clear()
        self._unsent_bytes = 0
        cast("asyncio.Transport", self._transport).write(data)

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Notes that the socket is open."""
        self._transport = cast("asyncio.Transport", transport)
        # Bytes beyond this wait here and not in the transport: only here they can be taken back when they are overdue.
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self._refusal = None

    def pause_writing(self) -> None:
        """Stops writing: the socket takes no more, and commands from now on wait and can still be taken back."""
        self._paused = True
        self._flush_due = False

    def resume_writing(self) -> None:
        """Goes on writing: the socket takes more."""
        self._paused = False
        self._flush()

    def eof_received(self) -> None:
        """Notes that the server hung up."""
        self.close(BackendUnavailableError("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the connection: the socket is gone."""
        error = BackendUnavailableError(f"the connection was lost: {exc or 'closed'}")
        error.__cause__ = exc
        self.close(error)

    def data_received(self, data: bytes) -> None:
        """Applies the answers and pushes of the bytes that came in, before it returns."""
        # Those who asked were told that nobody knows the outcome: bytes that still come must settle nothing.
        if self.error is not None:
            return
        standing = len(self._waiters)
        done = False
        try:
            self._take(data)
            done = True
        except ProtocolDoubtError as error:
            done = True
            self.close(error)
        # `finally`, not `except Exception`: whatever a push handler raises goes on to the loop, and the connection ends
        # with it.
        finally:
            if not done:
                self.close(
                    ProtocolDoubtError("the parser or a push handler failed: the bytes it read may be half applied")
                )
        if standing - len(self._waiters) > 1 and not self._flush_due and not self._paused and self.error is None:
            # Several tasks wake up now; what they ask for next leaves together, before the loop polls again.
            self._now = self._time()
            self._flush_soon()

    def _has_unread(self) -> bool:
        socket = cast("asyncio.Transport", self._transport).get_extra_info("socket")
        return socket is not None and is_readable(socket.fileno())

    # The end

    def close(self, error: BackendError | None = None) -> None:
        """Ends the connection: ``on_lost`` is called first, then every waiter fails."""
        if self.error is not None:
            return
        self.error = error or BackendUnavailableError("the connection was closed here")
        # Before anybody is called: what `on_lost` or a waiter asks for next must be refused, and join no line.
        self._refusal = BackendUnavailableError(f"the connection is closed: {self.error}")
        self._flush_due = False
        sent, unsent = self._leave()
        try:
            if self.on_lost is not None:
                self.on_lost(self.error)
        # Also if `on_lost` fails: nobody is left waiting. `abort`, because `close` would wait until the buffer is sent,
        # and a server that is gone never takes it.
        finally:
            if self._transport is not None:
                self._transport.abort()
            fail_all(sent, unsent, self.error)

    def _disown(self) -> None:
        """Disowns the socket in a forked child: it is the parent's, and not a byte may be written or read here."""
        # The transport is left alone: to close it would take the socket out of the epoll set, which parent and child
        # share.
        self.error = BackendUnavailableError("the connection belongs to the process that forked this one")
        self._refusal = WrongLoopError("the process was forked: open a connection of its own in the child")
        self._flush_due = False
        self._leave()


def is_readable(file: int) -> bool:
    """Returns whether an open socket has bytes, or its end, to be read."""
    if file < 0:
        return False
    # Not `select.select`: in a process with many open files, this one's number may be more than that takes (1,023).
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(0))


def _disown_all() -> None:
    for connection in list(_open):
        connection._disown()
    _open.clear()


os.register_at_fork(after_in_child=_disown_all)
