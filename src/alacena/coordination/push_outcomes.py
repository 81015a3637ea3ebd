"""Pushed items, and the outcome of each push."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, Self

from alacena.engine.base.arguments import milliseconds, text_id
from alacena.engine.base.errors import ArgumentError, InvalidKeyError
from alacena.engine.codec.scalars import DUMPERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Outcome = Literal["known", "taken", "revived", "dead", "settled"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("known", "taken", "revived", "dead", "settled")
"""In the order of the script's numbers."""

_PAGE: Final = 500
_PAGE_BYTES: Final = 1 << 20
_LONGEST_ID: Final = 512


class Pushed(str):
    """The id of an item that was pushed, and its outcome.

    Attributes:
        outcome: ``"taken"``: it is in the queue. ``"revived"``: it was a dead letter, and is in the queue again with
            the value given and all its attempts. ``"known"``: it waits or is worked on already, with the value given
            then. ``"dead"``: it is a dead letter and was left one. ``"settled"``: it was done within the last hour.
    """

    __slots__ = ("outcome",)
    outcome: Outcome

    def __new__(cls, item_id: str, outcome: Outcome) -> Self:
        """Returns the id with its outcome."""
        self = super().__new__(cls, item_id)
        self.outcome = outcome
        return self

    def __reduce__(self) -> tuple[object, ...]:
        """Returns the arguments from which a copy of it is made, in this process or another."""
        return type(self), (str(self), self.outcome)

    @property
    def is_new(self) -> bool:
        """Whether this push put it in."""
        return self.outcome in {"taken", "revived"}


def item_id(name: object) -> str:
    """Returns the id of an item as text.

    Raises:
        InvalidKeyError: It is blank, too long, no UTF-8, or of a type that has no single text form.
    """
    text = text_id("an item's id", name)
    # ``~`` marks ids that were made here: they are known for two minutes after the acknowledgement, and not an hour.
    if text.startswith("~") or len(text) > _LONGEST_ID:
        raise InvalidKeyError(
            f"an item's id must have 1 to {_LONGEST_ID} characters and no leading '~', not {text[:80]!r}"
        )
    return text


def due_word(delay_s: float, at: float | datetime | None) -> str:
    """Returns the instant for the script: milliseconds from now, or ``@`` and milliseconds since the epoch."""
    if at is None:
        return str(milliseconds(delay_s, "delay_s", least=0))
    if delay_s:
        raise ArgumentError("give delay_s or at, not both")
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ArgumentError("at must be an aware datetime: give it a time zone")
        at = at.timestamp()
    return f"@{milliseconds(at, 'at', least=0)}"


def pages(pairs: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Returns ids and payloads in portions that one command carries."""
    rest = iter(pairs)
    while page := list(islice(rest, 1)):
        size = len(page[0][1])
        while size < _PAGE_BYTES and len(page) < _PAGE and (pair := next(rest, None)) is not None:
            page.append(pair)
            size += len(pair[1])
        yield page


# Who stores the id that a push gave stores a string, as ever.
DUMPERS[Pushed] = DUMPERS[str]
