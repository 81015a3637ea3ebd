"""A queue that loses nothing: what was pushed is ready, delayed, in flight, dead or settled, at every instant."""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.coordination.item import DeadLetter, Item, QueueStats, stats_from
from alacena.engine.coordination.port import milliseconds, pause_s
from alacena.engine.errors import DecodeError, InvalidKeyError
from alacena.engine.scope import identifier, tenant_text
from alacena.engine.store import Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from alacena.engine.coordination.errands import Errands
    from alacena.engine.coordination.port import Port
    from alacena.engine.coordination.roster import Roster
    from alacena.engine.store import Argument, Bell

PUSH: Final = Script("queue_push", idempotent=True)
RESERVE: Final = Script("queue_reserve", idempotent=True)
ACK: Final = Script("queue_ack", idempotent=True)
EXTEND: Final = Script("queue_extend", idempotent=True)
NACK: Final = Script("queue_nack", idempotent=True)
DEAD: Final = Script("queue_dead", idempotent=True)
REPLAY: Final = Script("queue_replay", idempotent=True)
DISCARD: Final = Script("queue_discard", idempotent=True)
STATS: Final = Script("queue_stats", idempotent=True)

_REMEMBER_GIVEN_MS: Final = 3_600_000
_REMEMBER_MADE_MS: Final = 120_000
_PAGE: Final = 500
_PAGE_BYTES: Final = 1 << 20
_LONGEST_ID: Final = 512
_MOST_AT_ONCE: Final = 1_000


class Queue:
    """One queue of one tenant. Made by :class:`~alacena.engine.coordination.queues.Queues`.

    Delivery is at least once: an item whose lease ends is delivered again, as its next attempt; after
    ``max_attempts`` it is a dead letter. Order is that of pushing, as far as delays and new attempts leave it.
    If Redis fails: every verb raises; each carries an id or token, so it was asked again before that.

    Attributes:
        name: Its name.
        tenant_id: Whose it is.
    """

    def __init__(
        self, port: Port, errands: Errands, roster: Roster | None, name: str, tenant_id: str, max_attempts: int
    ) -> None:
        if max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {max_attempts}")
        self.name = name = identifier("the name of a queue", name)
        self.tenant_id = tenant_id = tenant_text(tenant_id)
        self._port = port
        self._errands = errands
        self._roster = roster
        self._max_attempts = max_attempts
        parts = ("data", "ready", "delayed", "flight", "dead", "done")
        self._data, self._ready, self._delayed, self._flight, self._dead, self._done = (
            port.key("queue", tenant_id, name, part) for part in parts
        )
        self._five = [self._data, self._ready, self._delayed, self._flight, self._dead]
        self._channel = f"{self._data}:bell"
        self._elements = port.elements.of(tenant_id, self._data)

    async def push(
        self,
        value: Any,
        id: str | None = None,  # noqa: A002 - the public name of what it is
        *,
        delay_s: float = 0.0,
        at: float | datetime | None = None,
    ) -> str:
        """Put a value in.

        Cost: 1 round trip; 2 where the queue was empty and it is served for all tenants. Atomicity: all or nothing.

        Args:
            value: Anything that the codec takes.
            id: Names this piece of work: pushed again while it is known (until an hour after it was settled), it is
                not taken in twice. Left out, one is made before anything is sent, so that no retry doubles it.
            delay_s: Seconds before it is ready.
            at: When it is ready instead, in seconds since the epoch or as an aware ``datetime``.

        Returns:
            The id.

        Raises:
            EncodeError: The value cannot be stored.
            BackendError: The server did not confirm.
        """
        return (await self.push_many([value], ids=None if id is None else [id], delay_s=delay_s, at=at))[0]

    async def push_many(
        self,
        values: Iterable[Any],
        *,
        ids: Sequence[str] | None = None,
        delay_s: float = 0.0,
        at: float | datetime | None = None,
    ) -> list[str]:
        """Put values in. See :meth:`push`.

        Cost: 1 round trip for each 500 values or MiB. Atomicity: of each of those.

        Returns:
            The ids, in order.
        """
        payloads = [self._elements.encode(value) for value in values]
        names = [f"~{self._port.token()}" for _ in payloads] if ids is None else [_given(name) for name in ids]
        if len(names) != len(payloads):
            raise ValueError(f"{len(payloads)} values, but {len(names)} ids")
        due = _due(delay_s, at)
        if self._roster is not None and payloads:
            await self._roster.ensure(self.tenant_id)
        keys = [self._data, self._ready, self._delayed, self._done]
        announce = False
        for page in _pages(zip(names, payloads, strict=True)):
            words: list[Argument] = [self._channel]
            for name, payload in page:
                words += (name, due, payload)
            _, ring = await self._port.run(PUSH, keys, words)
            announce = announce or bool(ring)
        if announce and self._roster is not None:
            await self._roster.announce(self.tenant_id)
        return names

    async def reserve(
        self, max_items: int = 1, *, visibility_s: float = 60.0, wait_s: float = 0.0, token: str | None = None
    ) -> list[Item]:
        """Take up to ``max_items`` under a lease.

        Cost: 1 round trip where there is something; while waiting, woken and not polling, 1 each 5 s.
        Cancellation: what was taken is given back in the background, without counting as an attempt.

        Args:
            max_items: At most so many.
            visibility_s: For how long they are nobody else's.
            wait_s: For how long to wait for the first.
            token: Names this reservation: asked again with it, the same items come, for as long as they are held.

        Returns:
            The items; an empty list if there was nothing.
        """
        own_token = token or self._port.token()
        items, _ = await self.take(max_items, visibility_s, own_token)
        if items or wait_s <= 0:
            return items
        deadline = self._port.environment.now() + wait_s
        try:
            async with self.bell() as bell:
                while True:
                    items, due_s = await self.take(max_items, visibility_s, own_token)
                    left_s = deadline - self._port.environment.now()
                    if items or left_s <= 0:
                        return items
                    await bell.wait(min(left_s, pause_s(self._port.environment, due_s)))
        except asyncio.CancelledError:
            # It may come while the bell is put away, with the items already in hand.
            self._errands.start(self._give_back([[item.id, item.slot] for item in items]))
            raise

    async def take(self, max_items: int, visibility_s: float, token: str) -> tuple[list[Item], float | None]:
        """Take what there is, without waiting; and the seconds until something is due (``None``: nothing known)."""
        if not 1 <= max_items <= _MOST_AT_ONCE:
            raise ValueError(f"max_items must be from 1 to {_MOST_AT_ONCE}, not {max_items}")
        words: list[Argument] = [token, max_items, milliseconds(visibility_s, "visibility_s"), self._max_attempts]
        rows, due_ms = await self._errands.finish(self._port.run(RESERVE, self._five, words), self._undo_take)
        items = [item for row in rows if (item := await self._item(row)) is not None]
        return items, None if due_ms < 0 else due_ms / 1000

    def bell(self) -> AbstractAsyncContextManager[Bell]:
        """Rings when something becomes ready, or due sooner."""
        return self._port.store.listen(self._channel)

    async def ack(self, items: Sequence[Item]) -> list[Item]:
        """Finish items of this queue for good.

        Cost: 1 round trip. Atomicity: all in one step. Idempotent.

        Returns:
            Those whose lease had ended: they are or will be somebody else's.
        """
        words: list[Argument] = [_REMEMBER_GIVEN_MS, _REMEMBER_MADE_MS]
        return await self._each(ACK, [self._data, self._flight, self._done], words, items)

    async def extend(self, items: Sequence[Item], visibility_s: float) -> list[Item]:
        """Lengthen the leases of items of this queue.

        Cost: 1 round trip.

        Returns:
            Those whose lease had ended.
        """
        words: list[Argument] = [milliseconds(visibility_s, "visibility_s")]
        return await self._each(EXTEND, [self._data, self._flight], words, items)

    async def nack(
        self, item: Item, delay_s: float = 0.0, reason: str | None = None, *, count_attempt: bool = True
    ) -> bool:
        """Give an item back; False if its lease had ended. See :meth:`Item.nack`."""
        delay_ms = milliseconds(delay_s, "delay_s", least=0)
        return await self._nack(
            item.id, item.slot, delay_ms, reason or "", self._max_attempts, count_attempt=count_attempt
        )

    async def dead(self, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters. Cost: 1 round trip."""
        rows = await self._port.run(DEAD, [self._data, self._dead], [limit])
        return [self._letter(*row) for row in rows]

    async def replay(self, ids: Sequence[str] | None = None) -> int:
        """Make dead letters ready again, with all their attempts before them; all of them where no ids are given.

        Cost: 1 round trip a thousand, and 1 where it is served for all tenants.

        Returns:
            How many there were; less where a reply was lost, although all were.
        """
        count = await self._letters(REPLAY, [self._data, self._ready, self._dead], [self._channel], ids)
        if self._roster is not None:
            await self._roster.announce(self.tenant_id)
        return count

    async def discard(self, ids: Sequence[str] | None = None) -> int:
        """Forget dead letters for good; all of them where no ids are given.

        Cost: 1 round trip a thousand.

        Returns:
            How many there were; less where a reply was lost, although all were.
        """
        return await self._letters(DISCARD, [self._data, self._dead], [], ids)

    async def stats(self) -> QueueStats:
        """The queue now. Cost: 1 round trip. Atomicity: all figures are of one instant."""
        return stats_from(await self._port.run(STATS, self._five, []))

    async def _each(self, script: Script, keys: list[str], words: list[Argument], items: Sequence[Item]) -> list[Item]:
        if not items:
            return []
        pairs = [word for item in items for word in (item.id, item.slot)]
        answers = await self._port.run(script, keys, [*words, *pairs])
        return [item for item, answer in zip(items, answers, strict=True) if not answer]

    async def _letters(self, script: Script, keys: list[str], words: list[Argument], ids: Sequence[str] | None) -> int:
        count = 0
        names = None if ids is None else [identifier("an item's id", one) for one in ids]
        pages = [[]] if names is None else [names[at : at + 1000] for at in range(0, len(names), 1000)]
        for page in pages:
            while True:
                done = await self._port.run(script, keys, [*words, *page])
                count += done
                if page or not done:
                    break
        return count

    async def _nack(
        self, item_id: str, slot: str, delay_ms: int, reason: str, max_attempts: int, *, count_attempt: bool = True
    ) -> bool:
        words: list[Argument] = [self._channel, item_id, slot, delay_ms, reason, max_attempts, int(not count_attempt)]
        state = await self._port.run(NACK, self._five, words)
        if state in {1, 2} and self._roster is not None:
            await self._roster.announce(self.tenant_id)
        return bool(state)

    async def _item(self, row: list[Any]) -> Item | None:
        """The item of a row; one that cannot be read goes to the dead letters, and holds nobody else up."""
        item_id, slot, attempt, record = row
        try:
            value = self._elements.decode(record.partition(b":")[2])
        except DecodeError as error:
            await self._nack(_text(item_id), slot.decode(), 0, f"cannot be read: {error}", 0)
            return None
        return Item(self, _text(item_id), slot.decode(), attempt, value)

    async def _undo_take(self, reply: list[Any]) -> None:
        await self._give_back([[_text(item_id), slot.decode()] for item_id, slot, _, _ in reply[0]])

    async def _give_back(self, held: Sequence[Sequence[str]]) -> None:
        for item_id, slot in held:
            await self._nack(item_id, slot, 0, "", self._max_attempts, count_attempt=False)

    def _letter(self, item_id: bytes, died_ms: int, attempts: int, reason: bytes, record: bytes) -> DeadLetter:
        try:
            value = self._elements.decode(record.partition(b":")[2])
        except DecodeError:
            value = None
        return DeadLetter(_text(item_id), value, attempts, reason.decode("utf-8", "replace"), died_ms / 1000)


def _given(name: object) -> str:
    text = identifier("an item's id", name)
    if text.startswith("~") or len(text) > _LONGEST_ID:
        raise InvalidKeyError(
            f"an item's id must be text of 1 to {_LONGEST_ID} characters without a leading '~': {text!r:.80}"
        )
    return text


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _due(delay_s: float, at: float | datetime | None) -> str:
    """The instant for the script: milliseconds from now, or ``@`` and milliseconds since the epoch."""
    if at is None:
        return str(milliseconds(delay_s, "delay_s", least=0))
    if delay_s:
        raise ValueError("give delay_s or at, not both")
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError("at must be an aware datetime: give it a time zone")
        at = at.timestamp()
    return f"@{milliseconds(at, 'at', least=0)}"


def _pages(pairs: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    rest = iter(pairs)
    while page := list(islice(rest, 1)):
        size = len(page[0][1])
        for pair in islice(rest, _PAGE - 1):
            page.append(pair)
            size += len(pair[1])
            if size >= _PAGE_BYTES:
                break
        yield page
