"""The parts that a cache is given: each is checked before anything is opened, where the mistake was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from alacena.engine.base.arguments import has_method
from alacena.engine.base.credentials import check_credentials
from alacena.engine.base.errors import InvalidKeyError, SettingsError, show
from alacena.engine.base.policy import Policy
from alacena.engine.base.scope import identifier
from alacena.engine.base.settings import Settings

if TYPE_CHECKING:
    from alacena.engine.base.events import Observer

_METHODS = {
    "environment": ("token", "pass Cache(environment=SystemEnvironment()) or one of your own like it"),
    "authority": ("absorb", "pass an object with `async def absorb(self, usages)`, such as a PostgresAuthority"),
    "keyring": ("encrypt", "pass Keyring({1: secrets.token_bytes(32)}, current=1)"),
}
"""The least that each part can do, and the remedy for one that cannot."""


def check_parts(
    *, settings: Any = None, policies: Any, observers: Any, credentials: Any, **others: Any
) -> tuple[dict[str, Policy], tuple[Observer, ...]]:
    """Returns the policies by the text of their data types, and the observers; all parts are of the kind they must be.

    Args:
        settings: The settings.
        policies: The policies, by data type.
        observers: The observers.
        credentials: The provider of credentials.
        others: The parts of ``_METHODS``, by name; ``None`` is left out.

    Raises:
        SettingsError: A part is of another kind. The message names each by its type alone: it may be a secret that stands
            in the wrong place.
    """
    problems: list[str] = []
    if settings is not None and not isinstance(settings, Settings):
        problems.append(f"settings is {_kind(settings)}: write Cache(Settings(redis_url=...))")
    if isinstance(observers, str | bytes) or not isinstance(observers, Iterable):
        problems.append(f"observers is {_kind(observers)}: pass a list of them")
        observers = ()
    observers = tuple(observers)
    problems += [
        f"an observer is {_kind(one)}: pass an object with `def observe(self, event)`"
        for one in observers
        if not has_method(one, "observe")
    ]
    by_type = _by_type(policies, problems)
    for name, part in others.items():
        method, instead = _METHODS[name]
        if part is not None and not has_method(part, method):
            problems.append(f"{name} is {_kind(part)}: {instead}")
    if problems:
        raise SettingsError("wrong parts:\n  " + "\n  ".join(problems))
    check_credentials(credentials)
    return by_type, observers


def _by_type(policies: Any, problems: list[str]) -> dict[str, Policy]:
    by_type: dict[str, Policy] = {}
    if policies is None:
        return by_type
    if not isinstance(policies, Mapping):
        problems.append(f"policies is {_kind(policies)}: pass a mapping, as in {{'document': Policy(ttl=60)}}")
        return by_type
    for data_type, policy in policies.items():
        if not isinstance(policy, Policy):
            problems.append(f"policies[{show(data_type)}] is {_kind(policy)}: write Policy(ttl=...)")
            continue
        try:
            # As the types of reads are: under the number 7, a policy would not be found by a read that names "7".
            by_type[identifier("data_type", data_type)] = policy
        except InvalidKeyError as error:
            problems.append(f"policies: {error}")
    return by_type


def _kind(part: Any) -> str:
    return f"the class {part.__name__}, not an instance" if isinstance(part, type) else f"a {type(part).__name__}"
