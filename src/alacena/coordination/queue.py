"""A queue that loses nothing: each item is ready, delayed, in flight, dead or settled, at every instant."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from alacena.coordination.item import DeadLetter, Item, QueueStats, stats_from
from alacena.coordination.item_source import MOST_BYTES, Taken, check_take, give_back, reserve_from
from alacena.coordination.push_outcomes import OUTCOMES, Pushed, due_word, item_id, pages
from alacena.engine.base.arguments import exact, list_of, milliseconds
from alacena.engine.base.errors import ArgumentError, BackendError, DecodeError, OutcomeUnknownError, show, text_of
from alacena.engine.base.events import ItemRejected
from alacena.engine.base.scope import identifier, tenant_text
from alacena.engine.remote.backend import Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.coordination.ready_tenants import ReadyTenants
    from alacena.engine.remote.backend import Argument, Notification

PUSH: Final = Script("queue_push", idempotent=True)
RESERVE: Final = Script("queue_reserve", idempotent=True)
RETURN: Final = Script("queue_return", idempotent=True)
ACK: Final = Script("queue_ack", idempotent=True)
EXTEND: Final = Script("queue_extend", idempotent=True)
NACK: Final = Script("queue_nack", idempotent=True)
DEAD: Final = Script("queue_dead", idempotent=True)
REPLAY: Final = Script("queue_replay", idempotent=True)
DISCARD: Final = Script("queue_discard", idempotent=True)
STATS: Final = Script("queue_stats", idempotent=True)

_REMEMBER_GIVEN_MS: Final = 3_600_000
_REMEMBER_MADE_MS: Final = 120_000
_MOST_AT_ONCE: Final = 1_000
_LETTERS_AT_ONCE: Final = 1_000
_MOST_REASON: Final = 1_000
_IS_DEAD: Final = 3
"""The answer of the script if an item that was given back had no attempt left."""
_UNREADABLE_FACTOR: Final = 8
_UNREADABLE_MOST_S: Final = 300.0

_log = logging.getLogger("alacena")


class Queue:
    """One queue of one tenant. Made by :class:`~alacena.coordination.queues.Queues`.

    Delivery is at least once: an item that loses its lease is delivered again, as its next attempt; after
    ``max_attempts`` it is a dead letter. Order is that of pushing, as far as delays and new attempts leave it.
    If Redis fails: every verb raises; each carries an id or token, so it was asked again before that.

    Attributes:
        name: Its name.
        tenant_id: The tenant.
    """

    def __init__(
        self,
        port: CoordinationContext,
        ready_tenants: ReadyTenants | None,
        name: str,
        tenant_id: str,
        max_attempts: int,
    ) -> None:
        self.name = name = identifier("the name of a queue", name)
        self.tenant_id = tenant_id = tenant_text(tenant_id)
        self._port = port
        self._background = port._background
        self._ready_tenants = ready_tenants
        self._max_attempts = exact(max_attempts, "max_attempts", least=1)
        parts = ("data", "ready", "delayed", "flight", "dead", "done")
        self._keys = [port.key("queue", tenant_id, name, part) for part in parts]
        self._data = self._keys[0]
        self._channel = f"{self._data}:bell"
        self._elements = port.elements.of(tenant_id, self._data)

    async def push(
        self,
        value: Any,
        id: str | int | UUID | None = None,  # noqa: A002 - the public name of what it is
        *,
        delay_s: float = 0.0,
        at: float | datetime | None = None,
        if_dead: Literal["revive", "keep"] = "revive",
    ) -> Pushed:
        """Puts a value in.

        Cost: 1 round trip. If it is served for all tenants: 1 more if the queue was empty, and 1 more each quarter of an hour.
        Atomicity: all or nothing.
        Cancellation: it is put in all the same, in the background.

        Args:
            value: Anything that the codec takes.
            id: Names this piece of work: pushed again while it is known (until an hour after it was acknowledged), it
                is not taken in twice. Left out, one is made before anything is sent, so that no retry doubles it.
            delay_s: Seconds before it is ready.
            at: When it is ready instead, in seconds since the epoch or as an aware ``datetime``.
            if_dead: The fate of an ``id`` that is a dead letter: ``"revive"`` takes it in anew, with this value
                and all its attempts before it; ``"keep"`` leaves it dead.

        Returns:
            The id, which tells in :attr:`~alacena.coordination.push_outcomes.Pushed.outcome` its outcome.

        Raises:
            EncodeError: The value cannot be stored.
            BackendError: The server did not confirm. With an id, push it again.
        """
        return (
            await self.push_many([value], ids=None if id is None else [id], delay_s=delay_s, at=at, if_dead=if_dead)
        )[0]

    async def push_many(
        self,
        values: Iterable[Any],
        *,
        ids: Sequence[str | int | UUID] | None = None,
        delay_s: float = 0.0,
        at: float | datetime | None = None,
        if_dead: Literal["revive", "keep"] = "revive",
    ) -> list[Pushed]:
        """Puts values in. See :meth:`push`.

        Cost: 1 round trip for each 500 values or MiB. Atomicity: of each of those: give ids, so that you can push all
        of them again where one failed.

        Returns:
            The ids, in order, each with its outcome.
        """
        # Not a set: a list in the place of the word has no hash, and would fail as that.
        if if_dead not in ("revive", "keep"):
            raise ArgumentError(f'if_dead must be "revive" or "keep", not {show(if_dead)}')
        # All are encoded before anything is sent: a value that cannot be stored leaves no half of them pushed.
        payloads = [self._elements.encode(value) for value in list_of(values, "values", "values")]
        named = None if ids is None else list_of(ids, "ids", "ids, one for each value")
        names = [f"~{self._port.token()}" for _ in payloads] if named is None else [item_id(name) for name in named]
        if len(names) != len(payloads):
            raise ArgumentError(
                f"ids names {len(names)} items and there are {len(payloads)} values: give one id for each"
            )
        # With the token a page that is sent again is answered as at first; without, its own items would be known.
        head: list[Argument] = [self._channel, int(if_dead == "revive"), self._port.token()[:16]]
        due = due_word(delay_s, at)
        if self._ready_tenants is not None and payloads:
            await self._ready_tenants.ensure(self.tenant_id)
        pairs = list(zip(names, payloads, strict=True))
        return await self._background.finish(self._push_pages(pairs, due, head))

    async def _push_pages(self, pairs: list[tuple[str, bytes]], due: str, head: list[Argument]) -> list[Pushed]:
        """Sends all portions, and announces items that came into an empty queue, also where a later portion fails."""
        announce = False
        pushed: list[Pushed] = []
        try:
            for page in pages(pairs):
                words = [word for name, payload in page for word in (name, due, payload)]
                ring, codes = await self._port.run(PUSH, self._keys, [*head, *words])
                announce = announce or bool(ring)
                pushed += [Pushed(name, OUTCOMES[code]) for (name, _), code in zip(page, codes, strict=True)]
        finally:
            if announce:
                await self._announce()
        return pushed

    async def _announce(self) -> None:
        """Puts the tenant's turn first. That may fail: the queue's items stay there, and are found a while later."""
        if self._ready_tenants is not None:
            try:
                await self._background.finish(self._ready_tenants.announce(self.tenant_id))
            except BackendError as error:
                _log.debug("queue %r of %r: its turn was not put first: %s", self.name, self.tenant_id, error)
                self._background.start(self._ready_tenants.announce(self.tenant_id))

    async def reserve(
        self, max_items: int = 1, *, visibility_s: float = 60.0, wait_s: float = 0.0, token: str | None = None
    ) -> list[Item]:
        """Takes up to ``max_items`` under a lease, and up to 8 MiB of values; one item may be larger.

        An item that cannot be read here is given back after a delay, with its attempt counted, and said in the log and in an
        ``ItemRejected`` event: another version may be able to. After its last attempt it is a dead letter.

        Cost: 1 round trip if there is something; while waiting, woken and not polling, 1 each 5 s.
        Cancellation: items taken are given back in the background, without counting as an attempt.
        If Redis fails: raises; where only the reply was lost, and no ``token`` was given, the same.

        Args:
            max_items: At most so many.
            visibility_s: For how long they are no other caller's.
            wait_s: For how long to wait for the first.
            token: Names this reservation: asked again with it, the same items come, for as long as they are held.

        Returns:
            The items; an empty list if there was nothing.
        """
        return await reserve_from(self, self._port, max_items, visibility_s, wait_s, token)

    async def take(
        self, max_items: int, visibility_s: float, token: str | None = None, max_bytes: int = MOST_BYTES
    ) -> Taken:
        """Takes the items that are ready, without waiting. See :meth:`reserve`."""
        max_items, visibility_ms, token = check_take(max_items, visibility_s, token, most=_MOST_AT_ONCE)
        max_bytes = exact(max_bytes, "max_bytes", least=1)
        holder = token or self._port.token()
        words: list[Argument] = [holder, max_items, visibility_ms, self._max_attempts]
        try:
            rows, due_ms = await self._background.finish(
                self._port.run(RESERVE, self._keys, [*words, max_bytes]), lambda _: self._return(holder, max_items)
            )
        except OutcomeUnknownError:
            if token is None:  # Nobody else can ask for what this token holds: nobody has seen it, nobody will.
                self._background.start(self._return(holder, max_items))
            raise
        items, unreadable = self._read(rows)
        if unreadable:
            try:
                await self._background.finish(self._put_off(unreadable))
            except asyncio.CancelledError:
                # Nobody has seen these, and with the caller gone nobody would acknowledge them.
                give_back(self._port, items)
                raise
        return Taken(items, None if due_ms < 0 else due_ms / 1000, len(unreadable))

    def bell(self) -> AbstractAsyncContextManager[Notification]:
        """Rings when something becomes ready, or due sooner."""
        return self._port.store.listen(self._channel)

    async def ack(self, items: Sequence[Item] | Item) -> list[Item]:
        """Finishes items of this queue, or one of them, for good.

        Cost: 1 round trip. Atomicity: all in one step. Idempotent.

        Returns:
            Those that had lost their lease: another worker has them, or will.
        """
        words: list[Argument] = [_REMEMBER_GIVEN_MS, _REMEMBER_MADE_MS]
        return await self._each(ACK, words, items)

    async def extend(self, items: Sequence[Item] | Item, visibility_s: float) -> list[Item]:
        """Lengthens the leases of items of this queue, or of one.

        Cost: 1 round trip.

        Returns:
            Those that had lost their lease.
        """
        words: list[Argument] = [milliseconds(visibility_s, "visibility_s")]
        return await self._each(EXTEND, words, items)

    async def nack(
        self, item: Item, delay_s: float = 0.0, reason: str | None = None, *, count_attempt: bool = True
    ) -> bool:
        """Gives an item back; False if its lease had ended. See :meth:`Item.nack`."""
        delay_ms = milliseconds(delay_s, "delay_s", least=0)
        _check_item(item, "item")
        return await self._nack(
            item.id, item.slot, delay_ms, _reason(reason), self._max_attempts, count_attempt=count_attempt
        )

    async def dead(self, limit: int = 100) -> list[DeadLetter]:
        """Returns the oldest dead letters. Cost: 1 round trip for each 8 MiB of values."""
        limit = exact(limit, "limit", least=0)
        letters: list[DeadLetter] = []
        while len(letters) < limit:
            words: list[Argument] = [len(letters), limit - len(letters), MOST_BYTES]
            rows = await self._port.run(DEAD, self._keys, words)
            if not rows:
                break
            letters += [self._letter(*row) for row in rows]
        return letters

    async def replay(self, ids: Sequence[str | int | UUID] | str | int | UUID | None = None) -> int:
        """Makes dead letters ready again, with all their attempts before them; all of them where no ids are given.

        Cost: 1 round trip a thousand, and 1 if it is served for all tenants.

        Returns:
            How many there were; less where a reply was lost, although all were.
        """
        count = await self._letters(REPLAY, [self._channel], ids)
        await self._announce()
        return count

    async def discard(self, ids: Sequence[str | int | UUID] | str | int | UUID | None = None) -> int:
        """Forgets dead letters for good, and their ids at once; all of them where no ids are given.

        Cost: 1 round trip a thousand.

        Returns:
            How many there were; less where a reply was lost, although all were.
        """
        return await self._letters(DISCARD, [], ids)

    async def stats(self) -> QueueStats:
        """Returns the queue now. Cost: 1 round trip. Atomicity: all figures are of one instant.

        A queue that was empty for a day is forgotten, and counts from 0 again.
        """
        return stats_from(await self._port.run(STATS, self._keys, []))

    async def give_back(self, items: Sequence[Item]) -> None:
        """Gives untried items back: at once, and without counting the attempt. Those lost are left out.

        Cost: 1 round trip each, all of them at once.
        """
        given = _items(items, "items")
        gone = (self._nack(item.id, item.slot, 0, "", self._max_attempts, count_attempt=False) for item in given)
        await asyncio.gather(*gone)

    async def _each(self, script: Script, words: list[Argument], items: Sequence[Item] | Item) -> list[Item]:
        given = _items(items, "items")
        if not given:
            return []
        pairs = [word for item in given for word in (item.id, item.slot)]
        answers = await self._port.run(script, self._keys, [*words, *pairs])
        return [item for item, answer in zip(given, answers, strict=True) if not answer]

    async def _letters(self, script: Script, words: list[Argument], ids: Any) -> int:
        count = 0
        # One id may stand alone: the letters of a text are no ids.
        given = (ids,) if isinstance(ids, str | int | UUID) else () if ids is None else list_of(ids, "ids", "ids")
        names = [_letter_id(name) for name in given]
        # No ids mean all letters; an empty list means none of them.
        if ids is not None:
            for at in range(0, len(names), _LETTERS_AT_ONCE):
                count += await self._port.run(script, self._keys, [*words, *names[at : at + _LETTERS_AT_ONCE]])
            return count
        # Not until there is none: one that is replayed may die again at once, and would be counted for ever.
        done = _LETTERS_AT_ONCE
        while done == _LETTERS_AT_ONCE:
            done = await self._port.run(script, self._keys, words)
            count += done
        return count

    async def _nack(
        self, item_id: str, slot: str, delay_ms: int, reason: str, max_attempts: int, *, count_attempt: bool = True
    ) -> bool:
        words: list[Argument] = [self._channel, item_id, slot, delay_ms, reason, max_attempts, int(not count_attempt)]
        state = await self._port.run(NACK, self._keys, words)
        if state in {1, 2}:
            await self._announce()
        elif state == _IS_DEAD and self._port.says_first(f"dead: {self.name}"):
            _log.warning(
                "item %r of queue %r of tenant %r is a dead letter after its last attempt: %s; `alacena queues dead` lists "
                "them, and replay() brings them back. Later ones of queues of this name are not logged",
                item_id,
                self.name,
                self.tenant_id,
                reason,
            )
        return bool(state)

    def _read(self, rows: Sequence[list[Any]]) -> tuple[list[Item], list[Item]]:
        """Returns the items that can be read, and those that cannot, with the reason as their value."""
        items: list[Item] = []
        unreadable: list[Item] = []
        for name, slot, attempt, record in rows:
            try:
                # The script's own head before the payload holds no colon, so the first colon ends it.
                value = self._elements.decode(record.partition(b":")[2])
            except DecodeError as error:
                unreadable.append(
                    Item(self, _text(name), slot.decode(), attempt, f"cannot be read: {str(error).rstrip('.')}")
                )
            else:
                items.append(Item(self, _text(name), slot.decode(), attempt, value))
        return items, unreadable

    async def _put_off(self, unreadable: Sequence[Item]) -> None:
        """Gives back items that cannot be read here, to be tried a while later: another version may read them."""
        for item in unreadable:
            self._tell(item)
        try:
            await asyncio.gather(
                *(
                    self._nack(item.id, item.slot, _unreadable_ms(item.attempt), item.value, self._max_attempts)
                    for item in unreadable
                )
            )
        except BackendError:
            return  # Their leases end by themselves.

    def _tell(self, item: Item) -> None:
        if self._port.emit is not None:
            self._port.emit(
                ItemRejected(self.tenant_id, None, self.name, item.id, item.attempt, item.value.partition(": ")[2])
            )
        if self._port.says_first(f"queue {self.name}: {item.value}"):
            _log.warning(
                "queue %r: item %r %s; it is given back and tried again, up to %d attempts, then it is a dead letter "
                "that replay() brings back: register its class here, or let workers of its version run",
                self.name,
                item.id,
                item.value,
                self._max_attempts,
            )

    async def _return(self, holder: str, max_items: int) -> None:
        if await self._port.run(RETURN, self._keys, [self._channel, holder, max_items]):
            await self._announce()

    def _letter(self, name: bytes, died_ms: int, attempts: int, reason: bytes, record: bytes) -> DeadLetter:
        payload = record.partition(b":")[2]
        words = reason.decode("utf-8", "replace")
        try:
            value = self._elements.decode(payload)
        except DecodeError:
            return DeadLetter(_text(name), None, attempts, words, died_ms / 1000, payload)
        return DeadLetter(_text(name), value, attempts, words, died_ms / 1000)


def _items(given: Sequence[Item] | Item, name: str) -> list[Item]:
    """Returns items that were handed out, one or several.

    Raises:
        ArgumentError: One of them is no item.
    """
    items = [given] if isinstance(given, Item) else list_of(given, name, "items, as reserve() gives them,")
    for item in items:
        _check_item(item, name)
    return items


def _check_item(given: object, name: str) -> None:
    if not isinstance(given, Item):
        raise ArgumentError(f"{name} must be an item that reserve() gave, not {show(given)}")


def _reason(reason: str | None) -> str:
    """Returns a reason as it is stored: bounded, and without lone surrogates, which are no UTF-8.

    Neither may keep the item from being given back.
    """
    return "" if reason is None else text_of(reason)[:_MOST_REASON].encode("utf-8", "backslashreplace").decode()


def _letter_id(name: str | int | UUID) -> str:
    """Returns an id of a dead letter, which may also be one that was made."""
    return name if isinstance(name, str) else item_id(name)


def _unreadable_ms(attempt: int) -> int:
    """Returns how long an item waits that could not be read: 1 s at first, minutes at last, as long as a deploy may take."""
    # The exponent is bounded because attempts are not: a power of floats overflows.
    return round(1000 * min(float(_UNREADABLE_FACTOR) ** min(attempt - 1, 9), _UNREADABLE_MOST_S))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")
