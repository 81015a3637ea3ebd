"""The states of the model: one entry, its lease, its generation and its hold; processes that read it; one writer.

Time is abstract: a lease may expire whenever a lease can, and the heartbeat's bound is counted in ticks (see `World`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

ENTRY, LEASE, GENERATION = "entry", "lease", "generation"
NOBODY = -1

Verb = Literal["key", "scope", "store", "hold"]
"""What the writer does after (``hold``: around) its commit: unlink entry and lease, unlink the generation, store
the new value, or hold the entry."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The mechanisms of the protocol. Each default is the protocol; each other value is a mutant.

    Attributes:
        token: Whose a lease is: the ``request``'s, the ``process``'s, or ``nobody``'s (no check at the fill).
        unlink_lease: Invalidating the entry ends its lease.
        unlink: Entry and lease are removed in one step, or in two with others' commands between them.
        stamps_at_fill: The fill compares the generation with the one read with the lease.
        stamps_at_read: A reader compares the entry's stamp with the generation.
        stamp_of_lease: The stamp is the generation read with the lease, not one read when filling.
        fresh_nonce: A missing generation is minted with a new nonce, not with a constant.
        epoch_in_entry: A reader wants the entry's replication id to be the server's.
        epoch_in_lease: A fill is refused if the replication id is not the lease's.
        entry_epoch_of_lease: The entry carries the lease's replication id, not the one at the fill.
        settle_in_parser: A reply is put into memory in the order of the bytes, not when its task wakes up.
        read_after_write: The fill reads the entry at its end, so that it is tracked.
        read_before_write: The fill reads the entry before it writes, so that its own push is certain.
        loop: Tracking without ``NOLOOP``.
        pushes_in_order: Pushes stand before later replies (default mode); not so in ``BCAST``.
        flush_on_loss: Memory is emptied when the connection is lost.
        heed_null_push: FLUSHALL's push is heeded.
        track_generation: The generation is read on the tracked connection.
        generation_kills_memory: A push on the generation ends the entries under it.
        heartbeat: Memory is served only for a tick after the last answered heartbeat was sent.
        hold_at_lease: A lease taken under a hold is never redeemed.
        hold_at_fill: A fill under a hold is refused.
        after_commit: The writer invalidates after its commit, not before.
        memory_first: The writer's own memory forgets before the server is told, and again at the answer.
        bar_flights: Nobody joins a load after what it loads was invalidated.
        only_permitted_memory: A refused fill stays out of memory.
        stamp_in_lease: A lease whose generation has changed is given to whoever asks next.
        no_useless_waits: It is wrong to wait for a load that can store nothing.
    """

    token: Literal["request", "process", "nobody"] = "request"
    unlink_lease: bool = True
    unlink: Literal["together", "lease first", "entry first"] = "together"
    stamps_at_fill: bool = True
    stamps_at_read: bool = True
    stamp_of_lease: bool = True
    fresh_nonce: bool = True
    epoch_in_entry: bool = True
    epoch_in_lease: bool = True
    entry_epoch_of_lease: bool = True
    settle_in_parser: bool = True
    read_after_write: bool = True
    read_before_write: bool = True
    loop: bool = True
    pushes_in_order: bool = True
    flush_on_loss: bool = True
    heed_null_push: bool = True
    track_generation: bool = True
    generation_kills_memory: bool = True
    heartbeat: bool = True
    hold_at_lease: bool = True
    hold_at_fill: bool = True
    after_commit: bool = True
    memory_first: bool = True
    bar_flights: bool = True
    only_permitted_memory: bool = True
    stamp_in_lease: bool = True
    no_useless_waits: bool = True


@dataclass(frozen=True, slots=True)
class Scope:
    """How large the model is.

    Attributes:
        tasks: The process of each reading task.
        reads: How often each task reads.
        plan: What the writer does, commit by commit.
        writer: The process that writes; ``NOBODY``: one without memory.
        faults: How often each fault may strike: ``expire``, ``evict``, ``evict_generation``, ``evict_lease``, ``drop``,
            ``silence``, ``flush``, ``failover``, ``crash``, ``tick``.
        join: Whether tasks of a process join each other's loads.
    """

    tasks: tuple[int, ...]
    reads: int = 1
    plan: tuple[Verb, ...] = ("key",)
    writer: int = NOBODY
    faults: dict[str, int] = field(default_factory=dict)
    join: bool = False

    @property
    def processes(self) -> int:
        """How many processes there are."""
        return max(*self.tasks, self.writer, 0) + 1


class Entry(NamedTuple):
    """An entry of the server."""

    version: int
    stamp: int
    epoch: int


class Lease(NamedTuple):
    """A lease on the server: its token, which names its replication id, and the generation that it rests on."""

    token: tuple[int, int]
    epoch: int
    stamp: int


class Server(NamedTuple):
    """The server: its keys and who tracks them. Generation ``0`` means that it is missing."""

    entry: Entry | None = None
    lease: Lease | None = None
    generation: int = 0
    hold: bool = False
    epoch: int = 0
    tracked: tuple[frozenset[str], ...] = ()


class Copy(NamedTuple):
    """An entry in a process's memory."""

    version: int
    stamp: int


class Process(NamedTuple):
    """A process: its connection's inbox, its memory and what it knows.

    Attributes:
        inbox: Replies and pushes in the order of the bytes.
        memory: Its copy of the entry.
        known: The generation as it knows it; 0: unknown.
        expected: Its own pushes on the entry and on the generation that are still to come.
        silenced: Whether the connection is half-open: what the server sends is lost.
        serves_until: The last tick in which memory may be served.
    """

    inbox: tuple[tuple[object, ...], ...] = ()
    memory: Copy | None = None
    known: int = 0
    expected: tuple[int, int] = (0, 0)
    silenced: bool = False
    serves_until: int = 1


class Task(NamedTuple):
    """A reading task.

    Attributes:
        at: ``idle``, ``find``, ``lease``, ``load``, ``loaded``, ``fill`` (under way), ``zombie`` (the fill is under way
            on a connection that its process gave up), ``wake`` (mutants: answered, not yet run), ``joined``, ``await``
            (executed, the reply is under way).
        left: Reads still to do.
        floor: The least version that this read may return.
        stamp: The generation read with the lease.
        epoch: The replication id of the lease.
        version: What was loaded.
        barred: Whether the load is closed to newcomers.
        leader: Whose load it joined.
    """

    at: str = "idle"
    left: int = 1
    floor: int = 0
    stamp: int = 0
    epoch: int = 0
    version: int = 0
    barred: bool = False
    leader: int = NOBODY


class World(NamedTuple):
    """Everything, with what only an onlooker knows.

    Attributes:
        committed: The version that the source holds.
        acked: The highest version whose invalidation was acknowledged.
        acked_ticks: The same at the start of the previous tick and of this one. A tick lasts as long as the staleness
            bound, so what was acknowledged before the previous tick began is older than the bound.
        tick: Counts ticks.
        minted: Counts nonces.
        replica: What the replica has; ``None``: nothing yet.
        plan: The writer's remaining verbs.
        writing: Where the writer is.
        faults: What may still happen.
    """

    server: Server
    processes: tuple[Process, ...]
    tasks: tuple[Task, ...]
    plan: tuple[Verb, ...]
    faults: tuple[tuple[str, int], ...]
    writing: str = "idle"
    committed: int = 0
    acked: int = 0
    acked_ticks: tuple[int, int] = (0, 0)
    tick: int = 0
    minted: int = 0
    replica: Server | None = None


def start(scope: Scope) -> World:
    """The first state: a cold cache, everybody connected."""
    nothing: frozenset[str] = frozenset()
    return World(
        server=Server(tracked=(nothing,) * scope.processes),
        processes=(Process(),) * scope.processes,
        tasks=tuple(Task(left=scope.reads) for _ in scope.tasks),
        plan=scope.plan,
        faults=tuple(sorted(scope.faults.items())),
    )
