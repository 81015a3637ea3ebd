"""Documents: finding the files that were asked for and reading them as text, or saying why not."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

TEXT_SUFFIXES = frozenset({".md", ".markdown", ".txt", ".rst"})
MAX_FILE_BYTES = 4 * 1024 * 1024
PAGES = (
    "quickstart.md",
    "explanation/failure-modes.md",
    "explanation/tenancy.md",
    "how-to/invalidate.md",
    "how-to/locks.md",
    "how-to/queues.md",
    "how-to/token-tracking.md",
)
"""What the demo reads if it is given nothing: as much as a processor embeds while somebody watches."""
REPOSITORY = Path(__file__).resolve().parents[3]


class InputError(Exception):
    """What was asked for cannot be done; the message says what was wrong and what to give instead."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text as the user has it.

    Attributes:
        document_id: Its path below the folder that all the documents share.
        title: Its first heading, else its file name.
        text: Its whole text.
    """

    document_id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Library:
    """The documents that were read, and the files that were passed over with the reason for each."""

    documents: list[Document]
    skipped: dict[str, str] = field(default_factory=dict)


def read_library(paths: Sequence[Path]) -> Library:
    """Read every text file among ``paths``, folders included.

    A file that is named must be readable text. Inside a folder, files that are not are passed over and reported.

    Raises:
        InputError: A path does not exist, a named file is not text, or nothing readable is left.
    """
    texts: dict[Path, str] = {}
    skipped: dict[str, str] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder.")
        for file in _files(path):
            try:
                texts[file.resolve()] = _read(file)
            except InputError as reason:
                if path.is_file():
                    raise
                skipped[str(file)] = str(reason).removeprefix(f"{file}: ")
    if not texts:
        raise InputError(_nothing_found(paths, skipped))
    return Library(_named(texts), skipped)


def default_paths(repository: Path = REPOSITORY) -> list[Path]:
    """Some pages of the project's own documentation, in both languages.

    Raises:
        InputError: This copy of the project comes without documentation.
    """
    pages = [repository / "docs" / language / page for language in ("es", "en") for page in PAGES]
    found = [page for page in pages if page.is_file()] or sorted(repository.glob("README*.md"))
    if not found:
        raise InputError(f"There is no documentation under {repository}: give files or folders of your own.")
    return found


def _files(path: Path) -> Iterator[Path]:
    """The file itself; or the text files of a folder, in a stable order, hidden ones left out."""
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.suffix.lower() in TEXT_SUFFIXES and file.is_file() and not hidden:
            yield file


def _read(file: Path) -> str:
    if file.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{file}: larger than {MAX_FILE_BYTES // 2**20} MiB; split it first.")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8 text; give Markdown or plain text.") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from error
    if "\0" in text:
        raise InputError(f"{file}: binary data; give Markdown or plain text.")
    if not text.strip():
        raise InputError(f"{file}: empty.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _named(texts: dict[Path, str]) -> list[Document]:
    """Name each document by its path below the deepest folder that holds them all."""
    shared = Path(os.path.commonpath([file.parent for file in texts]))
    return [
        Document(file.relative_to(shared).as_posix(), _title(text, file.stem), text)
        for file, text in sorted(texts.items())
    ]


def _title(text: str, fallback: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return next((line.lstrip("#").strip() for line in lines if line.startswith("# ")), fallback)


def _nothing_found(paths: Iterable[Path], skipped: dict[str, str]) -> str:
    where = ", ".join(map(str, paths))
    kinds = ", ".join(sorted(TEXT_SUFFIXES))
    reasons = "".join(f"\n  {file}: {reason}" for file, reason in skipped.items())
    return f"Nothing to read in {where}: there is no text file ({kinds}) with something in it.{reasons}"
