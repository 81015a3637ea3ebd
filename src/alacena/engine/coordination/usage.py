"""One use of tokens, as it is counted, sent and kept."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from alacena.engine.coordination.port import exact
from alacena.engine.errors import DecodeError, EncodeError
from alacena.engine.scope import DIMENSIONS, identifier, tenant_text

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search
_LONGEST_KEY: Final = 512
_LONGEST: Final = {"tenant_id": 512, "model": 256, "token_type": 128, "operation": 128}
"""Bytes; together they fit into one entry of a Postgres index."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One use of tokens: one call of a provider, or one that the cache saved.

    Attributes:
        tenant_id: Whose.
        idempotency_key: Names the call; counted once for each tenant.
        tokens: How many, above 0.
        model: Of which model.
        token_type: Such as ``"llm"`` or ``"embedding"``.
        operation: Such as ``"query"`` or ``"embedding"``.
        at: When, in seconds since the epoch; decides the day and the month (UTC).
        saved: True where the cache answered: counted apart, never as used.
        agent_id: For which agent.
        conversation_id: In which conversation.
        collection_id: On which collection.
        metadata: Whatever else is worth keeping; not part of the figures.
    """

    tenant_id: str
    idempotency_key: str
    tokens: int
    model: str
    token_type: str
    operation: str
    at: float
    saved: bool = False
    agent_id: str | None = None
    conversation_id: str | None = None
    collection_id: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def fingerprint(self) -> str:
        """What must be the same where the key is: every figure, and whom it is for; not the time, not the metadata."""
        figures = (self.tokens, self.model, self.token_type, self.operation, self.saved)
        return _digest([*figures, self.agent_id, self.conversation_id, self.collection_id])

    @property
    def field(self) -> bytes:
        """Under what it is totalled."""
        return msgspec.json.encode([self.saved, self.model, self.token_type, self.operation])

    def packed(self) -> bytes:
        """The record that goes into the outbox and the spill file: one line of JSON.

        Raises:
            EncodeError: It holds something that JSON or Postgres does not.
        """
        try:
            record = msgspec.json.encode(self)
        except (TypeError, UnicodeEncodeError) as error:
            raise EncodeError(f"the usage cannot be stored: {error}", "$.metadata") from error
        if _NUL(record):
            raise EncodeError("the usage cannot be stored: Postgres keeps no NUL in text", "$.metadata")
        return record


def _digest(figures: list[Any]) -> str:
    return blake2b(msgspec.json.encode(figures), digest_size=16).hexdigest()


def unpacked(record: bytes) -> Usage:
    """Read a record.

    Raises:
        DecodeError: It is none.
    """
    try:
        return msgspec.json.decode(record, type=Usage)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"not a record of usage: {error}") from error


def checked(usage: Usage) -> Usage:
    """Returns the use with its names as text, and refuses what cannot be counted.

    Raises:
        MissingTenantError: No tenant.
        ValueError: Negative or inexact tokens; a blank model, type, operation or key.
    """
    names = {name: identifier(name, getattr(usage, name)) for name in ("model", "token_type", "operation")}
    parts = {name: getattr(usage, name) for name in DIMENSIONS}
    given = {name: identifier(name, part) for name, part in parts.items() if part is not None and part != ""}
    usage = replace(usage, tenant_id=tenant_text(usage.tenant_id), **names, **given)
    exact(usage.tokens, "tokens", least=0)
    for name, longest in _LONGEST.items():
        if len(_bytes(getattr(usage, name))) > longest:
            raise ValueError(f"{name} must be at most {longest} bytes")
    return usage


def short_key(key: str) -> str:
    """The key itself, or a digest of one that is too long for an index; such a digest is marked with ``~``."""
    key = identifier("idempotency_key", key)
    if len(_bytes(key)) <= _LONGEST_KEY:
        return key
    return "~" + blake2b(_bytes(key), digest_size=32).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
