"""Answers that are kept as they are: whole, or in events."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from alacena.engine import Policy
from alacena.integrations.llm_transport.answers import Answer, UnansweredError, answer_of, judge, select_headers
from alacena.integrations.llm_transport.client_timeout import limit, limit_each
from alacena.integrations.llm_transport.http import Stream
from alacena.integrations.llm_transport.live_answer import LiveAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine import LoadContext, Lookup, Scope
    from alacena.integrations.llm_transport.pending_call import PendingCall
    from alacena.integrations.llm_transport.usage_accounts import UsageAccounts

ANSWER: Final = "llm_answer"
"""The data type of answers."""

_Key: TypeAlias = "tuple[int, Scope, str]"
_Load: TypeAlias = "Callable[[LoadContext], Awaitable[dict[str, Any]]]"


class Exchange:
    """Answers calls from the cache, and asks the provider for the rest.

    Args:
        send: Asks the provider.
        accounts: Told the usage and the savings of calls.
    """

    def __init__(self, send: Callable[[Any], Awaitable[Any]], accounts: UsageAccounts) -> None:
        self._send = send
        self._accounts = accounts
        self._policies: tuple[Policy | None, Policy] = (None, Policy())
        self._live: dict[_Key, LiveAnswer] = {}
        self._waiting: dict[_Key, dict[asyncio.Future[LiveAnswer], PendingCall]] = {}

    async def whole(self, pending: PendingCall) -> Any:
        """Returns the response to a call with an answer in one piece.

        Cancellation: leaves the call to the others that wait for it; the last to leave ends it.
        """
        # Set by this caller's own load alone. Without it the caller has joined another's, and its answer is a hit.
        mine: Answer | None = None

        async def load(context: LoadContext) -> dict[str, Any]:
            nonlocal mine
            timeout.stop()
            response = await self._send(pending.request)
            try:
                body = await response.aread()
            finally:
                await response.aclose()
            mine = self._judge(pending, context, response, body)
            if mine.status != 200:
                raise UnansweredError(mine)  # if the policy has something stale for that, it is the answer
            return mine.record()

        try:
            async with limit(pending.request) as timeout:
                found = await self._lookup(pending, _id(pending), load)
        except UnansweredError as error:
            return pending.make_failure(error, shared=error.answer is not mine)
        if mine is None or found.source != "loader":
            return self._replay(pending, found)
        reason = mine.ending.reason or found.reason
        return pending.make_response(mine, f"miss; stored=no; reason={reason}" if reason else "miss")

    async def events(self, pending: PendingCall) -> Any:
        """Returns the response to a call with an answer in events, at once when the first has come.

        A caller that asks for the same while they come hears them from the start, unless something that the answer rests on has
        ended since the provider was asked.

        Cancellation: of the response leaves the call to the others that listen; the last to leave ends it.
        """
        resource_id = _id(pending)
        key = (id(pending.cache), pending.scope, resource_id)
        live = self._live.get(key)
        if live is not None and live.takes_listeners:
            live.join(pending)
            return await self._listen(pending, live, joined=True)
        own = LiveAnswer()

        async def load(context: LoadContext) -> dict[str, Any]:
            return await self._stream(pending, key, own, context)

        own.task = task = asyncio.get_running_loop().create_task(self._lookup(pending, resource_id, load))
        task.add_done_callback(_consume)
        live = await self._begin_or_join(pending, key, own, task)
        if live is None:
            return self._replay(pending, task.result())
        return await self._listen(pending, live, joined=live is not own)

    async def _begin_or_join(
        self, pending: PendingCall, key: _Key, own: LiveAnswer, task: asyncio.Task[Lookup[Any]]
    ) -> LiveAnswer | None:
        """Returns the call that brings the answer, ours or an equal one that began after ours came; ``None``: there is one.

        One that had begun before cannot be had here: it may rest on entries that had ended by the time that ours came.
        """
        begun: asyncio.Future[LiveAnswer] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, {})
        # 1. Two callers ask at one time. 2. The cache shares one load, which is either's. 3. The load that runs finds
        # the other caller here, and tells it which call to listen to.
        waiting[begun] = pending
        try:
            await asyncio.wait((task, begun), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if begun.done():
                begun.result().leave(pending)
            # If our own call has begun, others may hear it by now, and leave() has decided whether it goes on.
            if not (begun.done() and begun.result() is own):
                task.cancel()
            raise
        finally:
            waiting.pop(begun, None)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
        if not begun.done():
            return None
        if begun.result() is not own:
            task.cancel()
        return begun.result()

    async def _listen(self, pending: PendingCall, live: LiveAnswer, *, joined: bool) -> Any:
        """Returns the response for one listener."""
        is_well = False
        try:
            async with limit(pending.request) as timeout:
                if not joined:
                    timeout.stop()
                # Shielded: the future is of all listeners, and one that is cancelled would cancel it for the others.
                status, headers = await asyncio.shield(live.head)
            is_well = True
        finally:
            if not is_well:
                live.leave(pending)

        async def close() -> None:
            live.leave(pending)

        told, chunks = "miss", live.listen()
        if joined:
            chunks = limit_each(pending.request, chunks)
            told = "hit; age=0; tier=flight" if status == 200 else "miss; tier=flight"
            self._accounts.counts.hits += status == 200
        return pending.response(status, headers, Stream(chunks, close), told)

    async def _stream(self, pending: PendingCall, key: _Key, live: LiveAnswer, context: LoadContext) -> dict[str, Any]:
        """Asks the provider, and tells all listeners its events."""
        live.begin(context)
        self._live[key] = live
        for begun, listener in self._waiting.pop(key, {}).items():
            if not begun.done():
                live.join(listener)
                begun.set_result(live)
        try:
            response = await self._send(pending.request)
            try:
                live.tell_head((response.status_code, select_headers(response.headers.multi_items())))
                async for chunk in response.aiter_bytes():
                    live.tell(chunk)
            finally:
                await response.aclose()
            answer = self._judge(pending, context, response, live.body)
            live.end()
        finally:
            # If something that the answer rests on has ended, a later call has taken the place, and keeps it.
            if self._live.get(key) is live:
                del self._live[key]
            if not live.is_over:
                live.end(sys.exception())
        if answer.status == 200:
            # The caller whose load this is has paid. Each of the others has saved what it cost.
            for listener in live.served - {pending}:
                self._save(listener, answer)
        return answer.record()

    async def _lookup(self, pending: PendingCall, resource_id: str, load: _Load) -> Lookup[Any]:
        return await pending.cache.lookup(
            ANSWER,
            resource_id,
            pending.scope,
            load,
            ttl=pending.rules.ttl,
            tags=pending.tags,
            document_ids=pending.document_ids,
            policy=self._policy(pending.cache.policy(ANSWER)),
            search_hierarchy=False,
        )

    def _policy(self, given: Policy) -> Policy:
        """Returns the type's policy without a time limit, as the client has its own, and shared, as records never change."""
        if self._policies[0] is not given:
            self._policies = given, given.but(hard_timeout_s=None, shared=True)
        return self._policies[1]

    def _judge(self, pending: PendingCall, context: LoadContext, response: Any, body: bytes) -> Answer:
        """Returns the answer that has just come; its usage is counted, and an unfinished one is not stored."""
        at, status = pending.now(), response.status_code
        ending = judge(pending.call, pending.rules, status, response.headers.get("content-type", ""), body)
        if ending.reason:
            context.skip()
        self._accounts.counts.misses += 1
        if status == 200:
            ending = self._accounts.price(pending.call, ending, at)
            tokens = 0 if ending.counts is None else ending.counts.total
            context.cost(tokens=tokens, usd=(ending.nanodollars or 0) / 1e9)
            self._accounts.count_use(pending.cache, pending.caller, pending.call, ending)
        headers = select_headers(response.headers.multi_items())
        return Answer(status=status, headers=headers, body=body, at=at, ending=ending)

    def _replay(self, pending: PendingCall, found: Lookup[Any]) -> Any:
        """Returns the response to a call that another caller made, before or at the same time."""
        assert found.value is not None  # a load always has an answer
        answer = answer_of(found.value)
        if answer.status != 200:
            return pending.make_response(answer, "miss; tier=flight; stored=no; reason=status")
        self._accounts.counts.hits += 1
        self._save(pending, answer)
        tier = "flight" if found.source == "loader" else found.tier or "redis"
        age_s = max(0, int(pending.now() - answer.at))
        return pending.make_response(
            answer, f"hit; age={age_s}; tier={tier}" + ("; stale" if found.source == "stale" else "")
        )

    def _save(self, pending: PendingCall, answer: Answer) -> None:
        self._accounts.count_saved(pending.cache, pending.caller, pending.call, answer.ending)


def _id(pending: PendingCall) -> str:
    return pending.call.identity(pending.call.question)


def _consume(task: asyncio.Task[Any]) -> None:
    """Takes note of an error that the listeners have been told."""
    if not task.cancelled():
        task.exception()
