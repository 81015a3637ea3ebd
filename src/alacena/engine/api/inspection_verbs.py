"""Questions of people and monitors to a cache: its knowledge, promises and counts."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from alacena.engine.base.errors import CacheClosedError
from alacena.engine.base.scope import make_scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alacena.coordination.fleet import Member
    from alacena.coordination.lock_states import LockState
    from alacena.engine.api.assembly import Parts
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.scope import Scope
    from alacena.engine.base.snapshot import Snapshot


_LOCKS_AT_ONCE: Final = 100


class InspectionVerbs(ABC):
    """The verbs of a cache that change nothing and load nothing."""

    @abstractmethod
    def policy(self, data_type: str) -> Policy:
        """Returns the policy by which a data type is kept and loaded."""

    @abstractmethod
    def _open_parts(self) -> Parts: ...

    _parts: Parts | None

    @property
    def url(self) -> str | None:
        """The address at which other processes reach the same server, an embedded one too; ``None``: memory only."""
        return self._open_parts().url

    async def ttl(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        *,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        user_id: str | None = None,
        permissions: Iterable[str] | None = None,
    ) -> float:
        """Seconds that an entry stays fresh: -1 for ever, -2 absent. Cost: 1 round trip."""
        parts = self._open_parts()
        scope = make_scope(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        key = parts.keys.entry(data_type, resource_id, scope)
        return await parts.reader.find_time_left(key, self.policy(data_type))

    async def explain(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        *,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        user_id: str | None = None,
        permissions: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        """Returns the explanation of a read of this entry, as facts for people.

        ``entry`` holds the server's entry: ``valid`` says whether a read would take it, ``why`` and ``ended`` why not.
        ``wider`` names the more general scopes that hold an entry of their own.

        Cost: 1 round trip; 2 for an entry that depends on tags or documents.
        """
        parts = self._open_parts()
        scope = make_scope(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        key, *wider = parts.keys.entries(data_type, resource_id, scope)
        return await parts.explain(key, wider)

    def guarantee(self) -> dict[str, Any]:
        """Returns the protocol's promises that hold now with this server, and why those that do not hold do not.

        ``faults`` holds the faults of parts that work in the background, by part.
        """
        parts = self._open_parts()
        return {**parts.remote.guarantee(), "faults": parts.health.faults()}

    def snapshot(self) -> Snapshot:
        """Returns the counts of this process, as they were within the last second; any thread may ask.

        Reading it is one look at an attribute. See :class:`alacena.engine.base.snapshot.Snapshot`.

        Raises:
            CacheClosedError: The cache is not open.
        """
        # Not `_open_parts`, which checks the loop: exporters ask from threads of their own.
        parts = self._parts
        if parts is None:
            raise CacheClosedError
        return parts.process_view.recorder.snapshot

    async def fleet(self) -> list[Member]:
        """Returns the processes that share the namespace, those heard last first, each with its last snapshot.

        Each says every two seconds (``fleet_every_s``) that it is there. One that ends without closing is stale after
        five seconds and is listed for a minute. 256 are listed at most.

        Cost: 3 round trips at most, for any number of processes, entries or tenants.

        Raises:
            BackendError: The server did not answer.
        """
        return await self._open_parts().process_view.fleet.members()

    async def find_locks(self) -> list[LockState]:
        """Returns the locks of the namespace that are held, each with the process that holds it.

        Each process says every two seconds which locks it holds; a lock of a process that has died is listed until it ends. A
        lock that was taken and left behind within these seconds, or of a process that tells nothing of itself, is not listed;
        neither are more than 200 of a process.

        Cost: 3 round trips, and 1 for each 100 locks; nothing depends on how many keys the server holds.

        Raises:
            BackendError: The server did not answer.
        """
        parts = self._open_parts()
        held = await parts.process_view.fleet.find_locks()
        # By the fence, too: a process may still name a lock that another one has by now.
        holders = {(lock.key, lock.fence): process for process, locks in held.items() for lock in locks}
        keys = list(dict.fromkeys(key for key, _ in holders))
        found: list[LockState] = []
        for at in range(0, len(keys), _LOCKS_AT_ONCE):
            states = await asyncio.gather(*map(parts.desk.locks.look_up, keys[at : at + _LOCKS_AT_ONCE]))
            found += [
                structs.replace(state, process=holders.get((state.key, state.fence or 0)))
                for state in states
                if state is not None
            ]
        return found

    async def ask(
        self, process: str, question: str, words: Mapping[str, Any] | None = None, *, deadline_s: float = 5.0
    ) -> Any:
        """Asks a process of the namespace a question.

        Args:
            process: The ``name`` of one of those that :meth:`fleet` lists.
            question: ``"explain"``: its memory's view of an entry, whether and since when it loads it, and why it was
                missed last, as far as that is remembered; ``"loads"``: the loads that it has under way;
                ``"snapshot"``: its counts; ``"tenant"``: its entries and counts of one tenant, listed or not.
            words: For ``"explain"``: ``data_type``, ``resource_id``, ``tenant_id`` and the parts of a scope; for
                ``"tenant"``: ``tenant_id``.
            deadline_s: How long to wait; a process looks into its inbox every two seconds.

        Returns:
            Plain facts. Never a value.

        Raises:
            UsageError: There is no such question, or its words are wrong.
            TimeoutError: The process did not answer in time.
            LimitExceededError: Too many questions wait for it.
            BackendError: The server did not answer.

        Cost: 1 round trip, and 10 a second until the answer is there.
        Cancellation: the question may be answered, and the answer is not read.
        """
        return await self._open_parts().process_view.fleet.ask(
            process, question, deadline_s, {} if words is None else words
        )

    def stats(self) -> dict[str, Any]:
        """Counts since the cache was opened, and the contents of memory by tenant and type.

        Of more than 2,000 tenants, memory is told as :meth:`snapshot` tells it: those with the most reads and bytes one by
        one, all others under the tenant ``None``.

        Cost: up to 5 ms, however much is held; :meth:`snapshot` costs nothing.
        """
        return self._open_parts().stats()
