"""Inspection of one entry on the server: whether a read would take it, and if not, which generation ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.base.keys import MANY, MARK
from alacena.engine.base.remote_tier import LEASE_MARK_BYTES
from alacena.engine.base.scope import Scope
from alacena.engine.codec import EntryError
from alacena.engine.remote.redis.journal import pick_ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.base.keys import EntryKey, Keys
    from alacena.engine.codec import Codec, Envelope
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.nodes import Nodes
    from alacena.engine.remote.redis.wire import Command, Reply

_COVERED: Final = {"t": "tenant", "y": "type", "r": "resource", "a": "agent", "v": "conversation", "c": "collection"}


class Inspection:
    """Looks at entries without taking or keeping them.

    Args:
        nodes: The servers.
        keys: Renders names.
        codec: Opens entries.
        timeout_s: How long to wait for an answer.
    """

    def __init__(self, nodes: Nodes, keys: Keys, codec: Codec, timeout_s: float) -> None:
        self._nodes = nodes
        self._keys = keys
        self._codec = codec
        self._timeout_s = timeout_s

    async def inspect(self, key: EntryKey, wider: Sequence[EntryKey] = ()) -> dict[str, Any]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.inspect`."""
        node, names = self._nodes.of(key.entry), [*key.generations]
        # Nothing is learnt from the answers: what an operator asks must not change what readers know.
        (entry, lease, *nonces), lease_ms, holds, journal, *others = await self._ask(
            node,
            key,
            ("MGET", key.entry, key.lease, *names),
            ("PTTL", key.lease),
            ("ZRANGE", key.hold, -1, -1, "WITHSCORES"),
            ("GETRANGE", key.journal, 0, -1),
            *(("EXISTS", other.entry) for other in wider),
        )
        resource = self._keys.resource_generation(key.data_type, key.resource_id, Scope(key.tenant_id))
        hold_s = (holds[0][1] - node.server_ms()) / 1000 if holds else 0.0
        lately = pick_ended(journal, dict.fromkeys((*names, resource)))
        report: dict[str, Any] = {
            "tier": node.facts.server,
            "key": key.entry.decode(),
            "lease": lease is not None,
            "lease_holder": None if lease is None else lease[:LEASE_MARK_BYTES].hex(),
            "lease_left_s": None if lease is None else lease_ms / 1000,
            "hold": hold_s > 0,
            "hold_left_s": hold_s if hold_s > 0 else None,
            "generations": {name: nonce.hex() if nonce else None for name, nonce in zip(names, nonces, strict=True)},
            "ended_lately": list(map(_describe_generation, lately)),
            "ended_generations": list(lately),
            "wider": [other.scope.parts for other, there in zip(wider, others, strict=True) if there],
            "entry": None,
        }
        if entry is not None:
            report["entry"] = described = await self._describe(node, key, entry, nonces)
            report["ended_generations"] = described.pop("ended_generations", [])
        return report

    async def _describe(self, node: Node, key: EntryKey, data: bytes, nonces: Sequence[bytes | None]) -> dict[str, Any]:
        try:
            envelope, plain = self._codec.open(data, key_digest=key.digest, tenant=key.tenant_id)
        except EntryError as error:
            return {"valid": False, "why": f"{error.reason}: {error}"}
        tagged: Sequence[bytes | None] = ()
        if envelope.tags:
            (tagged,) = await self._ask(node, key, ("MGET", *(key.tag_name(tag) for tag, _ in envelope.tags)))
        now_ms = node.server_ms()
        ended = _list_ended(key, envelope, nonces, tagged)
        # Not strict: an entry of another release may have fewer stamps, and is to be shown all the same.
        names = [
            name for name, stamp, nonce in zip(key.generations, envelope.stamps, nonces, strict=False) if stamp != nonce
        ]
        names += [
            key.tag_name(tag) for (tag, stamp), nonce in zip(envelope.tags, tagged, strict=False) if stamp != nonce
        ]
        is_of_history = envelope.replication_id == node.replication_id
        why = None
        if ended:
            why = "ended: " + ", ".join(ended)
        elif not is_of_history:
            why = "the server has lost the state that it was stored under"
        elif envelope.expires_ms and envelope.expires_ms <= now_ms:
            why = "expired"
        return {
            "valid": why is None,
            "why": why,
            "ended": ended,
            "ended_generations": names,
            "bytes": len(data),
            "payload_bytes": len(plain),
            "age_s": (now_ms - envelope.created_ms) / 1000,
            "fresh_for_s": (envelope.fresh_until_ms - now_ms) / 1000 if envelope.fresh_until_ms else None,
            "load_s": envelope.load_ms / 1000,
            "tags": [tag.removeprefix(MARK) for tag, _ in envelope.tags],
            "same_history": is_of_history,
            "generations_stand": [stamp == nonce for stamp, nonce in zip(envelope.stamps, nonces, strict=False)],
            "not_found": envelope.not_found,
        }

    async def _ask(self, node: Node, key: EntryKey, *commands: Command) -> list[Any]:
        return await node.exchange(
            key.entry, commands, settle=lambda _, replies: _sound(replies), timeout_s=self._timeout_s
        )


def _list_ended(
    key: EntryKey, envelope: Envelope, nonces: Sequence[bytes | None], tagged: Sequence[bytes | None]
) -> list[str]:
    """Returns the generations that have ended since an entry was stored, in words."""
    own = zip(key.generations, envelope.stamps, nonces, strict=False)
    ended = [_describe_generation(name) for name, stamp, nonce in own if stamp != nonce]
    tags = zip(envelope.tags, tagged, strict=False)
    ended += [_describe_tag(tag) for (tag, stamp), nonce in tags if stamp != nonce]
    return list(dict.fromkeys(ended))


def _sound(replies: list[Reply]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, ServerReplyError):
            raise reply
    return replies


def _describe_generation(name: str) -> str:
    """Returns the meaning of a generation, in words for people: ``type document``, ``resource document:d1``."""
    kind, _, rest = name.rpartition("}:")[2].partition(":")
    if kind == MANY[1:]:
        return "anything of the tenant"
    if kind == "k":
        return f"tag {unquote(rest)}"
    words = _COVERED.get(kind[:1], kind)
    within = f" in one {_COVERED.get(kind[1:], kind[1:])}" if len(kind) > 1 else ""
    return " ".join(part for part in (words, unquote(rest)) if part) + within


def _describe_tag(tag: str) -> str:
    """Returns the meaning of a tag, in words for people: ``document d1``, ``tag prices``."""
    if tag.startswith(MARK):
        return _describe_generation("}:" + tag[1:])
    kind, _, rest = tag.partition(":")
    return f"{kind} {rest}" if kind in {"document", "collection"} and rest else f"tag {tag}"
