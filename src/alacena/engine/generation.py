"""A scope's generation: the nonce that everything under it is stamped with."""

from __future__ import annotations


class Generation:
    """One scope's current nonce; ``None`` while it is unknown.

    Attributes:
        name: Its key on the server.
        nonce: The nonce, compared by equality only.
        tag: The tag that it stands for, if it does not stand for a scope.
    """

    __slots__ = ("__weakref__", "name", "nonce", "tag")

    def __init__(self, name: str) -> None:
        self.name = name
        self.nonce: bytes | None = None
        self.tag: str | None = None
