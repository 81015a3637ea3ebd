"""Shows what simulated schedules and the model checker say: promises kept, mutants killed, runs repeated to the byte.

python -m tests.simulation.report [--quick]
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from proving.reliability.place import OURS, Effort, Finding, attempted
from proving.servers.redis_server import RedisServer
from tests.model.protocol import verify
from tests.model.test_protocol import MUTANTS as MODEL_MUTANTS
from tests.model.test_protocol import SYSTEMS
from tests.simulation.mutants import MUTANTS
from tests.simulation.scenario import play
from tests.simulation.test_cache_twins import test_random_histories_of_four_clients_agree
from tests.simulation.test_coherence import PLANS, is_caught

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE = 40


async def run(effort: Effort) -> list[Finding]:
    """Schedules, mutants, repetition, model: each in a thread, as a simulation brings a loop of its own."""
    return [
        await attempted(number, name, OURS, asyncio.to_thread(prove, effort))
        for number, name, prove in (
            ("1, 2, 3, 9, 12, 15, 19, 20", "simulated schedules", _schedules),
            ("43", "mutants of the protocol, simulated", _mutants),
            ("45", "replay", _repeated),
            ("42, 43", "model checker", _model),
            ("44", "Lua and its twins", _twins),
        )
    ]


def _schedules(effort: Effort) -> Finding:
    seeds = effort.of(25, 1)
    reads = invalidations = violations = 0
    worst_s = 0.0
    for plan in PLANS.values():
        for seed in range(effort.seed, effort.seed + seeds):
            _, report = play(plan, seed)
            reads += report.reads
            invalidations += report.invalidations
            violations += len(report.violations)
            worst_s = max(worst_s, report.max_s / plan.bound_s)
    return Finding(
        "1, 2, 3, 9, 12, 15, 19, 20",
        "simulated schedules",
        OURS,
        f"{len(PLANS)} plans of faults x {seeds} seeds, {reads:,} reads, {invalidations:,} invalidations",
        f"stale reads after H: {violations}; worst staleness {worst_s * 100:.0f} % of H",
        held=not violations,
        details={"violations": violations, "reads": reads},
    )


def _mutants(effort: Effort) -> Finding:
    alive = []
    chosen = list(MUTANTS)[: effort.of(len(MUTANTS), 3)]
    for name in chosen:
        plan, switched_off = MUTANTS[name]
        with switched_off():
            if not any(is_caught(PLANS[plan], seed) for seed in range(_PATIENCE)):
                alive.append(name)
    return Finding(
        "43",
        "mutants of the protocol, simulated",
        OURS,
        f"{len(chosen)} mechanisms switched off, one at a time, at most {_PATIENCE} seeds each",
        f"killed: {len(chosen) - len(alive)} of {len(chosen)}" + (f"; alive: {', '.join(alive)}" if alive else ""),
        held=not alive,
        details={"killed": len(chosen) - len(alive), "mutants": len(chosen)},
    )


def _repeated(effort: Effort) -> Finding:
    runs = effort.of(20, 2)
    same = sum(
        play(PLANS["everything"], seed)[0].trace_digest == play(PLANS["everything"], seed)[0].trace_digest
        for seed in range(effort.seed, effort.seed + runs)
    )
    return Finding(
        "45",
        "replay",
        OURS,
        f"{runs} seeds of the plan with every fault, run twice",
        f"traces that are the same to the byte: {same} of {runs}",
        held=same == runs,
        details={"same": same, "runs": runs},
    )


def _model(effort: Effort) -> Finding:
    systems = dict(list(SYSTEMS.items())[: effort.of(len(SYSTEMS), 3)])
    mutants = dict(list(MODEL_MUTANTS.items())[: effort.of(len(MODEL_MUTANTS), 2)])
    verdicts = [verify(system) for system in systems.values()]
    broken = sum(verdict.violation is not None or not verdict.complete for verdict in verdicts)
    killed = sum(
        any(verify(system, rules, max_states=60_000).violation is not None for system in SYSTEMS.values())
        for rules in mutants.values()
    )
    states = sum(verdict.states for verdict in verdicts)
    return Finding(
        "42, 43",
        "model checker",
        OURS,
        f"every interleaving of {len(systems)} small systems, {states:,} states; {len(mutants)} mechanisms switched off",
        f"broken promises: {broken}; mutants killed: {killed} of {len(mutants)}",
        held=not broken and killed == len(mutants),
        details={"states": states, "killed": killed},
    )


def _twins(effort: Effort) -> Finding:
    histories = effort.of(200, 5)
    with RedisServer(effort.flavour) as server:
        for seed in range(effort.seed, effort.seed + histories):
            test_random_histories_of_four_clients_agree(str(server.socket_path), seed)
    return Finding(
        "44",
        "Lua and its twins",
        OURS,
        f"{histories} random histories of four clients, 120 steps each, on {effort.flavour} and on the simulated server",
        "answers, keys and pushes that differ: 0",
        held=True,
        details={"steps": histories * 120},
    )


def main(arguments: Sequence[str]) -> int:
    """Prints what was found; 1 if a promise was broken."""
    found = asyncio.run(run(Effort(quick="--quick" in arguments)))
    for one in found:
        sys.stdout.write(f"{'held' if one.held else 'BROKEN':7}{one.name}: {one.ran}; {one.figure}\n")
    return int(not all(one.held for one in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
