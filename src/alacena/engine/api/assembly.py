"""Assembly of the parts of a cache, and its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from alacena.coordination.coordination_context import CoordinationContext, Reports
from alacena.coordination.element_codec import Elements
from alacena.engine.api.coordination import Coordination
from alacena.engine.api.process_view import ProcessView, observe
from alacena.engine.base.closing import Deadline, take_apart
from alacena.engine.base.counts import Counts
from alacena.engine.base.health import Health
from alacena.engine.base.keys import Keys
from alacena.engine.codec import Codec
from alacena.engine.codec.element_cipher import ElementCipher
from alacena.engine.coherence.generation_table import GenerationTable
from alacena.engine.coherence.value_store import ValueStore
from alacena.engine.loading.single_flight import SingleFlight
from alacena.engine.loading.source_backoff import SourceBackoff
from alacena.engine.memory import MemoryBounds, MemoryTier
from alacena.engine.memory.memory_sweeper import MemorySweeper
from alacena.engine.reading.batch_reader import BatchReader
from alacena.engine.reading.filler import Filler
from alacena.engine.reading.load_runner import LoadRunner
from alacena.engine.reading.reader import Reader
from alacena.engine.reading.reading_parts import ReadingParts
from alacena.engine.reading.tiered_lookup import TieredLookup
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.engine.remote.local.local_tier import LocalTier
from alacena.engine.remote.tier_parts import TierParts
from alacena.engine.writing.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from alacena.engine.base.credentials import CredentialProvider
    from alacena.engine.base.environment import Environment
    from alacena.engine.base.events import Events
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import RemoteTier
    from alacena.engine.base.settings import Settings
    from alacena.engine.codec import Keyring
    from alacena.engine.coherence.store_changes import StoreChanges
    from alacena.engine.remote.backend import Backend
    from alacena.ledger.ledger import Authority

    Closer: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

_CLOSING_S = 5.0
_FREED_A_TURN = 2_000


@dataclass(slots=True)
class Parts:
    """The parts of an open cache."""

    keys: Keys
    memory: MemoryTier
    copies: ValueStore
    flights: SingleFlight
    remote: RemoteTier
    reader: Reader
    writer: Writer
    batches: BatchReader
    desk: Coordination
    counts: Counts
    health: Health
    environment: Environment
    source_backoff: SourceBackoff
    sweeper: MemorySweeper
    process_view: ProcessView
    url: str | None
    closers: list[Closer] = field(default_factory=list)

    async def close(self, timeout_s: float) -> None:
        """Finishes the work under way, then takes the parts apart.

        Args:
            timeout_s: How long the work may take. The rest is then cancelled and has moments to end.

        Cancellation: the rest is taken apart all the same, at once.
        """
        deadline = Deadline(timeout_s)
        self.sweeper.stop()
        self.process_view.recorder.stop()
        # Taken apart from the end: loads are drained while coordination and the connection still work.
        own = (self.process_view.fleet.close, partial(self.desk.close, deadline), partial(self._drain, deadline))
        steps: list[Closer] = [*self.closers, *own]
        try:
            await take_apart(steps, deadline)
        finally:
            self.memory.clear()
            await self._free_memory()

    async def _free_memory(self) -> None:
        """Takes the entries of memory apart, a little in each turn of the loop."""
        import asyncio

        try:
            # Any instant will do: `clear` has left nothing that could expire, only what it took out.
            left = self.memory.expire(0.0, _FREED_A_TURN)
            while left:
                await asyncio.sleep(0)
                left = self.memory.expire(0.0, _FREED_A_TURN)
        finally:  # at once, if there is no more time for turns
            while self.memory.expire(0.0, _FREED_A_TURN):
                pass

    async def _drain(self, deadline: Deadline) -> None:
        await self.flights.drain(deadline.left_s())

    def let_go(self) -> None:
        """Forgets the parts after the end of their event loop, and ends a server of this process, which outlives it."""
        if self.url is not None:
            from alacena.engine.remote.redis.embedded import end_orphans

            end_orphans()

    async def explain(self, key: EntryKey, wider: Sequence[EntryKey] = ()) -> dict[str, Any]:
        """Returns the parts' knowledge of one entry, and which of the wider ones are there."""
        answers = self.process_view.process_facts
        found = {**answers.facts(key), **await self.remote.inspect(key, wider)}
        return {**found, "ended_for_s": answers.find_end_age(found.get("ended_generations", ()))}

    def stats(self) -> dict[str, Any]:
        """Counts since the cache was opened."""
        background = self.desk.health()
        return {
            **self.counts.stats(),
            "flights": len(self.flights),
            "memory": self.memory.stats(),
            "background": background,
        }


async def assemble(
    settings: Settings,
    environment: Environment,
    events: Events,
    authority: Authority | None = None,
    keyring: Keyring | None = None,
    credentials: CredentialProvider | None = None,
) -> Parts:
    """Builds the parts of a cache and connects them. A failure leaves nothing running."""
    closers: list[Closer] = []
    done = False
    try:
        parts = await _assemble(settings, environment, events, authority, keyring, credentials, closers)
        done = True
    finally:
        # In `finally` and not in an `except`: an opening that is cancelled must close what it opened, too.
        if not done:
            await take_apart(closers, Deadline(_CLOSING_S))
    return parts


async def _assemble(
    settings: Settings,
    environment: Environment,
    events: Events,
    authority: Authority | None,
    keyring: Keyring | None,
    credentials: CredentialProvider | None,
    closers: list[Closer],
) -> Parts:
    import asyncio

    keys = keys_of(settings)
    counts, health = Counts(environment.now), Health()
    memory = _memory(settings, environment, keys, counts)
    source_backoff = SourceBackoff(environment)
    flights = SingleFlight(memory, environment, settings.staleness_bound_s, source_backoff)
    coherence = GenerationTable(memory, flights, environment.now)
    codec = _codec(settings, keyring)
    copies = ValueStore(memory, codec, environment)
    tier_parts = TierParts(
        keys=keys,
        coherence=coherence,
        values=copies,
        codec=codec,
        flights=flights,
        environment=environment,
        events=events,
        counts=counts,
        settings=settings,
        health=health,
    )
    # `closers` is the caller's list: if a later step fails, the caller closes what was opened up to then.
    remote, store, url = await _open_remote_tier(tier_parts, credentials, closers)
    common = ReadingParts(remote, keys, events, counts, environment, settings)
    tiers = TieredLookup(common, memory, copies)
    reader, batches, writer = _make_doors(common, tiers, codec, flights, source_backoff, coherence.calls)
    reports = Reports(events.emit, health, counts)
    port = CoordinationContext(store, keys, environment, _elements(codec, settings, keyring), reports)
    desk = Coordination(port, authority=authority, spill_path=settings.ledger_spill_path)
    observation = observe(
        common, memory=memory, flights=flights, source_backoff=source_backoff, health=health, store=store,
        locks=desk.locks, ends=coherence.ends, is_shared=url is not None,
    )  # fmt: skip
    desk.start()  # last: its tasks would run on if a later step failed
    return Parts(
        keys=keys,
        memory=memory,
        copies=copies,
        flights=flights,
        remote=remote,
        reader=reader,
        writer=writer,
        batches=batches,
        desk=desk,
        counts=counts,
        health=health,
        environment=environment,
        source_backoff=source_backoff,
        sweeper=MemorySweeper(memory, environment, asyncio.get_running_loop()),
        process_view=observation,
        url=url,
        closers=closers,
    )


def _make_doors(
    common: ReadingParts,
    tiers: TieredLookup,
    codec: Codec,
    flights: SingleFlight,
    source_backoff: SourceBackoff,
    calls: list[StoreChanges],
) -> tuple[Reader, BatchReader, Writer]:
    """Makes the parts that read one entry, read many, and write."""
    fills = Filler(common, tiers, codec)
    runner = LoadRunner(common, tiers, flights, fills, source_backoff)
    reader = Reader(common, tiers, flights, runner, fills, source_backoff)
    writer = Writer(common, tiers, fills, flights, calls)
    return reader, BatchReader(common, tiers, flights, runner, fills, reader), writer


def _codec(settings: Settings, keyring: Keyring | None) -> Codec:
    return Codec(
        compress_over_bytes=settings.compress_over_bytes,
        max_value_bytes=settings.max_value_bytes,
        integrity_key=None if settings.integrity_key is None else settings.integrity_key.encode(),
        keyring=keyring,
    )


def _elements(codec: Codec, settings: Settings, keyring: Keyring | None) -> Elements:
    cipher = None if keyring is None else ElementCipher(keyring, refuse_plain=settings.integrity_key is not None)
    return Elements(codec.encode, codec.decode, codec.canonical, cipher)


def _memory(settings: Settings, environment: Environment, keys: Keys, counts: Counts) -> MemoryTier:
    return MemoryTier(
        MemoryBounds(
            max_bytes=settings.memory_max_bytes,
            max_entries=settings.memory_max_entries,
            weights=settings.memory_weights,
        ),
        environment=environment,
        ident_of=keys.ident_of,
        counts=counts,
    )


def keys_of(settings: Settings) -> Keys:
    """Returns the renderer of the keys of a cache with these settings."""
    secret = None if settings.key_secret is None else settings.key_secret.encode()
    return Keys(settings.namespace, secret=secret, buckets=settings.tenant_buckets)


async def _open_remote_tier(
    parts: TierParts, credentials: CredentialProvider | None, closers: list[Closer]
) -> tuple[RemoteTier, Backend, str | None]:
    """Returns the tier, the store under coordination, and the address at which other processes reach both."""
    if parts.settings.redis_url is None:
        backend = LocalBackend(parts.environment)
        closers.append(backend.close)
        return LocalTier(parts.coherence, parts.values, parts.environment), backend, None
    from alacena.engine.remote.redis.factory import open_redis

    return await open_redis(parts, credentials, closers)
