"""Questions from files and from headings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.rag_service.stage.documents import Document, InputError
from examples.rag_service.stage.questions import ABOUT_THE_PROJECT, questions_from_file, questions_from_headings

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_holds_one_question_a_line(tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("# about us\n\nWho?\n¿Qué?\nWho?\n", encoding="utf-8")
    assert questions_from_file(file) == ["Who?", "¿Qué?"]


def test_a_file_without_a_question_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("# nothing\n")
    with pytest.raises(InputError, match="no question in it; write one a line"):
        questions_from_file(file)
    with pytest.raises(InputError, match="no such file of questions"):
        questions_from_file(tmp_path / "missing.txt")


def test_headings_are_asked_about_in_turn() -> None:
    documents = [
        Document("a.md", "A", "# A\nx\n## 1. Deploy `it`\nx\n## Why?\nx"),
        Document("b.md", "B", "# B\nx"),
    ]
    assert questions_from_headings(documents) == ["A?", "B?", "Deploy it?", "Why?"]
    assert questions_from_headings(documents, limit=2) == ["A?", "B?"]


def test_documents_without_headings_ask_for_questions() -> None:
    with pytest.raises(InputError, match="--question"):
        questions_from_headings([Document("a.txt", "a", "plain")])


def test_the_questions_about_the_project_are_in_both_languages() -> None:
    spanish = [question for question in ABOUT_THE_PROJECT if question.startswith("¿")]
    assert len(spanish) * 2 == len(ABOUT_THE_PROJECT) == len(set(ABOUT_THE_PROJECT))
