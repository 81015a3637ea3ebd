"""The engine: explicit and injectable. No globals, no environment variables, no context variables.

Names are imported when they are first used: the layers below import from this package without loading the ones above.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alacena.engine.api.cache import Cache as Cache
    from alacena.engine.api.tenant import Tenant as Tenant
    from alacena.engine.base.credentials import CredentialProvider as CredentialProvider
    from alacena.engine.base.environment import Environment as Environment
    from alacena.engine.base.environment import SystemEnvironment as SystemEnvironment
    from alacena.engine.base.errors import AlacenaError as AlacenaError
    from alacena.engine.base.errors import ArgumentError as ArgumentError
    from alacena.engine.base.errors import BackendError as BackendError
    from alacena.engine.base.errors import BackendUnavailableError as BackendUnavailableError
    from alacena.engine.base.errors import CacheClosedError as CacheClosedError
    from alacena.engine.base.errors import CircularLoadError as CircularLoadError
    from alacena.engine.base.errors import ClaimError as ClaimError
    from alacena.engine.base.errors import CodecError as CodecError
    from alacena.engine.base.errors import CoordinationError as CoordinationError
    from alacena.engine.base.errors import DecodeError as DecodeError
    from alacena.engine.base.errors import EncodeError as EncodeError
    from alacena.engine.base.errors import IdempotencyConflictError as IdempotencyConflictError
    from alacena.engine.base.errors import InvalidKeyError as InvalidKeyError
    from alacena.engine.base.errors import LimitExceededError as LimitExceededError
    from alacena.engine.base.errors import LoadCancelledError as LoadCancelledError
    from alacena.engine.base.errors import LoadTimeoutError as LoadTimeoutError
    from alacena.engine.base.errors import LockLostError as LockLostError
    from alacena.engine.base.errors import LockTimeoutError as LockTimeoutError
    from alacena.engine.base.errors import MissingTenantError as MissingTenantError
    from alacena.engine.base.errors import NotOwnerError as NotOwnerError
    from alacena.engine.base.errors import OneShotValueError as OneShotValueError
    from alacena.engine.base.errors import OutcomeUnknownError as OutcomeUnknownError
    from alacena.engine.base.errors import ServerReplyError as ServerReplyError
    from alacena.engine.base.errors import SettingsError as SettingsError
    from alacena.engine.base.errors import TenantMismatchError as TenantMismatchError
    from alacena.engine.base.errors import UnsafeServerError as UnsafeServerError
    from alacena.engine.base.errors import UnsharableValueError as UnsharableValueError
    from alacena.engine.base.errors import UsageError as UsageError
    from alacena.engine.base.errors import WrongLoopError as WrongLoopError
    from alacena.engine.base.events import BackendFailed as BackendFailed
    from alacena.engine.base.events import EntryRejected as EntryRejected
    from alacena.engine.base.events import Event as Event
    from alacena.engine.base.events import FillRefused as FillRefused
    from alacena.engine.base.events import Invalidated as Invalidated
    from alacena.engine.base.events import ItemRejected as ItemRejected
    from alacena.engine.base.events import LoadFailed as LoadFailed
    from alacena.engine.base.events import LoadFinished as LoadFinished
    from alacena.engine.base.events import LookupFinished as LookupFinished
    from alacena.engine.base.events import MemorySwitched as MemorySwitched
    from alacena.engine.base.events import Observer as Observer
    from alacena.engine.base.events import ServerFound as ServerFound
    from alacena.engine.base.events import ServerLost as ServerLost
    from alacena.engine.base.policy import Policy as Policy
    from alacena.engine.base.remote_tier import MISSING as MISSING
    from alacena.engine.base.remote_tier import Lookup as Lookup
    from alacena.engine.base.scope import SYSTEM_TENANT as SYSTEM_TENANT
    from alacena.engine.base.scope import Scope as Scope
    from alacena.engine.base.settings import Settings as Settings
    from alacena.engine.base.snapshot import Row as Row
    from alacena.engine.base.snapshot import Snapshot as Snapshot
    from alacena.engine.base.ttl import UNSET as UNSET
    from alacena.engine.base.ttl import TtlOrUnset as TtlOrUnset
    from alacena.engine.codec import Keyring as Keyring
    from alacena.engine.codec import register as register
    from alacena.engine.loading.load import UNCHANGED as UNCHANGED
    from alacena.engine.loading.load import LoadContext as LoadContext
    from alacena.engine.loading.one_shot import collected as collected
    from alacena.engine.reading.claim import Claim as Claim
    from alacena.engine.writing.source_reading import Reading as Reading
    from alacena.ledger.ledger import Authority as Authority

_MODULES = {
    "AlacenaError": "alacena.engine.base.errors",
    "ArgumentError": "alacena.engine.base.errors",
    "Authority": "alacena.ledger.ledger",
    "BackendError": "alacena.engine.base.errors",
    "BackendFailed": "alacena.engine.base.events",
    "BackendUnavailableError": "alacena.engine.base.errors",
    "Cache": "alacena.engine.api.cache",
    "CacheClosedError": "alacena.engine.base.errors",
    "CircularLoadError": "alacena.engine.base.errors",
    "Claim": "alacena.engine.reading.claim",
    "ClaimError": "alacena.engine.base.errors",
    "CodecError": "alacena.engine.base.errors",
    "CoordinationError": "alacena.engine.base.errors",
    "CredentialProvider": "alacena.engine.base.credentials",
    "DecodeError": "alacena.engine.base.errors",
    "EncodeError": "alacena.engine.base.errors",
    "EntryRejected": "alacena.engine.base.events",
    "Environment": "alacena.engine.base.environment",
    "Event": "alacena.engine.base.events",
    "FillRefused": "alacena.engine.base.events",
    "IdempotencyConflictError": "alacena.engine.base.errors",
    "InvalidKeyError": "alacena.engine.base.errors",
    "Invalidated": "alacena.engine.base.events",
    "ItemRejected": "alacena.engine.base.events",
    "Keyring": "alacena.engine.codec",
    "LimitExceededError": "alacena.engine.base.errors",
    "LoadCancelledError": "alacena.engine.base.errors",
    "LoadContext": "alacena.engine.loading.load",
    "LoadTimeoutError": "alacena.engine.base.errors",
    "LockLostError": "alacena.engine.base.errors",
    "LockTimeoutError": "alacena.engine.base.errors",
    "Lookup": "alacena.engine.base.remote_tier",
    "LoadFailed": "alacena.engine.base.events",
    "LoadFinished": "alacena.engine.base.events",
    "ServerFound": "alacena.engine.base.events",
    "ServerLost": "alacena.engine.base.events",
    "LookupFinished": "alacena.engine.base.events",
    "MISSING": "alacena.engine.base.remote_tier",
    "MemorySwitched": "alacena.engine.base.events",
    "MissingTenantError": "alacena.engine.base.errors",
    "NotOwnerError": "alacena.engine.base.errors",
    "Observer": "alacena.engine.base.events",
    "OneShotValueError": "alacena.engine.base.errors",
    "OutcomeUnknownError": "alacena.engine.base.errors",
    "Policy": "alacena.engine.base.policy",
    "Reading": "alacena.engine.writing.source_reading",
    "Row": "alacena.engine.base.snapshot",
    "SYSTEM_TENANT": "alacena.engine.base.scope",
    "Scope": "alacena.engine.base.scope",
    "ServerReplyError": "alacena.engine.base.errors",
    "Settings": "alacena.engine.base.settings",
    "SettingsError": "alacena.engine.base.errors",
    "Snapshot": "alacena.engine.base.snapshot",
    "SystemEnvironment": "alacena.engine.base.environment",
    "Tenant": "alacena.engine.api.tenant",
    "TenantMismatchError": "alacena.engine.base.errors",
    "TtlOrUnset": "alacena.engine.base.ttl",
    "UNCHANGED": "alacena.engine.loading.load",
    "UNSET": "alacena.engine.base.ttl",
    "UnsafeServerError": "alacena.engine.base.errors",
    "UnsharableValueError": "alacena.engine.base.errors",
    "UsageError": "alacena.engine.base.errors",
    "WrongLoopError": "alacena.engine.base.errors",
    "collected": "alacena.engine.loading.one_shot",
    "register": "alacena.engine.codec",
}

__all__ = [
    "MISSING",
    "SYSTEM_TENANT",
    "UNCHANGED",
    "UNSET",
    "AlacenaError",
    "ArgumentError",
    "Authority",
    "BackendError",
    "BackendFailed",
    "BackendUnavailableError",
    "Cache",
    "CacheClosedError",
    "CircularLoadError",
    "Claim",
    "ClaimError",
    "CodecError",
    "CoordinationError",
    "CredentialProvider",
    "DecodeError",
    "EncodeError",
    "EntryRejected",
    "Environment",
    "Event",
    "FillRefused",
    "IdempotencyConflictError",
    "InvalidKeyError",
    "Invalidated",
    "ItemRejected",
    "Keyring",
    "LimitExceededError",
    "LoadCancelledError",
    "LoadContext",
    "LoadFailed",
    "LoadFinished",
    "LoadTimeoutError",
    "LockLostError",
    "LockTimeoutError",
    "Lookup",
    "LookupFinished",
    "MemorySwitched",
    "MissingTenantError",
    "NotOwnerError",
    "Observer",
    "OneShotValueError",
    "OutcomeUnknownError",
    "Policy",
    "Reading",
    "Row",
    "Scope",
    "ServerFound",
    "ServerLost",
    "ServerReplyError",
    "Settings",
    "SettingsError",
    "Snapshot",
    "SystemEnvironment",
    "Tenant",
    "TenantMismatchError",
    "TtlOrUnset",
    "UnsafeServerError",
    "UnsharableValueError",
    "UsageError",
    "WrongLoopError",
    "collected",
    "register",
]


def __getattr__(name: str) -> Any:
    """Imports a name of the engine's face on its first use."""
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
