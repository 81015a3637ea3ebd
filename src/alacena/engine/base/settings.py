"""Every setting of a cache: frozen, with its unit in its name, all that is wrong said in one message."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base import server_url
from alacena.engine.base.arguments import copy_mapping
from alacena.engine.base.errors import SettingsError, show
from alacena.engine.base.ttl import is_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger("alacena")

_PREFIX: Final = "ALACENA_"
_SECRET: Final = frozenset({"redis_url", "key_secret", "integrity_key"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a cache.

    ::

        Settings(redis_url="redis://localhost:6379/0", namespace="shop")
        Settings.from_env()  # reads REDIS_URL and ALACENA_NAMESPACE, ALACENA_REDIS_BUDGET_S ...

    Without ``redis_url`` everything stays in this process. The text under each field describes it.

    Raises:
        SettingsError: Settings are wrong; the message lists every one of them.
    """

    redis_url: str | None = None
    """The server: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://``, ``redis+cluster://``;
    ``"embedded://"`` starts a private Valkey; ``None``: memory only, in this process."""
    namespace: str = "alacena"
    """The first part of every key; services that share entries share it."""
    memory_max_bytes: int = 128 * 1024 * 1024
    """What the memory tier may hold, in bytes."""
    memory_max_entries: int | None = None
    """The same in entries; ``None``: bytes alone decide."""
    memory_weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Shares of memory by tenant id, if tenants differ: twice the weight is sure of twice the bytes. A tenant that is not
    named has 1."""
    ttl_default_s: float = 3600.0
    """Freshness of a type that no policy names, in seconds."""
    ttl_jitter_ratio: float = 0.1
    """The part of a time to live that is taken off at random, so that entries made together do not expire together."""
    staleness_bound_s: float = 1.0
    """H: after an invalidation was acknowledged, no process serves the old value longer than this. Smaller
    means more heartbeats."""
    redis_budget_s: float = 0.05
    """The longest a read waits for Redis before it goes to the source; a large value that is coming in is given up to 2 s
    more."""
    redis_timeout_s: float = 1.0
    """The longest a write, a lock, queue or counter verb waits for its reply."""
    redis_connect_timeout_s: float = 2.0
    """The longest a connection may take to be made."""
    lease_s: float = 5.0
    """How long a lease outlives the process that holds it; it is renewed while its load runs."""
    lease_wait_s: float = 30.0
    """The longest a process waits for another's load before it loads without storing."""
    lease_poll_s: float = 1.0
    """How often a waiter looks again if pushes are not proven to arrive; if they are, it does when the lease is
    over."""
    hold_s: float = 30.0
    """How long a hold outlives the process of a source transaction; above the statement timeout."""
    max_value_bytes: int = 8 * 1024 * 1024
    """The largest encoded value that is stored."""
    compress_over_bytes: int | None = 4096
    """Values above this are compressed where that saves a tenth; ``None``: never."""
    max_loads_per_tenant: int | None = None
    """Loads that one tenant may have under way; ``None``: no limit."""
    tenant_buckets: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Over how many hash tags each large tenant is spread, by tenant id. Every process must agree."""
    ledger_spill_path: str | None = None
    """A file in which token usage waits while Redis is away or refuses to write; ``None``: such a call raises, but inside a
    source, where it waits in this process."""
    key_secret: str | None = None
    """With it, every part of a key becomes a digest keyed with it, so that names are not seen."""
    integrity_key: str | None = None
    """With it (16 to 64 bytes), every entry carries a keyed digest, and one that was tampered with is a miss."""
    trust_eviction_policy: bool = False
    """Says that the server evicts nothing, if it does not tell (``INFO`` is refused). Without it, locks, queues,
    counters, limits and the ledger are refused there. It never outweighs what the server says."""
    client_name: str = "alacena"
    """How connections are named on the server."""
    process_name: str | None = None
    """The name of this process in snapshots and in the fleet, such as ``"web-1"``; ``None``: its host and number."""
    fleet_every_s: float | None = 2.0
    """How often this process tells the others of its namespace what it has counted; ``None``: never."""

    def __post_init__(self) -> None:
        problems = [
            f"{f.name}: {problem}" for f in fields(self) if (problem := _problem(f.name, getattr(self, f.name)))
        ]
        if problems:
            raise SettingsError("wrong settings:\n  " + "\n  ".join(problems))

    def __repr__(self) -> str:
        shown = (
            f"{f.name}={'...' if f.name in _SECRET and getattr(self, f.name) else repr(getattr(self, f.name))}"
            for f in fields(self)
        )
        return f"Settings({', '.join(shown)})"

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how they are made anew in another process; a read-only view of a mapping cannot be sent there."""
        return _remake, ({f.name: _plain(getattr(self, f.name)) for f in fields(self)},)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Reads ``ALACENA_*`` (such as ``ALACENA_REDIS_BUDGET_S``) and, for the server, ``REDIS_URL``.

        Args:
            environ: The variables; ``None``: the process's.
            overrides: Settings that win over the environment.

        Raises:
            SettingsError: One or more are wrong, or a variable with the prefix is nearly a setting. Others with the
                prefix are another program's, such as those that Kubernetes makes for a service called ``alacena``: they
                are named in one warning.
        """
        if environ is None:
            import os

            environ = os.environ
        environ = copy_mapping(environ, "environ", "variables by name")
        if not all(isinstance(word, str) for pair in environ.items() for word in pair):
            raise SettingsError("environ must be a mapping of variables by name, all of them text")
        values: dict[str, Any] = {}
        problems: list[str] = []
        # Empty counts as left out: that is how a deployment switches the server off.
        if environ.get("REDIS_URL"):
            values["redis_url"] = environ["REDIS_URL"]
        foreign: list[str] = []
        for name, text in sorted(environ.items()):
            if name.startswith(_PREFIX):
                _read(name, text, values, problems, foreign)
            # Variables are written in capitals. One in small letters is told, not read, as no other program would read it.
            elif name.upper().startswith(_PREFIX):
                foreign.append(name)
        if foreign:
            _log.warning("variables that begin with %s and are no settings: %s", _PREFIX, ", ".join(foreign))
        # After the environment, so that what code says wins; and checked with it, so that one message has all faults.
        values.update(overrides)
        problems += [f"{name}: {why}" for name, value in values.items() if (why := _problem(name, value))]
        if problems:
            raise SettingsError("wrong settings:\n  " + "\n  ".join(dict.fromkeys(problems)))
        return cls(**values)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, MappingProxyType) else value


def _remake(values: dict[str, Any]) -> Settings:
    return Settings(**values)


_BOOLS: Final = {"true": True, "1": True, "false": False, "0": False}
_KINDS: Final = {f.name: str(f.type) for f in fields(Settings)}


_OF_A_SERVICE: Final = re.compile(
    r"(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes and Docker call the variables of a service, after its name."""

_NEAR: Final = 0.75

_MOST_S: Final = 10**10
_MOST: Final = 2**63 - 1
"""Seconds, and other numbers, that every server and format can hold."""


def _is_meant(name: str) -> bool:
    """Returns whether a name that is no setting is one misspelled, rather than a variable of another program."""
    first = name.partition("_")[0]
    return bool(get_close_matches(name, _KINDS, 1, _NEAR)) or any(known.startswith(f"{first}_") for known in _KINDS)


def _no_such_setting(name: str) -> str:
    near = get_close_matches(name, _KINDS, 1, _NEAR)
    meant = f" (is {near[0]} meant?)" if near else ""
    return f"no such setting; there are {', '.join(sorted(_KINDS))}{meant}"


def _read(variable: str, text: str, values: dict[str, Any], problems: list[str], foreign: list[str]) -> None:
    rest = variable.removeprefix(_PREFIX)
    name = rest.lower()
    kind = _KINDS.get(name)
    if kind is None:
        of_a_service = _OF_A_SERVICE.fullmatch(rest) and (
            # ALACENA_PORT=6379 may be a setting that somebody believes in; Kubernetes writes tcp://10.0.0.1:6379 there.
            not rest.endswith("PORT") or "SERVICE" in rest or "://" in text
        )
        if of_a_service or not _is_meant(name):
            foreign.append(variable)
        else:
            problems.append(f"{variable}: {_no_such_setting(name)}")
        return
    try:
        values[name] = _parse(kind, text)
    except ValueError:
        wanted = "like tenant=8,other=2" if kind.startswith("Mapping") else f"a valid {kind}"
        wanted = "true or false" if kind == "bool" else wanted
        problems.append(f"{variable}: {show(text)} is not {wanted}")


def _parse(kind: str, text: str) -> Any:
    if "None" in kind and text.lower() in {"", "none"}:
        return None
    if kind.startswith("Mapping"):
        # From the right: the id of a tenant may hold "=".
        pairs = (pair.rsplit("=", 1) for pair in text.split(",") if pair)
        number = float if "float" in kind else int
        return {tenant: number(count) for tenant, count in pairs}
    if kind == "bool":
        if text.lower() not in _BOOLS:
            raise ValueError(text)
        return _BOOLS[text.lower()]
    if kind.startswith("int"):
        return int(text)
    if kind.startswith("float"):
        return float(text)
    return text


def _problem(name: str, value: object) -> str | None:
    kind = _KINDS.get(name)
    if kind is None:
        return _no_such_setting(name)
    if value is None:
        return None if "None" in kind else "must not be None"
    if kind == "bool":
        return None if isinstance(value, bool) else f"must be True or False, not {show(value)}"
    if kind.startswith("str"):
        return _text_problem(name, value)
    if kind.startswith("Mapping"):
        return _buckets_problem(value) if "int" in kind else _weights_problem(value)
    return _number_problem(name, kind, value)


def _text_problem(name: str, value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        hidden = "blank text" if isinstance(value, str) else f"a {type(value).__name__}"
        # Of a secret only the type is shown; that it is empty is no secret.
        given = hidden if name in _SECRET and value else show(value)
        return f"must be a non-empty string, not {given}"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "holds a lone surrogate, which no UTF-8 carries"
    if name == "integrity_key" and not 16 <= size <= 64:
        return f"must have 16 to 64 bytes, not {size}"
    if name == "key_secret" and size > 64:
        return f"must have at most 64 bytes, not {size}"
    if name == "client_name" and not server_url.is_client_name(value):
        return f"{server_url.CLIENT_NAME}, not {show(value)}"
    if name == "redis_url":
        return "; ".join(server_url.faults(value)) or None
    return None


def _buckets_problem(value: object) -> str | None:
    items = list(value.items()) if hasattr(value, "items") else [(None, None)]
    if all(isinstance(tenant, str) and type(count) is int and 1 <= count <= 1024 for tenant, count in items):
        return None
    return f"must map tenant ids to 1..1024 buckets, not {show(value)}"


def _weights_problem(value: object) -> str | None:
    items = list(value.items()) if hasattr(value, "items") else [(None, None)]
    if all(isinstance(tenant, str) and _number_problem("", "float", weight) is None for tenant, weight in items):
        return None
    return f"must map tenant ids to weights above 0, not {show(value)}"


def _number_problem(name: str, kind: str, value: object) -> str | None:
    whole = kind.startswith("int")
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not is_finite(value):
        return f"must be {'a whole number' if whole else 'a finite number'}, not {show(value)}"
    if name.endswith("_ratio"):
        return None if 0 <= value < 1 else f"must be at least 0 and below 1, not {show(value)}"
    most = _MOST_S if name.endswith("_s") else _MOST
    return None if 0 < value <= most else f"must be greater than 0, and at most {most}, not {show(value)}"
