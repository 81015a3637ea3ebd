"""One use of tokens, as it is counted, sent and kept."""

from __future__ import annotations

import re
from contextlib import suppress
from decimal import ROUND_HALF_EVEN, Context, Decimal, DecimalException, InvalidOperation
from hashlib import blake2b
from operator import index
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from alacena.engine.base.arguments import copy_mapping, exact
from alacena.engine.base.errors import ArgumentError, DecodeError, EncodeError, show
from alacena.engine.base.scope import identifier, tenant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# After an even number of backslashes ``u0000`` is plain text, and no NUL.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search
_LONGEST_KEY: Final = 512
_PLACES: Final = ("agent_id", "conversation_id", "collection_id")
_LONGEST_PART: Final = 64
_LONGEST: Final = {"model": 256, "token_type": 128, "operation": 128}
"""Bytes; together with the longest tenant they fit into one entry of a Postgres index."""


_ALONE: Final = frozenset({"llm", "embedding"})
"""Types of a whole call, which use its key up; any other type names a part of a call."""
_MICROS: Final = Decimal(1_000_000)
EXACT: Final = Context(prec=60, traps=[InvalidOperation])
"""Money is counted in this context: that of the caller may round to a few digits, or raise if something is rounded."""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One use of tokens: one call of a provider, or one that the cache saved.

    Attributes:
        tenant_id: The tenant.
        idempotency_key: Names the call; counted once for each tenant.
        tokens: The number of tokens.
        model: Of which model.
        token_type: Such as ``"llm"`` or ``"embedding"``.
        operation: Such as ``"query"`` or ``"embedding"``.
        at: When, in seconds since the epoch; decides the day and the month (UTC).
        saved: True if the cache answered: counted apart, never as used.
        agent_id: For which agent.
        conversation_id: In which conversation.
        collection_id: On which collection.
        metadata: Anything else worth keeping; not part of the figures.
        parts: Tokens by kind: ``"input"``, ``"output"``, ``"cached"``, ``"reasoning"``, ``"cache_write"``.
        cost_micros: Its price, in millionths of the currency.
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
    parts: dict[str, int] | None = None
    cost_micros: int = 0

    @property
    def fingerprint(self) -> str:
        """The fields that must be equal if the key is: every figure; not the time, the metadata, or the recipient.

        The first record of a call decides its agent and conversation: a worker that repeats it outside of
        them brings the same call.
        """
        figures: list[Any] = [self.tokens, self.model, self.token_type, self.operation, self.saved]
        figures += [sorted((self.parts or {}).items()), self.cost_micros]
        return blake2b(msgspec.json.encode(figures), digest_size=16).hexdigest()

    @property
    def figures(self) -> str:
        """The figures, for people."""
        words = [f"{self.tokens} tokens of {self.model!r}, {self.token_type}, {self.operation}"]
        words += [f"{name} {amount}" for name, amount in sorted((self.parts or {}).items())]
        words += [f"cost {money(self.cost_micros):.6f}"] if self.cost_micros else []
        return ", ".join([*words, *(["saved"] if self.saved else [])])

    @property
    def field(self) -> bytes:
        """The words under which it is totalled."""
        # As JSON, because any separator could be part of a model's name.
        return msgspec.json.encode([self.saved, self.model, self.token_type, self.operation])

    @property
    def amounts(self) -> list[tuple[bytes, int]]:
        """The amounts totalled beside the tokens: the parts and the money, each with its field."""
        named = [*sorted((self.parts or {}).items()), *([(COST, self.cost_micros)] if self.cost_micros else [])]
        head = [self.saved, self.model, self.token_type, self.operation]
        return [(msgspec.json.encode([*head, name]), amount) for name, amount in named if amount]

    def pack(self) -> bytes:
        """Returns the record that goes into the outbox and the spill file: one line of JSON.

        Raises:
            EncodeError: It holds something that JSON or Postgres does not.
        """
        try:
            record = msgspec.json.encode(self)
        except (TypeError, ValueError, RecursionError) as error:
            name = self._field_with(lambda text: not _is_utf8(text)) or "metadata"
            raise EncodeError(f"the usage cannot be stored, because of its {name}: {error}", f"$.{name}") from error
        if _NUL(record):
            name = self._field_with(lambda text: "\0" in text) or "metadata"
            raise EncodeError(
                f"the usage cannot be stored, because of its {name}: Postgres keeps no NUL in text", f"$.{name}"
            )
        return record

    def _field_with(self, has: Callable[[str], bool]) -> str | None:
        """Returns the first field that is such a text, ``None`` if none is."""
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return next((name for name, given in fields if isinstance(given, str) and has(given)), None)


COST: Final = "$"
"""The name under which money is totalled, beside the names of the parts."""


def key_of(idempotency_key: str, token_type: str) -> str:
    """Returns the key under which one type of a call is counted: input and output of one call may share the call's id."""
    if not isinstance(idempotency_key, str) or not isinstance(token_type, str) or token_type in _ALONE:
        return short_key(idempotency_key)
    return short_key(f"{idempotency_key}#{token_type}")


def whole(amount: Any, name: str) -> int:
    """Returns a number of tokens: an integer of any library.

    Raises:
        ValueError: It is none.
    """
    if amount is None:
        raise ArgumentError(
            f"{name} must be an integer, not None: the provider gave no usage. Ask it for usage (OpenAI's streams: "
            'stream_options={"include_usage": True}), or pass an estimate'
        )
    # index() takes True as 1: a truth value is left for exact(), which refuses it.
    if not isinstance(amount, bool):
        with suppress(TypeError):
            amount = index(amount)
    return exact(amount, name, least=0)


def whole_parts(parts: Mapping[str, Any] | None) -> dict[str, int] | None:
    """Returns the parts of a use, each a whole number; those that are 0 are left out.

    Raises:
        ValueError: A name is blank, or a number none.
    """
    if parts is None:
        return None
    parts = copy_mapping(parts, "parts", "tokens by kind")
    for name in parts:
        if not isinstance(name, str) or not name.strip() or name == COST or len(name) > _LONGEST_PART:
            raise ArgumentError(f"a part is named by a word, such as 'input' or 'output', not {show(name)}")
    amounts = {name: whole(amount, f"parts[{name!r}]") for name, amount in parts.items()}
    return {name: amount for name, amount in amounts.items() if amount} or None


def micros(cost: Decimal | float | str | None) -> int:
    """Returns an amount of money in whole millionths, rounded half to even.

    Raises:
        ValueError: It is no amount, or negative.
    """
    if cost is None:
        return 0
    try:
        # Through its text: a float may lie beside the half that was written, and be rounded the other way.
        amount = cost if isinstance(cost, Decimal) else Decimal(str(cost))
        if isinstance(cost, bool) or not amount.is_finite() or amount.adjusted() > EXACT.prec // 2:
            raise InvalidOperation
        whole_micros = EXACT.multiply(amount, _MICROS).to_integral_value(ROUND_HALF_EVEN, EXACT)
        return exact(int(whole_micros), "cost in millionths", least=0)
    except DecimalException:
        raise ArgumentError(f"cost must be an amount of money, such as Decimal('0.0024'), not {show(cost)}") from None


def money(of_millionths: int) -> Decimal:
    """Returns whole millionths as money, exactly."""
    return EXACT.divide(Decimal(of_millionths), _MICROS)


def plain(metadata: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Returns metadata as JSON has it: objects of pydantic, of providers, of numpy and the like become their fields.

    Raises:
        EncodeError: Something in it holds nothing that JSON has.
    """
    if not metadata:
        return None
    try:
        made: dict[str, Any] = msgspec.to_builtins(dict(metadata), enc_hook=_plain, str_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(
            f"metadata cannot be stored, and nothing was counted: {error}. Pass JSON values: text, numbers, lists, "
            "dicts; of an object its model_dump()",
            "$.metadata",
        ) from error
    return made


def _plain(value: Any) -> Any:
    for method in ("model_dump", "tolist", "to_dict"):
        if callable(found := getattr(value, method, None)) and not isinstance(value, type):
            return found()
    held = getattr(value, "__dict__", None)
    if not isinstance(held, dict) or isinstance(value, type) or callable(value):
        raise ArgumentError(f"a {type(value).__name__} has no form in JSON")
    return {name: one for name, one in held.items() if not name.startswith("_")}


def unpack_usage(record: bytes) -> Usage:
    """Reads a record.

    Raises:
        DecodeError: It is none.
    """
    try:
        return msgspec.json.decode(record, type=Usage)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"these bytes are no record of usage: {error}") from error


def check_usage(usage: Usage) -> Usage:
    """Returns the use with its names as text, and refuses usage that cannot be counted.

    Raises:
        MissingTenantError: No tenant.
        ValueError: Negative or inexact tokens; a blank model, type, operation or key.
    """
    if not isinstance(usage.saved, bool):
        raise ArgumentError(f"saved must be True or False, not {show(usage.saved)}")
    names = {name: identifier(name, getattr(usage, name)) for name in ("model", "token_type", "operation")}
    parts = {name: getattr(usage, name) for name in _PLACES}
    given = {name: identifier(name, part) for name, part in parts.items() if part is not None and part != ""}
    usage = replace(usage, tenant_id=tenant_text(usage.tenant_id), **names, **given)
    exact(usage.tokens, "tokens", least=0)
    for name, longest in _LONGEST.items():
        if len(_bytes(getattr(usage, name))) > longest:
            raise ArgumentError(f"{name} must be at most {longest} bytes")
    return usage


def short_key(key: str) -> str:
    """Returns the key itself, or a digest of one that is too long for an index; such a digest is marked with ``~``."""
    key = identifier("idempotency_key", key)
    if len(_bytes(key)) <= _LONGEST_KEY:
        return key
    return "~" + blake2b(_bytes(key), digest_size=32).hexdigest()


def _bytes(text: str) -> bytes:
    # A lone surrogate is refused by pack(), which names its field: to measure a text must not fail before.
    return text.encode("utf-8", "surrogatepass")
