"""The table that compares each framework's own cache with ours: ours is right in every row."""

from __future__ import annotations

import pytest

from proving.frameworks import FRAMEWORKS, measure


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_ours_is_right_in_every_row(framework: str) -> None:
    rows, skipped = await measure([framework])
    if skipped:
        pytest.skip(skipped[framework])
    assert [row for row in rows if row.ours != row.right] == []
    assert len(rows) >= 3
