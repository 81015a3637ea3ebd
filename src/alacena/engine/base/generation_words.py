"""Words for people that say what a generation or a tag stands for."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from alacena.engine.base.keys import MANY, MARK

_COVERED: Final = {"t": "tenant", "y": "type", "r": "resource", "a": "agent", "v": "conversation", "c": "collection"}


def generation_words(name: str) -> str:
    """Returns what a generation stands for, in words for people: ``type document``, ``resource document:d1``."""
    kind, _, rest = name.rpartition("}:")[2].partition(":")
    if kind == MANY[1:]:
        return "anything of the tenant"
    if kind == "k":
        return f"tag {unquote(rest)}"
    words = _COVERED.get(kind[:1], kind)
    within = f" in one {_COVERED.get(kind[1:], kind[1:])}" if len(kind) > 1 else ""
    return " ".join(part for part in (words, unquote(rest)) if part) + within


def tag_words(tag: str) -> str:
    """Returns what a tag of an entry stands for, in words for people: ``document d1``, ``tag prices``."""
    if tag.startswith(MARK):
        return generation_words("}:" + tag[1:])
    kind, _, rest = tag.partition(":")
    return f"{kind} {rest}" if kind in {"document", "collection"} and rest else f"tag {tag}"
