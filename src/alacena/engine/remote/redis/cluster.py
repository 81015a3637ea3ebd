"""A cluster: slots that move between servers, followed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from alacena.engine.base.errors import BackendError, BackendUnavailableError, ServerReplyError
from alacena.engine.remote.redis.command_safety import classify, is_lasting
from alacena.engine.remote.redis.link import Link
from alacena.engine.remote.redis.link_hooks import Hooks, LinkCounters, LinkSettings
from alacena.engine.remote.redis.retrying import RetryBudget, persist
from alacena.engine.remote.redis.slot_map import Redirection, SlotMap, read_slots, slot_of
from alacena.engine.remote.redis.wire.handshake import Opener, ask_once, open_socket
from alacena.engine.remote.redis.wire.retry_backoff import RetryBackoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.remote.redis.endpoint import Address, Endpoint
    from alacena.engine.remote.redis.slot_map import Key
    from alacena.engine.remote.redis.wire import Argument, Command, Reply

T = TypeVar("T")

_log = logging.getLogger("alacena")

_MAX_REDIRECTIONS = 5
_MULTI = ("MULTI",)
_WAIT_SLICE_S = 0.05


class Cluster:
    """A link to each master; the map of slots is asked for at the start, and whenever something hints that it is old.

    Redirections are followed, at most five in a row. A slot that changed hands is told of at once, inside the parser.

    Args:
        endpoint: Some servers of the cluster.
        environment: Time and chance.
        hooks: Callbacks around every link's connections.
        settings: Times and bounds of every link.
        on_slots_moved: Told of slots that have another owner from now on.
        opener: Opens transports; a simulation brings its own.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        environment: Environment,
        hooks: Hooks[Link] | None = None,
        settings: LinkSettings | None = None,
        on_slots_moved: Callable[[frozenset[int]], None] | None = None,
        opener: Opener = open_socket,
    ) -> None:
        self.settings = replace(settings or LinkSettings(), role="master")
        self.environment = environment
        self.counters = LinkCounters()
        self.budget = RetryBudget()
        self._endpoint = endpoint
        self._hooks = hooks or Hooks()
        self._on_slots_moved = on_slots_moved
        self._opener = opener
        self._pauses = RetryBackoff(base_s=0.1, cap_s=2.0)
        self._map = SlotMap()
        self._links: dict[Address, Link] = {}
        self._known = asyncio.Event()
        self._doubt = asyncio.Event()
        self._refusal: ServerReplyError | None = None
        self._keeper: asyncio.Task[None] | None = None

    # Life

    async def open(self, *, timeout_s: float) -> None:
        """Learns the map and connects to every master. See `Topology.open`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if self._keeper is None:
            self._doubt.set()
            self._keeper = loop.create_task(self._keep(), name="alacena: know the slots")
        try:
            async with asyncio.timeout(timeout_s):
                await self._known.wait()
        except TimeoutError as error:
            seeds = ", ".join(map(str, self._endpoint.addresses))
            raise BackendUnavailableError(f"no server of {seeds} could tell where the slots are") from error
        if not self._map.owners() and self._refusal is not None:
            raise self._refusal
        for link in self.links():
            await link.open(timeout_s=deadline - loop.time())

    async def close(self) -> None:
        """Disconnects from all."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        for link in list(self._links.values()):
            await link.close()

    def links(self) -> Sequence[Link]:
        """Returns the links to every server with a slot."""
        return [self._link_at(address) for address in sorted(self._map.owners(), key=str)]

    def link_for(self, key: Key) -> Link:
        """Returns the link to the master that has the key's slot. See `Topology.link_for`."""
        owner = self._map.owner(slot_of(key))
        if owner is None:
            self._doubt.set()
            raise BackendUnavailableError(f"no server is known for slot {slot_of(key)}")
        return self._link_at(owner)

    def tag_at(self, link: Link) -> str | None:
        """Returns a tag in a slot that the link's server has. See `Topology.tag_at`."""
        return None if link.address is None else self._map.tag_at(link.address)

    # Asking

    async def exchange(
        self,
        key: Key,
        commands: Sequence[Command],
        *,
        settle: Callable[[list[Reply]], T] | None = None,
        timeout_s: float,
        answered: Callable[[Link], None] | None = None,
    ) -> T:
        """Asks the master that has the key, and follows it if it has moved. See `Topology.exchange`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        link, passing = self.link_for(key), False
        for _ in range(_MAX_REDIRECTIONS + 1):
            asked = _prefix_asking(commands) if passing else commands
            judge = _judge(commands, settle, link, answered, passing=passing)
            outcome = await link.exchange(asked, settle=judge, timeout_s=deadline - loop.time())
            if not isinstance(outcome, Redirection):
                return cast("T", outcome)
            self.counters.redirections += 1
            link, passing = self._link_at(outcome.address), outcome.passing
        raise BackendUnavailableError(f"slot {slot_of(key)} was redirected {_MAX_REDIRECTIONS + 1} times: not executed")

    def fetch(self, key: bytes, settle: Callable[[Reply], T], timeout_s: float) -> Awaitable[T]:
        """Sends ``GET`` at the master that has the key. See `Topology.fetch`."""
        link = self.link_for(key)
        if link.tried and not link.up:
            raise BackendUnavailableError(f"{link.address} is not connected")
        return self.exchange(key, (("GET", key),), settle=lambda replies: settle(replies[0]), timeout_s=timeout_s)

    async def call(self, key: Key, *command: Argument, timeout_s: float, repeatable: bool | None = None) -> Any:
        """Runs `Link.call` at the master that has the key. See `Topology.call`."""
        return await persist(_At(self, key), command, timeout_s=timeout_s, repeatable=repeatable)

    def script(
        self,
        sha: str,
        source: str | bytes,
        keys: Sequence[Key],
        args: Sequence[Argument] = (),
        *,
        settle: Callable[[Reply], T] | None = None,
        timeout_s: float,
        repeatable: bool = False,
        answered: Callable[[Link], None] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Runs `Link.script` at the master that has the first key. See `Topology.script`."""
        run: Command = ("EVALSHA", sha, len(keys), *keys, *args)
        load: Command = ("SCRIPT", "LOAD", source)
        where = _At(self, keys[0], answered)
        return persist(where, run, settle=settle, load=load, timeout_s=timeout_s, repeatable=repeatable)

    # The map

    async def _keep(self) -> None:
        """Asks for the map whenever it is in doubt, and while a master is away; never in a tight loop."""
        attempt = 0
        while True:
            await self._doubt.wait()
            # Before the question: a hint that comes while it is under way may be of a later move, and asks once more.
            self._doubt.clear()
            try:
                is_whole = await self._refresh() and all(link.up for link in self.links())
            except Exception:  # noqa: BLE001 - whatever ended this question, the next one is asked
                _log.exception("asking for the cluster's slots failed for a reason that is not the server's")
                is_whole = False
            if is_whole:
                attempt = 0
            else:
                attempt += 1
                self._doubt.set()
            await asyncio.sleep(self._pauses.pause_s(attempt, self.environment))

    async def _refresh(self) -> bool:
        for address in self._candidates():
            try:
                reply = await ask_once(
                    self._opener,
                    address,
                    self._endpoint.access,
                    ("CLUSTER", "SLOTS"),
                    timeout_s=self.settings.pace.connect_timeout_s,
                )
                ranges = read_slots(reply, address)
            except (BackendError, OSError, ValueError) as error:
                self._note(address, error)
                continue
            if ranges:
                self._refusal = None
                self._move_slots(self._map.adopt(ranges))
                await self._settle_links()
                self._known.set()
                return True
        return False

    def _note(self, address: Address, error: Exception) -> None:
        """Tells callers that wait for the map at once of a refusal that lasts."""
        self._hooks.on_failed(self._links.get(address), address, error)
        if isinstance(error, ServerReplyError) and is_lasting(error):
            self._refusal = error
            self._known.set()

    def _candidates(self) -> list[Address]:
        """Returns the servers to ask, in random order: connected ones first, then the rest, then the seeds."""
        up = [address for address, link in self._links.items() if link.up]
        down = [address for address, link in self._links.items() if not link.up]
        ranked = [self._shuffle(up), self._shuffle(down), self._shuffle(list(self._endpoint.addresses))]
        return list(dict.fromkeys(address for group in ranked for address in group))

    def _shuffle(self, addresses: list[Address]) -> list[Address]:
        return sorted(addresses, key=lambda _: self.environment.random())

    async def _settle_links(self) -> None:
        """Starts the links to new masters; ends those to servers that have no slot and do not answer."""
        owners = self._map.owners()
        for address in owners:
            self._link_at(address)
        gone = [
            address for address, link in self._links.items() if address not in owners and link.tried and not link.up
        ]
        for address in gone:
            await self._links.pop(address).close()

    def _link_at(self, address: Address) -> Link:
        link = self._links.get(address)
        if link is None:
            link = Link(
                address,
                self._endpoint.access,
                environment=self.environment,
                hooks=replace(self._hooks, on_down=self._down, on_error=self._apply_redirection),
                settings=self.settings,
                opener=self._opener,
            )
            self._links[address] = link
            link.start()
        return link

    def _down(self, link: Link, error: BackendError) -> None:
        self._hooks.on_down(link, error)
        self._doubt.set()

    def _apply_redirection(self, link: Link, error: ServerReplyError) -> None:
        """Applies a redirection in the parser, before the next byte is looked at."""
        if link.address is not None:
            redirection = Redirection.read(error, link.address)
            # MOVED is the new map for this slot; ASK (passing) is one command's way, and the slot is still the old
            # owner's. Taken for a move, every later command would ask a server that refuses them until the migration is
            # done.
            if redirection is not None and not redirection.passing:
                self._move_slots(self._map.move(redirection.slot, redirection.address))
                self._doubt.set()
        self._hooks.on_error(link, error)

    def _move_slots(self, slots: frozenset[int]) -> None:
        if slots and self._on_slots_moved is not None:
            self._on_slots_moved(slots)


class _At:
    """A cluster, asked about one key."""

    def __init__(self, cluster: Cluster, key: Key, answered: Callable[[Link], None] | None = None) -> None:
        self.settings = cluster.settings
        self.counters = cluster.counters
        self.budget = cluster.budget
        self.environment = cluster.environment
        self._cluster = cluster
        self._key = key
        self._answered = answered

    async def exchange(
        self, commands: Sequence[Command], *, settle: Callable[[list[Reply]], Any] | None = None, timeout_s: float
    ) -> Any:
        return await self._cluster.exchange(
            self._key, commands, settle=settle, timeout_s=timeout_s, answered=self._answered
        )

    async def wait_up(self, *, timeout_s: float) -> bool:
        """Waits for the key's master, whichever server that is by then."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        # In slices: while its old master is waited for, the slot may be given to another one.
        while (left_s := deadline - loop.time()) > 0:
            if await self._cluster.link_for(self._key).wait_up(timeout_s=min(left_s, _WAIT_SLICE_S)):
                return True
        return False


def _judge(
    commands: Sequence[Command],
    settle: Callable[[list[Reply]], Any] | None,
    link: Link,
    answered: Callable[[Link], None] | None,
    *,
    passing: bool,
) -> Callable[[list[Reply]], Any]:
    """Settles in the parser, unless the server sent us elsewhere and nothing was done yet."""

    def judge(replies: list[Reply]) -> Any:
        # Replies to ASKING come between the others: one at the head of a transaction, else one before each command.
        if passing:
            replies = replies[-len(commands) :] if commands[0] == _MULTI else replies[1::2]
        errors = [reply for reply in replies if isinstance(reply, ServerReplyError)]
        for error in errors:
            elsewhere = None if link.address is None else Redirection.read(error, link.address)
            # 1. A group of commands is written; the slot moves after the first was executed.
            # 2. The second is answered with MOVED.
            # 3. Sent again as a whole, the first runs twice. That is allowed only where it does no harm; else the error
            #    is told.
            if elsewhere is not None and _is_untouched(commands, replies):
                return elsewhere
        if answered is not None:
            answered(link)
        if settle is not None:
            return settle(replies)
        if len(replies) > 1:
            return replies
        if errors:
            raise errors[0]
        return replies[0]

    return judge


def _prefix_asking(commands: Sequence[Command]) -> list[Command]:
    """Lets a server that is only about to have the slot answer: said once a transaction, or once a command."""
    if commands[0] == _MULTI:
        return [("ASKING",), *commands]
    return [word for command in commands for word in (("ASKING",), command)]


def _is_untouched(commands: Sequence[Command], replies: Sequence[Reply]) -> bool:
    """Returns whether all may be sent again: refused as a whole, or without harm in a second execution."""
    if commands[0] == _MULTI:
        return isinstance(replies[-1], ServerReplyError)
    return all(
        isinstance(reply, ServerReplyError) or classify(command).repeatable
        for command, reply in zip(commands, replies, strict=True)
    )
