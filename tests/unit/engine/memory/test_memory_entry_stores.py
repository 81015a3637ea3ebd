"""The fields of an entry in memory are written to at the price of a plain object's."""

from __future__ import annotations

import gc

import pytest

from alacena.engine.memory.memory_entry import EntryQueue, MemoryEntry


@pytest.mark.parametrize("one", [MemoryEntry((), None, b"", 0), EntryQueue()])
def test_a_store_is_that_of_any_object_and_the_collector_still_does_not_see_it(one: MemoryEntry | EntryQueue) -> None:
    assert type(one).__setattr__ is object.__setattr__
    assert type(one).__delattr__ is object.__delattr__
    one.newer = [one]
    assert one.newer == [one]
    assert not gc.is_tracked(one)
    one.newer = None
