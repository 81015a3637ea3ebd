"""`CachingTransport`: answers calls of a provider from the cache, and asks the provider for the rest."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from alacena.common import runtime
from alacena.common.context import (
    Context,
    get_current_agent_id,
    get_current_conversation_id,
    get_current_tenant_id,
)
from alacena.common.context.vars import user_of_code
from alacena.engine import Scope, UsageError
from alacena.engine.base.arguments import check_part, list_of
from alacena.engine.base.scope import identifier
from alacena.integrations.caller import scope_for
from alacena.integrations.llm_transport.answers import judge, select_headers
from alacena.integrations.llm_transport.call_rules import Rules, read_call, refusal, rules_for
from alacena.integrations.llm_transport.documents import current_documents
from alacena.integrations.llm_transport.embedding_exchange import EmbeddingExchange
from alacena.integrations.llm_transport.exchange import Exchange
from alacena.integrations.llm_transport.http import Stream, TransportBase, plain_transport
from alacena.integrations.llm_transport.pending_call import HEADER, PendingCall
from alacena.integrations.llm_transport.usage_accounts import CallAttribution, CallCounts, UsageAccounts
from alacena.integrations.prices import find_prices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from alacena.engine import Cache
    from alacena.integrations.llm_transport.call_rules import Call, RulesByName
    from alacena.integrations.llm_transport.http import Request
    from alacena.integrations.prices import Prices

_log = logging.getLogger("alacena")
DOCUMENTS_HEADER: Final = "x-alacena-documents"
"""Header of a request that names documents, separated by commas; the provider does not see it."""


class CachingTransport(TransportBase):
    """A transport for the asyncio clients of httpx2 and httpx that answers repeated calls of language models.

    ::

        transport = CachingTransport()
        client = AsyncOpenAI(http_client=DefaultAsyncHttpxClient(transport=transport))
        with Context(tenant_id="acme"):
            await client.chat.completions.create(...)

    A call is repeated if everything that decides its answer is the same: URL, body, organisation, project, tenant and
    user. Every response says in ``x-alacena-cache`` its outcome. A call without a tenant is passed on.

    Args:
        inner: Speaks to the provider; ``None``: a transport of the client's library, made for the first call. A client
            that is given a transport leaves proxies to it: give one with ``proxy=`` here if you need one.
        cache: The cache; ``None``: the process-wide one.
        tenant_id: The tenant of all calls; ``None``: the ambient tenant's.
        rules: Rules for keeping answers, for all calls or by ``"endpoint/model"``.
        document_ids: Told a call, names documents that its answer is made from, besides those of `based_on`, of the
            request's ``x-alacena-documents`` and of the source that the call is made in.
        vary: Headers of requests that decide the answer, besides those that OpenAI and Anthropic have for it: such
            as those by which a gateway chooses where to send a call.
        per_user: Whether answers are those of the ambient user, if there is one, and of the permissions that the request
            or the job is served with.
        record_usage: Whether the token ledger is told the usage of calls and the savings of hits.
        prices: The prices of calls; ``None``: genai-prices if it is installed, else they are unknown.

    Cancellation: of a call leaves it to the others that wait for it; the last to leave ends it.
    If Redis fails: the provider answers, and the answer is not stored.
    """

    def __init__(
        self,
        inner: Any = None,
        *,
        cache: Cache | None = None,
        tenant_id: str | None = None,
        rules: Rules | RulesByName = Rules(),  # noqa: B008 - frozen
        document_ids: Callable[[Call], Iterable[str]] | None = None,
        vary: Iterable[str] = (),
        per_user: bool = True,
        record_usage: bool = True,
        prices: Prices | None = None,
    ) -> None:
        if inner is not None:
            check_part(inner, "inner", "aclose", "an async transport of httpx, such as AsyncHTTPTransport()")
        if cache is not None:
            check_part(cache, "cache", "load", "an open Cache or None")
        self._inner = inner
        self._cache = cache
        self._tenant_id = tenant_id
        self._rules = rules
        self._document_ids = document_ids
        self._vary = tuple(sorted(identifier("vary", name).lower() for name in list_of(vary, "vary", "headers")))
        self._per_user = per_user
        self._accounts = UsageAccounts(prices or find_prices(), record=record_usage)
        self._exchange = Exchange(self._send, self._accounts)
        self._embeddings = EmbeddingExchange(self._send, self._accounts)
        self._has_warned = False

    @property
    def counts(self) -> CallCounts:
        """The outcomes of the calls so far."""
        return self._accounts.counts

    async def handle_async_request(self, request: Request) -> Any:
        """Returns the response to a request: from the cache, or the provider's.

        Raises:
            Exception: Any error that the inner transport raises, as it is.

        Cost: 0 round trips if memory answers, 1 if Redis does, 2 and the provider on a miss.
        """
        # Before anything else: the provider must not see this header, whichever way the request goes.
        named = request.headers.pop(DOCUMENTS_HEADER, "")
        call = await self._call_of(request)
        if call is None:
            return await self._pass_on(request, None, "endpoint")
        rules = rules_for(call, self._rules)
        reason = "rules" if rules is None else refusal(call, rules)
        tenant_id = self._tenant_id or get_current_tenant_id()
        if tenant_id is None:
            self._warn()
            return await self._pass_on(request, None, "tenant")
        caller = CallAttribution(tenant_id, get_current_agent_id(), get_current_conversation_id(), user_of_code())
        cache = self._cache or await runtime.opened()
        pending = PendingCall(
            request=request,
            call=call,
            rules=rules or Rules(),
            cache=cache,
            caller=caller,
            scope=scope_for(tenant_id) if self._per_user else Scope(tenant_id),
            tags=tuple(Context().tags),
            document_ids=self._documents(call, named),
        )
        # Only now: a call that is passed on is counted too, for a tenant that had to be found first.
        if reason or not cache.is_open:
            return await self._pass_on(request, pending, reason or "closed")
        if call.endpoint == "embeddings":
            return await self._embeddings.answer(pending) or await self._pass_on(request, pending, "input")
        return await (self._exchange.events(pending) if call.streams else self._exchange.whole(pending))

    def handle_request(self, request: Request) -> Any:
        """Refuses: a cache lives on an event loop, and the client is sync. Raises: `UsageError`."""
        raise UsageError(
            f"{type(self).__name__} is for asyncio, and {request.method} {request.url.host} came from a sync client: use "
            "AsyncOpenAI, AsyncAnthropic or AsyncClient, and in sync code wait for their calls with a Bridge "
            "(alacena.integrations.bridge): bridge.run(client.chat.completions.create(...))"
        )

    async def aclose(self) -> None:
        """Waits until the ledger has been told of everything, then closes the inner transport."""
        await self._accounts.settle()
        if self._inner is not None:
            await self._inner.aclose()

    async def settle(self) -> None:
        """Waits until the ledger has been told of the calls so far."""
        await self._accounts.settle()

    async def _send(self, request: Request) -> Any:
        if self._inner is None:
            self._inner = plain_transport(request)
        return await self._inner.handle_async_request(request)

    async def _call_of(self, request: Request) -> Call | None:
        """Returns the call that a request makes; a body that is no JSON is left unread."""
        if request.method != "POST" or "json" not in request.headers.get("content-type", ""):
            return None
        # A user or a password in the URL decides nothing about the answer, and has no place in an id.
        url = (
            request.url.copy_with(fragment=None, username=None, password=None) if request.url.userinfo else request.url
        )
        return read_call(str(url), request.headers, await request.aread(), self._vary)

    def _documents(self, call: Call, named: str) -> tuple[str, ...]:
        """Returns the documents that a call names; the source that it is made in depends on them too."""
        given = [one for part in named.split(",") if (one := part.strip())]
        asked = () if self._document_ids is None else self._document_ids(call)
        documents = tuple(dict.fromkeys((*current_documents(), *given, *asked)))
        if documents:
            Context().depends_on(documents)
        return documents

    async def _pass_on(self, request: Request, pending: PendingCall | None, reason: str) -> Any:
        """Returns the provider's own response; its usage is counted if there is a ledger."""
        self.counts.bypasses[reason] += 1
        response = await self._send(request)
        told = f"bypass; reason={reason}"
        if pending is not None:
            return self._read_along(response, pending, told)
        response.headers[HEADER] = told
        return response

    def _read_along(self, response: Any, pending: PendingCall, told: str) -> Any:
        """Returns the same response; its body is read along with its reader."""
        chunks: list[bytes] = []

        async def read() -> AsyncIterator[bytes]:
            async for chunk in response.aiter_bytes():
                chunks.append(chunk)
                yield chunk

        async def close() -> None:
            await response.aclose()
            kind = response.headers.get("content-type", "")
            ending = judge(pending.call, pending.rules, response.status_code, kind, b"".join(chunks))
            if ending.counts is not None and pending.cache.is_open:
                ending = self._accounts.price(pending.call, ending, pending.now())
                self._accounts.count_use(pending.cache, pending.caller, pending.call, ending)

        headers = select_headers(response.headers.multi_items())
        return pending.response(response.status_code, headers, Stream(read(), close), told)

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "calls of a model are made without a tenant and not cached: make them inside Context(tenant_id=...), or "
                "give the transport a tenant_id"
            )
