"""The spill file: a line that was confirmed is in exactly one place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from alacena.ledger.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path


async def test_lines_come_back_in_order_and_once(tmp_path: Path) -> None:
    spill = Spool(tmp_path / "s")
    await spill.append(b"a")
    await spill.append(b"b")
    assert await spill.take() == [b"a", b"b"]
    await spill.keep([])
    assert await spill.take() == []
    await spill.keep([])


async def test_what_a_drain_did_not_finish_comes_first_next_time(tmp_path: Path) -> None:
    spill = Spool(tmp_path / "s")
    for line in (b"a", b"b", b"c"):
        await spill.append(line)
    assert await spill.take() == [b"a", b"b", b"c"]
    await spill.append(b"d")
    await spill.keep([b"b", b"c"])
    assert await spill.take() == [b"b", b"c", b"d"]
    await spill.keep([])


async def test_a_drain_that_died_loses_nothing(tmp_path: Path) -> None:
    dead = Spool(tmp_path / "s")
    await dead.append(b"a")
    await dead.take()
    assert dead._drain is not None
    dead._drain.close()
    heir = Spool(tmp_path / "s")
    await heir.append(b"b")
    assert await heir.take() == [b"a", b"b"]
    await heir.keep([])


async def test_one_drain_at_a_time(tmp_path: Path) -> None:
    one, other = Spool(tmp_path / "s"), Spool(tmp_path / "s")
    await one.append(b"a")
    assert await one.take() == [b"a"]
    assert await other.take() is None
    assert await one.take() is None
    await other.keep([])
    await one.keep([b"a"])
    assert await other.take() == [b"a"]
    await other.keep([])


async def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    spill = Spool(tmp_path / "s")
    await spill.append(b"whole")
    with (tmp_path / "s").open("ab") as file:
        file.write(b"torn")
    assert await spill.take() == [b"whole"]
    await spill.keep([])


async def test_appends_during_drains_are_neither_lost_nor_doubled(tmp_path: Path) -> None:
    spills = [Spool(tmp_path / "s") for _ in range(3)]
    drained: list[bytes] = []

    async def write(number: int) -> None:
        for at in range(20):
            await spills[number].append(f"{number}-{at}".encode())

    async def drain() -> None:
        for _ in range(30):
            lines = await spills[0].take()
            if lines is not None:
                drained.extend(lines[:3])
                await spills[0].keep(lines[3:])

    await asyncio.gather(drain(), *(write(number) for number in range(3)))
    drained += await spills[0].take() or []
    await spills[0].keep([])
    assert sorted(drained) == sorted(f"{number}-{at}".encode() for number in range(3) for at in range(20))


async def test_a_torn_line_does_not_swallow_the_next_append(tmp_path: Path) -> None:
    spill = Spool(tmp_path / "s")
    (tmp_path / "s").write_bytes(b"whole\ntorn")
    await spill.append(b"next")
    assert await spill.take() == [b"whole", b"torn", b"next"]
    await spill.keep([])


async def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await Spool(tmp_path / "missing" / "s").append(b"a")
