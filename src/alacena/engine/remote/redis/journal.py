"""The journal of a bucket: its ends, for loads and readings that know their tags only when they are done.

It is a string that only grows: a name of its own, at random, and then a digest of each generation that ended: a tag's, a
resource's, a type's or a scope's; and of each entry that was deleted. A lease and the beginning of a reading remember the
name and how long it was. The fill reads on from there, the store of a reading too: the lines after it are all ends since.
If the name is another one, the journal was lost, evicted or begun anew, and any may have ended.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from alacena.engine.base.keys import MANY
from alacena.engine.remote.redis.cache_scripts import END_TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alacena.engine.remote.redis.wire import Command

NARROW_LIFE_MS: Final = 7 * 24 * 3600 * 1000
"""Least life of generations below the type: there are as many as resources, conversations and tags."""

NAME_BYTES: Final = 8
RECORD_BYTES: Final = 8

LONGEST_BYTES: Final = 16 * 1024
"""A journal that would grow beyond this begins anew. It says how many generations may end while a load runs."""

_MOST_AT_ONCE: Final = 500
"""Generations that one script ends."""

Removal: TypeAlias = "tuple[bytes, Command, bool]"
"""A key that says where to, a command that removes and may be repeated, and whether what it removes counts in the result."""

_MANY: Final = "}:" + MANY[1:]


def state(name: bytes, length: int) -> bytes:
    """Returns the state of a journal in this process: another one with each tag that ends, and in each journal."""
    return name + length.to_bytes(4, "big")


def records(tags: Iterable[str]) -> bytes:
    """Records of tags' generations, to append. The same each time, so that a removal which is owed twice is owed once."""
    return b"".join(map(_digest, tags))


def endings(groups: Iterable[Sequence[str]]) -> Iterable[Removal]:
    """Returns the scripts that end generations, each with its bucket's journal.

    Args:
        groups: Names of a generation, of that journal, and of the generation of what depends on too much to name.
    """
    by_bucket: dict[tuple[str, str], list[str]] = {}
    for name, journal, many in groups:
        by_bucket.setdefault((journal, many), []).append(name)
    for (journal, many), names in by_bucket.items():
        for at in range(0, len(names), _MOST_AT_ONCE):
            some = names[at : at + _MOST_AT_ONCE]
            keys = (journal, many, *some)
            # By its text and not by its hash: it leaves among other commands in one exchange, in which nobody would
            # load a script that the server has forgotten.
            ending: Command = ("EVAL", END_TAGS.source, len(keys), *keys, records(some), LONGEST_BYTES)
            yield journal.encode(), ending, True


def read_ended(command: Command, reply: Any) -> Sequence[Any]:
    """Returns the keys or, by script, the generations that a command has ended, as it names them."""
    if isinstance(reply, list):
        # Behind `EVAL`, text, count, journal and the wide generation; before the records and the bound.
        return [name for name, there in zip(command[5:-2], reply, strict=True) if there]
    return command[1:] if reply else ()


def tells_of(name: bytes, since: bytes, remembered: bytes, tags: Iterable[str]) -> bool:
    """Returns whether one of the tags may have ended.

    Args:
        name: The journal's present name.
        since: The lines since the lease.
        remembered: Its state at the lease.
        tags: Their generations.
    """
    # The length is asked too: a journal that is not there has an empty name, with which every state begins.
    if len(name) < NAME_BYTES or not remembered.startswith(name):
        return True
    if not since:
        return False
    ended = {since[at : at + RECORD_BYTES] for at in range(0, len(since), RECORD_BYTES)}
    return any(_digest(tag) in ended or tag.endswith(_MANY) for tag in tags)


def pick_ended(journal: bytes, names: Iterable[str]) -> list[str]:
    """Returns those of some generations that a whole journal says have ended since it began."""
    ended = {journal[at : at + RECORD_BYTES] for at in range(NAME_BYTES, len(journal), RECORD_BYTES)}
    return [name for name in names if _digest(name) in ended]


def _digest(tag: str) -> bytes:
    return blake2b(tag.encode(), digest_size=RECORD_BYTES).digest()
