"""The engine: explicit and injectable. No globals, no environment variables, no context variables."""

from alacena.engine.cache import Cache
from alacena.engine.codec import Keyring
from alacena.engine.coordination.ledger import Authority
from alacena.engine.environment import Environment, SystemEnvironment
from alacena.engine.errors import (
    AlacenaError,
    BackendError,
    BackendUnavailableError,
    CacheClosedError,
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
    OutcomeUnknownError,
    ServerReplyError,
    SettingsError,
    TenantMismatchError,
    UnsafeServerError,
    UsageError,
    WrongLoopError,
)
from alacena.engine.events import Event, Observer
from alacena.engine.loading import UNCHANGED, LoadContext
from alacena.engine.policy import Policy
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
    "CodecError",
    "CoordinationError",
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
    "OutcomeUnknownError",
    "Policy",
    "Scope",
    "ServerReplyError",
    "Settings",
    "SettingsError",
    "SystemEnvironment",
    "TenantMismatchError",
    "TtlOrUnset",
    "UnsafeServerError",
    "UsageError",
    "WrongLoopError",
]
