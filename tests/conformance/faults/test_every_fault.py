"""Every fault that the first implementation of the guide had has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

FAULTS = {"a": 7, "b": 10, "c": 6, "d": 10, "e": 10, "f": 6, "g": 3, "h": 6, "i": 5, "j": 11}

ELSEWHERE = {
    "d8": "one round trip, whatever the number of entries: the engine's own tests count commands",
}


def test_every_fault_has_a_test_of_its_name() -> None:
    source = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    names = " ".join(re.findall(r"def (test_\w+)", source))
    wanted = {f"{family}{number}" for family, count in FAULTS.items() for number in range(1, count + 1)}
    missing = {fault for fault in wanted if not re.search(rf"_{fault}(_|\b)", names)}
    assert missing == set(ELSEWHERE)
    assert len(wanted) == 74
