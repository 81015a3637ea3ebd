"""The protocol with one mechanism switched off, each as a context in which the whole cache runs without it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec import structs

from alacena.engine.base.keys import EntryKey
from alacena.engine.base.lineage import LoadReads
from alacena.engine.base.remote_tier import Lease
from alacena.engine.coherence.generation_table import GenerationTable
from alacena.engine.coherence.value_store import ValueStore
from alacena.engine.loading.single_flight import SingleFlight
from alacena.engine.memory import MemoryTier
from alacena.engine.reading import load_runner as pilot
from alacena.engine.reading.filler import Filler
from alacena.engine.remote.redis import journal, store_sender
from alacena.engine.remote.redis.entries import Entries
from alacena.engine.remote.redis.node import Node
from alacena.engine.remote.redis.owed_removals import OwedRemovals
from alacena.engine.remote.redis.redis_tier import RedisTier
from alacena.engine.remote.redis.store_sender import StoreSender
from tests.simulator import SimEnvironment, cache_twins, tracking
from tests.simulator.admission import ServerKeyspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from alacena.engine.remote.local import Keyspace
    from tests.simulator.session import Session

    Words = list[bytes]
    Edit = Callable[[Words, Words], tuple[Words, Words]]


@contextmanager
def _script(name: str, twin: Callable[[Any, Words, Words], Any]) -> Iterator[None]:
    """The server runs another script under a script's name."""
    twins = dict(cache_twins.CACHE_TWINS) | {name: twin}
    cache_twins.library_scripts.cache_clear()
    try:
        with patch.object(cache_twins, "CACHE_TWINS", twins):
            yield
    finally:
        cache_twins.library_scripts.cache_clear()


def _store(*, lease: bool = True, hold: bool = True, stamps: bool = True, reread: bool = True) -> Any:
    """``store`` without some of its checks or reads."""

    def store_one(space: Keyspace, one: cache_twins.Stored) -> bytes:
        if lease and one.token and space.execute([b"GET", one.lease]) != one.token:
            return b"lease"
        if hold and cache_twins._holds(space, one.hold):
            return b"hold"
        if stamps and any(space.execute([b"GET", name]) != nonce for name, nonce in one.generations):
            return b"generation"
        space.execute([b"STRLEN", one.entry])
        space.execute([b"SET", one.entry, one.value, *([b"PX", one.life] if int(one.life) else [])])
        space.execute([b"DEL", one.lease])
        if reread:
            space.execute([b"STRLEN", one.entry])
            space.execute([b"MGET", *(name for name, _ in one.generations)])
        return b"ok"

    return lambda space, keys, args: [store_one(space, one) for one in cache_twins.stored(keys, args)]


def _lease_blind_to_holds(space: Keyspace, keys: Words, args: Words) -> Any:
    reply = cache_twins.lease(space, keys, args)
    return [*reply[:-1], [0 for _ in reply[-1]]]


def _keep_late(copies: ValueStore, *args: Any, **kwargs: Any) -> None:
    """Memory is filled a moment after the bytes were parsed, as a coroutine that wakes up does it."""
    asyncio.get_running_loop().call_later(0.005, lambda: _keep(copies, *args, **kwargs))


_keep = ValueStore.keep
_token = SimEnvironment.token
_pushed = Node.on_push
_execute = ServerKeyspace.execute


def _constant_nonce(environment: SimEnvironment, size: int) -> bytes:
    return b"constant" if size == 8 else _token(environment, size)


def _pushes_of(*kinds: bytes | None) -> Callable[[Node, list[Any]], None]:
    """A node that heeds no push of some kinds."""

    def pushed(node: Node, push: list[Any]) -> None:
        keys = push[1]
        if keys is None:
            if None not in kinds:
                _pushed(node, push)
        elif not any(kind is not None and kind in key for kind in kinds for key in keys):
            _pushed(node, push)

    return pushed


def _serve_for_ever(node: Node, _until: float) -> None:
    node.serving_until = float("inf")
    node._tell_table()


def _judge_lightly(node: Node, doubt: str, until: float = float("-inf")) -> None:
    """What was in memory before a doubt is served again after it."""
    node.doubt, node.tracked = doubt, not doubt
    node._serve(until)


def _keep_leases(space: ServerKeyspace, words: Words) -> Any:
    if words[0] == b"UNLINK" and any(b":l:" in word for word in words):
        return 1
    return _execute(space, words)


def _lose_nothing(coherence: GenerationTable) -> None:
    """The connection is gone, and memory is kept as if nothing could have happened meanwhile."""


def _expect_two(node: Node, *keys: bytes) -> None:
    """Two of our own pushes are taken to follow, where there is one: the next writer's is swallowed."""
    for key in keys if node.tracked else ():
        node._own[key] = node._own.get(key, 0) + 2


def _beat_nothing(_node: Node, _connection: Any) -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


def _first_beat_only() -> Callable[[Node, Any], Any]:
    """The heartbeat at connect is answered and is the last one."""
    # Held, not only named by their ids: the next connection may lie where one that has gone lay.
    beaten: dict[int, Any] = {}
    beat = Node.beat

    def once(node: Node, connection: Any) -> Any:
        if id(connection) in beaten:
            return _beat_nothing(node, connection)
        beaten[id(connection)] = connection
        return beat(node, connection)

    return once


class _Loopless(tracking.TrackingTable):
    """``NOLOOP`` from the moment at which the canary has been seen."""

    def invalidate(self, key: bytes, current: Session | None, *, executing: bool) -> None:
        """Tell everybody but the client whose command runs."""
        if current is not None and b"canary" not in key:
            self._readers.get(key, {}).pop(current, None)
        super().invalidate(key, current, executing=executing)


class _Forgetful(tracking.TrackingTable):
    """Pushes come long after what they are about, and after later replies, as with BCAST and a slow flush."""

    def invalidate(self, key: bytes, current: Session | None, *, executing: bool) -> None:
        """Tell everybody later."""
        for session in self._readers.pop(key, {}):
            message = tracking.invalidation(key)
            asyncio.get_running_loop().call_later(3.0, lambda s=session, m=message: (s.push(m), s.flush()))


def _same_history(tier: Entries, node: Node, key: Any, envelope: Any) -> Any:
    """An entry's replication id is whatever the reader wants it to be."""
    return _alive(tier, node, key, structs.replace(envelope, replication_id=node.replication_id))


def _any_stamps(tier: Entries, node: Node, key: Any, envelope: Any) -> Any:
    """An entry is alive whatever the nonces of its generations are."""
    generations = tier._coherence.generations(key.generations)
    return (), () if envelope.replication_id == node.replication_id and generations else None


_alive = Entries._alive


def _endings(*, noted: bool = True, cut: bool = True) -> Any:
    """``end_tags`` that does not write endings down, or does not cut a journal that has no room for them."""

    def end_tags(space: Keyspace, keys: Words, args: Words) -> Any:
        there = [space.execute([b"UNLINK", key]) for key in keys[1:]][1:]
        length = space.execute([b"STRLEN", keys[0]])
        if length + len(args[0]) > int(args[1]):
            if cut:
                space.execute([b"UNLINK", keys[0]])
        elif length > 0 and noted:
            space.execute([b"APPEND", keys[0], args[0]])
        return there

    return end_tags


_note = LoadReads.note


def _records_of_tags(names: Sequence[str]) -> bytes:
    """Only tags are written down: another ending gets a record that nobody looks for."""
    return b"".join(_records([name]) if ":k:" in name else bytes(journal.RECORD_BYTES) for name in names)


_records = journal.records


def _overlook_the_first(name: bytes, since: bytes, remembered: bytes, tags: Sequence[str]) -> bool:
    """What was written to the journal is read from one record too far on."""
    return journal.tells_of(name, since[journal.RECORD_BYTES :], remembered, tags)


def _believe_any_name(_: bytes, since: bytes, remembered: bytes, tags: Sequence[str]) -> bool:
    """The journal's name is not compared: it may be another journal."""
    return journal.tells_of(remembered[: journal.NAME_BYTES], since, remembered, tags)


def _tells_of(names_of: Callable[[Sequence[str]], Sequence[str]]) -> AbstractContextManager[Any]:
    """Tags that were named late are compared by other names, or not all of them."""
    return patch.object(store_sender, "tells_of", lambda *args: journal.tells_of(*args[:3], names_of(args[3])))


def _late_as_at_the_lease(space: Keyspace, keys: Words, args: Words) -> Any:
    """What the journal says is read in a step of its own, long before: nothing has ended since the lease."""
    name, _, *nonces = cache_twins.late(space, keys, args)
    return [name, b"", *nonces]


@contextmanager
def _patched(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield


def _offer_what_was_found(context: Any, previous: Any, _lease: Any, _flight: Any) -> None:
    """The loader is handed what was found before the lease was asked for."""
    if previous is not None:
        context.previous, context.previous_tags = previous.value, previous.tags


async def _leave_the_older(fills: Filler, _key: Any, lease: Any, *, replaces: bool) -> None:
    if lease is not None:
        fills._remote.release(lease)


def _hold_the_entry_alone(space: Keyspace, keys: Words, args: Words) -> Any:
    """``hold`` without the generation of what the resource has at other scopes."""
    return cache_twins.hold(space, [*keys[:3], b"nothing"], args)


def _holds_of_now(space: Keyspace, hold: bytes, _: int | None = None) -> Any:
    """A reading asks only for holds that last."""
    return _holds_kept(space, hold)


_holds_kept = cache_twins._holds


async def _store_as_if_just_read(place: StoreSender, keys: Any, new_entries: Any, _begun: Any = None) -> Any:
    """A value is stamped with what is current when it is stored, whenever it was read."""
    return await _store_now(place, keys, new_entries)


_store_now = StoreSender.store_many


def _any_name(space: Keyspace, journal: bytes, _: bytes, since: bytes) -> set[bytes]:
    """What is found in a journal is believed, whatever its name is."""
    return cache_twins._records(space.execute([b"GETRANGE", journal, since, b"-1"]))


def _ask_only(kind: str) -> AbstractContextManager[Any]:
    """A reading asks its journal only about some of what covers its entries: names that hold a text."""
    kept = EntryKey.endings.fget

    def endings(key: EntryKey) -> tuple[str, ...]:
        return tuple(name for name in kept(key) if kind in name)

    return patch.object(EntryKey, "endings", property(endings))


MUTANTS: dict[str, tuple[str, Callable[[], AbstractContextManager[Any]]]] = {
    "a fill needs no lease": ("calm", lambda: _script("store", _store(lease=False))),
    "readers compare no stamps": ("calm", lambda: patch.object(Entries, "_alive", _any_stamps)),
    "a lease outlives its entry": ("calm", lambda: patch.object(ServerKeyspace, "execute", _keep_leases)),
    "a lease under a hold is redeemed": (
        "holds",
        lambda: _patched(_script("lease", _lease_blind_to_holds), _script("store", _store(hold=False))),
    ),
    "the filler is not tracked": ("trusting", lambda: _script("store", _store(reread=False))),
    "an own push is expected that does not come": ("trusting", lambda: patch.object(Node, "expect", _expect_two)),
    "memory is filled when the task wakes up": ("calm", lambda: patch.object(ValueStore, "keep", _keep_late)),
    "generations restart with the same nonce": ("calm", lambda: patch.object(SimEnvironment, "token", _constant_nonce)),
    "pushes on entries are not heeded": ("trusting", lambda: patch.object(Node, "on_push", _pushes_of(b":e:"))),
    "pushes on generations are not heeded": ("calm", lambda: patch.object(Node, "on_push", _pushes_of(b":g:"))),
    "neither the null push nor the canary's loss is heeded": (
        "trusting, flushed",
        lambda: _patched(patch.object(Node, "on_push", _pushes_of(None)), patch.object(Node, "_judge", _judge_lightly)),
    ),
    "no heartbeat bounds memory": (
        "trusting, cut off",
        lambda: _patched(patch.object(Node, "_serve", _serve_for_ever), patch.object(Node, "beat", _first_beat_only())),
    ),
    "memory survives the connection": ("cut off", lambda: patch.object(GenerationTable, "forget_all", _lose_nothing)),
    "pushes come late": ("calm", lambda: patch("tests.simulator.server.TrackingTable", _Forgetful)),
    "NOLOOP": (
        "trusting, evicting",
        lambda: _patched(
            patch("tests.simulator.server.TrackingTable", _Loopless),
            patch.object(Node, "expect", lambda *_: None),
        ),
    ),
    "no replication id": ("failing over", lambda: patch.object(Entries, "_alive", _same_history)),
    "the own process forgets last": ("calm", lambda: patch.object(RedisTier, "_forget", lambda *_: None)),
    "loads are joined after their entry was replaced": (
        "entries replaced",
        lambda: patch.object(SingleFlight, "close", lambda *_: None),
    ),
    # A deletion is told twice: by the push on the entry, and by the journal that a lease rests on.
    "loads are joined after their removal": (
        "entries removed",
        lambda: _patched(
            patch.object(SingleFlight, "close", lambda *_: None),
            patch.object(Lease, "is_current", Lease.stands),
        ),
    ),
    "what a load reads from memory is not noted": ("nested", lambda: patch.object(LoadReads, "note", lambda *_: None)),
    "what a load reads is noted without its tags": (
        "nested",
        lambda: patch.object(LoadReads, "note", lambda self, ident, _: _note(self, ident, ())),
    ),
    "the ending of a resource is not written into the journal": (
        "nested",
        lambda: patch.object(journal, "records", _records_of_tags),
    ),
    "a loader is handed what has ended": (
        "unchanged after a wait",
        lambda: patch.object(pilot, "_offer", _offer_what_was_found),
    ),
    "an older value outlives a newer one that is not stored": (
        "outgrown",
        lambda: patch.object(Filler, "_end_older", _leave_the_older),
    ),
    "a hold ends no generation": ("blocks that die", lambda: _script("hold", _hold_the_entry_alone)),
    "a hold that has come to its end by itself is forgotten": (
        "readings beside blocks that die",
        lambda: patch.object(cache_twins, "_holds", _holds_of_now),
    ),
    "a reading is stored under what is current": (
        "readings",
        lambda: patch.object(StoreSender, "store_many", _store_as_if_just_read),
    ),
    "a reading asks no journal": (
        "readings beside blocks",
        lambda: patch.object(store_sender, "questions", lambda _: ([], [])),
    ),
    "a reading does not ask for its resource": ("readings beside blocks", lambda: _ask_only(":e:")),
    "a reading does not ask for its entry": ("readings beside blocks", lambda: _ask_only(":g:")),
    "a journal begun anew is believed by a reading": (
        "readings beside blocks, flushed",
        lambda: patch.object(cache_twins, "_ended_since", _any_name),
    ),
    "the journal is not asked": (
        "named late",
        lambda: patch("alacena.engine.remote.redis.store_sender.tells_of", lambda *_: False),
    ),
    "endings are not written into the journal": ("named late", lambda: _script("end_tags", _endings(noted=False))),
    "a journal that is full is left as it is": (
        "named late",
        lambda: _patched(_script("end_tags", _endings(cut=False)), patch.object(journal, "LONGEST_BYTES", 24)),
    ),
    "the first ending after the lease is overlooked": (
        "named late",
        lambda: patch.object(store_sender, "tells_of", _overlook_the_first),
    ),
    "the journal is read as it was at the lease": ("named late", lambda: _script("late_tags", _late_as_at_the_lease)),
    "late tags are compared by their short names": (
        "named late",
        lambda: _tells_of(lambda names: [name.rpartition(":")[2] for name in names]),
    ),
    "only the first late tag is compared": ("named late", lambda: _tells_of(lambda names: names[:1])),
    "a journal begun anew is believed": (
        "named late, generations lost",
        lambda: patch.object(store_sender, "tells_of", _believe_any_name),
    ),
    "a nonce is kept where nobody tells of its end": (
        "tracking refused",
        lambda: patch.object(Node, "unlearn", lambda *_: None),
    ),
    "a nonce is kept while pushes are swallowed": (
        "pushes swallowed",
        lambda: patch.object(Node, "unlearn", lambda *_: None),
    ),
    "what is owed a removal is read": (
        "writes refused",
        lambda: patch.object(OwedRemovals, "__contains__", lambda *_: False),
    ),
    "memory forgets nothing": ("calm", lambda: patch.object(MemoryTier, "discard_wire", lambda *_: None)),
    "an entry is not asked whose it is": (
        "swapped entries",
        lambda: patch("alacena.engine.codec.envelope.compare_digest", lambda _one, _other: True),
    ),
}
"""The mutants by name, each with the plan that shows it."""
