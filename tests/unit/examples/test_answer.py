"""Extractive answers."""

from __future__ import annotations

from examples.rag_service.stage.answer import NOTHING_FOUND, ExtractiveAnswerer, prompt
from examples.rag_service.stage.database import Passage
from examples.rag_service.stage.embedder import count_tokens

KEYS = Passage("a#0", "a.md", "A", 1, "Tenants", "Every key names its tenant. The sky is blue over the sea today.")
QUEUE = Passage("b#0", "b.md", "B", 3, "", "Jobs wait in a queue until a worker takes them.")


async def test_it_quotes_the_sentences_that_share_words_with_the_question() -> None:
    answer = await ExtractiveAnswerer().answer("Which key names a tenant?", [QUEUE, KEYS])
    assert answer.text.startswith("Every key names its tenant.")
    assert answer.tokens == count_tokens(prompt("Which key names a tenant?", [QUEUE, KEYS])) + count_tokens(answer.text)


async def test_the_same_passages_give_the_same_answer_under_another_call_id() -> None:
    answerer = ExtractiveAnswerer()
    first, second = [await answerer.answer("queue?", [KEYS, QUEUE]) for _ in range(2)]
    assert (first.text, first.tokens) == (second.text, second.tokens)
    assert first.call_id != second.call_id


async def test_passages_of_code_alone_are_shown_as_they_are() -> None:
    code = Passage("c#0", "c.md", "C", 1, "", "```\nmake demo\n```")
    assert "make demo" in (await ExtractiveAnswerer().answer("demo?", [code])).text


async def test_question_in_another_language_is_answered_from_the_nearest_passage() -> None:
    answer = await ExtractiveAnswerer().answer("¿Qué nombra al inquilino?", [KEYS, QUEUE])
    assert answer.text.startswith("Every key names its tenant.")


async def test_without_passages_it_says_so() -> None:
    assert (await ExtractiveAnswerer().answer("queue?", [])).text == NOTHING_FOUND


def test_the_prompt_numbers_the_passages_under_their_headings() -> None:
    assert prompt("Q?", [KEYS, QUEUE]) == f"[1] Tenants\n\n{KEYS.text}\n\n[2] {QUEUE.text}\n\nQuestion: Q?"
