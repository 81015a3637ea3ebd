"""The model put together: the writer, the faults, and the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.checker import Step, Verdict, search
from tests.model.process import bar, delivery_steps, forget, reader_steps, with_task
from tests.model.server import alive, changed, execute_store, execute_unlink, post, snapshot, with_process
from tests.model.state import (
    ENTRY,
    GENERATION,
    LEASE,
    NOBODY,
    Process,
    Rules,
    Scope,
    Server,
    Task,
    World,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    WorldStep = Step[World]


def verify(scope: Scope, rules: Rules | None = None, *, max_states: int = 5_000_000) -> Verdict:
    """Search a model of this size for a violation of the promises."""
    chosen = rules or Rules()
    return search(start(scope), lambda world: _successors(world, scope, chosen), max_states=max_states)


def _successors(world: World, scope: Scope, rules: Rules) -> Iterator[WorldStep]:
    yield from _abandoned(world, rules)
    yield from delivery_steps(world, scope, rules)
    yield from reader_steps(world, scope, rules)
    yield from _writer_steps(world, scope, rules)
    yield from _beats(world, rules)
    for name, left in world.faults:
        if left:
            for label, after in FAULTS[name](world, scope, rules):
                yield Step(label, _spend(after, name))


def _abandoned(world: World, rules: Rules) -> Iterator[WorldStep]:
    """Once the writer is dead and no hold protects what it committed, nobody will ever invalidate what is old."""
    server, entry = world.server, world.server.entry
    if world.writing == "dead" and not server.hold and alive(entry, server.generation, server.epoch, rules):
        assert entry is not None
        if entry.version < world.committed:
            violation = f"version {entry.version} stays although {world.committed} was committed by a writer that died"
            yield Step("the writer stays dead", world, violation)


# The writer


def _writer_steps(world: World, scope: Scope, rules: Rules) -> Iterator[WorldStep]:
    if world.writing == "dead":
        return
    if world.writing == "idle":
        if world.plan:
            yield _begin(world, scope, rules)
    elif world.writing == "held":
        yield _commit(world, "committed")
    elif world.writing == "committed":
        yield _invalidate(world, scope, rules)
    elif world.writing == "sent" and world.plan[0] == "key" and rules.unlink != "together":
        first = LEASE if rules.unlink == "lease first" else ENTRY
        after = execute_unlink(world, first, rules, scope.writer)._replace(writing="halfway")
        yield Step(f"writer: the server removes the {first}", after)
    elif world.writing in {"sent", "halfway"}:
        yield from _executed(world, scope, rules)


def _begin(world: World, scope: Scope, rules: Rules) -> WorldStep:
    if world.plan[0] == "hold":
        server = world.server
        held = world._replace(server=server._replace(hold=True, entry=None, lease=None), writing="held")
        if scope.writer != NOBODY:
            held = bar(forget(held, scope.writer, ENTRY), scope.writer, scope)
        if server.entry is not None:
            held = changed(held, ENTRY, rules)
        if server.lease is not None:
            held = changed(held, LEASE, rules)
        return Step("writer: holds the entry", held)
    if not rules.after_commit:
        after = _unlinked(world, world.plan[0], rules, scope)
        return Step("writer: invalidates before the commit", after._replace(writing="held"))
    return _commit(world, "committed")


def _commit(world: World, then: str) -> WorldStep:
    version = world.committed + 1
    after = world._replace(committed=version, writing=then)
    return Step(f"writer: commits version {version}", after)


def _invalidate(world: World, scope: Scope, rules: Rules) -> WorldStep:
    """Send what makes the commit known; with a process of its own, that process forgets first."""
    verb, plan = world.plan[0], world.plan[1:]
    if not rules.after_commit:
        after = world._replace(plan=plan, writing="idle", acked=world.committed)
        return Step("writer: acknowledged", after)
    after = world._replace(writing="sent")
    if scope.writer != NOBODY and rules.memory_first:
        after = bar(forget(after, scope.writer, GENERATION if verb == "scope" else ENTRY), scope.writer, scope)
    return Step(f"writer: sends its {verb} of version {world.committed}", after)


def _executed(world: World, scope: Scope, rules: Rules) -> Iterator[WorldStep]:
    verb, version = world.plan[0], world.committed
    if verb == "store":
        index = scope.writer
        known = world.processes[index].known if index != NOBODY else 0
        after = execute_store(world, index, known, rules)
    else:
        after = _unlinked(world, verb, rules, scope)
        if verb == "hold":
            after = after._replace(server=after.server._replace(hold=False))
    after = after._replace(plan=world.plan[1:])
    if scope.writer == NOBODY or world.processes[scope.writer].silenced:
        acked = after.acked if verb == "store" else max(after.acked, version)
        yield Step(f"writer: {verb} of version {version} acknowledged", after._replace(acked=acked, writing="idle"))
        return
    if verb == "store":
        yield Step(f"writer: store of version {version} done", after._replace(writing="idle"))
        return
    # The acknowledgement stands before the writer's own pushes, like every reply.
    behind = after.processes[scope.writer].inbox[len(world.processes[scope.writer].inbox) :]
    process = after.processes[scope.writer]
    inbox = (*world.processes[scope.writer].inbox, ("unlinked", version, verb), *behind)
    after = with_process(after, scope.writer, process._replace(inbox=inbox))
    yield Step(f"writer: the server runs its {verb} of version {version}", after._replace(writing="answered"))


def _unlinked(world: World, verb: str, rules: Rules, scope: Scope) -> World:
    if verb == "scope":
        return execute_unlink(world, GENERATION, rules, scope.writer)
    keys = [LEASE] if rules.unlink_lease else []
    if world.writing != "halfway":
        keys = [ENTRY, *keys]
    elif rules.unlink == "lease first":
        keys = [ENTRY]
    for key in keys:
        world = execute_unlink(world, key, rules, scope.writer)
    return world


# Heartbeats: one a tick is enough, for only the tick in which it was sent matters.


def _beats(world: World, rules: Rules) -> Iterator[WorldStep]:
    if not dict(world.faults).keys() & {"tick"} or not rules.heartbeat:
        return
    for index, process in enumerate(world.processes):
        under_way = any(message == ("beat", world.tick) for message in process.inbox)
        if not process.silenced and not under_way and process.serves_until < world.tick + 1:
            yield Step(f"process {index}: a heartbeat is answered", post(world, index, ("beat", world.tick)))


# Faults

Fault = tuple[str, World]


def _spend(world: World, name: str) -> World:
    return world._replace(faults=tuple((other, left - (other == name)) for other, left in world.faults))


def _tick(world: World, _scope: Scope, _rules: Rules) -> Iterator[Fault]:
    after = world._replace(tick=world.tick + 1, acked_ticks=(world.acked_ticks[1], world.acked))
    yield "the bound passes", after


def _expire(world: World, _scope: Scope, rules: Rules) -> Iterator[Fault]:
    server = world.server
    if server.lease is not None:
        yield "the lease expires", changed(world._replace(server=server._replace(lease=None)), LEASE, rules)
    if server.hold and world.writing == "dead":
        yield "the hold expires", world._replace(server=server._replace(hold=False))


def _evict(world: World, scope: Scope, rules: Rules) -> Iterator[Fault]:
    server = world.server
    if server.entry is not None:
        for by in range(scope.processes):
            after = changed(world._replace(server=server._replace(entry=None)), ENTRY, rules, by)
            yield f"the entry is evicted by a command of process {by}", after


def _evict_generation(world: World, scope: Scope, rules: Rules) -> Iterator[Fault]:
    server = world.server
    if server.generation:
        for by in range(scope.processes):
            after = changed(world._replace(server=server._replace(generation=0)), GENERATION, rules, by)
            yield f"the generation is evicted by a command of process {by}", after


def _evict_lease(world: World, _scope: Scope, rules: Rules) -> Iterator[Fault]:
    server = world.server
    if server.lease is not None:
        yield "the lease is evicted", changed(world._replace(server=server._replace(lease=None)), LEASE, rules)


def _flush(world: World, scope: Scope, _rules: Rules) -> Iterator[Fault]:
    nothing: frozenset[str] = frozenset()
    server = Server(epoch=world.server.epoch, tracked=(nothing,) * scope.processes)
    after = world._replace(server=server)
    for index in range(scope.processes):
        after = post(after, index, ("push", None))
    yield "FLUSHALL", after


def _lose_connection(world: World, index: int, scope: Scope, rules: Rules) -> World:
    process = world.processes[index]
    kept = Process(serves_until=process.serves_until)
    if not rules.flush_on_loss:
        kept = kept._replace(memory=process.memory, known=process.known)
    world = bar(with_process(world, index, kept), index, scope)
    for number, owner in enumerate(scope.tasks):
        task = world.tasks[number]
        if owner != index or task.at in {"idle", "load", "loaded", "joined", "zombie"}:
            continue
        # A fill under way may still be executed; every other command under way is lost, and the read gives up.
        world = with_task(world, number, task._replace(at="zombie") if task.at == "fill" else Task(left=task.left - 1))
    tracked = world.server.tracked
    tracked = (*tracked[:index], frozenset(), *tracked[index + 1 :])
    world = world._replace(server=world.server._replace(tracked=tracked))
    if world.writing == "answered" and index == scope.writer:
        world = world._replace(writing="idle")
    return world


def _drop(world: World, scope: Scope, rules: Rules) -> Iterator[Fault]:
    yield "process 0 loses its connection and connects again", _lose_connection(world, 0, scope, rules)


def _silence(world: World, scope: Scope, rules: Rules) -> Iterator[Fault]:
    process = world.processes[0]
    if not process.silenced:
        after = with_process(world, 0, process._replace(silenced=True, inbox=()))
        for number, owner in enumerate(scope.tasks):
            if owner == 0 and world.tasks[number].at == "await":
                after = with_task(after, number, Task(left=world.tasks[number].left - 1))
        yield "process 0 is cut off without a word", after


def _crash(world: World, _scope: Scope, _rules: Rules) -> Iterator[Fault]:
    if world.writing in {"held", "committed"}:
        yield "the writer dies", world._replace(writing="dead")


def _fail_over(world: World, scope: Scope, rules: Rules) -> Iterator[Fault]:
    copy = snapshot(world.server)
    if world.replica != copy:
        yield "replication catches up", world._replace(replica=copy, faults=_more(world, "failover"))
    if world.replica is not None:
        nothing: frozenset[str] = frozenset()
        server = world.replica._replace(epoch=world.server.epoch + 1, tracked=(nothing,) * scope.processes)
        after = world._replace(server=server)
        for index in range(scope.processes):
            after = _lose_connection(after, index, scope, rules)
        for number, task in enumerate(after.tasks):
            # What was under way to the old primary died with it.
            if task.at == "zombie":
                after = with_task(after, number, Task(left=task.left - 1))
        yield "the replica is promoted", after


def _more(world: World, name: str) -> tuple[tuple[str, int], ...]:
    return tuple((other, left + (other == name)) for other, left in world.faults)


FAULTS: dict[str, Callable[[World, Scope, Rules], Iterator[Fault]]] = {
    "crash": _crash,
    "drop": _drop,
    "evict": _evict,
    "evict_generation": _evict_generation,
    "evict_lease": _evict_lease,
    "expire": _expire,
    "failover": _fail_over,
    "flush": _flush,
    "silence": _silence,
    "tick": _tick,
}
