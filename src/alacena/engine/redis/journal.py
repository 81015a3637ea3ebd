"""The journal of a bucket: which tags ended, for loads that name their tags only when they are done.

It is a string of records that grows at its end: a digest of the tag's name and a random half. A lease remembers where
the end was, and which record stood there. The fill reads on from that record: if it is still there, what follows is
every tag that ended since; if it is not (the journal was lost, cut or evicted), any tag may have ended.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alacena.engine.environment import Environment

_HALF: Final = 8
RECORD_BYTES: Final = 2 * _HALF

LONGEST_BYTES: Final = 16 * 1024
"""A journal that would grow beyond this begins anew. It says how many tags may end while a load runs."""

MOST_AT_ONCE: Final = 500
"""Tags that one script ends."""


def records(names: Iterable[str], environment: Environment) -> bytes:
    """Records of tags' generations, to append."""
    return b"".join(_digest(name) + environment.token(_HALF) for name in names)


def first_record(environment: Environment) -> bytes:
    """What a new journal begins with: nobody's record."""
    return environment.token(RECORD_BYTES)


def tells_of(part: bytes, mark: bytes, names: Iterable[str]) -> bool:
    """Whether one of the tags may have ended, as far as the part of a journal says that begins at a mark."""
    if not mark or not part.startswith(mark):
        return True
    ended = {part[at : at + _HALF] for at in range(len(mark), len(part), RECORD_BYTES)}
    return any(_digest(name) in ended for name in names)


def _digest(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=_HALF).digest()
