"""The three symptoms that the guide names: values that are not in the cache, errors at access, inconsistent metadata."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alacena.common.cache.manager import CacheManager
from alacena.common.cache.metadata import standardize_llama_metadata
from alacena.common.cache.primitives import instance_method
from alacena.engine import SYSTEM_TENANT
from alacena.ops.check_runner import Finding
from alacena.ops.server_names import entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alacena.engine import Settings
    from alacena.ops.check_runner import Subject

_SHORT_S: Final = 10.0
_PROBE_TTL_S: Final = 5
_TRIES: Final = 3
_LOOKED_AT: Final = 5_000
_SAMPLE: Final = 50
_MISSING: Final = "symptom: values are not in the cache"
_INTERFACE: Final = "symptom: errors at access"
_METADATA: Final = "symptom: inconsistent metadata"


async def check_values(subject: Subject) -> list[Finding]:
    """Looks at times to live, at whether keys are found again, and at whether the namespace holds anything."""
    settings = subject.settings
    assert settings is not None
    found = []
    if settings.ttl_default_s < _SHORT_S:
        words = f"types without a policy live {settings.ttl_default_s:g} s (ttl_default_s)"
        found.append(
            Finding(_MISSING, "warn", words, "they are gone before they are read again", "raise ALACENA_TTL_DEFAULT_S")
        )
    if subject.cache is None:
        return found or [Finding(_MISSING, "skip", "no cache could be opened on a server")]
    # A name of its own: two examinations at one time must not delete each other's entry.
    name = subject.environment.token(8).hex()
    stored = await subject.cache.set("alacena_doctor", name, "found", SYSTEM_TENANT, ttl=_PROBE_TTL_S)
    read = None
    for _ in range(_TRIES):  # one read may be over its budget, as one is on any busy machine
        read = read or await subject.cache.get("alacena_doctor", name, SYSTEM_TENANT, use_memory=False)
    await subject.cache.delete("alacena_doctor", name, SYSTEM_TENANT)
    if not stored or read != "found":
        words = "what was stored was not found again" if stored else "an entry could not be stored"
        mend = "see the checks on rights, writes and latency above"
        found.append(Finding(_MISSING, "fail", words, "every read goes to its source", mend))
    found += await _elsewhere(subject, settings)
    return found or [
        Finding(_MISSING, "pass", "an entry was stored, found again and deleted; the namespace holds entries")
    ]


async def _elsewhere(subject: Subject, settings: Settings) -> list[Finding]:
    """Returns whether this namespace is empty, while the server holds something under another name."""
    if (await entries(subject.servers, settings, most=_LOOKED_AT)).names:
        return []
    others: set[str] = set()
    for server in subject.servers:
        keys, *_ = await server.scan("*:e:{*}:*", _LOOKED_AT)
        others |= {key.partition(":e:{")[0] for key in keys}
    bases = sorted(
        name for name in (subject.info[0] if subject.info else {}) if name.startswith("db") and name[2:].isdigit()
    )
    if others:
        words = f"namespace {settings.namespace!r} holds no entry; there are {', '.join(sorted(others)[:10])}"
        mend = "set ALACENA_NAMESPACE to the one that the services use, and ALACENA_KEY_SECRET alike"
        return [Finding(_MISSING, "warn", words, "processes with other settings do not see each other's entries", mend)]
    words = "nothing is stored under this namespace" + (f"; databases with keys: {', '.join(bases)}" if bases else "")
    return [Finding(_MISSING, "pass", f"an entry was stored, found again and deleted; {words}")]


async def wrong_interface(subject: Subject) -> list[Finding]:
    """Looks in the application's code for instance methods on the class, and for calls that are not awaited."""
    # In a thread: to parse a large folder on the loop would delay the deadline of this very check.
    return await asyncio.to_thread(_interface, subject)


def _interface(subject: Subject) -> list[Finding]:
    if subject.source is None:
        return [
            Finding(_INTERFACE, "skip", "give --source FOLDER to look for calls of the wrong interface in your code")
        ]
    root = Path(subject.source)
    found, count = [], 0
    for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        count += 1
        found += [_wrong(f"{path}:{line}", said, mend) for line, said, mend in sorted(_wrong_calls(tree))]
    return found[:_SAMPLE] or [Finding(_INTERFACE, "pass", f"{count} files call CacheManager by the right interface")]


def _wrong(where: str, said: str, mend: str) -> Finding:
    return Finding(_INTERFACE, "fail", f"{where}: {said}", "the call raises, or does nothing", f"write {mend}")


def _wrong_calls(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name, owner = node.func.attr, ast.unparse(node.func.value)
        if owner == "CacheManager" and name in _INSTANCE_VERBS:
            yield node.lineno, f"{name} belongs to the instance", f"await CacheManager.get_instance().{name}(...)"
        elif owner in {"CacheManager", "CacheManager.get_instance()"} and name in _VERBS and id(node) in bare - awaited:
            yield node.lineno, f"nobody awaits {owner}.{name}(...)", f"await {owner}.{name}(...)"


def _verbs() -> tuple[frozenset[str], frozenset[str]]:
    # From the base upwards, so that a subclass's own definition counts.
    named = {name: value for kind in reversed(CacheManager.__mro__) for name, value in vars(kind).items()}
    own = frozenset(name for name, value in named.items() if isinstance(value, instance_method))
    others = {name for name, value in named.items() if inspect.iscoroutinefunction(getattr(value, "__func__", value))}
    return own, frozenset(others | own)


_INSTANCE_VERBS, _VERBS = _verbs()


async def metadata(subject: Subject) -> list[Finding]:
    """Looks at a sample of entries: whether their metadata have all that ``standardize_llama_metadata`` makes sure of."""
    if subject.cache is None or subject.settings is None:
        return [Finding(_METADATA, "skip", "no cache could be opened on the server")]
    seen, bad = 0, []
    names = await entries(subject.servers, subject.settings, most=_LOOKED_AT)
    for name in [name for name in names.names if name.is_readable][:_SAMPLE]:
        # From the server and at this scope alone: the entry that was listed, and no wider one in its place.
        value = await subject.cache.get(name.kind, name.name, name.where, use_memory=False, search_hierarchy=False)
        for one in _metadata_in(value):
            seen += 1
            if why := _fault(one, name.tenant_id):
                bad.append(f"{name.kind} {name.name} of {name.tenant_id}: {why}")
                break
    if not seen:
        return [
            Finding(_METADATA, "skip", f"none of the {min(len(names.names), _SAMPLE)} entries looked at has metadata")
        ]
    if not bad:
        return [Finding(_METADATA, "pass", f"{seen} metadata looked at have the fields that every service relies on")]
    mend = "pass metadata through standardize_llama_metadata(...) in every service before they are stored"
    words = f"{len(bad)} of {seen}: {'; '.join(bad[:3])}"
    return [Finding(_METADATA, "fail", words, "services that read them filter by fields that are not there", mend)]


def _metadata_in(value: Any) -> Iterator[Mapping[str, Any]]:
    parts = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, Mapping):
        parts = [value, *(part for many in value.values() if isinstance(many, list | tuple) for part in many[:_SAMPLE])]
    for part in parts[:_SAMPLE]:
        found = part.get("metadata") if isinstance(part, Mapping) else getattr(part, "metadata", None)
        if isinstance(found, Mapping):
            yield found


def _fault(found: Mapping[str, Any], tenant_id: str) -> str:
    try:
        standard = standardize_llama_metadata(found, ctx=_NOTHING)
    except ValueError as error:
        return str(error)
    lacking = sorted(name for name in standard if name not in found)
    changed = sorted(name for name in found if found[name] != standard.get(name))
    if lacking or changed:
        return f"{', '.join(lacking or changed)} {'is missing' if lacking else 'is not in its standard form'}"
    return "" if standard["tenant_id"] == tenant_id else f"its tenant_id is {standard['tenant_id']!r}"


_NOTHING: Final = object()
"""A context that has nothing to give."""
