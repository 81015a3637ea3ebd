"""Run the shows of coordination.

python -m proving.coordination                 all of them, about a quarter of an hour
python -m proving.coordination --quick         the same with less, in three minutes
python -m proving.coordination --only million --json out.json --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from proving.coordination import NAMES, question, show
from proving.coordination.peers import versions
from proving.figures.show import show_result, show_verdicts
from proving.figures.tables import Bar, Report, Result
from proving.stand.effort import FULL, QUICK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from proving.stand.effort import Effort

SEED = 20_260_911
_WIDE = 132
LONGEST_S = 600.0
"""A show that takes longer has failed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    options = _options(arguments)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    results: dict[str, Result] = {}
    took_s: dict[str, float] = {}
    console.print(f"seed {options.seed} (repeat it with --seed {options.seed})", style="dim")
    for name in options.only or NAMES:
        began = time.perf_counter()
        results[name] = _asked(name, QUICK if options.quick else FULL, options.seed)
        took_s[name] = time.perf_counter() - began
        show_result(console, name, question(name), results[name])
    report = Report({**_machine(), **versions()}, results, took_s)
    show_verdicts(console, report)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return int(any(bar.verdict == "missed" for result in results.values() for bar in result.bars))


def _asked(name: str, effort: Effort, seed: int) -> Result:
    """One show. One that fails is shown as failed, and the others go on."""
    try:
        return asyncio.run(_in_time(show(name).measure(effort, seed)))
    except Exception as error:
        traceback.print_exc()
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        return Result((), (Bar(f"{name} could be measured", "yes", "–", why, "missed"),))


async def _in_time(asked: Awaitable[Result]) -> Result:
    async with asyncio.timeout(LONGEST_S):
        return await asked


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proving.coordination", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help="one show; may be repeated")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--seed", type=int, default=SEED, help="of the faults")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    return parser.parse_args(arguments)


def _machine() -> dict[str, str]:
    return {
        "Python": platform.python_version(),
        "processors": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
    }


if __name__ == "__main__":
    sys.exit(main())
