"""What the model's processes do: their tasks, and what a reply or a push does to memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.model.checker import Step
from tests.model.server import Message, alive, execute_fill, execute_find, execute_lease, with_process
from tests.model.state import ENTRY, GENERATION, LEASE, NOBODY, Copy, Entry, Rules, Scope, Task, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    WorldStep = Step[World]


def with_task(world: World, number: int, task: Task) -> World:
    """The world with one task replaced."""
    return world._replace(tasks=(*world.tasks[:number], task, *world.tasks[number + 1 :]))


def done(world: World, number: int) -> World:
    """The task's read is over."""
    return with_task(world, number, Task(left=world.tasks[number].left - 1))


def forget(world: World, index: int, *keys: str) -> World:
    """A process drops its copy of the entry, or its knowledge of the generation; its loads are closed to newcomers."""
    process = world.processes[index]
    if ENTRY in keys:
        process = process._replace(memory=None)
    if GENERATION in keys:
        process = process._replace(known=0)
    return with_process(world, index, process)


def bar(world: World, index: int, scope: Scope) -> World:
    """Close the loads of a process to newcomers."""
    if not scope.join:
        return world
    for number, owner in enumerate(scope.tasks):
        if owner == index and world.tasks[number].at in {"load", "loaded"}:
            world = with_task(world, number, world.tasks[number]._replace(barred=True))
    return world


def reader_steps(world: World, scope: Scope, rules: Rules) -> Iterator[WorldStep]:
    """Everything that a reading task can do next."""
    for number, index in enumerate(scope.tasks):
        task = world.tasks[number]
        who = f"task {number} (process {index})"
        if task.at == "idle" and task.left:
            yield from _start(world, number, index, who, scope, rules)
        elif task.at == "find":
            after = with_task(execute_find(world, number, index, rules), number, task._replace(at="await"))
            yield Step(f"{who}: the server looks up", _lost_if_silenced(after, number, index))
        elif task.at == "lease":
            leased, violation = execute_lease(world, number, index, rules)
            after = with_task(leased, number, task._replace(at="await"))
            yield Step(f"{who}: the server runs the lease script", _lost_if_silenced(after, number, index), violation)
        elif task.at == "load":
            after = with_task(world, number, task._replace(at="loaded", version=world.committed))
            yield Step(f"{who}: the source answers version {world.committed}", after)
        elif task.at == "loaded":
            yield from _land(world, number, index, who, scope, rules)
        elif task.at in {"fill", "zombie"}:
            after, violation = execute_fill(world, number, index, rules)
            # Executed on a connection that is gone, it is over; else its reply is under way.
            after = done(after, number) if task.at == "zombie" else with_task(after, number, task._replace(at="await"))
            yield Step(f"{who}: the server runs the fill", _lost_if_silenced(after, number, index), violation)
        elif task.at == "wake":
            copy = Copy(task.version, task.stamp)
            process = world.processes[index]._replace(memory=copy)
            yield Step(
                f"{who}: wakes and keeps version {task.version}", done(with_process(world, index, process), number)
            )


def _lost_if_silenced(world: World, number: int, index: int) -> World:
    """A reply that a silenced connection swallows will never come: the read gives up."""
    silenced = world.processes[index].silenced and world.tasks[number].at == "await"
    return done(world, number) if silenced else world


def _start(world: World, number: int, index: int, who: str, scope: Scope, rules: Rules) -> Iterator[WorldStep]:
    process = world.processes[index]
    if process.memory is not None and _memory_serves(world, index, rules):
        version = process.memory.version
        violation = _stale_copy(world, index, version, scope)
        if violation is not None:
            yield Step(f"{who}: memory serves version {version}", world, violation)
        return
    task = world.tasks[number]
    yield Step(f"{who}: asks the server", with_task(world, number, task._replace(at="find", floor=world.acked)))
    if scope.join:
        for leader, owner in enumerate(scope.tasks):
            if owner == index and leader != number and world.tasks[leader].at in {"load", "loaded"}:
                yield from _join(world, number, leader, index, who, scope, rules)


def _join(
    world: World, number: int, leader: int, index: int, who: str, scope: Scope, rules: Rules
) -> Iterator[WorldStep]:
    if rules.bar_flights and world.tasks[leader].barred:
        return
    told = index == scope.writer or not _has_pushes(world, index)
    task = Task("joined", world.tasks[number].left, floor=world.acked if told else 0, leader=leader)
    yield Step(f"{who}: joins the load of task {leader}", with_task(world, number, task))


def _land(world: World, number: int, index: int, who: str, scope: Scope, rules: Rules) -> Iterator[WorldStep]:
    task = world.tasks[number]
    after, violation = world, None
    for other, follower in enumerate(world.tasks):
        if follower.at == "joined" and follower.leader == number:
            if task.version < follower.floor:
                violation = (
                    f"task {other} joined a load of version {task.version} after {follower.floor} was acknowledged"
                )
            after = done(after, other)
    storable = task.stamp != NOBODY and not world.processes[index].silenced
    if storable and rules.epoch_in_lease and world.server.epoch != task.epoch:
        storable = False
    if storable:
        after = with_task(after, number, task._replace(at="fill", barred=False))
        yield Step(f"{who}: sends the fill of version {task.version}", after, violation)
    else:
        if not rules.only_permitted_memory:
            after = with_process(
                after, index, after.processes[index]._replace(memory=Copy(task.version, max(task.stamp, 0)))
            )
        yield Step(f"{who}: serves version {task.version} without storing it", done(after, number), violation)


def _memory_serves(world: World, index: int, rules: Rules) -> bool:
    process = world.processes[index]
    if process.memory is None or (rules.heartbeat and world.tick > process.serves_until):
        return False
    return not rules.generation_kills_memory or process.memory.stamp == process.known


def _has_pushes(world: World, index: int) -> bool:
    process = world.processes[index]
    return process.silenced or any(message[0] == "push" for message in process.inbox)


def _stale_copy(world: World, index: int, version: int, scope: Scope) -> str | None:
    if version < world.acked_ticks[0]:
        return f"memory served version {version} more than the bound after {world.acked_ticks[0]} was acknowledged"
    told = index == scope.writer or not _has_pushes(world, index)
    if told and version < world.acked:
        return f"memory served version {version} although the process was told of {world.acked}"
    return None


def delivery_steps(world: World, scope: Scope, rules: Rules) -> Iterator[WorldStep]:
    """Every message that can be parsed next."""
    for index, process in enumerate(world.processes):
        if not process.inbox:
            continue
        positions = {0}
        if not rules.pushes_in_order:
            positions |= {i for i, message in enumerate(process.inbox) if message[0] != "push"} and {
                min(i for i, message in enumerate(process.inbox) if message[0] != "push")
            }
        for position in sorted(positions):
            message = process.inbox[position]
            rest = (*process.inbox[:position], *process.inbox[position + 1 :])
            popped = with_process(world, index, process._replace(inbox=rest))
            yield _parse(popped, index, message, scope, rules)


def _parse(world: World, index: int, message: Message, scope: Scope, rules: Rules) -> WorldStep:
    kind, what = message[0], message[1]
    if kind == "push":
        return Step(
            f"process {index}: parses the push on {what or 'everything'}", _pushed(world, index, what, scope, rules)
        )
    if kind == "beat":
        assert isinstance(what, int)
        process = world.processes[index]
        process = process._replace(serves_until=max(process.serves_until, what + 1))
        return Step(f"process {index}: parses the heartbeat of tick {what}", with_process(world, index, process))
    if kind == "unlinked":
        after = world
        if rules.memory_first:
            after = bar(forget(world, index, ENTRY if message[2] != "scope" else GENERATION), index, scope)
        assert isinstance(what, int)
        return Step(
            f"process {index}: parses the acknowledgement", after._replace(acked=max(after.acked, what), writing="idle")
        )
    assert isinstance(what, int)
    parse = {"found": _found, "leased": _leased, "filled": _filled}[str(kind)]
    return parse(world, index, what, message, rules)


def _pushed(world: World, index: int, key: Any, scope: Scope, rules: Rules) -> World:
    process = world.processes[index]
    own_entry, own_generation = process.expected
    if key == ENTRY and own_entry:
        return with_process(world, index, process._replace(expected=(own_entry - 1, own_generation)))
    if key == GENERATION and own_generation:
        return with_process(world, index, process._replace(expected=(own_entry, own_generation - 1)))
    if key is None and not rules.heed_null_push:
        return world
    if key is None:
        world = forget(world, index, ENTRY, GENERATION)
    elif key != LEASE:
        world = forget(world, index, key)
    return bar(world, index, scope)


def _found(world: World, index: int, number: int, message: Message, rules: Rules) -> WorldStep:
    task, process = world.tasks[number], world.processes[index]
    entry: Any = message[2]
    who = f"task {number} (process {index})"
    if not process.known and isinstance(message[3], int):
        process = process._replace(known=message[3])
        world = with_process(world, index, process)
    if not alive(entry, process.known, world.server.epoch, rules):
        return Step(f"{who}: parses a miss, asks for a lease", with_task(world, number, task._replace(at="lease")))
    violation = None
    if entry.version < task.floor:
        violation = f"a read returned version {entry.version} although {task.floor} was acknowledged before it began"
    return Step(f"{who}: parses version {entry.version}", _keep(world, index, number, entry, rules), violation)


def _keep(world: World, index: int, number: int, entry: Entry, rules: Rules) -> World:
    if not rules.settle_in_parser:
        task = world.tasks[number]._replace(at="wake", version=entry.version, stamp=entry.stamp)
        return with_task(world, number, task)
    process = world.processes[index]._replace(memory=Copy(entry.version, entry.stamp))
    return done(with_process(world, index, process), number)


def _leased(world: World, index: int, number: int, message: Message, rules: Rules) -> WorldStep:
    _, _, entry, mine, hold, generation, minted = message
    assert isinstance(generation, int)
    task, process = world.tasks[number], world.processes[index]
    own_entry, own_generation = process.expected
    expected = (own_entry, own_generation + bool(minted and rules.loop and rules.track_generation))
    world = with_process(world, index, process._replace(known=generation, expected=expected))
    who = f"task {number} (process {index})"
    if isinstance(entry, Entry) and alive(entry, generation, world.server.epoch, rules):
        violation = None
        if entry.version < task.floor:
            violation = (
                f"a read returned version {entry.version} although {task.floor} was acknowledged before it began"
            )
        return Step(f"{who}: parses version {entry.version} instead of a lease", done(world, number), violation)
    if not mine:
        return Step(f"{who}: parses that another has the lease", done(world, number))
    stamp = NOBODY if hold and rules.hold_at_lease else generation
    task = task._replace(at="load", stamp=stamp, epoch=world.server.epoch)
    return Step(f"{who}: parses its lease{' under a hold' if hold else ''}", with_task(world, number, task))


def _filled(world: World, index: int, number: int, message: Message, rules: Rules) -> WorldStep:
    task, process = world.tasks[number], world.processes[index]
    who = f"task {number} (process {index})"
    if not message[2]:
        if not rules.only_permitted_memory:
            world = with_process(world, index, process._replace(memory=Copy(task.version, process.known)))
        return Step(f"{who}: parses that its fill was refused", done(world, number))
    if rules.loop:
        own_entry, own_generation = process.expected
        world = with_process(world, index, process._replace(expected=(own_entry + 1, own_generation)))
    entry = Entry(task.version, task.stamp, task.epoch)
    return Step(f"{who}: parses that version {task.version} was stored", _keep(world, index, number, entry, rules))
