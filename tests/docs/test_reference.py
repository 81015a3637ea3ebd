"""The reference says what the code says, in both languages."""

from __future__ import annotations

import re

import pytest

import alacena
from tests.docs import messages, reference
from tests.docs.pages import DOCS, LANGUAGES

WRITE = "run python -m tests.docs.reference"


@pytest.mark.parametrize("page", reference.pages())
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_up_to_date(language: str, page: str) -> None:
    text = (DOCS / language / f"{page}.md").read_text("utf-8")

    assert text == reference.filled(page, reference.Words(language)), WRITE


def test_every_text_of_the_code_is_said_in_spanish_as_it_is_now() -> None:
    words = reference.Words("es")
    for page in reference.pages():
        reference.filled(page, words)

    assert words.missing == [], "write these in tests/docs/spanish.toml"
    assert words.behind == [], f"their English has changed: look at each, then {WRITE} --reviewed"
    assert words.left_over() == []


def test_every_message_has_its_meaning_and_its_remedy() -> None:
    known = messages.known()

    assert sorted(set(messages.logged()) - set(known)) == [], "write these in tests/docs/messages.toml"
    assert sorted(set(known) - set(messages.logged())) == [], "no code logs these any more"
    wanted = {f"{language}_{part}" for language in LANGUAGES for part in ("means", "do")}
    for words, texts in known.items():
        assert texts.keys() == wanted, words
        assert all(text.strip() for text in texts.values()), words


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_public_name_has_its_place(language: str) -> None:
    text = "".join(
        (DOCS / language / "reference" / f"{page}.md").read_text("utf-8") for page in ("api", "errors", "events")
    )

    assert [name for name in alacena.__all__ if not re.search(rf"`{name}\b", text)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_name_is_without_a_word(language: str) -> None:
    text = (DOCS / language / "reference" / "api.md").read_text("utf-8")
    sections = re.split(r"^### ", text, flags=re.MULTILINE)[1:]

    assert sections
    bare = [
        re.sub(r"^```.*?^```", "", section.partition("\n")[2], flags=re.MULTILINE | re.DOTALL) for section in sections
    ]
    assert [
        section.partition("\n")[0] for section, words in zip(sections, bare, strict=True) if not words.strip()
    ] == []


def test_no_default_shows_where_an_object_lies() -> None:
    assert not re.search(r"0x[0-9a-f]{4}", (DOCS / "en" / "reference" / "api.md").read_text("utf-8"))
