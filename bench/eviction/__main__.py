"""Hit ratios of the memory tier beside published policies, and what a hit and an insert cost.

Run from the repository root, with ``PYTHONPATH=src:.``: ``python -m bench.eviction [--traces DIR] [--only PART]``.
"""

from __future__ import annotations

import argparse
import importlib.util
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.eviction import cost, policies, traces
from bench.eviction.tier import alacena

if TYPE_CHECKING:
    from collections.abc import Iterable

PERCENTS = (1, 5, 20)
SEED = 1


def _rivals() -> dict[str, policies.Policy]:
    online = dict(policies.ONLINE)
    if importlib.util.find_spec("theine") is None:
        del online["theine"]
    return online


def _compare(console: Console, title: str, source: Iterable[tuple[str, traces.Trace]]) -> None:
    rivals = _rivals()
    columns = [*rivals, "Alacena", "Belady"]
    table = Table(title=title)
    for heading in ("trace", "capacity", *columns, "Alacena − best"):
        table.add_column(heading, justify="left" if heading == "trace" else "right")
    rows: list[list[float]] = []
    for name, trace in source:
        unique = len(set(trace))
        for percent in PERCENTS:
            capacity = max(1, unique * percent // 100)
            runs = [*rivals.values(), alacena, policies.belady]
            ratios = [100 * run(trace, capacity) / len(trace) for run in runs]
            rows.append([*ratios, ratios[-2] - max(ratios[:-2])])
            table.add_row(f"{name} {percent} %", str(capacity), *_cells(rows[-1], len(rivals)))
        table.add_section()
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    table.add_row("mean", "", *_cells(means, len(rivals)))
    console.print(table)
    worst = min(row[-1] for row in rows)
    theirs = "".join(f"; {name} {mean:.2f} %" for name, mean in zip(rivals, means, strict=False) if name == "theine")
    console.print(
        f"Alacena: mean of the cells {means[-3]:.2f} %{theirs}; the best online policy of each cell "
        f"{means[-3] - means[-1]:.2f} %; worst cell {worst:+.2f} points from the best.\n"
    )


def _cells(ratios: list[float], rivals: int) -> list[str]:
    best = max(ratios[: rivals + 1])
    cells = [f"[bold]{ratio:.2f}[/]" if ratio == best else f"{ratio:.2f}" for ratio in ratios[:-1]]
    return [*cells, f"{ratios[-1]:+.2f}"]


def _costs(console: Console) -> None:
    costs = cost.measure()
    table = Table(title="Cost, in CPU time of this interpreter")
    for heading in ("what", "measured", "floors"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for what, value in (
        ("await of a coroutine that looks into a dict (the floor)", costs.floor_ns),
        ("hit: get", costs.hit_ns),
        ("insert while there is room", costs.put_growing_ns),
        ("insert that evicts, 2,000 entries", costs.put_small_ns),
        ("insert that evicts, 50,000 entries", costs.put_evicting_ns),
        ("insert that evicts, 50,000 entries of 1,000 tenants", costs.put_many_tenants_ns),
        ("promotion of a document while there is room: Copies.keep", costs.promote_growing_ns),
        ("promotion of a document that evicts, 2,000 entries: Copies.keep", costs.promote_evicting_ns),
    ):
        table.add_row(what, f"{value:,.0f} ns", f"{value / costs.floor_ns:.1f}")
    table.add_row("bytes an entry beside its value (key and wire key included)", f"{costs.entry_bytes:,.0f}", "")
    table.add_row("the same entries' keys and wire keys alone", f"{costs.key_bytes:,.0f}", "")
    console.print(table)


def main() -> None:
    """Read the options and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.eviction", description=__doc__)
    parser.add_argument("--traces", help="folder of NAME.txt.gz; default: $BENCH_TRACES or traces")
    parser.add_argument("--only", choices=("recorded", "synthetic", "cost"), help="one part instead of all three")
    options = parser.parse_args()
    console = Console(width=None if Console().is_terminal else 170)
    if importlib.util.find_spec("theine") is None:
        console.print("theine is not installed: its column is left out (pip install theine).")
    if options.only in (None, "recorded"):
        folder = traces.folder_of(options.traces)
        if any(folder.glob("*.txt.gz")):
            _compare(console, f"Hit ratio, %: recorded traces in {folder}", traces.recorded(folder))
        else:
            console.print(f"No recorded traces: {folder} holds no *.txt.gz. Pass --traces DIR or set BENCH_TRACES.")
    if options.only in (None, "synthetic"):
        _compare(console, f"Hit ratio, %: synthetic families, seed {SEED}", traces.synthetic(SEED))
    if options.only in (None, "cost"):
        _costs(console)


if __name__ == "__main__":
    main()
