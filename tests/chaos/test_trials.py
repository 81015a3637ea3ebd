"""Every promise that takes several processes to break, put to the test for a few seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proving.reliability.trials import (
    cancellation,
    error_grid,
    eviction,
    failover,
    fuzz,
    half_open,
    local_copies,
    lost_invalidation,
    lost_keys,
    outage,
    own_writes,
    pauses,
    restart,
    round_trips,
    same_segment,
    slot_moves,
    stale_fill,
    staleness,
    stampede,
    storm,
    tracking,
    upgrade,
    wide,
    zombies,
)

if TYPE_CHECKING:
    from types import ModuleType

    from proving.reliability.place import Effort, Finding

QUICK = (
    cancellation,
    fuzz,
    half_open,
    local_copies,
    lost_keys,
    own_writes,
    pauses,
    restart,
    round_trips,
    same_segment,
    stale_fill,
    stampede,
    storm,
    tracking,
    upgrade,
    wide,
    zombies,
)
"""Up to about ten seconds each."""

LONG = (error_grid, eviction, failover, lost_invalidation, outage, slot_moves, staleness)


def held(findings: list[Finding]) -> None:
    """Fails with every promise that was broken, and what was seen."""
    broken = [f"{one.name}: {one.figure} ({one.ran})" for one in findings if one.held is False]
    assert not broken, "\n".join(broken)
    assert any(one.held for one in findings)


def name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


@pytest.mark.parametrize("trial", QUICK, ids=name_of)
async def test_a_trial_holds_what_is_promised(trial: ModuleType, effort: Effort) -> None:
    held(await trial.run(effort))


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trial", LONG, ids=name_of)
async def test_a_long_trial_holds_what_is_promised(trial: ModuleType, each_effort: Effort) -> None:
    held(await trial.run(each_effort))
