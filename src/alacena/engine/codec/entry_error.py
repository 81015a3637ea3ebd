"""Reasons for which an entry cannot be read."""

from __future__ import annotations

from typing import Literal

from alacena.engine.base.errors import DecodeError

Reason = Literal["truncated", "checksum", "version", "foreign", "key", "size", "cipher", "compression", "value"]


class EntryError(DecodeError):
    """An entry of the remote tier that must not be used: for the reader it is a miss and an event.

    Attributes:
        reason: The fault, in one word:

            * ``"truncated"``: the length is not the one that the header declares;
            * ``"checksum"``: bytes were changed, or it was sealed with another integrity key, or with none;
            * ``"version"``: an entry of a format that this release does not know;
            * ``"foreign"``: not an entry at all;
            * ``"key"``: a sound entry of *another* key. Nothing that happens by accident does this: raise an alarm;
            * ``"size"``: larger than this codec was allowed to read, stored or decompressed;
            * ``"cipher"``: not decipherable: wrong tenant, unknown key id, tampered with, or a missing library;
            * ``"compression"``: a broken stream, a bomb, or a missing library;
            * ``"value"``: sound bytes that hold no value known here (a class that changed, is not registered, ...).
    """

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how it is made anew in another process."""
        return type(self), (str(self), self.reason), self.__dict__
