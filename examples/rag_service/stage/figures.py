"""The figures of a tour, and whether what it claims is so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.rag_service.query import Reply
    from examples.rag_service.stage.tour import Edit, Record


USD_PER_MILLION = 0.15
"""What a provider's small model takes for a million tokens of input; the demo's own model takes nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim, and whether the tour bore it out."""

    claim: str
    holds: bool


def verdicts(record: Record, ledger: int) -> list[Verdict]:
    """Check every claim that the demo makes.

    Args:
        record: What happened.
        ledger: The tokens that the ledger holds for the tenant.
    """
    found = [_second_pass(record), _second_process(record)]
    found += [_edit(edit, where) for edit, where in zip(record.edits, ("here", "in the second process"), strict=False)]
    found.append(_versions(record))
    spent = record.tokens()
    same = "as many as" if spent == ledger else f"but {spent:,} is what"
    saved = sum(reply.tokens_saved for reply in record.replies())
    told = f"Ledger: {ledger:,} tokens, {same} the calls reported one by one. Saved in all: {saved:,}, {worth(saved)}."
    return [*found, Verdict(told, spent == ledger)]


def figures(record: Record, ledger: int, seconds: float) -> dict[str, Any]:
    """Everything as JSON has it. Durations are in milliseconds but for ``seconds``."""
    return {
        "seconds": round(seconds, 3),
        "documents": len(record.ingested),
        "chunks": sum(done.chunks for done in record.ingested),
        "ingestion_tokens": sum(done.tokens for done in record.ingested),
        "questions": record.questions,
        "first_pass": _pass(record.first),
        "second_pass": _pass(record.second),
        "second_process": _pass(record.elsewhere),
        "edits": [_edit_figures(edit) for edit in record.edits],
        "tokens": record.tokens(),
        "tokens_saved": sum(reply.tokens_saved for reply in record.replies()),
        "usd_per_million": USD_PER_MILLION,
        "ledger_tokens": ledger,
        "verdicts": [asdict(verdict) for verdict in verdicts(record, ledger)],
    }


def recomputed(replies: Sequence[Reply]) -> set[int]:
    """The questions whose answers were computed anew."""
    return {place for place, reply in enumerate(replies) if reply.tier == "source"}


def worth(tokens: int) -> str:
    """What so many tokens cost where a million cost `USD_PER_MILLION`."""
    return f"${tokens * USD_PER_MILLION / 1_000_000:.6f} at ${USD_PER_MILLION} a million"


def hit_ratio(replies: Sequence[Reply]) -> float:
    """The part of the replies that came from the cache."""
    return 1 - len(recomputed(replies)) / len(replies)


def _second_pass(record: Record) -> Verdict:
    ratio, tokens = hit_ratio(record.second), sum(reply.tokens for reply in record.second)
    saved = sum(reply.tokens_saved for reply in record.second)
    before, after = (median(reply.ms for reply in replies) for replies in (record.first, record.second))
    text = (
        f"Second pass: hit ratio {ratio:.2f}, {tokens} tokens spent, {saved:,} saved, which is {worth(saved)}; "
        f"median {after:.3f} ms, {before:.1f} ms in the first pass."
    )
    return Verdict(text, ratio == 1 and tokens == 0)


def _second_process(record: Record) -> Verdict:
    ratio, tokens = hit_ratio(record.elsewhere), sum(reply.tokens for reply in record.elsewhere)
    return Verdict(f"Second process: hit ratio {ratio:.2f}, {tokens} tokens spent.", ratio == 1 and tokens == 0)


def _edit(edit: Edit, where: str) -> Verdict:
    computed, again = recomputed(edit.where), recomputed(edit.elsewhere)
    different = {
        place
        for place, (one, other) in enumerate(zip(edit.where, edit.elsewhere, strict=True))
        if one.text != other.text
    }
    exactly = "exactly the answers that used it" if computed == edit.affected else f"used by {_places(edit.affected)}"
    text = f"{edit.document_id} edited {where}: computed anew {_places(computed)}, {exactly}."
    if again or different:
        text += f" The other process computed {_places(again)} again, and differs in {_places(different)}."
    else:
        text += " The other process has the same answers, and computed none."
    return Verdict(text, computed == edit.affected and not again and not different)


def _versions(record: Record) -> Verdict:
    """No reply after an edit is made of an older version of the document that was edited."""
    old = sum(
        reply.sources.get(edit.document_id, edit.version) != edit.version
        for edit in record.edits
        for reply in (*edit.where, *edit.elsewhere)
    )
    return Verdict(f"Answers from an old version of the edited document: {old}.", old == 0)


def _pass(replies: Sequence[Reply]) -> dict[str, Any]:
    return {
        "hit_ratio": hit_ratio(replies),
        "tokens": sum(reply.tokens for reply in replies),
        "tokens_saved": sum(reply.tokens_saved for reply in replies),
        "median_ms": round(median(reply.ms for reply in replies), 4),
        "replies": [asdict(reply) for reply in replies],
    }


def _edit_figures(edit: Edit) -> dict[str, Any]:
    return {
        "document_id": edit.document_id,
        "version": edit.version,
        "affected": _numbers(edit.affected),
        "recomputed": _numbers(recomputed(edit.where)),
        "embedded_chunks": edit.ingested.embedded,
        "chunks": edit.ingested.chunks,
        "where": _pass(edit.where),
        "elsewhere": _pass(edit.elsewhere),
    }


def _numbers(places: set[int]) -> list[int]:
    return [place + 1 for place in sorted(places)]


def _places(places: set[int]) -> str:
    return ", ".join(map(str, _numbers(places))) or "none"
