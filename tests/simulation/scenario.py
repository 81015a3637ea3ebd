"""A small service on the whole cache, in a simulation: processes that read, write, invalidate and get hurt.

Everything that it does is judged afterwards by the stale-read rule; what a read returns is checked on the spot.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from unittest.mock import patch

from alacena.engine.api.cache import Cache
from alacena.engine.base.policy import Policy
from alacena.engine.base.remote_tier import MISSING
from alacena.engine.base.scope import Scope
from alacena.engine.base.settings import Settings
from alacena.engine.loading.load import UNCHANGED
from alacena.engine.remote.redis import large_writes
from alacena.testing.staleness import Operation, Report, check
from tests.simulator import (
    LinkProfile,
    Replication,
    SimOptions,
    SimProcess,
    SimServer,
    SimSource,
    Simulation,
    run,
)
from tests.simulator.server import EXPIRY_CYCLE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.base.remote_tier import Lookup
    from tests.simulator.eviction import Policy as Eviction

TENANTS = ("acme", "zeta")
TYPE = "document"
BOUND_S = 1.0

Fault = Literal[
    "pause", "suspend", "server_pause", "restart_kept", "restart_lost", "flush", "kill_clients", "reset", "stall",
    "vanish", "half_open_up", "half_open_down", "failover", "evict", "lose_generation", "kill", "lose_scripts", "wall",
    "swap", "refuse_writes",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run consists of.

    Attributes:
        processes: Processes with a cache each.
        readers: Reading tasks a process.
        writers: Writing tasks a process.
        writing_processes: How many of the processes write.
        keys: Resources of each tenant.
        duration_s: How long they work, in virtual seconds.
        pause_s: Mean pause of a reader between reads.
        write_pause_s: Mean pause of a writer between writes.
        verbs: How writers make a commit known.
        faults: What may happen; each is drawn alike.
        fault_every_s: Mean pause between two faults.
        profile: The network's habits.
        eviction: The server's policy, with `maxmemory_bytes`.
        maxmemory_bytes: The server's limit; 0: none.
        tracking_table: ``tracking-table-max-keys``.
        memory_ratio: Part of the reads that memory may answer.
        abandon_ratio: Part of the holds whose writer never comes back after its commit.
        hold_s: How long a hold lasts.
        slow_load_ratio: Chance that a load takes seconds.
        lag_s: How far the server's replica is behind.
        bound_s: The cache's staleness bound.
        tracking: Whether the server tells of changes: it does, refuses to, or something swallows what it says.
        nested: Whether half of the reads ask for an answer, which is made from the entry that the others read.
        late_tags: Whether loaders name two documents once they have read them; the verb ``"document"`` invalidates it.
        conditional: Whether an expired value is kept if its version is still the source's, and loads may fail or wait.
        outgrown_ratio: Chance that a loaded value cannot be stored; some loads are refreshes then.
        piece_bytes: Entries that are longer are sent in pieces of so many bytes; 0: as long ones are.
        scoped: Whether half of the reads are of an agent's own entry, and all name their document; some write blocks name it too.
    """

    processes: int = 3
    readers: int = 2
    writers: int = 1
    writing_processes: int = 1_000
    keys: int = 2
    duration_s: float = 6.0
    pause_s: float = 0.02
    write_pause_s: float = 0.2
    verbs: tuple[str, ...] = ("resource", "resource", "type", "tenant", "write", "tag")
    faults: tuple[Fault, ...] = ()
    fault_every_s: float = 0.7
    profile: LinkProfile = field(default_factory=lambda: LinkProfile(split_ratio=0.1))
    eviction: Eviction = "noeviction"
    maxmemory_bytes: int = 0
    tracking_table: int = 1_000_000
    memory_ratio: float = 0.8
    abandon_ratio: float = 0.0
    hold_s: float = 0.5
    slow_load_ratio: float = 0.02
    lag_s: tuple[float, float] = (0.001, 0.2)
    bound_s: float = BOUND_S
    nested: bool = False
    late_tags: bool = False
    tracking: Literal["works", "refused", "swallowed"] = "works"
    conditional: bool = False
    outgrown_ratio: float = 0.0
    scoped: bool = False
    piece_bytes: int = 0


@dataclass
class Record:
    """What a run did.

    Attributes:
        history: Reads and acknowledged invalidations.
        loads: How many loads there were.
        faults: What happened.
        stats: The counters of every cache that was closed in order.
        trace_digest: Stands for everything that happened.
    """

    history: list[Operation] = field(default_factory=list)
    loads: int = 0
    faults: list[str] = field(default_factory=list)
    stats: list[dict[str, Any]] = field(default_factory=list)
    trace_digest: str = ""


class Service:
    """The processes, the server and the source of one run."""

    def __init__(self, sim: Simulation, plan: Plan) -> None:
        self.sim = sim
        self.plan = plan
        self.record = Record()
        self.source = SimSource(sim, read_s=(0.001, 0.03))
        self.server = self._server("server", ("redis", 6379))
        self.replication: Replication | None = None
        self.processes: list[SimProcess] = []
        self.abandoned: list[Any] = []
        self.moved: dict[bytes, None] = {}
        self.ended_by: dict[tuple[str, str], int] = {}
        self.ending = False
        if "failover" in plan.faults:
            self._add_replica()
        for tenant in TENANTS:
            for number in range(plan.keys):
                self.source.commit({f"{tenant}/d{number}": None})

    def _server(self, name: str, address: tuple[str, int]) -> SimServer:
        plan = self.plan
        server = SimServer(
            self.sim, address, name=name, policy=plan.eviction, maxmemory_bytes=plan.maxmemory_bytes,
            tracking_table_max_keys=plan.tracking_table,
        )  # fmt: skip
        server.tracks = plan.tracking
        return server

    def _add_replica(self) -> None:
        replica = self._server(f"replica{len(self.record.faults)}", ("replica", 0))
        self.replication = Replication(self.server, replica, lag_s=self.plan.lag_s)

    async def work(self) -> None:
        """Run everything to its end."""
        bodies = []
        for number in range(self.plan.processes):
            process = self.sim.process(f"p{number}", wall_skew_s=600.0 * (number - 1))
            self.processes.append(process)
            bodies.append(process.spawn(self._process(process)))
        fate = asyncio.create_task(self._fate())
        await asyncio.sleep(self.plan.duration_s)
        self.ending = True
        if not fate.cancel():
            fate.result()
        for process in self.processes:
            if process.alive:
                process.resume()
        self.server.process.resume()
        self.sim.network.calm()
        living = [body for body, process in zip(bodies, self.processes, strict=True) if process.alive]
        await asyncio.wait_for(asyncio.gather(*living), 60)

    async def _process(self, process: SimProcess) -> None:
        settings = Settings(
            redis_url="redis://redis:6379",
            staleness_bound_s=self.plan.bound_s,
            lease_s=2.0,
            ttl_jitter_ratio=0.0,
            fleet_every_s=None,
        )
        policies = {TYPE: Policy(ttl=0.3, stale_if_error_s=60.0)} if self.plan.conditional else {}
        async with Cache(settings, environment=process.environment, policies=policies) as cache:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.plan.readers):
                    group.create_task(self._reader(process, cache))
                for _ in range(self.plan.writers if self.processes.index(process) < self.plan.writing_processes else 0):
                    group.create_task(self._writer(process, cache))
            self.record.stats.append(cache.stats())

    # Reading

    async def _reader(self, process: SimProcess, cache: Cache) -> None:
        chance = self.sim.chance
        while not self.ending:
            await asyncio.sleep(chance.expovariate(1 / self.plan.pause_s))
            tenant, resource = self._pick()
            use_memory = chance.random() < self.plan.memory_ratio
            with_loader = chance.random() < 0.8
            called_at = self.sim.now()
            least = self.ended_by.get((process.name, f"{tenant}/{resource}"), 0)
            loader = self._loader(tenant, resource) if with_loader else None
            found = await self._read(cache, tenant, resource, loader, use_memory=use_memory)
            if found is None or not found.found:
                continue
            owner, name, version = found.value
            assert (owner, name) == (tenant, resource), f"{tenant}/{resource} was answered with {owner}/{name}"
            assert version >= least, f"{process.name} reads {version} after it has ended all before {least} itself"
            bound_s = None if use_memory and self.plan.tracking == "works" else 0.0
            self._note("read", f"{tenant}/{resource}", version, called_at, process, bound_s)
            self.sim.trace.note(
                "read",
                process.name,
                f"{tenant}/{resource} v{version} {found.source} {found.tier} {use_memory} {called_at:.5f}",
            )

    async def _read(
        self, cache: Cache, tenant: str, resource: str, loader: Callable[[Any], Any] | None, *, use_memory: bool
    ) -> Lookup[Any] | None:
        chance = self.sim.chance
        if self.plan.outgrown_ratio and loader is not None and chance.random() < 0.3:
            called_at = self.sim.now()
            value = await cache.refresh(TYPE, resource, tenant, loader, tags=("all",))
            # Nobody meets an older one afterwards. What is done behind the answer is given the time of a few round trips.
            settled_at = self.sim.now() + 0.3
            self._append("invalidate", f"{tenant}/{resource}", value[2], called_at, settled_at, "a refresh", None)
            return None
        if self.plan.nested and chance.random() < 0.5:
            made = None if loader is None else self._answer(tenant, resource, cache, use_memory)
            return await cache.lookup("answer", resource, tenant, made, use_memory=use_memory)
        options: dict[str, Any] = {"tags": ("all",)}
        whose: Any = tenant
        if self.plan.scoped:
            options["document_ids"] = (resource,)
            if chance.random() < 0.5:
                whose, options["search_hierarchy"] = Scope(tenant, agent_id="a1"), False
        try:
            return await cache.lookup(TYPE, resource, whose, loader, use_memory=use_memory, **options)
        except ConnectionError:
            return None

    def _loader(self, tenant: str, resource: str) -> Callable[[Any], Any]:
        async def load(context: Any) -> list[Any]:
            self.record.loads += 1
            chance = self.sim.chance
            if self.plan.conditional:
                if chance.random() < 0.3:
                    await asyncio.sleep(chance.random())
                    raise ConnectionError("the source is away")
                if context.previous is not MISSING:
                    # What the cache says that it has is believed, as a source does that is asked with its version.
                    return UNCHANGED
            row = await self.source.read(f"{tenant}/{resource}")
            if chance.random() < self.plan.outgrown_ratio:
                context.skip()
            if self.sim.chance.random() < self.plan.slow_load_ratio:
                await asyncio.sleep(3 * self.sim.chance.random())
            if self.plan.late_tags:
                context.depends_on(("preface", resource))
            return [tenant, resource, row.version]

        return load

    def _answer(self, tenant: str, resource: str, cache: Cache, use_memory: bool) -> Callable[[], Any]:
        """A loader that asks the cache, and names nothing itself."""

        async def load() -> Any:
            loader = self._loader(tenant, resource)
            value = await cache.load(TYPE, resource, tenant, loader, tags=("all",), use_memory=use_memory)
            if self.sim.chance.random() < self.plan.slow_load_ratio:
                await asyncio.sleep(3 * self.sim.chance.random())
            return value

        return load

    # Writing

    async def _writer(self, process: SimProcess, cache: Cache) -> None:
        chance = self.sim.chance
        while not self.ending:
            await asyncio.sleep(chance.expovariate(1 / self.plan.write_pause_s))
            tenant, resource = self._pick()
            verb = chance.choice(self.plan.verbs)
            await self._write(verb, tenant, resource, process, cache)

    async def _write(self, verb: str, tenant: str, resource: str, process: SimProcess, cache: Cache) -> None:
        key = f"{tenant}/{resource}"
        called_at = self.sim.now()
        if verb == "commit":
            await self._commit(key)
            return
        if verb == "reading":
            await self._ingest(tenant, resource, cache)
            return
        if verb == "batch":
            await self._ingest_all(tenant, cache)
            return
        if verb == "write":
            version, confirmed = await self._hold_and_write(tenant, resource, process, cache)
        elif verb == "set":
            # Of two writers the slower one may store the older value: a plan with this verb has one.
            version = await self._commit(key)
            confirmed = await cache.set(TYPE, resource, [tenant, resource, version], tenant, tags=("all",))
            if not confirmed:
                return
        else:
            version = await self._commit(key)
            confirmed = await self._invalidate(verb, tenant, resource, cache) > 0
        mine = (process.name, key)
        # Confirmed or not: the process that invalidates reads nothing older from then on.
        self.ended_by[mine] = max(version, self.ended_by.get(mine, 0))
        if confirmed:
            self._note("invalidate", key, version, called_at, process)

    async def _hold_and_write(self, tenant: str, resource: str, process: SimProcess, cache: Cache) -> tuple[int, bool]:
        """Commit under a hold; sometimes the writer never comes back, and the hold's expiry must be enough."""
        key = f"{tenant}/{resource}"
        failures = cache.stats()["backend_failures"]
        documents = (resource,) if self.plan.scoped and self.sim.chance.random() < 0.3 else ()
        block = cache.write(tenant, (TYPE, resource), document_ids=documents, hold_s=self.plan.hold_s)
        await block.__aenter__()
        held = cache.stats()["backend_failures"] == failures
        await asyncio.sleep(self.plan.hold_s / 4 * self.sim.chance.random())
        version = self.source.commit({key: None})[key]
        if held:
            now = self.sim.now()
            self._append(
                "invalidate", key, version, now, now + self.plan.hold_s + EXPIRY_CYCLE_S, "the hold's expiry", None
            )
        await asyncio.sleep(self.plan.hold_s / 4 * self.sim.chance.random())
        if self.sim.chance.random() < self.plan.abandon_ratio:
            self.abandoned.append(block)
            return version, False
        await block.__aexit__(None, None, None)
        return version, cache.stats()["backend_failures"] == failures

    async def _ingest(self, tenant: str, resource: str, cache: Cache) -> None:
        """Read, work for a while, and store what was read, unless it was invalidated meanwhile."""
        early = self.sim.chance.random() < 0.5
        known = {"document_ids": (resource, "preface")} if early else {}
        async with cache.reading(tenant, tags=("all",), data_types=(TYPE,), **known) as reading:
            row = await self.source.read(f"{tenant}/{resource}")
            await asyncio.sleep(self.sim.chance.random() / 2)
            named = {} if early else {"document_ids": ("preface", resource)}
            await reading.set(TYPE, resource, [tenant, resource, row.version], **named)

    async def _ingest_all(self, tenant: str, cache: Cache) -> None:
        """Read all resources of a tenant, work for a while, and store them at once."""
        async with cache.reading(tenant, tags=("all",), data_types=(TYPE,)) as reading:
            versions = {}
            for number in range(self.plan.keys):
                versions[f"d{number}"] = (await self.source.read(f"{tenant}/d{number}")).version
            await asyncio.sleep(self.sim.chance.random() / 2)
            values = {resource: [tenant, resource, version] for resource, version in versions.items()}
            await reading.set_many(TYPE, values)

    async def _commit(self, key: str) -> int:
        async with self.source.transaction() as transaction:
            transaction.put(key, None)
        return self.source.version(key)

    @staticmethod
    async def _invalidate(verb: str, tenant: str, resource: str, cache: Cache) -> int:
        if verb == "resource":
            return await cache.invalidate(tenant, TYPE, resource)
        if verb == "delete":
            return await cache.delete(TYPE, resource, tenant)
        if verb == "type":
            return await cache.invalidate(tenant, TYPE)
        if verb == "tag":
            return await cache.invalidate(tenant, tags=("all",))
        if verb == "document":
            return await cache.invalidate(tenant, document_ids=(resource,))
        return await cache.invalidate(tenant)

    def _pick(self) -> tuple[str, str]:
        return self.sim.chance.choice(TENANTS), f"d{self.sim.chance.randrange(self.plan.keys)}"

    def _note(
        self, kind: Any, key: str, version: int, called_at: float, process: SimProcess, bound_s: float | None = None
    ) -> None:
        self._append(kind, key, version, called_at, self.sim.now(), process.name, bound_s)

    def _append(
        self, kind: Any, key: str, version: int, called_at: float, returned_at: float, actor: str, bound_s: float | None
    ) -> None:
        operation = Operation(
            kind=kind,
            key=key,
            version=version,
            called_at=called_at,
            returned_at=returned_at,
            actor=actor,
            bound_s=bound_s,
        )
        self.record.history.append(operation)

    # Fate

    async def _fate(self) -> None:
        chance = self.sim.chance
        while self.plan.faults:
            await asyncio.sleep(chance.expovariate(1 / self.plan.fault_every_s))
            fault = chance.choice(self.plan.faults)
            self.record.faults.append(fault)
            self.sim.trace.note("fate", "-", fault)
            FATES[fault](self)

    def any_process(self) -> SimProcess | None:
        """A process that is alive, if one is."""
        living = [process for process in self.processes if process.alive]
        return self.sim.chance.choice(living) if living else None

    def any_link(self) -> Any:
        """An open connection, if there is one."""
        links = self.sim.network.links_to(self.server.address)
        return self.sim.chance.choice(links) if links else None

    def evict(self, marks: tuple[bytes, ...]) -> None:
        """Evict a random key that has one of the marks."""
        keys = [key for key in self.server.keyspace.names() if any(mark in key for mark in marks)]
        if keys:
            self.server.evict(self.sim.chance.choice(sorted(keys)))

    def swap(self) -> None:
        """Put one entry's bytes under another entry's key, as a mistaken writer would.

        Never bytes that were moved before: an old entry that comes back under its own key is nobody's mistake.
        """
        space = self.server.keyspace
        values = {key: space.peek(key) for key in sorted(space.names()) if b":e:" in key}
        sources = [key for key, value in values.items() if value not in self.moved]
        if sources and len(values) > 1:
            source = self.sim.chance.choice(sources)
            target = self.sim.chance.choice([key for key in values if key != source])
            value = values[source]
            assert isinstance(value, bytes)
            self.moved[value] = None
            space.put(target, value, space.deadline_ms(source))
            self.server.flush()

    def fail_over(self) -> None:
        """Promote the replica and give the new primary a replica of its own."""
        if self.replication is not None:
            self.server = self.replication.replica
            self.replication.fail_over()
            self._add_replica()

    def kill(self) -> None:
        """Kill a process, but never the last one."""
        if sum(process.alive for process in self.processes) > 1:
            process = self.any_process()
            assert process is not None
            process.kill(silently=self.sim.chance.random() < 0.3)


def _for_process(action: Callable[[SimProcess, Service], object]) -> Callable[[Service], None]:
    def strike(service: Service) -> None:
        process = service.any_process()
        if process is not None:
            action(process, service)

    return strike


def _for_link(action: Callable[[Any, Service], object]) -> Callable[[Service], None]:
    def strike(service: Service) -> None:
        link = service.any_link()
        if link is not None:
            action(link, service)

    return strike


def _stall(link: Any, service: Service) -> None:
    pipe = service.sim.chance.choice((link.up, link.down))
    pipe.stall()
    service.sim.loop.call_later(2 * service.sim.chance.random(), pipe.release)


def _refuse_writes(service: Service) -> None:
    server = service.server
    server.refusing_writes = "MISCONF Errors writing to disk: commands that may modify the data set are disabled."
    server.simulation.loop.call_later(1.5 * service.sim.chance.random(), setattr, server, "refusing_writes", None)


FATES: dict[str, Callable[[Service], None]] = {
    "evict": lambda service: service.evict((b":e:", b":l:", b":p:")),
    "failover": lambda service: service.fail_over(),
    "flush": lambda service: service.server.flush_everything(),
    "half_open_down": _for_link(lambda link, _service: link.down.blackhole()),
    "half_open_up": _for_link(lambda link, _service: link.up.blackhole()),
    "kill": lambda service: service.kill(),
    "kill_clients": lambda service: service.server.kill_clients(),
    "lose_generation": lambda service: service.evict((b":g:",)),
    "lose_scripts": lambda service: service.server.loaded.clear(),
    "pause": _for_process(lambda process, service: process.pause_for(3 * service.sim.chance.random())),
    "refuse_writes": _refuse_writes,
    "reset": _for_link(lambda link, _service: link.reset()),
    "restart_kept": lambda service: service.server.restart("kept"),
    "restart_lost": lambda service: service.server.restart("lost"),
    "server_pause": lambda service: service.server.process.pause_for(2 * service.sim.chance.random()),
    "stall": _for_link(_stall),
    "swap": lambda service: service.swap(),
    "suspend": _for_process(lambda process, service: process.suspend(3 * service.sim.chance.random())),
    "vanish": _for_link(lambda link, _service: link.vanish()),
    "wall": _for_process(
        lambda process, service: process.environment.step_wall(7200 * (service.sim.chance.random() - 0.5))
    ),
}


def play(
    plan: Plan, seed: int, *, options: SimOptions | None = None, sabotage: Callable[[Service], None] | None = None
) -> tuple[Record, Report]:
    """Run a plan with a seed and judge what it did."""

    async def main(sim: Simulation) -> Record:
        service = Service(sim, plan)
        if sabotage is not None:
            sabotage(service)
        await service.work()
        return service.record

    with patch.object(large_writes, "PIECE_BYTES", plan.piece_bytes or large_writes.PIECE_BYTES):
        outcome = run(main, seed=seed, options=options or SimOptions(profile=plan.profile))
    outcome.result.trace_digest = outcome.trace.digest()
    return outcome.result, check(outcome.result.history, plan.bound_s)
