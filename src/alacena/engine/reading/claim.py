"""A claim: a look-up that on a miss gives the permission to store, and the store that uses it.

A claim is a load whose source is the caller's own code: its loader waits for the value that the code stores. So it
waits for other loads and is waited for as a load is, and its value is stored under the same conditions.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from alacena.engine.base.errors import ArgumentError, ClaimError, LoadTimeoutError, show
from alacena.engine.base.keys import name_tags
from alacena.engine.base.remote_tier import MISSING, Lookup
from alacena.engine.base.ttl import UNSET, TtlOrUnset, check_ttl, seconds
from alacena.engine.loading.load import SourceCall, reads_under_way
from alacena.engine.loading.single_flight import ClaimLeftError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.keys import DocumentId
    from alacena.engine.loading.load import LoadContext, Request
    from alacena.engine.loading.single_flight import Flight, SingleFlight
    from alacena.engine.reading.reader import Reader

_log = logging.getLogger("alacena")

_NO_VALUE: Final = object()
"""What the loader of a claim is given if no value comes."""


class Claim:
    """The answer of a look-up, or the permission to store one.

    Attributes:
        found: Whether there is an answer: then nothing is to be stored. Otherwise the entry is the caller's to fill.
        value: The answer; ``None`` if the source is known to have nothing, and if there is no answer.
        lookup: All that is known of the answer; ``None`` before there is one. After a store it is that of the value
            stored.
        check: Is called with a value before it is stored, and raises to refuse it.

    Args:
        request: The entry claimed; its loader is not called.
        reader: Looks and waits.
        flights: The loads under way.
        environment: The clock.
    """

    def __init__(self, request: Request, reader: Reader, flights: SingleFlight, environment: Environment) -> None:
        self.lookup: Lookup[Any] | None = None
        self.found = False
        self.value: Any = None
        self.check: Callable[[Any], object] | None = None
        self._request = request
        self._key = request.key
        self._reader = reader
        self._flights = flights
        self._environment = environment
        self._began_at = environment.now()
        # Asked for now: inside its block, the load under way is the claim itself.
        self._outer = reads_under_way()
        self._called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._given: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._context: LoadContext | None = None
        self._flight: Flight | None = None
        self._landing: asyncio.Future[Lookup[Any]] | None = None
        self._call: SourceCall | None = None
        self._is_used = False
        self._is_closed = False
        self._is_ended = False

    @property
    def is_open(self) -> bool:
        """Whether a value can be stored with it: it found none, none was stored, and it has not ended."""
        return self._landing is not None and not (self._landing.done() or self._is_used or self._is_closed)

    @property
    def previous(self) -> Any:
        """The expired value, if one is still there; otherwise ``MISSING``. See :data:`alacena.UNCHANGED`."""
        return MISSING if self._context is None else self._context.previous

    async def store(
        self,
        value: Any,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
    ) -> bool:
        """Stores the value, and gives it to all that wait for the claim.

        Args:
            value: Anything the codec knows, except ``None``; :data:`alacena.UNCHANGED`: the expired value is still right. A
                value that cannot be stored is given to the waiting callers, and the log says why it is not stored.
            ttl: Seconds it stays fresh; left out: that of the claim, or the type's.
            tags: Its tags, besides those of the claim.
            document_ids: Documents it depends on, likewise.

        Returns:
            Whether it was stored. ``False`` if an invalidation, a ``set`` or a hold overtook it, after :meth:`skip`, if
            the claim ended before (its hard timeout, its life), and if Redis failed.

        Raises:
            ClaimError: The claim found an answer, has stored a value already, or is closed.
            ValueError: The value is ``None``, or ``ttl`` is not greater than 0.
            OneShotValueError: The value can be read only once.

        Cost: 1 round trip; one more for tags that were named since the claim began.
        Atomicity: one script, as for a load.
        Cancellation: the value is stored all the same.
        If Redis fails: ``False``; the waiting callers have the value.
        """
        if value is None:
            raise ArgumentError("claim.store(None): None means that there is no value; write claim.store_nothing()")
        return await self._redeem(value, check_ttl(ttl), name_tags(tags, document_ids))

    async def store_nothing(self) -> bool:
        """Tells all that wait that the source has nothing; it is remembered for the type's ``negative_ttl_s``.

        Returns:
            Whether it is remembered.

        Raises:
            ClaimError: As for :meth:`store`.

        Cost: As for :meth:`store`.
        """
        return await self._redeem(None, UNSET, ())

    def depends_on(self, document_ids: str | Iterable[str]) -> None:
        """Records documents that the value is made from; see :meth:`LoadContext.depends_on`."""
        if self._context is not None:
            self._context.depends_on(document_ids)

    def skip(self) -> None:
        """Does not store the value: it is for this caller and the callers that wait for the claim alone."""
        if self._context is not None:
            self._context.skip()

    async def close(self) -> None:
        """Ends the claim. If nothing was stored, its lease is given back, and the next one in line has the claim.

        Closing twice is no error.
        """
        self._is_closed = True
        self._give_up()
        if self._flight is not None and self._flight.task is not None:
            await asyncio.wait((self._flight.task,))

    async def begin(self, life_s: float | None = None) -> None:
        """Waits for the answer, or for the permission.

        Args:
            life_s: After how many seconds the claim ends by itself; ``None``: after the type's hard timeout alone.

        Raises:
            ArgumentError: ``life_s`` is not greater than 0.
        """
        # Checked first: if it failed after the claim had begun, nobody could close the claim.
        life_s = seconds(life_s, "life_s")
        request = replace(self._request, loader=self._wait_for_value, claimed=True)
        try:
            answer = await self._reader.claim(request, self._called)
            if not isinstance(answer, Lookup):
                self._flight, self._landing = answer
        finally:
            if self._flight is None:  # answered; or cancelled, maybe in the step in which its loader was called
                self._give_up()
        if isinstance(answer, Lookup):
            self.found, self.value, self.lookup = True, answer.value, answer
            return
        assert self._landing is not None
        self._flights.claims[self._end] = None
        self._landing.add_done_callback(self._note_end)
        if life_s is not None:
            timer = asyncio.get_running_loop().call_later(life_s, self._give_up)
            self._landing.add_done_callback(lambda _: timer.cancel())

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Wraps the caller's code in its own task: its reads and waits are noted, as in a loader."""
        if self._context is None or self._flight is None:
            yield
            return
        with SourceCall(self._flights, (self._key,), (self._flight,), self._context) as self._call:
            if self.is_open:
                # With its block named, a closing cache waits for the claim. It ends a claim without a block at once.
                self._flights.claims[self._end] = self._call
            yield

    async def _wait_for_value(self, context: LoadContext) -> Any:
        """Loads for the claim: waits for the value that its caller stores."""
        self._context = context
        if not self._called.done():
            self._called.set_result(None)
        value = await self._given
        if value is _NO_VALUE:
            raise ClaimLeftError
        return value

    async def _redeem(self, value: Any, ttl: TtlOrUnset, tags: tuple[str, ...]) -> bool:
        landing, flight, context = self._landing, self._flight, self._context
        if landing is None or flight is None or flight.task is None or context is None:
            raise ClaimError(f"{self._named} was found: there is nothing to store; store only if not claim.found")
        if self._is_used or self._is_closed:
            how = "has stored a value already" if self._is_used else "is closed: store before its block ends"
            raise ClaimError(f"the claim of {self._named} {how}; cache.set replaces a value")
        if self.check is not None:
            self.check(value)
        # After `check`: a value that was refused leaves the claim open for another one.
        self._is_used = True
        if landing.done() or self._given.done():  # the latter: it ends in this step, and its load has not run since
            return False
        context.tags += tags
        if ttl is not UNSET:
            context.ttl = ttl
        self._given.set_result(value)
        # Not `await flight.task`: a caller that is cancelled here would cancel the load, and nothing would be stored.
        await asyncio.wait((flight.task,))
        try:
            self.lookup = lookup = landing.result()
        except ClaimLeftError as error:
            if error.reason is None or isinstance(error.reason, LoadTimeoutError):  # it ended in the same step
                return False
            raise error.reason from None
        self._reader.report(((self._key, lookup),), self._began_at)
        if self._outer is not None:
            self._outer.note(self._key.ident, lookup.tags)
        return flight.stored

    def _end(self) -> None:
        """Ends the claim because the cache closes; :meth:`store` returns ``False`` from now on."""
        self._is_ended = True
        self._give_up()

    def _give_up(self) -> None:
        if not self._given.done():
            self._given.set_result(_NO_VALUE)

    def _note_end(self, landing: asyncio.Future[Lookup[Any]]) -> None:
        self._flights.claims.pop(self._end, None)
        if self._call is not None:
            self._call.is_over = True
        error = None if landing.cancelled() else landing.exception()
        if isinstance(error, ClaimLeftError) and not (self._is_used or self._is_closed or self._is_ended):
            _log.warning(
                "the claim of %s was neither stored nor closed in time, and has ended: the next one has it", self._named
            )

    @property
    def _named(self) -> str:
        return f"{self._key.data_type:.80} {show(self._key.resource_id)}"
