"""Chunks: a document cut where its author paused, small enough for a prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHUNK_CHARS = 900
HEADING_SEPARATOR = " › "

_FENCE = re.compile(r"^\s{0,3}(```|~~~)")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")
_ITEM = re.compile(r"^\s*(?:\||(?:[-*+>]|\d+[.)])\s)\s*", re.MULTILINE)
_EMPHASIS = re.compile(r"\*\*")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document.

    Attributes:
        ordinal: Its place in the document, from 0.
        heading: The headings above it, outermost first, joined by ``" › "``; empty in plain text.
        text: The piece itself, without those headings.
    """

    ordinal: int
    heading: str
    text: str

    @property
    def context(self) -> str:
        """What is embedded and shown to a model: the piece under its headings."""
        return f"{self.heading}\n\n{self.text}" if self.heading else self.text


@dataclass(frozen=True, slots=True)
class Section:
    """The blocks of text (paragraphs, lists, tables, fenced code) under one heading."""

    heading: str
    blocks: list[str]


def split_into_chunks(text: str, max_chars: int = MAX_CHUNK_CHARS) -> list[Chunk]:
    """Cut Markdown or plain text into chunks of at most ``max_chars`` characters.

    A heading starts a new chunk, a block is cut only where it does not fit by itself, and no word is lost. The same
    text always gives the same chunks, so that what did not change keeps its embedding.

    Raises:
        ValueError: ``max_chars`` is not positive.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars must be at least 1, not {max_chars}")
    pieces = [
        (section.heading, piece)
        for section in sections(text)
        for piece in _pack(_fitting(section.blocks, max_chars), max_chars)
    ]
    return [Chunk(ordinal, heading, piece) for ordinal, (heading, piece) in enumerate(pieces)]


def sections(text: str) -> Iterator[Section]:
    """The sections of a text, in order. A heading with nothing under it, deeper headings included, is its own text."""
    path: list[tuple[int, str]] = []
    current = Section("", [])
    for block in _blocks(text):
        heading = _HEADING.match(block)
        if heading is None:
            current.blocks.append(block)
            continue
        level = len(heading[1])
        yield from _whole(current, path, level)
        path = [(depth, title) for depth, title in path if depth < level] + [(level, heading[2])]
        current = Section(HEADING_SEPARATOR.join(title for _, title in path), [])
    yield from _whole(current, path, 0)


def split_into_sentences(text: str) -> list[str]:
    """The sentences of a text's prose, without marks of emphasis; none of its code.

    A list item or a table row is a sentence at least; the other lines of one paragraph are read as one.
    """
    prose = (block for block in _blocks(text) if not _FENCE.match(block))
    items = (item for block in prose for item in _ITEM.split(block))
    sentences = (part for item in items for part in _SENTENCE_END.split(" ".join(item.split())))
    return [_EMPHASIS.sub("", part).strip(" |") for part in sentences if any(map(str.isalnum, part))]


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs, headings and whole fenced blocks: a ``#`` inside a fence is a comment, not a heading."""
    block: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            block.append(line)
            if mark and mark[1] == fence:
                yield from _joined(block)
                fence, block = "", []
        elif mark or not line.strip() or _HEADING.match(line):
            yield from _joined(block)
            fence, block = (mark[1], [line]) if mark else ("", [])
            if not mark:
                yield from _joined([line])
        else:
            block.append(line)
    yield from _joined(block)


def _whole(section: Section, path: list[tuple[int, str]], next_level: int) -> Iterator[Section]:
    """The section, unless it is only the way to a deeper one."""
    if section.blocks:
        yield section
    elif path and next_level <= path[-1][0] and path[-1][1]:
        yield Section(section.heading, [path[-1][1]])


def _joined(lines: list[str]) -> Iterator[str]:
    if block := "\n".join(lines).strip("\n").rstrip():
        yield block


def _fitting(blocks: list[str], max_chars: int) -> Iterator[str]:
    """The blocks, each cut into pieces where it is too long; every piece of code stays fenced."""
    for block in blocks:
        first, _, rest = block.partition("\n")
        fence = _FENCE.match(block)
        room = max_chars - len(first) - 5
        if fence is None or len(block) <= max_chars or room < max_chars // 2:
            yield from _pieces(block, max_chars)
            continue
        code = rest.removesuffix(fence[1]).rstrip("\n")
        yield from (f"{first}\n{piece}\n{fence[1]}" for piece in _pieces(code, room))


def _pieces(block: str, max_chars: int) -> Iterator[str]:
    """A block cut at lines, then at sentences, then at words, then anywhere, and only as far as it needs to be."""
    pieces = [block]
    for separator in ("\n", _SENTENCE_END, " "):
        pieces = [part for piece in pieces for part in _cut(piece, separator, max_chars)]
    for piece in pieces:
        yield from (piece[start : start + max_chars] for start in range(0, len(piece), max_chars))


def _cut(piece: str, separator: str | re.Pattern[str], max_chars: int) -> list[str]:
    if len(piece) <= max_chars:
        return [piece]
    if isinstance(separator, str):
        return list(_pack((part for part in piece.split(separator) if part.strip()), max_chars, separator))
    return list(_pack(separator.split(piece), max_chars, " "))


def _pack(pieces: Iterator[str] | list[str], max_chars: int, glue: str = "\n\n") -> Iterator[str]:
    """Join neighbours while they fit."""
    held = ""
    for piece in pieces:
        joined = f"{held}{glue}{piece}" if held else piece
        if held and len(joined) > max_chars:
            yield held
            held = piece
        else:
            held = joined
    if held:
        yield held
