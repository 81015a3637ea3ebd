"""One call on its way, and the response that ends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alacena.integrations.llm_transport.http import respond

if TYPE_CHECKING:
    from alacena.engine import Cache, Scope
    from alacena.integrations.llm_transport.answers import Answer, Headers, UnansweredError
    from alacena.integrations.llm_transport.call_rules import Call, Rules
    from alacena.integrations.llm_transport.http import Request, Stream
    from alacena.integrations.llm_transport.usage_accounts import CallAttribution

HEADER: Final = "x-alacena-cache"
"""Header of a response that says what became of the call: ``hit``, ``miss``, ``partial`` or ``bypass``, and more."""


def is_hit(response: Any) -> bool:
    """Returns whether a response cost nothing: its usage was paid before, and is not to be counted again.

    Args:
        response: Anything that has ``headers``: a response, or the result of ``with_raw_response``.
    """
    return str(response.headers.get(HEADER, "")).startswith("hit")


# Not compared by value: listeners are kept in sets of pending calls, and two equal calls are two listeners.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PendingCall:
    """A call on its way.

    Attributes:
        request: The request.
        call: The endpoint and body.
        rules: The rules for keeping it.
        cache: Where.
        caller: The caller.
        scope: The owner of the answer: the tenant's, or that of one user and of this user's permissions.
        tags: The tags so far of the source that it is made in.
        document_ids: Documents that its answer is made from.
    """

    request: Request
    call: Call
    rules: Rules
    cache: Cache
    caller: CallAttribution
    scope: Scope
    tags: tuple[str, ...]
    document_ids: tuple[str, ...]

    def now(self) -> float:
        """Returns the time, in seconds since the epoch."""
        return self.cache.environment.wall()

    def response(self, status: int, headers: Headers, body: bytes | Stream, told: str) -> Any:
        """Returns the response that ends it, with our own header."""
        return respond(self.request, status, [*headers, (HEADER, told)], body)

    def make_failure(self, error: UnansweredError, *, shared: bool = False) -> Any:
        """Returns the response that passes an error of the provider on, as it was."""
        return self.make_response(error.answer, f"miss{'; tier=flight' if shared else ''}; stored=no; reason=status")

    def make_response(self, answer: Answer, told: str) -> Any:
        """Returns the response that an answer makes."""
        return self.response(answer.status, answer.headers, answer.body, told)
