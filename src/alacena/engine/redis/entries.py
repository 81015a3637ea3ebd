"""Entries of the second shelf: sealed, opened, judged alive or dead, and copied into memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from alacena.engine.codec import NOTHING, EntryError, Envelope
from alacena.engine.events import EntryRejected
from alacena.engine.policy import Policy
from alacena.engine.shelf import ABSENT, NOT_FOUND, Found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.codec import Codec
    from alacena.engine.coherence import Coherence
    from alacena.engine.copies import Copies
    from alacena.engine.events import Events
    from alacena.engine.generation import Generation
    from alacena.engine.keys import EntryKey
    from alacena.engine.redis.node import Node
    from alacena.engine.shelf import Counts, Parcel

_ABSENCE_S = 60.0
"""How long memory remembers that a scope has no entry of its own: a push ends it sooner."""

_NO_COPY = Policy()


class Entries:
    """What becomes of an entry's bytes. Everything here runs inside the wire's parser or before a command is sent.

    Args:
        codec: Seals and opens entries.
        coherence: What this process knows of generations.
        copies: Puts values into memory.
        events: Who is told of entries that are not ours.
        counts: Where they are counted.
    """

    def __init__(self, *, codec: Codec, coherence: Coherence, copies: Copies, events: Events, counts: Counts) -> None:
        self._codec = codec
        self._coherence = coherence
        self._copies = copies
        self._events = events
        self._counts = counts

    def sealed(
        self,
        node: Node,
        key: EntryKey,
        own: Sequence[tuple[Generation, bytes]],
        tags: Sequence[tuple[str, bytes]],
        parcel: Parcel,
    ) -> bytes:
        """The bytes of an entry: its value, and everything that it depends on."""
        now_ms = node.server_ms()
        fresh_ms = 0 if parcel.fresh_for_s is None else now_ms + parcel.fresh_for_s * 1000
        encoded = NOTHING
        if parcel.value is not NOT_FOUND:
            plain = parcel.payload if parcel.payload is not None else self._codec.encode(parcel.value)
            encoded = self._codec.pack(plain)
        envelope = Envelope(
            key_digest=key.digest,
            replication_id=node.replication_id,
            created_ms=round(now_ms),
            fresh_until_ms=round(fresh_ms),
            expires_ms=0 if parcel.fresh_for_s is None else round(fresh_ms + parcel.stale_for_s * 1000),
            load_ms=min(round(parcel.load_s * 1000), 2**32 - 1),
            stamps=tuple(nonce for _, nonce in own),
            tags=tuple(tags),
        )
        return self._codec.seal(envelope, encoded, tenant=key.tenant_id)

    def keep(self, key: EntryKey, parcel: Parcel, stamps: Sequence[tuple[Generation, bytes]]) -> None:
        """Put what was just stored into memory."""
        self._copies.keep(
            key,
            parcel.value,
            parcel.payload,
            tuple(generation for generation, _ in stamps),
            tuple(nonce for _, nonce in stamps),
            fresh_for_s=math.inf if parcel.fresh_for_s is None else parcel.fresh_for_s,
            stale_for_s=parcel.stale_for_s,
            load_s=parcel.load_s,
            policy=parcel.policy,
        )

    def first(
        self, node: Node, keys: Sequence[EntryKey], values: Sequence[bytes | None], policy: Policy, *, keep: bool
    ) -> Found | list[Generation] | None:
        """The first of the keys whose entry is alive; see :meth:`opened`. What is not there is remembered as absent."""
        for key, data in zip(keys, values, strict=False):
            if data is not None:
                hit = self.opened(node, key, data, policy, keep=keep)
                if hit is not None:
                    return hit
            if keep and len(keys) > 1:
                self._note_absence(key)
        return None

    def glanced(
        self, node: Node, key: EntryKey, data: bytes, policy: Policy, *, keep: bool
    ) -> Found | list[Generation] | None:
        """Like :meth:`opened`, by the short way where the entry is a plain one."""
        generations = self._coherence.generations(key.generations)
        nonces = [generation.nonce or b"" for generation in generations]
        found = self._codec.glance(data, node.replication_id + key.digest, b"".join(nonces))
        if found is None or not all(nonces):
            return self.opened(node, key, data, policy, keep=keep)
        fresh_ms, expires_ms, load_ms, payload = found
        fresh_for_s, stale_for_s = math.inf, 0.0
        if fresh_ms:
            fresh_for_s = (fresh_ms - node.server_ms()) / 1000
            stale_for_s = (expires_ms - fresh_ms) / 1000
            if fresh_for_s + stale_for_s <= 0:
                return None
        try:
            value = self._codec.decode(payload)
        except EntryError:
            return self.opened(node, key, data, policy, keep=keep)
        if keep:
            self._copies.keep(
                key, value, payload, generations, tuple(nonces),
                fresh_for_s=fresh_for_s, stale_for_s=stale_for_s, load_s=load_ms / 1000, policy=policy,
            )  # fmt: skip
        return Found(key, value, "redis", fresh_for_s, load_ms / 1000)

    def opened(
        self, node: Node, key: EntryKey, data: bytes, policy: Policy, *, keep: bool
    ) -> Found | list[Generation] | None:
        """An entry of the server, if it is ours, whole and alive; generations to ask for where that cannot be told yet."""
        try:
            envelope, plain = self._codec.open(data, key_digest=key.digest, tenant=key.tenant_id)
            depends = self._alive(node, key, envelope)
            if depends is None or isinstance(depends, list):
                return depends
            fresh_for_s = math.inf
            if envelope.fresh_until_ms:
                fresh_for_s = (envelope.fresh_until_ms - node.server_ms()) / 1000
            stale_for_s = (envelope.expires_ms - envelope.fresh_until_ms) / 1000
            if fresh_for_s + stale_for_s <= 0:
                return None
            value = NOT_FOUND if envelope.not_found else self._codec.decode(plain)
        except EntryError as error:
            self._counts.rejected_entries += 1
            self._events.emit(EntryRejected(key.tenant_id, key.data_type, key.resource_id, error.reason))
            return None
        load_s = envelope.load_ms / 1000
        generations, stamps = depends
        if keep:
            self._copies.keep(
                key, value, plain, generations, stamps,
                fresh_for_s=fresh_for_s, stale_for_s=stale_for_s, load_s=load_s, policy=policy,
            )  # fmt: skip
        return Found(key, value, "redis", fresh_for_s, load_s, generations)

    def described(self, node: Node, key: EntryKey, data: bytes, nonces: Sequence[bytes | None]) -> dict[str, Any]:
        """What an entry says of itself, for people."""
        try:
            envelope, plain = self._codec.open(data, key_digest=key.digest, tenant=key.tenant_id)
        except EntryError as error:
            return {"valid": False, "why": f"{error.reason}: {error}"}
        now_ms = node.server_ms()
        return {
            "valid": True,
            "bytes": len(data),
            "payload_bytes": len(plain),
            "age_s": (now_ms - envelope.created_ms) / 1000,
            "fresh_for_s": (envelope.fresh_until_ms - now_ms) / 1000 if envelope.fresh_until_ms else None,
            "load_s": envelope.load_ms / 1000,
            "tags": [tag for tag, _ in envelope.tags],
            "same_history": envelope.replication_id == node.replication_id,
            "generations_stand": [stamp == nonce for stamp, nonce in zip(envelope.stamps, nonces, strict=False)],
            "not_found": envelope.not_found,
        }

    def _note_absence(self, key: EntryKey) -> None:
        self._copies.keep(
            key, ABSENT, None, (), (), fresh_for_s=_ABSENCE_S, stale_for_s=0.0, load_s=0.0, policy=_NO_COPY
        )

    def _alive(
        self, node: Node, key: EntryKey, envelope: Envelope
    ) -> tuple[tuple[Generation, ...], tuple[bytes, ...]] | list[Generation] | None:
        """What an entry depends on, if all of it stands."""
        if envelope.replication_id != node.replication_id:
            return None
        generations = self._coherence.generations(key.generations)
        stamps = envelope.stamps
        if len(stamps) != len(generations):
            return None
        for generation, stamp in zip(generations, stamps, strict=True):
            if generation.nonce != stamp:
                return None
        if not envelope.tags:
            return generations, stamps
        tagged = self._coherence.tagged(key, (tag for tag, _ in envelope.tags))
        unknown = [generation for generation in tagged if generation.nonce is None]
        if unknown:
            return unknown
        if any(g.nonce != stamp for g, (_, stamp) in zip(tagged, envelope.tags, strict=True)):
            return None
        return (*generations, *tagged), (*stamps, *(stamp for _, stamp in envelope.tags))
