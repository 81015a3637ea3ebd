"""Entries of the remote tier: sealed, opened, judged alive or dead, and copied into memory."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.base.events import EntryRejected
from alacena.engine.base.miss_reasons import EXPIRED, INVALIDATED
from alacena.engine.base.policy import UNKEPT, Policy
from alacena.engine.base.remote_tier import ABSENT, NOT_FOUND, Found, Unsettled
from alacena.engine.codec import MSGPACK, NOTHING, Encoded, EntryError, Envelope
from alacena.engine.remote.redis.large_writes import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import NewEntry
    from alacena.engine.coherence.value_store import Received
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.store_items import Ground
    from alacena.engine.remote.redis.wire import Reply
    from alacena.engine.remote.tier_parts import TierParts

# The entry's header has four bytes for it.
_LONGEST_LOAD_MS = 2**32 - 1

_NO_VALUE = (NOTHING.codec, NOTHING.compression)
_AS_IT_IS = (MSGPACK, NOTHING.compression)
"""The ids of codec and compression of an entry without a value, and of one whose value is not compressed."""

_MOST_TYPES = 1_000

_DOLLAR = 1_000_000
"""A cost in the header is in millionths."""
_HIGHEST_COST = 2**64 - 1

_ABSENCE_S = 60.0
"""How long memory remembers that a scope has no entry of its own: a push ends it sooner."""


class Entries:
    """Entries as bytes of the server. Everything here runs inside the wire's parser or before a command is sent.

    Args:
        parts: The parts of the cache.

    Attributes:
        large_types: Types of which a large entry was seen.
    """

    def __init__(self, parts: TierParts) -> None:
        self.large_types: set[str] = set()
        self._codec = codec = parts.codec
        self._open_plain, self._decode = codec.open_plain, codec.decode
        self._coherence = parts.coherence
        self._values = parts.values
        self._keep = parts.values.keep
        self._now = parts.environment.now
        self._events = parts.events
        self._counts = parts.counts

    def sealer(self, node: Node) -> Callable[[EntryKey, Ground, NewEntry], bytes]:
        """Returns a function that gives the bytes of an entry: its value, and everything that it depends on.

        It is for entries that are written now.
        """
        # The history of before the entry is sent: if another server is promoted in between, the entry is a miss.
        codec, history, now_ms = self._codec, node.replication_id, node.server_ms()
        created_ms, is_plain, short = round(now_ms), codec.is_plain, codec.compress_over_bytes

        def seal(key: EntryKey, ground: Ground, new_entry: NewEntry) -> bytes:
            fresh_ms = expires_ms = 0
            if new_entry.fresh_for_s is not None:
                fresh_for_ms = now_ms + new_entry.fresh_for_s * 1000
                fresh_ms, expires_ms = round(fresh_for_ms), round(fresh_for_ms + new_entry.stale_for_s * 1000)
            load_ms = min(round(new_entry.load_s * 1000), _LONGEST_LOAD_MS) if new_entry.load_s else 0
            cost = min(round(new_entry.usd * _DOLLAR), _HIGHEST_COST) if new_entry.usd else 0
            payload: bytes | memoryview = b""
            how = _NO_VALUE
            if new_entry.value is not NOT_FOUND:
                how, payload = (
                    _AS_IT_IS,
                    codec.encode(new_entry.value) if new_entry.payload is None else new_entry.payload,
                )
                if len(payload) > short:
                    encoded = codec.pack(payload)
                    how, payload = (encoded.codec, encoded.compression), encoded.payload
            if is_plain and not ground.tags:
                times_ms = (created_ms, fresh_ms, expires_ms)
                # The bytes are those that the long way below would give, for a quarter of its time: most entries are plain.
                return codec.seal_plain(history, key.digest, ground.stamped, times_ms, load_ms, cost, *how, payload)
            envelope = Envelope(
                key_digest=key.digest,
                replication_id=history,
                created_ms=created_ms,
                fresh_until_ms=fresh_ms,
                expires_ms=expires_ms,
                load_ms=load_ms,
                cost=cost,
                stamps=ground.own,
                tags=tuple(
                    [
                        (key.tag_in_header(tag), nonce)
                        for tag, (_, nonce) in zip(new_entry.tags, ground.tags, strict=True)
                    ]
                ),
            )
            return codec.seal(envelope, Encoded(payload, *how), tenant=key.tenant_id)

        return seal

    def note_size(self, key: EntryKey, size: int) -> None:
        """Notes the size of an entry: of a type that has large ones, the next are read in pieces."""
        if size > PIECE_BYTES and len(self.large_types) < _MOST_TYPES:
            self.large_types.add(key.data_type)

    def keep(
        self, keys: Sequence[EntryKey], new_entries: Sequence[NewEntry], stamps: Sequence[tuple[Generation, bytes]]
    ) -> None:
        """Puts entries that were just stored into memory: entries of one type that depend on the same generations."""
        generations, nonces = zip(*stamps, strict=True)
        if len(keys) > 1:
            self._values.keep_new(keys, new_entries, generations, nonces)
            return
        (key,), (new_entry,) = keys, new_entries
        self._values.keep(
            key,
            new_entry.value,
            new_entry.payload,
            generations,
            nonces,
            fresh_for_s=new_entry.life_s,
            stale_for_s=new_entry.stale_for_s,
            load_s=new_entry.load_s,
            usd=new_entry.usd,
            policy=new_entry.policy,
        )

    def first(
        self, node: Node, keys: Sequence[EntryKey], values: Sequence[bytes | None], policy: Policy, *, keep: bool
    ) -> Found | Unsettled | None:
        """Returns the first of the keys whose entry is alive; an entry that is not there is remembered as absent."""
        for key, data in zip(keys, values, strict=False):
            if data is not None:
                hit = self.judge_fully(node, key, data, policy, keep=keep)
                if hit is not None:
                    return hit
            # Memory goes on to a more general key only where it knows that the narrower one is absent. With one key
            # there is none to go on to, and its absence would only take up room.
            if keep and len(keys) > 1:
                self._note_absence(key)
        return None

    def judge(  # noqa: C901 - one step of the most used way: a call costs more than what it would tidy up
        self,
        node: Node,
        key: EntryKey,
        generations: tuple[Generation, ...],
        policy: Policy,
        keep: bool,
        data: Reply,
    ) -> Found | Unsettled | None:
        """Judges like :meth:`judge_fully`, by the short way if the entry is a plain one; with the generations of its key.

        Raises:
            ServerReplyError: The server answered with an error.
        """
        if type(data) is not bytes:
            if data is None:
                return None
            raise data
        if len(data) > PIECE_BYTES:
            self.note_size(key, len(data))
        nonces: Any = generations[0].nonce, generations[1].nonce
        try:
            # `None` raises here, which costs nothing on a hit; to ask each nonce would.
            stamps: bytes = nonces[0] + nonces[1]
            if len(generations) > 2:
                nonces += tuple([generation.nonce for generation in generations[2:]])
                stamps = b"".join(nonces)
        except TypeError:  # one of them ended while the answer was under way
            return self.judge_fully(node, key, data, policy, keep=keep)
        plain = self._open_plain(data, node.replication_id + key.digest, stamps)
        # Not a miss but a doubt: the short way compares runs of bytes with what they must be, and only the long one may
        # say that an entry is dead, because that one knows why.
        if plain is None:
            return self.judge_fully(node, key, data, policy, keep=keep)
        fresh_ms, expires_ms, cost, load_ms, payload = plain
        fresh_for_s = math.inf
        if fresh_ms:
            now_ms = self._now() * 1000.0 + node.offset_ms
            if expires_ms <= now_ms:
                self._counts.reasons.note(key.ident, EXPIRED, (now_ms - expires_ms) / 1000)
                return None
            fresh_for_s = (fresh_ms - now_ms) / 1000
            if fresh_for_s <= 0 or (
                policy.early_refresh_beta and not keep
            ):  # it may be renewed: its stamps are asked for
                return self.judge_fully(node, key, data, policy, keep=keep)
        try:
            value = self._decode(payload)
        except EntryError:
            return self.judge_fully(node, key, data, policy, keep=keep)
        if keep:
            stale_for_s = (expires_ms - fresh_ms) / 1000
            # By position: names would be a tenth of the call, which each hit that is promoted makes.
            self._keep(
                key, value, payload, generations, nonces, fresh_for_s, stale_for_s, load_ms / 1000, policy, cost / _DOLLAR,
            )  # fmt: skip
            return Found(key, value, "redis", fresh_for_s, load_ms / 1000, generations, nonces)
        return Found(key, value, "redis", fresh_for_s, load_ms / 1000)

    def judge_many(
        self, node: Node, keys: Sequence[EntryKey], values: Sequence[bytes | None], policy: Policy, *, keep: bool
    ) -> list[Found | Unsettled | None]:
        """Returns the result of :meth:`judge_fully` for each of many, by the short way if the entries are plain ones.

        Entries that depend on the same generations are judged together: of a tenant's own entries of one type, all.
        """
        opened: list[Found | Unsettled | None] = [None] * len(keys)
        there = [index for index, data in enumerate(values) if data is not None]
        for names, run in groupby(there, key=lambda index: keys[index].generations):
            indexes = list(run)
            entries = [(keys[index], cast("bytes", values[index])) for index in indexes]
            hits = self._judge_together(node, names, entries, policy, keep=keep)
            for index, (key, data), hit in zip(indexes, entries, hits, strict=True):
                # `None` is a doubt here: the long way decides, and notes why an entry is not taken.
                opened[index] = self.judge_fully(node, key, data, policy, keep=keep) if hit is None else hit
        return opened

    def _judge_together(
        self,
        node: Node,
        names: tuple[str, ...],
        entries: Sequence[tuple[EntryKey, bytes]],
        policy: Policy,
        *,
        keep: bool,
    ) -> list[Found | None]:
        """Returns entries that depend on the same generations, and are alive beyond doubt; ``None`` if there is a doubt."""
        found: list[Found | None] = [None] * len(entries)
        generations = self._coherence.generations(names)
        nonces = tuple(generation.nonce or b"" for generation in generations)
        if not all(nonces):
            return found
        history, now_ms = node.replication_id, node.server_ms()
        identities = [history + key.digest for key, _ in entries]
        opened = self._codec.open_all_plain([data for _, data in entries], identities, b"".join(nonces))
        decode = self._codec.decoder()
        received: list[Received] = []
        for index, plain in enumerate(opened):
            if plain is None:
                continue
            key, data = entries[index]
            fresh_ms, expires_ms, cost, load_ms, start = plain
            fresh_for_s = (fresh_ms - now_ms) / 1000 if fresh_ms else math.inf
            stale_for_s = (expires_ms - fresh_ms) / 1000
            if fresh_for_s + stale_for_s <= 0:
                continue
            try:
                value = decode(data, start)
            # Swallowed here: the long way meets it again, and reports it.
            except EntryError:
                continue
            hit = found[index] = Found(key, value, "redis", fresh_for_s, load_ms / 1000)
            received.append((hit, stale_for_s, cost / _DOLLAR, data, start))
        if keep:
            self._values.keep_received(received, generations, nonces, policy)
        return found

    def judge_fully(
        self, node: Node, key: EntryKey, data: bytes, policy: Policy, *, keep: bool
    ) -> Found | Unsettled | None:
        """Returns an entry of the server, if it is ours, whole and alive; generations to ask for if that is not known yet."""
        self.note_size(key, len(data))
        try:
            envelope, plain = self._codec.open(data, key_digest=key.digest, tenant=key.tenant_id)
            depends = self._alive(node, key, envelope)
            if depends is None:
                self._counts.reasons.note(key.ident, INVALIDATED)
                return None
            if isinstance(depends, Unsettled):
                return depends
            fresh_for_s = math.inf
            if envelope.fresh_until_ms:
                fresh_for_s = (envelope.fresh_until_ms - node.server_ms()) / 1000
            stale_for_s = (envelope.expires_ms - envelope.fresh_until_ms) / 1000
            # Looked at although its key expires too: that life begins when the entry arrives, and this one when it was
            # sealed.
            if fresh_for_s + stale_for_s <= 0:
                self._counts.reasons.note(key.ident, EXPIRED, -fresh_for_s - stale_for_s)
                return None
            value = NOT_FOUND if envelope.not_found else self._codec.decode(plain)
        except EntryError as error:
            self._counts.count_rejection(key)
            self._events.emit(EntryRejected(key.tenant_id, key.data_type, key.resource_id, error.reason))
            return None
        load_s = envelope.load_ms / 1000
        generations, stamps = depends
        if keep:
            self._values.keep(
                key, value, plain, generations, stamps,
                fresh_for_s=fresh_for_s, stale_for_s=stale_for_s, load_s=load_s, usd=envelope.cost / _DOLLAR, policy=policy,
            )  # fmt: skip
        return Found(key, value, "redis", fresh_for_s, load_s, generations, stamps)

    def _note_absence(self, key: EntryKey) -> None:
        # Under no generation, because it says nothing about a value: a push on the key, which was read, ends it.
        self._values.keep(key, ABSENT, None, (), (), fresh_for_s=_ABSENCE_S, stale_for_s=0.0, load_s=0.0, policy=UNKEPT)

    def _alive(
        self, node: Node, key: EntryKey, envelope: Envelope
    ) -> tuple[tuple[Generation, ...], tuple[bytes, ...]] | Unsettled | None:
        """Returns the generations that an entry depends on, if all of them stand."""
        # Before the nonces: another history may lack the very invalidation that changed one, and they would agree.
        if envelope.replication_id != node.replication_id:
            return None
        generations = self._coherence.generations(key.generations)
        stamps = envelope.stamps
        # A miss, as of an entry of another release. Left to `strict` below, it would be an error, and end the
        # connection.
        if len(stamps) != len(generations):
            return None
        for generation, stamp in zip(generations, stamps, strict=True):
            if generation.nonce != stamp:
                return None
        if not envelope.tags:
            return generations, stamps
        tagged = self._coherence.intern_tags(key, (tag for tag, _ in envelope.tags))
        unknown = [generation for generation in tagged if generation.nonce is None]
        # Not a miss: only the entry says which tags it has, so nobody could ask for their nonces along with it.
        if unknown:
            return Unsettled(unknown)
        if any(g.nonce != stamp for g, (_, stamp) in zip(tagged, envelope.tags, strict=True)):
            return None
        return (*generations, *tagged), (*stamps, *(stamp for _, stamp in envelope.tags))


def values_of(reply: Reply) -> list[bytes | None]:
    """Returns the values that a node answered with.

    Raises:
        ServerReplyError: It answered with an error.
    """
    if isinstance(reply, ServerReplyError):
        raise reply
    return reply  # type: ignore[no-any-return]
