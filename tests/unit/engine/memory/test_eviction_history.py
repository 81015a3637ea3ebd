"""What is remembered of departed keys."""

from __future__ import annotations

from alacena.engine.memory.eviction_history import EvictionHistory


def test_a_departure_is_recalled_by_its_whole_digest() -> None:
    ghosts = EvictionHistory()
    ghosts.remember(0xABCD0005, stamp=77, uses=4 << 4 | 9)
    assert ghosts.recall(0xABCD0005) == (77, 4 << 4 | 9)
    assert ghosts.recall(0xABCE0005) is None


def test_growth_keeps_what_was_noted_and_takes_four_cells_a_slot() -> None:
    ghosts = EvictionHistory()
    digests = [number * 0x01000193 & 0xFFFFFFFF for number in range(1, 17)]
    for digest in digests:
        ghosts.remember(digest, stamp=digest & 0xFFFF, uses=1 << 4 | 3)
    kept = [digest for digest in digests if ghosts.recall(digest)]
    assert len(kept) > 8
    ghosts.fit(5_000)
    assert ghosts.entries >= 5_000
    assert [digest for digest in digests if ghosts.recall(digest)] == kept


def test_stamps_wrap_without_touching_their_neighbours() -> None:
    ghosts = EvictionHistory()
    ghosts.remember(0xFFFFFFFF, stamp=(1 << 24) + 3, uses=255)
    assert ghosts.recall(0xFFFFFFFF) == (3, 255)
