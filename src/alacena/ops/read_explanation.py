"""The reason for a read's outcome, in a sentence: as far as the server and the processes can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alacena.ops.output import Tone
    from alacena.ops.server_names import NamedObject

_UNKNOWN: Final = (
    "It was never stored, has expired, was evicted, was deleted, or was refused (too large, or invalidated while it was "
    "loaded). The server keeps no note of which, and "
)
_HERE: Final = "this process"
_MOST_NAMED: Final = 3


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


def reason(
    facts: Mapping[str, Any], whose: str, places: Sequence[NamedObject] = (), answers: Sequence[Mapping[str, Any]] = ()
) -> Reason:
    """Returns the reason that decides.

    Args:
        facts: The result of ``cache.explain()``.
        whose: Its tenant.
        places: Where else the same type and id is stored.
        answers: Facts of other processes, each with its name in ``process``; ``error`` if it did not answer, and
            ``silent_s`` if it was not asked because it has been silent for so long.
    """
    # A silent process answers nothing, but may hold the lease: it stays in ``everybody``.
    answers, everybody = [answer for answer in answers if "silent_s" not in answer], answers
    known = [answer for answer in answers if "error" not in answer]
    memory, entry = facts.get("memory"), facts.get("entry")
    # In the order in which a read asks: the first fact that decides is the reason.
    if memory and memory["alive"] and memory["fresh_for_s"] > 0 and facts["memory_serves_for_s"] > 0:
        return Reason(
            "memory", f"Fresh for {_time(memory['fresh_for_s'])}, served from the memory of this process.", "good"
        )
    if "away" in facts:
        return _explain_absence_of_server(facts)
    if "generations" not in facts:
        return _without_server(facts)
    if debtors := [_HERE] * bool(facts.get("removal_owed")) + _processes(known, "removal_owed"):
        said = (
            f"A removal of it by {_together(debtors)} has not been confirmed by the server: reads there go to the source "
            "until it is, and other processes may still be given the old value."
        )
        return Reason("owed", said, "bad")
    if facts.get("hold"):
        left = f" for at most {_time(facts['hold_left_s'])}" if facts.get("hold_left_s") else ""
        return Reason(
            "held", f"A write block holds it{left}: reads go to the source, and nothing is stored.", "doubtful"
        )
    found = _of_entry(entry, _find_end_age(facts, known)) if entry else None
    loaders = _loaders(facts, known)
    if loaders or facts.get("lease"):
        return _explain_load(facts, found, loaders, everybody)
    return found or _absent(facts, whose, places, answers, len(everybody))


def _of_entry(entry: Mapping[str, Any], ended_s: float | None) -> Reason:
    if not entry["valid"]:
        why, age = str(entry["why"]), entry.get("age_s")
        if entry.get("ended"):
            ended = ", ".join("all of the tenant" if name == "tenant" else name for name in entry["ended"])
            stored = f" (it was stored {_time(age)} ago)" if age is not None else ""
            # The processes answer a moment after the server: what was stored before must not look as if it came later.
            ago = "" if ended_s is None else f", {_time(ended_s if age is None else min(ended_s, age))} ago"
            return Reason("invalidated", f"Invalidated with {ended}{ago}{stored}.", "bad")
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


def _find_end_age(facts: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns for how long a generation that it depends on has been over; ``None`` if no process saw it end."""
    # The process that saw it first was nearest to the end in time.
    return max((age for said in (facts, *known) if (age := said.get("ended_for_s")) is not None), default=None)


def _explain_expiry(entry: Mapping[str, Any]) -> str:
    left = entry.get("fresh_for_s")
    return "Expired." if left is None else f"Expired {_time(-left)} ago."


def _explain_load(
    facts: Mapping[str, Any], found: Reason | None, loaders: Sequence[str], everybody: Sequence[Mapping[str, Any]]
) -> Reason:
    before = f"{found.sentence} " if found is not None else "Nothing is stored yet. "
    if loaders:
        return Reason("loading", f"{before}It is being loaded by {_together(loaders)}.", "doubtful")
    return Reason("loading", f"{before}{_explain_lease(facts, everybody)}", "doubtful")


def _explain_lease(facts: Mapping[str, Any], everybody: Sequence[Mapping[str, Any]]) -> str:
    """Names the holder of the permission to load an entry, if no process says that it loads it."""
    left = facts.get("lease_left_s")
    ends = (
        f"Its permission lasts {_time(left)} more unless it is prolonged." if left else "Its permission ends by itself."
    )
    mark = facts.get("lease_holder")
    holder = next((answer for answer in everybody if mark and str(answer["process"]).endswith(f"#{mark}")), None)
    if holder is None and not everybody:
        return f"It is being loaded by another process; none was asked which, or none is listed. {ends}"
    if holder is None:
        return f"It is being loaded by a process that is not listed: it has ended, or tells nothing of itself. {ends}"
    process = holder["process"]
    if "silent_s" in holder:
        silent = _time(holder["silent_s"])
        return f"It was being loaded by {process}, which has been silent for {silent}: it may have ended. {ends}"
    if "error" in holder:
        return f"It is being loaded by {process}, which does not say since when: {holder['error']}. {ends}"
    return f"{process} has the permission to load it, and says that it does not load it now: it has just begun or ended. {ends}"


def _loaders(facts: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the processes that load it, each with how long it has."""
    named = [(_HERE, facts)] * bool(facts.get("loading"))
    named += [(answer["process"], answer) for answer in known if answer.get("loading")]
    since = [(name, found.get("loading_for_s")) for name, found in named]
    return [name if age_s is None else f"{name} (for {_time(age_s)} so far)" for name, age_s in since]


def _absent(
    facts: Mapping[str, Any],
    whose: str,
    places: Sequence[NamedObject],
    answers: Sequence[Mapping[str, Any]],
    others: int,
) -> Reason:
    known = [answer for answer in answers if "error" not in answer]
    outcome = _last_outcome(facts, known)
    # From what is certain to what is guessed: the first that applies is told.
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
    if keepers := [answer["process"] for answer in known if _serves(answer)]:
        said = f"The server has nothing. It is served from the memory of {_together(keepers)}, and there alone."
        return Reason("memory_elsewhere", said, "doubtful")
    if ended := facts.get("ended_lately"):
        seen = f"; {outcome.process} noticed {_time(outcome.age_s)} ago" if outcome and outcome.is_ending else ""
        ended_s = _find_end_age(facts, known)
        ago = "" if ended_s is None else f" {_time(ended_s)} ago"
        said = f"Invalidated{ago} ({', '.join(ended)}{seen}), and nothing was stored since, or that has gone too."
        return Reason("invalidated", said, "bad")
    if outcome is not None:
        return _explain_outcome(outcome)
    if places:
        tenants = ", ".join(dict.fromkeys(place.tenant_id for place in places[:5]))
        return Reason("other_tenant", f"Nothing is stored for tenant {whose}. Stored for: {tenants}.", "bad")
    # The first two are the tenant's and the type's, on which every entry of the type depends.
    if not all(list(facts["generations"].values())[:2]):
        said = "Never stored, or invalidated with all of its type: nothing of this type is alive for this tenant."
        return Reason("never", said, "bad")
    if known and len(known) == len(answers):
        said = (
            f"Never stored, as far as is known: the server has nothing, and none of the {len(known) + 1} processes that "
            "were asked remembers it. One that has ended, or has forgotten it for others, may have stored it."
        )
        return Reason("never", said, "bad")
    silent = others - len(known)
    rest = f"{silent} of {others} other processes did not answer." if silent else "no other process was asked."
    return Reason("absent", f"Nothing is stored. {_UNKNOWN}this process has not seen it; {rest}", "bad")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The last outcome of a read in a process: why there was no entry, and how long ago."""

    process: str
    reason: str
    age_s: float

    @property
    def is_ending(self) -> bool:
        return self.reason == "invalidated"


def _last_outcome(facts: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> _Outcome | None:
    """Returns the newest memory of the processes."""
    found: list[_Outcome] = []
    for name, said in ((_HERE, facts), *((str(answer["process"]), answer) for answer in known)):
        if last := said.get("last_outcome"):
            found.append(_Outcome(name, last["reason"], last["age_s"]))
        memory = said.get("memory")
        if memory and memory["alive"] and memory["fresh_for_s"] <= 0:
            found.append(_Outcome(name, "expired", -memory["fresh_for_s"]))
        elif memory and not memory["alive"]:
            # Its end is known, but not the time of it; any reason that was noted before is older.
            found.append(_Outcome(name, "invalidated", 0.0))
    return min(found, key=lambda outcome: outcome.age_s, default=None)


def _explain_outcome(outcome: _Outcome) -> Reason:
    ago, process = f"{_time(outcome.age_s)} ago", outcome.process
    told = {
        "expired": f"Expired {ago}, as {process} saw it.",
        "invalidated": (
            f"Invalidated or deleted, as {process} saw it {ago}: by its own name, or with something that is noted no more."
        ),
        "evicted": f"Evicted from the memory of {process} {ago} to make room, and the server has it no more.",
        "too_large": f"Refused: too large or not storable, when {process} loaded it {ago}; it is served without being stored.",
        "server_away": f"The server was away when {process} asked for it {ago}, and it was not stored since.",
    }
    unknown = f"{process} says of it, {ago}: {outcome.reason}."  # another version may know another reason
    tone: Tone = "doubtful" if outcome.reason == "server_away" else "bad"
    return Reason(outcome.reason, told.get(outcome.reason, unknown), tone)


def _serves(answer: Mapping[str, Any]) -> bool:
    memory = answer.get("memory")
    serves_for_s = answer.get("memory_serves_for_s")
    # A process of another version may not say for how long its memory serves: it is believed.
    return bool(memory and memory["alive"] and memory["fresh_for_s"] > 0 and (serves_for_s is None or serves_for_s > 0))


def _processes(known: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return [str(answer["process"]) for answer in known if answer.get(name)]


def _together(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MOST_NAMED])
    return listed if len(names) <= _MOST_NAMED else f"{listed} and {len(names) - _MOST_NAMED} more"


def _explain_absence_of_server(facts: Mapping[str, Any]) -> Reason:
    loading = " It is being loaded by this process." if facts.get("loading") else ""
    said = f"The server does not answer ({facts['away']}): reads go to the source, and nothing is stored.{loading}"
    return Reason("server_away", said, "bad")


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


def _scope(parts: Mapping[str, Any]) -> str:
    named = [
        f"{name.removesuffix('_id')} {value if isinstance(value, str) else ', '.join(sorted(value)) or 'none'}"
        for name, value in parts.items()
    ]
    return " and ".join(named) or "the tenant as a whole"


def _time(seconds: float) -> str:
    if seconds == float("inf"):
        return "ever"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.0f} h"
