"""Incoming bytes of one connection: replies go to their callers, pushes to the listener, in the order of the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hiredis

from alacena.engine.base.errors import BackendError, ServerReplyError
from alacena.engine.remote.redis.wire.pending_replies import (
    Group,
    PendingReplies,
    PendingReply,
    ProtocolDoubtError,
    hand_on,
)
from alacena.engine.remote.redis.wire.wire_limits import (
    WireLimits,
    past_long_values,
    suspect_at_start,
    suspect_inside,
    suspects,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.remote.redis.wire.command import Reply

# A type's sign and eight digits: with so much of it there, a header is judged and not held back any longer.
_HEADER_BYTES = 9

_LARGE_BYTES = 16 * 1024
"""Segments from this length on may be mostly values, in which nothing has to be looked for."""


class Incoming(PendingReplies):
    """A line whose answers are read from bytes.

    Attributes:
        on_push: Called in the parser with each push. If it raises, the connection ends.
        on_error: Called in the parser with each error that the server answered with, after its caller was told.
        error: Why the connection ended; ``None`` while it has not.
    """

    __slots__ = ("_held", "_inside", "_reader", "error", "on_error", "on_push")

    def __init__(
        self,
        limits: WireLimits | None,
        on_push: Callable[[list[Any]], None] | None,
        on_error: Callable[[ServerReplyError], None] | None,
    ) -> None:
        super().__init__(limits)
        self.on_push = on_push
        self.on_error = on_error
        self.error: BackendError | None = None
        # `...` for "not enough data": the default is `False`, which is also an answer of RESP3, and so is `None`.
        self._reader = hiredis.Reader(protocolError=ProtocolDoubtError, replyError=ServerReplyError, notEnoughData=...)
        self._held = b""
        self._inside = 0

    def _take(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        # A short segment must be counted too while the rest of a long value is on its way (`_inside`).
        start = 0 if len(data) < _LARGE_BYTES and not self._inside else self._skip_long_values(data)
        # From one byte before `start` on: the pattern begins with a line's end, and the one that ends the last long
        # value is the one that the next header stands behind.
        if (not start and suspect_at_start(data)) or suspect_inside(data, max(0, start - 1)):
            self._take_carefully(data)
        else:
            self._reader.feed(data)
            self._drain(len(data))

    def _skip_long_values(self, data: bytes) -> int:
        """Returns how much of a segment is known to be long values with their headers, beginning where the parser stands."""
        start = self._inside
        # A run begins only at a header: while the parser has unused bytes, the segment goes on inside a value. Bytes
        # that look like `$70000` there would be taken for a header, and a lie behind them would be skipped.
        if start <= len(data) and (start or not self._reader.has_data()):
            start = past_long_values(data, start)
        # The last value may end beyond this segment: so many bytes of the next ones are known to be its inside.
        self._inside = max(0, start - len(data))
        return start

    def _drain(self, fed_bytes: int) -> None:  # noqa: C901 - a call costs more than what it would tidy up
        gets = self._reader.gets
        waiters = self._waiters
        push_kind = hiredis.PushNotification
        reply = gets()
        if reply is ...:
            self._count_partial(fed_bytes)
            return
        self._partial_bytes = 0
        while reply is not ...:
            kind = type(reply)
            if kind is push_kind:
                # A settle earlier in the same segment may have closed the connection: `on_lost` was its last word.
                if self.on_push is not None and self.error is None:
                    self.on_push(reply)
            elif not waiters:
                raise ProtocolDoubtError("an answer came to no request") from _refusal(reply)
            else:
                # Out of the line before it is settled: `settle` may ask anew or close the connection, and the line must
                # be right by then.
                place = waiters.popleft()
                future, _, settling = place
                if settling is None:
                    if kind is not ServerReplyError and not future.done():
                        future.set_result(reply)
                elif isinstance(settling, Group):
                    self._collect(settling, place, reply)
                else:
                    # Whether or not somebody still waits for the result.
                    try:
                        result = settling(reply)
                    except Exception as error:  # noqa: BLE001 - handed on, not swallowed
                        hand_on(error, future)
                    else:
                        if not future.done():
                            future.set_result(result)
                if kind is ServerReplyError:
                    self._report_refusal(reply, place)
            reply = gets()

    def _report_refusal(self, error: ServerReplyError, place: PendingReply) -> None:
        future, _, settling = place
        if settling is None and not future.done():
            future.set_exception(error)
        if self.on_error is not None and self.error is None:
            self.on_error(error)

    def _collect(self, group: Group, place: PendingReply, reply: Reply) -> None:
        group.replies.append(reply)
        if len(group.replies) < group.count:
            # Back to the head: nothing comes between the answers of a group, so the next one is this group's too.
            self._waiters.appendleft(place)
        else:
            group.finish(place[0])

    def _count_partial(self, fed_bytes: int) -> None:
        self._partial_bytes += fed_bytes
        if self._partial_bytes > self._limits.reply_bytes:
            raise ProtocolDoubtError(f"one answer is longer than {self._limits.reply_bytes} bytes")

    def _take_carefully(self, data: bytes) -> None:
        """Parses up to each suspicious place, and look whether it is a header or the inside of a value.

        The parser allocates as much as an array's header announces: it must not see a header that lies, nor half of one.
        """
        start = 0
        for suspect in suspects(data):
            place = suspect.start()
            # All before the place is parsed first: only then the parser's state says what the place is.
            self._reader.feed(data[start:place])
            self._drain(place - start)
            start = place
            # Bytes are left that the parser could not use yet, so the place is inside a value. Whole elements of an
            # array are used up: a header between two of them leaves nothing, and is judged.
            if self._reader.has_data():
                continue
            if suspect.end() < len(data) or suspect.end() - place >= _HEADER_BYTES:
                raise ProtocolDoubtError(f"refused a header of the stream: {suspect[0]!r}")
            # Fed now, the half would become a header together with the next segment, without a look at it.
            self._held = data[place:]
            return
        self._reader.feed(data[start:])
        self._drain(len(data) - start)


def _refusal(reply: Reply) -> ServerReplyError | None:
    """Returns the refusal of a command that is answered by pushes alone, such as ``SUBSCRIBE``: it has no place in line."""
    return reply if isinstance(reply, ServerReplyError) else None
