"""What the model's server does: atomic steps, and the pushes they cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.state import ENTRY, GENERATION, LEASE, NOBODY, Entry, Lease, Process, Rules, Server, World

if TYPE_CHECKING:
    from collections.abc import Iterable

Message = tuple[object, ...]


def with_process(world: World, index: int, process: Process) -> World:
    """The world with one process replaced."""
    processes = world.processes
    return world._replace(processes=(*processes[:index], process, *processes[index + 1 :]))


def post(world: World, index: int, message: Message, *, ahead: bool = False) -> World:
    """Put a message into a process's inbox; a silenced connection swallows it."""
    process = world.processes[index]
    if process.silenced:
        return world
    inbox = (message, *process.inbox) if ahead else (*process.inbox, message)
    return with_process(world, index, process._replace(inbox=inbox))


def track(world: World, index: int, keys: Iterable[str]) -> World:
    """Remember that a process read keys."""
    tracked = world.server.tracked
    mine = tracked[index].union(keys)
    return world._replace(server=world.server._replace(tracked=(*tracked[:index], mine, *tracked[index + 1 :])))


def changed(world: World, key: str, rules: Rules, by: int = NOBODY) -> World:
    """Tell the readers of a key that it changed, and forget them.

    The process whose command changed it hears of it behind the reply: call this for it after posting the reply.
    """
    for index, keys in enumerate(world.server.tracked):
        if key in keys:
            if index != by or rules.loop:
                world = post(world, index, ("push", key))
            tracked = world.server.tracked
            rest = tracked[index] - {key}
            world = world._replace(
                server=world.server._replace(tracked=(*tracked[:index], rest, *tracked[index + 1 :]))
            )
    return world


def execute_find(world: World, number: int, index: int, rules: Rules) -> World:
    """``MGET`` of the entry, and of the generation where the process does not know it."""
    server = world.server
    world = track(world, index, [ENTRY, GENERATION] if rules.track_generation else [ENTRY])
    return post(world, index, ("found", number, server.entry, server.generation))


def execute_lease(world: World, number: int, index: int, rules: Rules) -> tuple[World, str | None]:
    """The lease script: mint a missing generation, take the lease if it is free, read everything.

    Says what is wrong if it leaves the lease with a load that can store nothing, for the asker to wait for.
    """
    server = world.server
    minted = not server.generation
    if minted:
        nonce = world.minted + 1 if rules.fresh_nonce else 1
        server = server._replace(generation=nonce)
        world = world._replace(minted=world.minted + 1)
    token = _token(world, number, index, rules)
    redeemable = server.lease is not None and server.lease.stamp == server.generation
    free = server.lease is None or (rules.stamp_in_lease and not redeemable)
    useless = rules.no_useless_waits and not free and not redeemable
    violation = "a read waits for a load whose generation has ended" if useless else None
    if free:
        taken = server.lease is not None
        server = server._replace(lease=Lease(token, server.epoch, server.generation))
        if taken:
            world = changed(world._replace(server=server), LEASE, rules)
            server = world.server
    mine = free or (server.lease is not None and server.lease.token == token)
    before = track(world._replace(server=server), index, [GENERATION] if rules.track_generation else [])
    world = _to_others(before, GENERATION, index) if minted else before
    reply = ("leased", number, server.entry, mine or rules.token == "nobody", server.hold, server.generation, minted)
    world = post(world, index, reply)
    if minted:
        world = _own_push(world, GENERATION, index, rules)
    return track(world, index, [ENTRY, GENERATION] if rules.track_generation else [ENTRY]), violation


def execute_fill(world: World, number: int, index: int, rules: Rules) -> tuple[World, str | None]:
    """The store script, for a lease. Says what is wrong if it stores what an acknowledged invalidation ended."""
    task, server = world.tasks[number], world.server
    accepted = _permits(world, number, index, rules)
    violation = None
    if accepted:
        stamp = task.stamp if rules.stamp_of_lease else server.generation
        epoch = task.epoch if rules.entry_epoch_of_lease else server.epoch
        if task.version < world.acked and alive(
            Entry(task.version, stamp, epoch), server.generation, server.epoch, rules
        ):
            violation = (
                f"version {task.version} was stored after the invalidation for version {world.acked} was acknowledged"
            )
        world = world._replace(server=server._replace(entry=Entry(task.version, stamp, epoch), lease=None))
        if rules.read_before_write:
            world = track(world, index, [ENTRY])
        world = changed(_to_others(world, ENTRY, index), LEASE, rules, index)
    if task.at != "zombie":
        world = post(world, index, ("filled", number, accepted))
    if accepted:
        world = _own_push(world, ENTRY, index, rules, answered=task.at != "zombie")
        if rules.read_after_write and task.at != "zombie":
            world = track(world, index, [ENTRY, GENERATION] if rules.track_generation else [ENTRY])
    return world, violation


def _permits(world: World, number: int, index: int, rules: Rules) -> bool:
    task, server = world.tasks[number], world.server
    token = _token(world, number, index, rules)
    leased = server.lease is not None and server.lease.token == token
    if rules.epoch_in_lease and leased and server.lease is not None:
        leased = server.lease.epoch == task.epoch
    if rules.token != "nobody" and not leased:
        return False
    if rules.hold_at_fill and server.hold:
        return False
    return not rules.stamps_at_fill or server.generation == task.stamp


def execute_store(world: World, index: int, known: int, rules: Rules) -> World:
    """The store script for a value that the writer vouches for; mints the generation where it is missing."""
    server = world.server
    if not server.generation:
        world = world._replace(minted=world.minted + 1)
        server = server._replace(generation=world.minted if rules.fresh_nonce else 1)
    stamp = known or server.generation
    if (rules.stamps_at_fill and stamp != server.generation) or server.hold:
        return world._replace(server=server)
    entry = Entry(world.committed, stamp, server.epoch)
    world = changed(world._replace(server=server._replace(entry=entry, lease=None)), ENTRY, rules)
    return changed(world, LEASE, rules)


def execute_unlink(world: World, key: str, rules: Rules, by: int) -> World:
    """``UNLINK`` of one key: a key that is not there pushes nothing."""
    server = world.server
    if key == GENERATION:
        after, was_there = server._replace(generation=0), bool(server.generation)
    elif key == ENTRY:
        after, was_there = server._replace(entry=None), server.entry is not None
    else:
        after, was_there = server._replace(lease=None), server.lease is not None
    world = world._replace(server=after)
    return changed(world, key, rules, by) if was_there else world


def alive(entry: Entry | None, generation: int, epoch: int, rules: Rules) -> bool:
    """Whether an entry may be served, for whoever knows this generation and this replication id."""
    if entry is None or (rules.epoch_in_entry and entry.epoch != epoch):
        return False
    return not rules.stamps_at_read or (entry.stamp == generation and generation != 0)


def snapshot(server: Server) -> Server:
    """What replication carries."""
    return server._replace(tracked=(), epoch=0)


def _token(world: World, number: int, index: int, rules: Rules) -> tuple[int, int]:
    return (-1, index) if rules.token == "process" else (number, world.tasks[number].left)


def _to_others(world: World, key: str, index: int) -> World:
    """Push a change to every reader but the one whose command runs, whose own push comes behind its reply."""
    for other, keys in enumerate(world.server.tracked):
        if key in keys and other != index:
            world = post(world, other, ("push", key))
            world = _untrack(world, key, other)
    return world


def _own_push(world: World, key: str, index: int, rules: Rules, *, answered: bool = True) -> World:
    if key not in world.server.tracked[index]:
        return world
    if rules.loop and answered:
        world = post(world, index, ("push", key))
    return _untrack(world, key, index)


def _untrack(world: World, key: str, index: int) -> World:
    tracked = world.server.tracked
    rest = tracked[index] - {key}
    return world._replace(server=world.server._replace(tracked=(*tracked[:index], rest, *tracked[index + 1 :])))
