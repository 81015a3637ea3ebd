"""What doctor says of the processes of the namespace."""

from __future__ import annotations

from typing import Any, cast

import pytest

from alacena.coordination.fleet import Member
from alacena.engine import Settings, Snapshot
from alacena.engine.base.snapshot import Fault
from alacena.ops import doctor_checks
from alacena.ops.check_runner import Subject, examine


class Listing:
    """Stands in for a cache: lists these processes."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members

    async def fleet(self) -> list[Member]:
        return self.members


class Silence:
    silent = False


def heard(name: str, version: str = "1.0", **facts: Any) -> Member:
    return Member(f"{name}#1", 0.5, is_stale=False, snapshot=Snapshot(name, version=version, **facts))


FAULT = Fault(part="relay", fault="OSError")


@pytest.mark.parametrize(
    ("members", "state", "words"),
    [
        ([], "pass", "no process of this namespace"),
        ([heard("a"), heard("b")], "pass", "2 processes heard, of version 1.0"),
        ([heard("a"), heard("b", "1.1")], "warn", "versions 1.0, 1.1"),
        ([heard("a"), Member("b#1", 0.5, is_stale=False)], "warn", "1 of a version that this one cannot read"),
        ([Member("b#1", 0.5, is_stale=False)], "warn", "versions unknown, and 1 of"),
        ([heard("a", faults=(FAULT,))], "warn", "a: relay: OSError"),
        ([heard("a", connected=False)], "warn", "not all connected: a"),
        ([heard("a"), Member("b#1", 9.0, is_stale=True)], "warn", "1 of 2 processes are silent: b#1"),
        ([Member(f"b{n}#1", 9.0, is_stale=True) for n in range(9)], "warn", "b2#1 and 6 more"),
    ],
)
async def test_the_fleet_is_judged(members: list[Member], state: str, words: str) -> None:
    subject = Subject(settings=Settings(redis_url="redis://127.0.0.1:1"))
    subject.servers = cast("Any", [Silence()])
    subject.cache = cast("Any", Listing(members))
    (check,) = (check for check in doctor_checks.list_checks() if check.name == "fleet")
    (finding,) = await examine([check], subject)
    assert finding.state == state
    assert words in finding.found
