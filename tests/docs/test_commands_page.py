"""The reference of the command line says what the commands have."""

import pytest

from tests.docs.commands import HEADS, path_of, text_of


@pytest.mark.parametrize("language", HEADS)
def test_the_page_is_up_to_date(language: str) -> None:
    assert path_of(language).read_text("utf-8") == text_of(language), "run python -m tests.docs.commands"
