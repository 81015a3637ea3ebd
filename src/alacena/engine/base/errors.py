"""The exception tree. One rule: cache verbs degrade, coordination verbs raise.

::

    AlacenaError
    ├── UsageError                      the caller's mistake: always raised, nothing was done
    │   ├── MissingTenantError          (ValueError)
    │   ├── TenantMismatchError         (ValueError) two tenants are named where there can be one
    │   ├── ArgumentError               (ValueError, TypeError)
    │   ├── InvalidKeyError             (ValueError)
    │   ├── SettingsError               (ValueError)
    │   ├── CacheClosedError            (RuntimeError)
    │   └── WrongLoopError              (RuntimeError)
    ├── BackendError                    Redis, translated once, ``__cause__`` kept
    │   ├── BackendUnavailableError     nothing was executed
    │   ├── OutcomeUnknownError         it may or may not have been executed
    │   ├── ServerReplyError            the server refused the command
    │   └── UnsafeServerError           the server may evict keys that must not be lost
    ├── CodecError
    │   ├── EncodeError                 (TypeError) names the path of the value that cannot be stored
    │   └── DecodeError                 becomes a miss and an event, never reaches a reader
    ├── LoadTimeoutError                (TimeoutError) the source did not answer within the hard timeout
    ├── LoadCancelledError              the loader was cancelled, and not by its callers
    ├── CircularLoadError               (RuntimeError) a load waits for itself, directly or through others
    ├── OneShotValueError               (TypeError) the source returned a value that can be read only once
    ├── UnsharableValueError            (TypeError) a value for several callers can be neither stored nor copied
    └── CoordinationError
        ├── LockLostError               the lock's lease ended while its block ran
        ├── LockTimeoutError            (TimeoutError) the lock was not had in time
        ├── NotOwnerError               a stranger's token: the item or lock belongs to another owner
        ├── IdempotencyConflictError    a known idempotency key with other figures
        └── LimitExceededError          a budget or rate limit has no room for this request

The loader's own exceptions are never wrapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_SHOWN: Final = 80


def show(value: object) -> str:
    """Returns a value for a message: short, however long the value is."""
    words = text_of(value, repr)
    return words if len(words) <= _MOST_SHOWN else f"{words[:_MOST_SHOWN]}..."


def text_of(value: object, form: Callable[[object], str] = str) -> str:
    """Returns the text of a value, in full; of a value that raises instead, words that say so."""
    try:
        return form(value)
    except Exception:  # noqa: BLE001 - an integer of too many digits, or code of the application's, as of a row that is detached
        return f"a {type(value).__name__} that cannot be shown"


class AlacenaError(Exception):
    """Root of everything that Alacena raises by itself.

    Catch it where any of them is handled alike.
    """


class UsageError(AlacenaError):
    """The call cannot mean anything: it was refused before anything happened.

    The message names the remedy.
    """

    _MESSAGE: ClassVar[str] = ""
    """The message of a class that always means the same. Not taken from its docstring, which ``python -OO`` leaves out."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(self._MESSAGE if message is None else message)


class MissingTenantError(UsageError, ValueError):
    """No tenant was given and none is current.

    Pass ``tenant_id=...``, or run inside ``async with Context(tenant_id=...)`` or a function decorated with
    ``@with_context(tenant=True)``. ``"system"`` is the tenant of what belongs to nobody.
    """

    _MESSAGE = (
        "No tenant was given and none is current. Pass ``tenant_id=...``, or run inside "
        "``async with Context(tenant_id=...)`` or a function decorated with ``@with_context(tenant=True)``. "
        '``"system"`` is the tenant of what belongs to nobody'
    )


class TenantMismatchError(UsageError, ValueError):
    """Two tenants are named where there can be one: nothing was read and nothing was written.

    The tenant comes from the caller's authenticated surroundings. An argument, a ``ctx``, a ``TenantInfo`` and data must
    agree with it. Trusted code that works for another tenant enters ``with Context(tenant_id=...)`` first.

    Attributes:
        expected: The tenant that the code runs for.
        named: The tenant that was named besides.
    """

    def __init__(self, source: str, named: str, expected: str, *, remedy: str | None = None) -> None:
        remedy = remedy or f"enter `with Context(tenant_id={show(named)})` in code that may cross tenants"
        super().__init__(
            f"{source} names the tenant {show(named)}, and this code runs for {show(expected)}: leave it out, or {remedy}"
        )
        self.expected = expected
        self.named = named

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how it is made anew in another process: a pool would wait for ever for an error that it cannot make."""
        return _remake, (type(self), self.args, self.__dict__)


def _remake(kind: type[BaseException], args: tuple[object, ...], state: dict[str, object]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ArgumentError(UsageError, ValueError, TypeError):
    """An argument is of a type, or has a value, that the verb cannot take: nothing was done.

    The message names the argument and the remedy.
    """


class InvalidKeyError(UsageError, ValueError):
    """A part of a key (tenant, data type, id, scope, tag) is blank or not a string.

    The message names the part.
    """


class SettingsError(UsageError, ValueError):
    """A setting, a server's URL or a policy is wrong, or an extra is missing.

    The message lists everything that is wrong.
    """


class CacheClosedError(UsageError, RuntimeError):
    """The cache is not open: use ``async with Cache(...)`` or ``await cache.open()`` first."""

    _MESSAGE = "The cache is not open: use ``async with Cache(...)`` or ``await cache.open()`` first"


class WrongLoopError(UsageError, RuntimeError):
    """The cache was opened on another event loop (or before a fork): close it there and open one here."""

    _MESSAGE = "The cache was opened on another event loop (or before a fork): close it there and open one here"


class ClaimError(UsageError, RuntimeError):
    """A value was stored with a claim that takes none: it found one, has stored one already, or is closed.

    Store once, inside the block, if not ``claim.found``.
    """


class BackendError(AlacenaError):
    """Redis did not execute a command.

    Catch one of those below. Cache verbs never raise it; opening a cache may.
    """


class BackendUnavailableError(BackendError):
    """The server could not be reached, or was not ready: the command was not executed.

    Try again later.
    """


class OutcomeUnknownError(BackendError):
    """The connection was lost or the deadline passed after the command was sent: it may have been executed.

    Retry only with the same idempotency id or token.
    """


class ServerReplyError(BackendError):
    """The server answered with an error.

    Look at the message: it is the server's.

    Attributes:
        code: The first word of the error, such as ``"WRONGTYPE"`` or ``"NOSCRIPT"``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.split(" ", 1)[0] if message else "ERR"


class UnsafeServerError(BackendError):
    """The server may evict queues, locks, counters or the ledger, or does not tell.

    Set ``maxmemory-policy noeviction``.
    """


class CodecError(AlacenaError):
    """A value cannot be turned into bytes, or bytes into a value.

    Catch one of the two below.
    """


class EncodeError(CodecError, TypeError):
    """The value holds something that cannot be stored.

    Follow the message, or register the class.

    Attributes:
        path: Where it is, such as ``$.rows[3].created``.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class DecodeError(CodecError, ValueError):
    """The bytes are not an entry of ours: truncated, tampered with, foreign, or of an unknown version.

    Only ``deserialize_from_cache`` raises it: a reader of the cache sees a miss.

    Attributes:
        raw: The bytes, if they would else be lost; else ``None``.
    """

    def __init__(self, message: str, *, raw: bytes | None = None) -> None:
        super().__init__(message)
        self.raw = raw


class LoadTimeoutError(AlacenaError, TimeoutError):
    """The source did not answer within ``hard_timeout_s`` of its data type.

    Look at the source, or give the type a longer time.
    """


class LoadCancelledError(AlacenaError):
    """The loader was cancelled by something that it waited for: its callers were not, and should not look as if.

    Look at the loader.
    """


class CircularLoadError(AlacenaError, RuntimeError):
    """A load asked for the entry that it is loading, or for the entry of a load that waits for it: it would wait for ever.

    The message names the circle. Call the source itself there, or give the inner entry an id of its own.
    """


class OneShotValueError(AlacenaError, TypeError):
    """The source returned a generator, stream, cursor, file or coroutine: its second reader finds it empty.

    Return its contents, or wrap the source in ``collected(...)``, which reads it to its end.
    """


class UnsharableValueError(AlacenaError, TypeError):
    """Several callers shared a load, and its value can be neither stored nor copied: one of them has it.

    Return something that can be stored, or give ``serializer=`` and ``deserializer=``.
    """


class CoordinationError(AlacenaError):
    """A lock, queue, counter or ledger refused: its promise would not hold.

    Catch one of those below.
    """


class LockLostError(CoordinationError):
    """The lock could not be renewed in time: its block was cancelled before the server could give it away.

    Start the work again under a new lock.
    """


class LockTimeoutError(CoordinationError, TimeoutError):
    """The lock was not had within the time that the caller allowed.

    Another holder has it: try again later, or wait longer.
    """


class NotOwnerError(CoordinationError):
    """The token is not (or no longer) the owner's: another worker may have it.

    Stop, and write nothing.
    """


class IdempotencyConflictError(CoordinationError, ValueError):
    """This idempotency key was used before with other figures.

    Use a key that names one call of the provider.
    """


class LimitExceededError(CoordinationError):
    """A budget or rate limit has no room.

    Wait for ``retry_after_s``, and ask again.

    Attributes:
        retry_after_s: Seconds until it is worth asking again; ``None`` where time alone does not help.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
