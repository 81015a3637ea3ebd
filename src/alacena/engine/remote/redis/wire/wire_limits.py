"""Limits of a connection: bytes held, and time waited."""

from __future__ import annotations

import re
from dataclasses import dataclass

# `\Z` stands beside the digits because a segment may end inside a header: `*999` now and `99999` with the next segment
# would both look harmless, and the parser would still see eight digits.
_HEADER = rb"(?:[*%~>](?:\d{8}|\d{0,7}\Z)|\|(?:\d|\Z))"

suspect_at_start = re.compile(_HEADER).match
"""Whether a segment begins with what may be a header that no server of ours sends: 10^7 elements, or an attribute
(which the parser would count as an answer of its own); or with a header that is cut off before that can be told."""

suspect_inside = re.compile(rb"\n" + _HEADER).search
"""The same, anywhere after a line's end."""

suspects = re.compile(rb"(?:\A|(?<=\n))" + _HEADER).finditer
"""Every place of a segment that one of the two would stop at."""


# At most seven digits of elements, as in `_HEADER`: what that one refuses must not be passed over here.
_long_value = re.compile(rb"(?:\*\d{1,7}\r\n|_\r\n)*\$(\d{4,9})\r\n").match


def past_long_values(data: bytes, start: int) -> int:
    """Returns the position behind the long values that follow from ``start`` on, perhaps beyond the segment's end.

    Bytes inside a value need no look: in an embedding, one byte in 256 is a line's end.

    Args:
        data: The segment.
        start: Where in it a header begins.
    """
    while (header := _long_value(data, start)) is not None:
        start = header.end() + int(header[1]) + 2
    return start


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """Bounds of one connection. Reaching one is an error at once, never a growing queue.

    Attributes:
        in_flight: Exchanges that may wait for an answer.
        unsent_bytes: Bytes that may wait until the socket takes them.
        reply_bytes: The longest answer that may be collected before the connection is given up.
        stall_s: How long the oldest answer may be overdue before the connection is given up.
        grain_s: How exactly deadlines are kept; one timer serves all of them.
        bytes_per_s: While an answer comes in at this rate or faster, no deadline runs: a large value needs more of it
            than a small one. Of one that comes more slowly, a part of the time counts.
        transfer_s: How much time is given in this way for one answer at most.
    """

    in_flight: int = 65_536
    unsent_bytes: int = 64 * 1024 * 1024
    reply_bytes: int = 256 * 1024 * 1024
    stall_s: float = 1.0
    grain_s: float = 0.005
    bytes_per_s: float = 4 * 1024 * 1024
    transfer_s: float = 2.0
