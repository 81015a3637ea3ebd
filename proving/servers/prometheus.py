"""The programs of Prometheus: those on the path, or those that ``make prometheus`` unpacks from Debian's package."""

from __future__ import annotations

import shutil
from typing import Literal

from proving.servers.parts import PARTS


def find_program(name: Literal["prometheus", "promtool"]) -> str | None:
    """The path of a program, ``None`` if the machine has none."""
    unpacked = PARTS / "prometheus" / "usr" / "bin" / name
    return shutil.which(name) or (str(unpacked) if unpacked.exists() else None)
