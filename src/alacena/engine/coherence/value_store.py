"""Values in memory, kept so that no caller can change one for the others.

An immutable value is kept and handed out as it is, an array read-only and without a copy. A mutable container is kept
encoded and every reader gets a private copy, at the price of a decode; where the data type's policy says ``shared``, all
readers get the same object.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from alacena.engine.base.lineage import UNDER_WAY
from alacena.engine.base.remote_tier import MISSING, Found, Nothing
from alacena.engine.codec import is_immutable, size_of
from alacena.engine.codec.arrays import is_array
from alacena.engine.loading.load import LOAD
from alacena.engine.memory import ENTRY_BYTES, UNGROUNDED, MemoryEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey, Ident
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import NewEntry
    from alacena.engine.codec import Codec
    from alacena.engine.memory import MemoryTier

    _Generations: TypeAlias = tuple[Generation, ...]
    _Stamps: TypeAlias = tuple[bytes, ...]

_UNKNOWN_LOAD_S = 0.05
"""What a value that nobody loaded here is taken to cost, so that it stands among the others."""

_WORTH_OF_A_DOLLAR = 100.0
"""How much longer than by a second of load time a dollar keeps a value in memory: a cent counts as a second does."""

_BYTES_BYTES = sys.getsizeof(b"")

_HEADER_BYTES = 1024
"""What may lie before an array in the bytes that it was received in."""

Received: TypeAlias = tuple[Found, float, float, bytes, int]
"""The entry that was found, for how many seconds after its expiry it may be served, what it cost in dollars, its bytes,
and where in them its payload begins."""
_GROUND = 2
"""How many generations an entry of the whole tenant has: the tenant's and the type's, which its neighbours share."""

_MOST_GROUNDS = 4096

_COARSE_LIFE_S = 20.0
_STEP_S = 0.125
_STEPS_EXPONENT = 12
"""A long life ends on a grid of a 2,048th to a 4,096th of itself: lives are spread, and on a fixed grid those of a day would
hardly meet."""
_MOST_NUMBERS = 4096

_GRAIN_BYTES = 16
_GRADED_BYTES = 1 << 14
_CHARGES = tuple(range(ENTRY_BYTES, ENTRY_BYTES + _GRADED_BYTES + 1, _GRAIN_BYTES))
"""A number is an object of 32 bytes: those that many entries have in common are shared."""

_REFRESH_WINDOW = 20.0
"""In units of load time and beta: earlier than that, XFetch is due less than once in 10^8 reads."""


class ValueStore:
    """Puts values into memory and hands them out again.

    Args:
        memory: The memory tier.
        codec: Encodes values that cannot be shared.
        environment: The clock.
    """

    def __init__(self, memory: MemoryTier, codec: Codec, environment: Environment) -> None:
        self.memory = memory
        self._codec = codec
        # One bound method for all entries: made for each, it would take a tenth of what an entry does.
        self._decode = codec.decode
        self._environment = environment
        self._now = environment.now
        self._put = memory.put
        self._grounds: dict[_Generations, tuple[_Generations, _Stamps]] = {}
        self._instants: dict[float, float] = {}
        self._costs: dict[float, float] = {}

    def keep(
        self,
        key: EntryKey,
        value: Any,
        payload: bytes | memoryview | None,
        generations: tuple[Generation, ...],
        stamps: tuple[bytes, ...],
        fresh_for_s: float,
        stale_for_s: float,
        load_s: float,
        policy: Policy,
        usd: float = 0.0,
    ) -> bool:
        """Puts one entry into memory, and says whether it was kept there.

        Its generations are compared with its stamps at the first read, not here: this process may have ended one of
        them already, with its own removal still under way.

        Args:
            key: Its key.
            value: Its value; taken over, not copied, so it must be no other caller's unless it is immutable.
            payload: Its encoded form, where the caller has it.
            generations: The generations that it depends on.
            stamps: The nonces of these when the value was permitted.
            fresh_for_s: Seconds until it is stale, ``inf`` for ever; negative if it is stale already.
            stale_for_s: Seconds after that during which it may be served stale.
            load_s: How long its load took, in seconds: that drives the early refresh.
            usd: The price of its load, in dollars: with the time, that is what its place in memory is worth.
            policy: Whether it may be shared.
        """
        now = self._now()
        ground = self._grounds.get(generations)
        if ground is None or ground[1] != stamps:
            ground = self._ground(generations, stamps)
        entry = self._make_entry(key, value, payload, ground, now, fresh_for_s, stale_for_s, load_s, usd, policy)
        return self._put(entry, now)

    def keep_new(
        self,
        keys: Sequence[EntryKey],
        new_entries: Sequence[NewEntry],
        generations: tuple[Generation, ...],
        stamps: tuple[bytes, ...],
    ) -> list[bool]:
        """Puts new entries of one type into memory that depend on the same generations; see :meth:`keep`."""
        now, ground = self._environment.now(), self._ground(generations, stamps)
        return self.memory.put_all(
            [
                self._make_entry(
                    key,
                    new.value,
                    new.payload,
                    ground,
                    now,
                    new.life_s,
                    new.stale_for_s,
                    new.load_s,
                    new.usd,
                    new.policy,
                )
                for key, new in zip(keys, new_entries, strict=True)
            ]
        )

    def _make_entry(
        self,
        key: EntryKey,
        value: Any,
        payload: bytes | memoryview | None,
        ground: tuple[_Generations, _Stamps],
        now: float,
        fresh_for_s: float,
        stale_for_s: float,
        load_s: float,
        usd: float,
        policy: Policy,
    ) -> MemoryEntry:
        """Returns an entry for memory: its value in the form in which it is kept, and its life."""
        value, thaw = self._prepare_kept(value, payload, policy)
        is_eager = policy.early_refresh_beta and load_s and not math.isinf(fresh_for_s)
        # With dollars in it, `cost` does not tell how long the load took: `_Refreshed` keeps that.
        if is_eager or usd:
            window_s = _REFRESH_WINDOW * load_s * policy.early_refresh_beta if is_eager else 0.0
            thaw = _Refreshed(thaw, now + fresh_for_s - window_s, self._environment, load_s)
        fresh_until = self._instant(now, fresh_for_s)
        size = len(value) + _BYTES_BYTES if type(value) is bytes else size_of(value)
        return MemoryEntry(
            key.ident,
            value,
            key.wire_key,
            _charge(size),
            thaw,
            fresh_until,
            fresh_until + stale_for_s if stale_for_s else fresh_until,
            ground,
            self._cost(load_s, usd) if load_s or usd else _UNKNOWN_LOAD_S,
        )

    def keep_received(
        self,
        received: Iterable[Received],
        generations: tuple[Generation, ...],
        stamps: tuple[bytes, ...],
        policy: Policy,
    ) -> None:
        """Puts many entries into memory that have just been received and depend on the same generations; see :meth:`keep`."""
        if policy.early_refresh_beta:
            for found, stale_for_s, usd, data, start in received:
                self.keep(
                    found.key, found.value, memoryview(data)[start:], generations, stamps,
                    fresh_for_s=found.fresh_for_s, stale_for_s=stale_for_s, load_s=found.load_s, usd=usd, policy=policy,
                )  # fmt: skip
            return
        ground = self._ground(generations, stamps)
        now = self._environment.now()
        entries = []
        for found, stale_for_s, usd, data, start in received:
            key, value, thaw = found.key, found.value, None
            # An array that is a view keeps the whole entry alive: it may, if it is most of the entry.
            if getattr(value, "base", None) is data and len(data) <= 1.5 * value.nbytes + _HEADER_BYTES:
                size = sys.getsizeof(value) + sys.getsizeof(data)
            else:
                value, thaw = self._prepare_kept(value, memoryview(data)[start:], policy)
                size = size_of(value)
            if usd:
                thaw = _Refreshed(thaw, now + found.fresh_for_s, self._environment, found.load_s)
            fresh_until = self._instant(now, found.fresh_for_s)
            entries.append(
                MemoryEntry(
                    key.ident,
                    value,
                    key.wire_key,
                    _charge(size),
                    thaw,
                    fresh_until,
                    fresh_until + stale_for_s if stale_for_s else fresh_until,
                    ground,
                    self._cost(found.load_s, usd),
                )
            )
        self.memory.put_all(entries)

    def _prepare_kept(
        self, value: Any, payload: bytes | memoryview | None, policy: Policy
    ) -> tuple[Any, Callable[[Any], Any] | None]:
        """Returns the form in which a value is kept, and the function that makes a reader's private copy of it."""
        kind = type(value)
        if kind is str or kind is bytes:
            return value, None
        if kind is Nothing:
            return value, _return_nothing
        # The copy lets go of the entry on which the payload may be a view.
        if kind is dict and payload is not None and not policy.shared:
            return bytes(payload), self._decode
        if type(payload) is bytes and is_array(value):
            # The bytes are this entry's own: the array over them is read-only, and what the caller has is not looked at.
            return self._codec.decode(payload), None
        shows_buffer = hasattr(value, "__array_interface__")
        as_it_is = policy.shared or is_immutable(value)
        if as_it_is and not (shows_buffer and _holds_more_than_it_shows(value)):
            return value, None
        encoded = bytes(payload) if payload is not None else self._codec.encode(value)
        # An array that can be written to, or shows a part of a larger one, becomes a read-only copy for all readers.
        return (self._codec.decode(encoded), None) if shows_buffer or policy.shared else (encoded, self._decode)

    def _ground(self, generations: _Generations, stamps: _Stamps) -> tuple[_Generations, _Stamps]:
        """Returns the pair of an earlier entry, if there was one: the entries of a type mostly stand on the same ground."""
        if len(generations) != _GROUND:
            return (generations, stamps) if generations else UNGROUNDED
        known = self._grounds.get(generations)
        if known is None or known[1] != stamps:
            if len(self._grounds) >= _MOST_GROUNDS:
                self._grounds.clear()
            known = self._grounds[generations] = (generations, stamps)
        return known

    def _instant(self, now: float, life_s: float) -> float:
        """Returns when a life ends that begins now; a long one a moment earlier, so that neighbours can share the number."""
        if not _COARSE_LIFE_S <= life_s < math.inf:
            return now + life_s
        instants = self._instants
        if len(instants) >= _MOST_NUMBERS:
            instants.clear()
        # A power of two, so that lives that differ by their spread alone stand on one grid.
        step_s = max(_STEP_S, math.ldexp(1.0, math.frexp(life_s)[1] - _STEPS_EXPONENT))
        instant = (now + life_s) // step_s * step_s
        return instants.setdefault(instant, instant)

    def _cost(self, load_s: float, usd: float) -> float:
        if not load_s and not usd:
            return _UNKNOWN_LOAD_S
        # The times that the server has are rounded already, and mostly known.
        if not usd and (known := self._costs.get(load_s)) is not None:
            return known
        cost = (load_s or _UNKNOWN_LOAD_S) + usd * _WORTH_OF_A_DOLLAR
        if len(self._costs) >= _MOST_NUMBERS:
            self._costs.clear()
        # Rounded, so that many share the number; but never to 0, with which an entry could not win against any other.
        cost = round(cost, 3) or cost
        return self._costs.setdefault(cost, cost)

    def peeker(self) -> Callable[[Ident], Any]:
        """Returns a function that gives the fresh value under an ident, or ``MISSING``: the shortest way to a value.

        It is a closure because a look at a local costs half of a look at an attribute, and this runs on every hit.
        """
        memory, entries = self.memory, self.memory.entries
        under_way, loading = UNDER_WAY, LOAD.get
        clock, which = _take_apart(self._environment.now)

        def peek(ident: Ident) -> Any:
            entry: MemoryEntry | None = entries[ident]  # `get` would be a call more on every hit
            if entry is None:
                return MISSING
            instant = clock(which)
            # `memory.get` compares the generations, and counts the hit by itself.
            if entry.checked != memory.epoch:
                if memory.get(ident, instant) is None:
                    return MISSING
            elif instant >= entry.fresh_until or instant > memory.serving_until:
                return MISSING
            else:
                entry.hits += 1
            if under_way and (load := loading()) is not None:
                load.reads.note_entry(entry.ident, entry.generations)
            thaw = entry.thaw
            return entry.value if thaw is None else thaw(entry.value)

        return peek

    def entry_peeker(self) -> Callable[[Ident, float], MemoryEntry | None]:
        """Returns a function that gives the entry of the value that is fresh at an instant, counted as read, or ``None``."""
        memory, entries = self.memory, self.memory.entries
        under_way, loading = UNDER_WAY, LOAD.get

        def peek_entry(ident: Ident, instant: float) -> MemoryEntry | None:
            entry: MemoryEntry | None = entries[ident]
            if entry is None:
                return None
            if entry.checked != memory.epoch:
                if memory.get(ident, instant) is None:
                    return None
            elif instant >= entry.fresh_until or instant > memory.serving_until:
                return None
            else:
                entry.hits += 1
            if under_way and (load := loading()) is not None:
                load.reads.note_entry(entry.ident, entry.generations)
            return entry

        return peek_entry

    @staticmethod
    def hand_out(entry: MemoryEntry) -> Any:
        """Returns the value of an entry, private to the receiver if it could be changed; a kind of nothing as it is."""
        if isinstance(entry.value, Nothing):
            return entry.value
        thaw = entry.thaw.plain if isinstance(entry.thaw, _Refreshed) else entry.thaw
        return entry.value if thaw is None else thaw(entry.value)

    def hand_out_as_found(self, key: EntryKey, entry: MemoryEntry) -> Found:
        """Returns an entry as a tier's answer."""
        load_s = self.load_s(entry)
        value, fresh_for_s = self.hand_out(entry), self.fresh_for(entry)
        return Found(key, value, "memory", fresh_for_s, load_s, entry.generations, entry.stamps)

    def load_s(self, entry: MemoryEntry) -> float:
        """Returns how long the value took to load, in seconds."""
        # The cost of an entry counts money too: it decides what stays in memory, not how early an entry is renewed.
        return entry.thaw.load_s if isinstance(entry.thaw, _Refreshed) else entry.cost

    def fresh_for(self, entry: MemoryEntry) -> float:
        """Returns the seconds that an entry stays fresh; negative if it is stale."""
        return math.inf if entry.fresh_until == math.inf else entry.fresh_until - self._environment.now()


class _Refreshed:
    """Hands out a value until its early refresh may be due; from then on a reader must go the longer way and decide.

    Args:
        plain: How the value is handed out; ``None``: as it is.
        until: Instant from which the longer way is taken.
        environment: The clock.
    """

    __slots__ = ("_environment", "_until", "load_s", "plain")

    def __init__(
        self, plain: Callable[[Any], Any] | None, until: float, environment: Environment, load_s: float
    ) -> None:
        self.plain = plain
        self.load_s = load_s
        self._until = until
        self._environment = environment

    def __call__(self, value: Any) -> Any:
        if self._environment.now() >= self._until:
            return MISSING
        return value if self.plain is None else self.plain(value)


def _take_apart(now: Callable[[], float]) -> tuple[Callable[[Any], float], Any]:
    """Returns a clock and its argument: a partial that adds it takes a fifth of the time that the clock does."""
    if isinstance(now, partial) and len(now.args) == 1 and not now.keywords:
        return now.func, now.args[0]
    return lambda _: now(), None


def _charge(size: int) -> int:
    """Returns the bytes that are counted for an entry, rounded up so that entries of about the same size share the number."""
    return _CHARGES[(size + _GRAIN_BYTES - 1) // _GRAIN_BYTES] if size <= _GRADED_BYTES else size + ENTRY_BYTES


def _holds_more_than_it_shows(array: Any) -> bool:
    """Returns whether keeping an array would keep a larger buffer alive, of which it is a part."""
    return array.base is not None and size_of(array) > 1.5 * array.nbytes + _HEADER_BYTES


def _return_nothing(_: object) -> object:
    """Returns the result of a look that knows only values for a remembered absence."""
    return MISSING
