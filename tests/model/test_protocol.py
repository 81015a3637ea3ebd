"""The coherence protocol, model-checked: every interleaving of small systems, and every mechanism's reason to exist."""

from __future__ import annotations

import pytest

from tests.model.protocol import verify
from tests.model.state import Rules, Scope

SAME, TWO, ONE = (0, 0), (0, 1), (0,)

SYSTEMS = {
    "two processes, a key invalidated": Scope(TWO, plan=("key",)),
    "two processes, a scope ended": Scope(TWO, plan=("scope",)),
    "two tasks of one process, two reads each": Scope(SAME, reads=2, plan=("key",)),
    "a process that invalidates itself": Scope(TWO, plan=("key",), writer=0),
    "a scope, then the key": Scope(ONE, reads=3, plan=("scope", "key"), faults={"evict": 1}),
    "two invalidations": Scope(ONE, reads=3, plan=("key", "key")),
    "two scopes": Scope(ONE, reads=3, plan=("scope", "scope")),
    "joined loads": Scope(SAME, plan=("key",), writer=0, join=True),
    "joined loads and a scope": Scope(SAME, plan=("scope",), writer=0, join=True),
    "an own store and a scope": Scope(TWO, plan=("store", "scope"), writer=0),
    "eviction of the entry": Scope(ONE, reads=3, plan=("key",), faults={"evict": 1}),
    "eviction of the generation": Scope(ONE, reads=3, plan=("scope",), faults={"evict_generation": 1}),
    "eviction of the lease": Scope(SAME, plan=("key",), faults={"evict_lease": 1}),
    "expiry of the lease": Scope(SAME, plan=("key",), faults={"expire": 1}),
    "a lost connection": Scope(TWO, plan=("key",), faults={"drop": 1}),
    "a lost connection and a fill that arrives late": Scope(
        ONE, reads=2, plan=("key",), faults={"drop": 1, "expire": 1}
    ),
    "FLUSHALL": Scope(ONE, reads=2, plan=("key",), faults={"flush": 1}),
    "FLUSHALL and a scope": Scope(ONE, reads=3, plan=("scope",), faults={"flush": 1}),
    "a half-open connection": Scope(ONE, reads=2, plan=("key",), faults={"silence": 1, "tick": 3}),
    "a failover": Scope(ONE, reads=2, plan=("key",), faults={"failover": 1}),
    "a failover and an expiry": Scope(SAME, plan=("key",), faults={"failover": 1, "expire": 1}),
    "a hold whose writer may die": Scope(TWO, plan=("hold",), faults={"crash": 1, "expire": 1}),
}

MUTANTS = {
    "no lease": ("two processes, a key invalidated", Rules(token="nobody")),
    "a lease token a process": ("two tasks of one process, two reads each", Rules(token="process")),
    "the lease outlives the entry": ("two processes, a key invalidated", Rules(unlink_lease=False)),
    "the entry is unlinked before its lease": ("two processes, a key invalidated", Rules(unlink="entry first")),
    "no stamps": ("two processes, a scope ended", Rules(stamps_at_read=False)),
    "the stamp is read when filling": (
        "two processes, a scope ended",
        Rules(stamps_at_fill=False, stamp_of_lease=False, stamp_in_lease=False, no_useless_waits=False),
    ),
    "a generation restarts with the same nonce": ("two processes, a scope ended", Rules(fresh_nonce=False)),
    "no replication id in entries": ("a failover", Rules(epoch_in_entry=False)),
    "a replicated lease is redeemed": ("a failover", Rules(epoch_in_lease=False, entry_epoch_of_lease=False)),
    "memory is filled by the task": ("two tasks of one process, two reads each", Rules(settle_in_parser=False)),
    "the filler is not tracked": ("two tasks of one process, two reads each", Rules(read_after_write=False)),
    "an own push is expected that does not come": ("a scope, then the key", Rules(read_before_write=False)),
    "NOLOOP": ("a scope, then the key", Rules(loop=False)),
    "BCAST": ("a half-open connection", Rules(pushes_in_order=False)),
    "memory survives the connection": ("a lost connection and a fill that arrives late", Rules(flush_on_loss=False)),
    "FLUSHALL is not heeded": ("FLUSHALL", Rules(heed_null_push=False)),
    "generations are not tracked": ("a scope, then the key", Rules(track_generation=False)),
    "a generation does not end what is in memory": ("a scope, then the key", Rules(generation_kills_memory=False)),
    "no heartbeat": ("a half-open connection", Rules(heartbeat=False)),
    "a lease under a hold is redeemed": ("a hold whose writer may die", Rules(hold_at_lease=False)),
    "invalidation before the commit": ("two processes, a key invalidated", Rules(after_commit=False)),
    "memory forgets after the server": ("joined loads", Rules(memory_first=False)),
    "loads are joined after the invalidation": ("joined loads", Rules(bar_flights=False)),
    "a refused fill stays in memory": ("two tasks of one process, two reads each", Rules(only_permitted_memory=False)),
    "a lease is its holder's though its generation has ended": (
        "two processes, a scope ended",
        Rules(stamp_in_lease=False),
    ),
}
"""Each with the system that shows why the mechanism is there."""

REDUNDANT = {
    "the stamp is read when filling, and a lease whose generation has ended is nobody's": Rules(
        stamps_at_fill=False, stamp_of_lease=False
    ),
    "the fill compares no stamps": Rules(stamps_at_fill=False),
    "the stamp is read when filling, and compared": Rules(stamp_of_lease=False),
    "the lease's replication id is not compared": Rules(epoch_in_lease=False),
    "the entry carries the replication id of the fill": Rules(entry_epoch_of_lease=False),
    "a fill under a hold is not refused": Rules(hold_at_fill=False),
    "the lease is unlinked first": Rules(unlink="lease first"),
}
"""Each of these alone is covered by another mechanism; the pairs are among the mutants."""


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_protocol_keeps_its_promises_in(system: str) -> None:
    verdict = verify(SYSTEMS[system])
    assert verdict.violation is None, str(verdict)
    assert verdict.complete
    assert verdict.states > 200


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_model_catches(mutant: str) -> None:
    system, rules = MUTANTS[mutant]
    caught = verify(SYSTEMS[system], rules, max_states=60_000)
    assert caught.violation is not None, f"{mutant}: {system!r} does not show why it matters"
    assert 5 < len(caught.trace) < 40


@pytest.mark.parametrize("rules", REDUNDANT)
def test_a_second_line_of_defence_covers(rules: str) -> None:
    for name in ("a failover", "a scope, then the key", "expiry of the lease", "two processes, a key invalidated"):
        verdict = verify(SYSTEMS[name], REDUNDANT[rules])
        assert verdict.violation is None, f"{name}: {verdict}"


def test_a_writer_that_dies_without_a_hold_is_the_documented_hole() -> None:
    verdict = verify(Scope(ONE, plan=("key",), faults={"crash": 1}))
    assert verdict.violation is not None
    assert "writer that died" in verdict.violation
