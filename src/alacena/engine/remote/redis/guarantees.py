"""The promises that the servers of a cache keep together now, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alacena.engine.remote.redis.server_facts import SAFE_POLICY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.base.settings import Settings
    from alacena.engine.remote.redis.node import Node

REMEDY: Final = (
    "Set maxmemory-policy noeviction there, or give coordination a server of its own. Where the server does not show its "
    "policy, allow INFO, or vouch for it with the setting trust_eviction_policy"
)


def unsafe(node: Node, settings: Settings) -> str:
    """Returns why coordination must not be entrusted to a server; empty if it may."""
    policy = node.facts.policy
    if policy == SAFE_POLICY or (not policy and settings.trust_eviction_policy):
        return ""
    return f"maxmemory-policy is {policy}" if policy else "maxmemory-policy is not known, INFO does not tell"


def promises(nodes: Sequence[Node], settings: Settings, owed: int) -> dict[str, Any]:
    """Returns which promises hold with these servers now, and why not where one does not."""
    connected = bool(nodes) and all(node.is_up for node in nodes)
    coherent = connected and all(node.tracked for node in nodes)
    missing = {right: words for node in nodes for right, words in node.facts.missing.items()}
    stores = connected and not {"scripts", "write"} & missing.keys()
    reasons = dict.fromkeys(sorted(node.doubt for node in nodes if node.doubt))
    if not nodes:
        reasons["not connected: no server is known yet"] = None
    reasons |= {f"no right to {right}: {words}": None for right, words in missing.items()}
    if owed:
        reasons[f"{owed} removals are owed: what they cover is loaded from the source"] = None
    return {
        "mode": "redis",
        "server": ", ".join(sorted({node.facts.server for node in nodes if node.facts.server})) or None,
        "connected": connected,
        "no_stale_fill": connected,
        "memory": coherent,
        "staleness_bound_s": settings.staleness_bound_s if coherent else 0.0 if connected else None,
        "lost_state_fails_closed": connected and all(any(node.replication_id) for node in nodes),
        "one_load": "all processes" if stores else "per process",
        "coordination": _coordination(nodes, settings, missing),
        "eviction_policy": _together(node.facts.policy for node in nodes) if connected else None,
        "persistence": _together(node.facts.on_disk for node in nodes) if connected else None,
        "missing_rights": sorted(missing),
        "removals_owed": owed,
        "why": "; ".join(reasons) or "tracking, canary and heartbeat are in order",
    }


def _coordination(nodes: Sequence[Node], settings: Settings, missing: dict[str, str]) -> str:
    up = [node for node in nodes if node.is_up]
    refusals = sorted({why for node in up if (why := unsafe(node, settings))})
    if refusals:
        return f"refused: {refusals[0]}"
    if len(up) < max(1, len(nodes)):
        return "unavailable: not connected" if not up else "partly unavailable: a server is not connected"
    for right in ("scripts", "write"):
        if right in missing:
            return f"refused: no right to {right}"
    blocked = sorted({node.refuses_writes for node in up if node.refuses_writes})
    return f"refused: {blocked[0]}" if blocked else "all processes"


def _together(words: Any) -> str | None:
    return ", ".join(sorted({word for word in words if word})) or None
