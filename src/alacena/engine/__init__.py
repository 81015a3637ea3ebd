"""The engine: explicit and injectable. No globals, no environment variables, no context variables."""

from alacena.engine.cache import Cache
from alacena.engine.codec import Keyring
from alacena.engine.coordination.ledger import Authority
from alacena.engine.credentials import CredentialProvider
from alacena.engine.environment import Environment, SystemEnvironment
from alacena.engine.errors import (
    AlacenaError,
    BackendError,
    BackendUnavailableError,
    CacheClosedError,
    CircularLoadError,
    CodecError,
    CoordinationError,
    DecodeError,
    EncodeError,
    IdempotencyConflictError,
    InvalidKeyError,
    LimitExceededError,
    LoadCancelledError,
    LoadTimeoutError,
    LockLostError,
    LockTimeoutError,
    MissingTenantError,
    NotOwnerError,
    OneShotValueError,
    OutcomeUnknownError,
    ServerReplyError,
    SettingsError,
    TenantMismatchError,
    UnsafeServerError,
    UnsharableValueError,
    UsageError,
    WrongLoopError,
)
from alacena.engine.events import Event, Observer
from alacena.engine.loading import UNCHANGED, LoadContext
from alacena.engine.oneshot import collected
from alacena.engine.policy import Policy
from alacena.engine.reading import Reading
from alacena.engine.scope import SYSTEM_TENANT, Scope
from alacena.engine.settings import Settings
from alacena.engine.shelf import MISSING, Lookup
from alacena.engine.ttl import UNSET, TtlOrUnset

__all__ = [
    "MISSING",
    "SYSTEM_TENANT",
    "UNCHANGED",
    "UNSET",
    "AlacenaError",
    "Authority",
    "BackendError",
    "BackendUnavailableError",
    "Cache",
    "CacheClosedError",
    "CircularLoadError",
    "CodecError",
    "CoordinationError",
    "CredentialProvider",
    "DecodeError",
    "EncodeError",
    "Environment",
    "Event",
    "IdempotencyConflictError",
    "InvalidKeyError",
    "Keyring",
    "LimitExceededError",
    "LoadCancelledError",
    "LoadContext",
    "LoadTimeoutError",
    "LockLostError",
    "LockTimeoutError",
    "Lookup",
    "MissingTenantError",
    "NotOwnerError",
    "Observer",
    "OneShotValueError",
    "OutcomeUnknownError",
    "Policy",
    "Reading",
    "Scope",
    "ServerReplyError",
    "Settings",
    "SettingsError",
    "SystemEnvironment",
    "TenantMismatchError",
    "TtlOrUnset",
    "UnsafeServerError",
    "UnsharableValueError",
    "UsageError",
    "WrongLoopError",
    "collected",
]
