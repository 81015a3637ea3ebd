"""Chunks of Markdown and plain text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.rag_service.stage.chunking import split_into_chunks, split_into_sentences

MARKDOWN = """\
# Guide

Intro.

## Install

Run this:

```sh
# not a heading
make demo
```

## Use

First paragraph.

Second paragraph.
"""


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_a_heading_starts_a_chunk_and_names_the_ones_above_it() -> None:
    chunks = split_into_chunks(MARKDOWN)
    assert [chunk.heading for chunk in chunks] == ["Guide", "Guide › Install", "Guide › Use"]
    assert chunks[2].text == "First paragraph.\n\nSecond paragraph."
    assert chunks[2].context == "Guide › Use\n\nFirst paragraph.\n\nSecond paragraph."
    assert [chunk.ordinal for chunk in chunks] == [0, 1, 2]


def test_a_hash_inside_a_fence_is_code() -> None:
    assert "# not a heading\nmake demo" in split_into_chunks(MARKDOWN)[1].text


def test_plain_text_has_no_headings_and_keeps_neighbours_together() -> None:
    (chunk,) = split_into_chunks("One.\n\nTwo.")
    assert (chunk.heading, chunk.text, chunk.context) == ("", "One.\n\nTwo.", "One.\n\nTwo.")


def test_a_heading_with_nothing_under_it_is_kept_as_text() -> None:
    chunks = split_into_chunks("# Alone\n# Parent\n## Child\ntext\n## Last")
    assert [(chunk.heading, chunk.text) for chunk in chunks] == [
        ("Alone", "Alone"),
        ("Parent › Child", "text"),
        ("Parent › Last", "Last"),
    ]


def test_code_that_is_too_long_stays_fenced_in_every_piece() -> None:
    code = "\n".join(f"line {number:03}" for number in range(100))
    chunks = split_into_chunks(f"```python\n{code}\n```", max_chars=200)
    assert len(chunks) > 4
    for chunk in chunks:
        assert chunk.text.startswith("```python\n")
        assert chunk.text.endswith("\n```")
        assert len(chunk.text) <= 200


def test_a_change_at_the_end_leaves_the_chunks_before_it_alone() -> None:
    before = split_into_chunks(MARKDOWN)
    after = split_into_chunks(MARKDOWN + "\n## Added\n\nA line.\n")
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1


def test_blank_text_has_no_chunks() -> None:
    assert split_into_chunks(" \n\n\t\n") == []


def test_a_limit_that_cannot_hold_anything_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        split_into_chunks("text", max_chars=0)


PIECES = st.sampled_from(
    ["# T", "## Sub", "word", "two words.", "```", "| a | b |", "- item", "", "x" * 70, "ñandú 🦤"]
)


@given(st.lists(PIECES, max_size=30).map("\n".join), st.integers(min_value=8, max_value=120))
def test_no_word_is_lost_and_no_chunk_is_too_long(text: str, max_chars: int) -> None:
    chunks = split_into_chunks(text, max_chars)
    assert all(0 < len(chunk.text) <= max_chars for chunk in chunks)
    kept = "".join(chunk.heading + chunk.text for chunk in chunks)
    assert set("".join(words(text))) <= set(kept)
    assert "".join(words(text)).count("x") <= kept.count("x")
    for word in ("word", "item", "words"):
        assert text.count(word) == sum(chunk.text.count(word) for chunk in chunks)


def test_sentences_leave_code_and_emphasis_out_and_read_wrapped_lines_as_one() -> None:
    text = (
        "A **bold**\nclaim. Another!\n\n```\ncode = 1\n```\n\n- item one\n- item two\n\n| a | b |\n|---|---|\n| c | d |"
    )
    assert split_into_sentences(text) == [
        "A bold claim.",
        "Another!",
        "item one",
        "item two",
        "a | b",
        "c | d",
    ]
