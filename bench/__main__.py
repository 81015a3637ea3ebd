"""Run the scenarios and show what they found.

python -m bench                                all of them, about a quarter of an hour
python -m bench --quick                        the order of things, in five minutes
python -m bench --bars                         only what memory, misses and a service are judged by, and at the end one
                                               table: question, ours, bar, goal, met
python -m bench --only redis_hit --only outage --json out.json --chart out.svg
python -m bench --list
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

from bench.scenarios import JUDGED, NAMES, loops, question, scenario
from proving.figures.chart import draw
from proving.figures.show import show_result, show_verdicts
from proving.figures.tables import Report, Result, unjudged
from proving.stand.effort import FULL, QUICK
from proving.stand.server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proving.stand.effort import Effort


_WIDTH_IN_A_FILE = 140
_FAILED = ": failed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    options = _options(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH_IN_A_FILE)
    if options.list:
        for name in NAMES:
            console.print(f"[bold]{name}[/bold]  {question(name)}", highlight=False)
        return 0
    effort = QUICK if options.quick else FULL
    results: dict[str, Result] = {}
    took_s: dict[str, float] = {}
    with Server() as server:
        machine = _machine(server)
        for name in options.only or (JUDGED if options.bars else NAMES):
            began = time.perf_counter()
            server.flush()
            results[name] = _run_or_fail(name, server, effort, options.loop)
            took_s[name] = time.perf_counter() - began
            show_result(console, name, question(name), results[name], bars_too=not options.bars)
    report = Report(machine, results, took_s)
    show_verdicts(console, report, always=options.bars)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if options.chart is not None:
        draw(report, options.chart)
    return int(any(bar.question.endswith(_FAILED) for result in results.values() for bar in result.bars))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Alacena beside other caches and the floors.")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help="one scenario; may be repeated")
    parser.add_argument("--bars", action="store_true", help="the scenarios with a bar for each cost, judged at the end")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), help="only this event loop, where there are several")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--chart", type=_picture, metavar="FILE", help="also draw it, as .svg or .png")
    parser.add_argument("--list", action="store_true", help="say which scenarios there are, and end")
    return parser.parse_args(arguments)


def _picture(name: str) -> Path:
    path = Path(name)
    if path.suffix not in {".svg", ".png"}:
        raise argparse.ArgumentTypeError(f"{name}: write a file name that ends in .svg or .png")
    return path


def _run_or_fail(name: str, server: Server, effort: Effort, loop: str | None) -> Result:
    """One scenario; one that fails is shown as failed, and the others go on."""
    try:
        return _run(name, server, effort, loop)
    except Exception as error:
        traceback.print_exc()
        return Result((), (unjudged(f"{name}{_FAILED}", "–", "–", f"{type(error).__name__}: {error}"),))


def _run(name: str, server: Server, effort: Effort, loop: str | None) -> Result:
    """One scenario, on each of its event loops."""
    on = [one for one in loops(name) if loop in (None, one) or len(loops(name)) == 1]
    parts = [_asked(name, server, effort, one) for one in on]
    return Result(tuple(t for part in parts for t in part.tables), tuple(b for part in parts for b in part.bars))


def _asked(name: str, server: Server, effort: Effort, loop: str) -> Result:
    if loop == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(scenario(name).measure(server, effort))
    return asyncio.run(scenario(name).measure(server, effort))


def _machine(server: Server) -> dict[str, str]:
    return {
        "Python": platform.python_version(),
        "server": server.version(),
        "processors": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
    }


if __name__ == "__main__":
    sys.exit(main())
