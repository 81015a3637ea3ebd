"""The reason for a read's outcome, in a sentence: as far as the server and this process can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alacena.ops.names import Name
    from alacena.ops.output import Tone

_UNKNOWN: Final = (
    "It was never stored, has expired, was evicted, was deleted, or was refused (too large, or invalidated while it was "
    "loaded). The server keeps no note of which, and this process does not know: it has not seen it."
)


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason.

    Attributes:
        code: One word for programs.
        sentence: The same for people.
        tone: Whether a read is served.
    """

    code: str
    sentence: str
    tone: Tone


def reason(facts: Mapping[str, Any], whose: str, places: Sequence[Name] = ()) -> Reason:
    """Returns the reason that decides.

    Args:
        facts: What ``cache.explain()`` says.
        whose: The tenant.
        places: Where else the same type and id is stored.
    """
    memory, entry = facts.get("memory"), facts.get("entry")
    if memory and memory["alive"] and memory["fresh_for_s"] > 0 and facts["memory_serves_for_s"] > 0:
        return Reason(
            "memory", f"Fresh for {_time(memory['fresh_for_s'])}, served from the memory of this process.", "good"
        )
    if "generations" not in facts:
        return _without_server(facts)
    if facts.get("removal_owed"):
        said = "A removal of it has not been confirmed by the server: reads go to the source until it is."
        return Reason("owed", said, "bad")
    if facts.get("hold"):
        left = f" for at most {_time(facts['hold_left_s'])}" if facts.get("hold_left_s") else ""
        return Reason(
            "held", f"A write block holds it{left}: reads go to the source, and nothing is stored.", "doubtful"
        )
    found = _of_entry(entry) if entry else None
    if facts.get("lease") or facts.get("loading"):
        return _explain_load(facts, found)
    return found or _absent(facts, whose, places)


def _of_entry(entry: Mapping[str, Any]) -> Reason:
    if not entry["valid"]:
        why, age = str(entry["why"]), entry.get("age_s")
        if entry.get("ended"):
            ended = ", ".join(entry["ended"])
            stored = f" (it was stored {_time(age)} ago)" if age is not None else ""
            return Reason("invalidated", f"Invalidated: {ended} has ended since it was stored{stored}.", "bad")
        if why == "expired":
            return Reason("expired", _explain_expiry(entry), "bad")
        return Reason("unreadable", f"Stored, and not served: {why}.", "bad")
    what = "What is stored is that the source has nothing. " if entry.get("not_found") else ""
    left = entry["fresh_for_s"]
    if left is None:
        return Reason("redis", f"{what}Fresh for ever, served from Redis.", "good")
    if left > 0:
        return Reason("redis", f"{what}Fresh for {_time(left)}, served from Redis.", "good")
    said = (
        f"{what}{_explain_expiry(entry)} It is kept as stale: served only while it is renewed, or if its source fails."
    )
    return Reason("stale", said, "doubtful")


def _explain_expiry(entry: Mapping[str, Any]) -> str:
    left = entry.get("fresh_for_s")
    return "Expired." if left is None else f"Expired {_time(-left)} ago."


def _explain_load(facts: Mapping[str, Any], found: Reason | None) -> Reason:
    before = f"{found.sentence} " if found is not None else "Nothing is stored yet. "
    if facts.get("loading"):
        return Reason("loading", f"{before}This process is loading it.", "doubtful")
    left = facts.get("lease_left_s")
    lasts = f", whose permission lasts {_time(left)} more unless it is prolonged" if left else ""
    said = f"{before}It is being loaded by a process{lasts}. The server does not note which process, nor since when."
    return Reason("loading", said, "doubtful")


def _absent(facts: Mapping[str, Any], whose: str, places: Sequence[Name]) -> Reason:
    if facts.get("wider"):
        said = (
            f"Nothing is stored at this scope. It is stored for {_scope(facts['wider'][0])}, where a read looks next."
        )
        return Reason("wider_scope", said, "doubtful")
    here = [place for place in places if place.tenant_id == whose]
    if here:
        scopes = "; ".join(dict.fromkeys(_scope(place.scope) for place in here[:5]))
        said = f"Nothing is stored at this scope. It is stored for {scopes}: name that scope to read it."
        return Reason("other_scope", said, "doubtful")
    if ended := facts.get("ended_lately"):
        said = f"Invalidated a while ago ({', '.join(ended)}), and nothing was stored since, or that has gone too."
        return Reason("invalidated", said, "bad")
    if places:
        tenants = ", ".join(dict.fromkeys(place.tenant_id for place in places[:5]))
        return Reason("other_tenant", f"Nothing is stored for tenant {whose}. Stored for: {tenants}.", "bad")
    if not all(list(facts["generations"].values())[:2]):
        said = "Never stored, or invalidated with all of its type: nothing of this type is alive for this tenant."
        return Reason("never", said, "bad")
    return Reason("absent", f"Nothing is stored. {_UNKNOWN}", "bad")


def _without_server(facts: Mapping[str, Any]) -> Reason:
    memory = facts.get("memory")
    if memory and not memory["alive"]:
        return Reason("invalidated", "Invalidated: what it depends on has ended since it was stored.", "bad")
    if memory:
        return Reason("expired", f"Expired {_time(-memory['fresh_for_s'])} ago, in the memory of this process.", "bad")
    if facts.get("hold"):
        return Reason("held", "A write block of this process holds it: nothing is stored.", "doubtful")
    if facts.get("loading"):
        return Reason("loading", "This process is loading it.", "doubtful")
    said = "No server is configured: only the memory of this process was looked at, and it has nothing."
    return Reason("no_server", said, "bad")


def _scope(parts: Mapping[str, str]) -> str:
    named = [f"{name.removesuffix('_id')} {value}" for name, value in parts.items()]
    return " and ".join(named) or "the tenant as a whole"


def _time(seconds: float) -> str:
    if seconds == float("inf"):
        return "ever"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.0f} h"
