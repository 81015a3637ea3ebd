"""Questions: the ones that come with the project's documentation, from a file, or made from headings."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING

from examples.rag_service.stage.chunking import HEADING_SEPARATOR, sections
from examples.rag_service.stage.documents import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from examples.rag_service.stage.documents import Document

ABOUT_THE_PROJECT = (
    "How do I install Alacena and get a first value?",
    "What happens when Redis is down?",
    "How are tenants kept apart from each other?",
    "Which answers are invalidated when a document is edited?",
    "¿Cómo se encola un trabajo para que no se pierda?",
    "¿Cómo se bloquea un trabajo mientras se procesa?",
    "¿Cómo evito contar dos veces los tokens de una llamada?",
    "¿Qué pasa si se cae Redis?",
)
FROM_HEADINGS = 8

_NUMBERING = re.compile(r"^\d+(\.\d+)*[.)]?\s+")


def questions_from_file(file: Path) -> list[str]:
    """One question a line; blank lines and lines that start with ``#`` do not count.

    Raises:
        InputError: The file is missing, is not text, or holds no question.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file of questions.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({error}).") from None
    questions = [line for line in lines if line and not line.startswith("#")]
    if not questions:
        raise InputError(f"{file}: no question in it; write one a line.")
    return distinct(questions)


def questions_from_headings(documents: Sequence[Document], limit: int = FROM_HEADINGS) -> list[str]:
    """Ask about each document's headings in turn: the first of every document, then the second, and so on.

    Raises:
        InputError: No document has a heading.
    """
    by_document = [_innermost_headings(document.text) for document in documents]
    in_turn = (title for round_ in zip_longest(*by_document) for title in round_ if title)
    questions = distinct(title if title.endswith("?") else f"{title}?" for title in in_turn)
    if not questions:
        raise InputError("The documents have no headings to make questions from: ask with --question or --questions.")
    return questions[:limit]


def distinct(questions: Iterable[str]) -> list[str]:
    """The questions without repetitions, in order: a repeated one would be a hit in its first pass."""
    return list(dict.fromkeys(questions))


def _innermost_headings(text: str) -> list[str]:
    headings = (section.heading.split(HEADING_SEPARATOR)[-1] for section in sections(text))
    return [title for heading in headings if (title := _NUMBERING.sub("", heading).replace("`", "").strip())]
