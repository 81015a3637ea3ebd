"""Embeddings by text: a call that brings many inputs asks the provider only for those that are not known.

Each embedding has its part of the tokens of the call that brought it: exactly those if it came alone, else a part by the
length of its input, so that the parts add up to the tokens paid.
"""

from __future__ import annotations

import math
import struct
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from alacena.common.cache.source_functions import skip
from alacena.integrations.llm_transport.answers import Answer, Ending, UnansweredError, select_headers
from alacena.integrations.llm_transport.client_timeout import limit
from alacena.integrations.llm_transport.http import renew
from alacena.integrations.usage import TokenCounts, read_usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.integrations.llm_transport.answers import Headers
    from alacena.integrations.llm_transport.call_rules import Call
    from alacena.integrations.llm_transport.pending_call import PendingCall
    from alacena.integrations.llm_transport.usage_accounts import UsageAccounts

EMBEDDING: Final = "llm_embedding"
"""The data type of embeddings."""


class _Embedding(msgspec.Struct):
    # Never read: it is numbers or base64, as the caller asked for it, and is handed on byte for byte.
    embedding: msgspec.Raw
    index: int = 0


class _Reply(msgspec.Struct):
    data: list[_Embedding]
    model: str = ""
    usage: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of one call, each with the id of its embedding.

    Attributes:
        call: The call.
        inputs: The inputs: texts, or lists of tokens.
        ids: The id of the embedding of each.
    """

    call: Call
    inputs: Sequence[Any]
    ids: Sequence[str]

    def body_for(self, ids: Sequence[str]) -> bytes:
        """Returns the body that asks for the embeddings of these ids alone, in their order."""
        by_id = self._by_id()
        return msgspec.json.encode({**self.call.body, "input": [by_id[one] for one in ids]})

    def lengths(self, ids: Sequence[str]) -> list[int]:
        """Returns how long the inputs of these ids are."""
        by_id = self._by_id()
        return [len(by_id[one]) for one in ids]

    def _by_id(self) -> dict[str, Any]:
        return dict(zip(self.ids, self.inputs, strict=True))


def inputs_of(call: Call) -> Inputs | None:
    """Returns the inputs of a call; ``None`` if it is not understood."""
    given = call.body.get("input")
    # A flat list of numbers is one input, given as tokens. A list of such lists is several.
    if isinstance(given, str) or (isinstance(given, list) and given and all(isinstance(one, int) for one in given)):
        given = [given]
    if not isinstance(given, list) or not given or not all(isinstance(one, str | list) and one for one in given):
        return None
    shared = {name: value for name, value in call.body.items() if name != "input"}
    return Inputs(call, given, [call.identity(shared, one) for one in given])


def read_reply(body: bytes, count: int) -> _Reply | None:
    """Returns a provider's answer to so many inputs, in their order; ``None`` if it has not one embedding for each."""
    try:
        read = msgspec.json.decode(body, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    read.data.sort(key=lambda one: one.index)
    return read if [one.index for one in read.data] == list(range(count)) else None


def _is_vector(written: bytes) -> bool:
    """Returns whether an embedding, as it was written, is a row of finite numbers, or of another form."""
    try:
        told: Any = msgspec.json.decode(written, type=list[float | None] | str | None)
        if isinstance(told, str):
            raw = b64decode(told)
            told = struct.unpack(f"<{len(raw) // 4}f", raw)
        # The sum is finite if each number is: those of base64 have 32 bits, and text that holds another is no JSON.
        return bool(told) and math.isfinite(sum(told))
    except TypeError:  # a hole in it
        return False
    except (msgspec.DecodeError, ValueError, struct.error):
        return True  # such as the tables of models that make several vectors of a text


def reply_to(inputs: Inputs, found: dict[str, dict[str, Any]], paid: int) -> bytes:
    """Returns the body that answers the whole call, in the order of its inputs.

    Args:
        inputs: The inputs.
        found: The embeddings by id.
        paid: The tokens that the provider was paid for now.
    """
    data = [
        {"object": "embedding", "index": index, "embedding": msgspec.Raw(found[one]["embedding"])}
        for index, one in enumerate(inputs.ids)
    ]
    model = found[inputs.ids[0]]["model"] or inputs.call.model
    usage = {"prompt_tokens": paid, "total_tokens": paid}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _share_out(total: int, lengths: Sequence[int]) -> list[int]:
    """Parts of a total by length, which add up to it exactly."""
    whole, so_far, given, parts = max(1, sum(lengths)), 0, 0, []
    for length in lengths:
        so_far += length
        # The running sum is rounded and not each part: so the parts add up to the total.
        parts.append(total * so_far // whole - given)
        given += parts[-1]
    return parts


class EmbeddingExchange:
    """Answers calls for embeddings text by text.

    Args:
        send: Asks the provider.
        accounts: Told the usage and the savings of calls.
    """

    def __init__(self, send: Callable[[Any], Awaitable[Any]], accounts: UsageAccounts) -> None:
        self._send = send
        self._accounts = accounts

    async def answer(self, pending: PendingCall) -> Any:
        """Returns the response to a call; ``None`` if it, or the provider's answer, is not understood.

        The usage of the response is the tokens paid for it: 0 on a hit.

        Cancellation: the provider's answer is waited for and stored: it is paid for.
        """
        inputs = inputs_of(pending.call)
        if inputs is None:
            return None
        brought = _Brought(pending, inputs, self._send, self._accounts)

        async def load(ids: Sequence[str]) -> dict[str, dict[str, Any]]:
            timeout.stop()
            return await brought.load(ids)

        try:
            async with limit(pending.request) as timeout:
                found = await pending.cache.load_many(
                    EMBEDDING,
                    inputs.ids,
                    pending.scope,
                    load,
                    ttl=pending.rules.ttl,
                    tags=pending.tags,
                    document_ids=pending.document_ids,
                )
        except UnansweredError as error:
            # The provider was asked for fewer inputs than the caller sent, and the answer to these is not understood.
            # The call as it was sent is passed on, so that the caller has an answer to what was asked.
            if error.answer.status == 200 and error.asked != tuple(inputs.ids):
                return None
            return pending.make_failure(error)
        self._save(pending, inputs, found, brought)
        told = _describe(pending, inputs, found, brought)
        return pending.response(200, brought.headers, reply_to(inputs, found, brought.paid), told)

    def _save(self, pending: PendingCall, inputs: Inputs, found: dict[str, Any], brought: _Brought) -> None:
        """Counts inputs that were not paid for now: known ones, and inputs that the call brings twice."""
        tokens = sum(found[one]["tokens"] for one in inputs.ids)
        # Each id once: an input that the call brings twice was paid for once, and its second embedding is saved.
        tokens -= sum(found[one]["tokens"] for one in brought.ids)
        self._accounts.counts.hits += not brought.ids
        if tokens:
            model = found[inputs.ids[0]]["model"] or pending.call.model
            ending = Ending(model=model, counts=TokenCounts(input_tokens=tokens))
            self._accounts.count_saved(pending.cache, pending.caller, pending.call, ending)


class _Brought:
    """The embeddings that the provider brought for one call.

    Attributes:
        ids: The ids of its embeddings.
        headers: The headers of its last answer.
        paid: The tokens that it was paid for.
    """

    def __init__(
        self, pending: PendingCall, inputs: Inputs, send: Callable[[Any], Awaitable[Any]], accounts: UsageAccounts
    ) -> None:
        self.ids: set[str] = set()
        self.headers: Headers = [("content-type", "application/json")]
        self.paid = 0
        self._pending, self._inputs, self._send, self._accounts = pending, inputs, send, accounts

    async def load(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Asks the provider for the embeddings of these ids."""
        pending = self._pending
        response = await self._send(renew(pending.request, self._inputs.body_for(ids)))
        try:
            body = await response.aread()
        finally:
            await response.aclose()
        self._accounts.counts.misses += 1
        headers, at = select_headers(response.headers.multi_items()), pending.now()
        read = read_reply(body, len(ids)) if response.status_code == 200 else None
        if read is None:
            answer = Answer(status=response.status_code, headers=headers, body=body, at=at, ending=Ending())
            raise UnansweredError(answer, ids)
        counts = read_usage(read.usage)
        if not all(_is_vector(bytes(made.embedding)) for made in read.data):
            skip()  # the caller has what the provider said, and whoever asks next asks again
        ending = self._accounts.price(pending.call, Ending(model=read.model or pending.call.model, counts=counts), at)
        self._accounts.count_use(pending.cache, pending.caller, pending.call, ending)
        total = 0 if counts is None else counts.total
        self.ids.update(ids)
        self.headers, self.paid = headers, self.paid + total
        parts = _share_out(total, self._inputs.lengths(ids))
        return {
            # bytes() copies: a Raw is a view, and each embedding would keep the whole reply in memory.
            one: {"embedding": bytes(made.embedding), "model": read.model, "tokens": tokens, "at": at}
            for one, made, tokens in zip(ids, read.data, parts, strict=True)
        }


def _describe(pending: PendingCall, inputs: Inputs, found: dict[str, Any], brought: _Brought) -> str:
    """Returns the words of our own header for one response."""
    known = [one for one in inputs.ids if one not in brought.ids]
    if not known:
        return "miss"
    age_s = max(0, int(pending.now() - min(found[one]["at"] for one in known)))
    kind = "partial" if brought.ids else "hit"
    return f"{kind}; age={age_s}; inputs={len(inputs.ids)}; cached={len(known)}"
