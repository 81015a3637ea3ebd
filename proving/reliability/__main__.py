"""Put the promises to the test and show the table: a row for each number, cache and fault, with what was seen.

python -m proving.reliability                             everything, about twenty minutes
python -m proving.reliability --quick                     everything, in five minutes
python -m proving.reliability --only staleness --seed 7 --json out.json
python -m proving.reliability --list
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proving.reliability.place import OURS, Effort, Finding, failed
from proving.reliability.trials import NAMES, question, trial

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH_IN_A_FILE = 180
_VERDICTS = {True: Text("held", "bold green"), False: Text("BROKEN", "bold red"), None: Text("")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; 1 where a promise was broken."""
    options = _options(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH_IN_A_FILE)
    if options.list:
        for name in NAMES:
            console.print(f"[bold]{name}[/bold] ({', '.join(trial(name).NUMBERS)})  {question(name)}", highlight=False)
        return 0
    logging.disable(logging.CRITICAL)  # What fails is in the table, not in what each library says while it does.
    effort = Effort(quick=options.quick, seed=options.seed, flavour=options.server, peers=not options.no_peers)
    began = time.perf_counter()
    found: list[Finding] = []
    for name in _chosen(options.only):
        found += _tried(console, name, effort)
    found.sort(key=lambda finding: [int(number) for number in finding.number.split(", ")])
    console.print(_table(found))
    broken = [finding for finding in found if finding.held is False]
    console.print(f"{len(found)} findings, {len(broken)} broken promises, {time.perf_counter() - began:.0f} s")
    if options.json is not None:
        options.json.write_bytes(
            msgspec.json.format(msgspec.json.encode({"machine": _machine(options), "findings": found}))
        )
    return 1 if broken else 0


def _tried(console: Console, name: str, effort: Effort) -> list[Finding]:
    """What one trial found; that it failed, where it could not be brought to its end."""
    began = time.perf_counter()
    try:
        findings = asyncio.run(trial(name).run(effort))
    except Exception as error:
        findings = [failed(", ".join(trial(name).NUMBERS), name, OURS, error)]
    broken = sum(finding.held is False for finding in findings)
    verdict = f"[red]{broken} broken[/red]" if broken else "[green]held[/green]"
    console.print(f"{name}: {len(findings)} findings, {verdict}, {time.perf_counter() - began:.0f} s", highlight=False)
    return findings


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m proving.reliability", description="What is promised, put to the test."
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="one trial, by name or number; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer processes, shorter runs")
    parser.add_argument("--seed", type=int, default=1, help="names everything that is drawn by lot (default 1)")
    parser.add_argument("--server", choices=("valkey", "redis"), default="valkey", help="which server (default valkey)")
    parser.add_argument("--no-peers", action="store_true", help="leave the other caches out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--list", action="store_true", help="say which trials there are, and end")
    return parser.parse_args(arguments)


def _chosen(wanted: Sequence[str] | None) -> list[str]:
    """The trials of these names and numbers, in the order in which they are run; all of them where none is given."""
    if not wanted:
        return list(NAMES)
    chosen = [name for name in NAMES if name in wanted or set(trial(name).NUMBERS) & set(wanted)]
    known = {*NAMES, *(number for name in NAMES for number in trial(name).NUMBERS)}
    strangers = [one for one in wanted if one not in known]
    if strangers:
        raise SystemExit(f"no trial is called {', '.join(strangers)}: --list shows what there is")
    return chosen


def _table(findings: Sequence[Finding]) -> Table:
    shown = Table(header_style="bold")
    for heading in ("#", "trial", "who", "ran", "seen", ""):
        shown.add_column(heading)
    for one in findings:
        shown.add_row(one.number, one.name, one.who, one.ran, one.figure, _VERDICTS[one.held])
    return shown


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "server": options.server,
        "seed": options.seed,
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


if __name__ == "__main__":
    sys.exit(main())
