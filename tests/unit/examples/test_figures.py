"""The verdicts notice when the demo does not keep what it promises."""

from __future__ import annotations

from dataclasses import replace

import pytest

from examples.rag_service.ingestion import Ingested
from examples.rag_service.query import Reply
from examples.rag_service.stage.figures import figures, verdicts
from examples.rag_service.stage.tour import Edit, Record, choose_document, edited, used_by


def reply(tier: str, text: str = "answer", version: int = 1, document: str = "a.md", tokens: int = 0) -> Reply:
    return Reply(text, {document: version}, tier, tokens, 0 if tier == "source" else 10, 1.0)


def honest() -> Record:
    """Two questions; only the first one's answer was made of the edited document."""
    other = reply("memory", document="b.md")
    edit = Edit(
        "a.md",
        2,
        {0},
        Ingested("a.md", 2, 3, 1, 5),
        [reply("source", version=2, tokens=10), other],
        [reply("redis", version=2), other],
    )
    return Record(
        ["one?", "two?"],
        [Ingested("a.md", 1, 2, 2, 20), Ingested("b.md", 1, 2, 2, 20)],
        [reply("source", tokens=10), reply("source", document="b.md", tokens=10)],
        [reply("memory"), other],
        [reply("redis"), replace(other, tier="redis")],
        [edit],
    )


def failed(record: Record, ledger: int = 75) -> list[str]:
    return [verdict.claim for verdict in verdicts(record, ledger) if not verdict.holds]


def test_an_honest_record_holds() -> None:
    record = honest()
    assert record.tokens() == 75
    assert failed(record) == []
    result = figures(record, 75, 1.0)
    assert result["second_pass"]["hit_ratio"] == 1
    assert result["edits"][0]["affected"] == result["edits"][0]["recomputed"] == [1]


def test_a_second_pass_that_computes_is_noticed() -> None:
    record = honest()
    record.second[1] = reply("source", tokens=3)
    assert any("hit ratio 0.50, 3 tokens spent" in claim for claim in failed(record, 78))


def test_an_answer_computed_without_need_is_noticed() -> None:
    record = honest()
    record.edits[0].where[1] = reply("source", document="b.md")
    assert failed(record) == [
        "a.md edited here: computed anew 1, 2, used by 1. The other process has the same answers, and computed none."
    ]


def test_an_answer_that_was_kept_though_its_document_changed_is_noticed() -> None:
    record = honest()
    record.edits[0].where[0] = reply("memory", version=1)
    assert len(failed(record, 65)) == 2


def test_another_answer_in_the_other_process_is_noticed() -> None:
    record = honest()
    record.edits[0].elsewhere[0] = reply("memory", text="old", version=1)
    claims = failed(record)
    assert any("differs in 1" in claim for claim in claims)
    assert "Answers from an old version of the edited document: 1." in claims


def test_a_ledger_with_other_figures_is_noticed() -> None:
    (told,) = failed(honest(), ledger=76)
    assert told.startswith("Ledger: 76 tokens, but 75 is what the calls reported one by one. Saved in all: 70, $")


def test_the_document_to_edit_is_in_about_half_of_the_answers() -> None:
    replies = [
        Reply("", {"all.md": 1, "some.md": 1}, "source", 0, 0, 0),
        Reply("", {"all.md": 1}, "source", 0, 0, 0),
    ]
    assert choose_document(replies) == "some.md"
    assert used_by(replies, "some.md") == {0}
    with pytest.raises(ValueError, match="No answer"):
        choose_document([])


def test_an_edit_speaks_the_language_of_the_question() -> None:
    assert edited("text\n", "Why so?") == "text\n\n## Why so\n\nWhy so: this line was added by the demo.\n"
    assert "la añadió la demostración" in edited("texto", "¿Por qué?")
