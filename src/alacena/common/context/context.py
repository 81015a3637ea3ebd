"""`Context`: a block of code that works for one tenant."""

from __future__ import annotations

import inspect
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from alacena.common.context.generator_blocks import GeneratorValue, ambient, find_entering_generator, possible
from alacena.common.context.load_access import LoadAccess
from alacena.common.context.vars import (
    AGENT,
    COLLECTION,
    CONVERSATION,
    FIELDS,
    TENANT,
    USER,
    agree_on_tenant,
    check_id,
    is_valid_tenant_id,
    note_reader,
    require_tenant,
)
from alacena.engine.base.ambient_tenant import AmbientTenant
from alacena.engine.base.errors import ArgumentError, TenantMismatchError, show
from alacena.engine.base.scope import SYSTEM_TENANT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self, TypeVar

    from alacena.common.context.vars import Field, OptionalId

    R = TypeVar("R")


class _Frame(msgspec.Struct, frozen=True, eq=False):
    """One entered block: the ambient ids before it, and the block around it."""

    owner: Context
    before: tuple[str | GeneratorValue | None, ...]
    outer: _Frame | None
    inside: tuple[GeneratorValue, ...] = ()
    """What it set, if it was entered inside a generator."""

    @property
    def may_end(self) -> bool:
        """Whether it can be this block that is left: one of a suspended generator cannot."""
        return all(value.running for value in self.inside)

    def without(self, frame: _Frame) -> _Frame | None:
        """Returns this chain of blocks without one of them."""
        if self is frame:
            return self.outer
        return self if self.outer is None else replace(self, outer=self.outer.without(frame))


_VARIABLES: Final = (TENANT, AGENT, CONVERSATION, COLLECTION, USER)
"""Those of :data:`FIELDS`, in their order."""

_FRAMES: ContextVar[_Frame | None] = ContextVar("alacena.context_frames", default=None)

ON_LEAVE: Final[list[Callable[[], None]]] = []
"""Called by code that has left a block, with what is ambient from then on."""


class Context(LoadAccess):
    """A tenant (with agent, conversation, collection, user) for the length of a block, sync or async.

    The block restores everything that was ambient before it, after errors too. One object may be entered
    again while it is open, and by several tasks at once: what it must restore is kept with the task, not in the object.

    Entered inside another tenant's block it is the one door from tenant to tenant: every other name of a tenant must
    agree with the block. So only code that may cross enters it, and never with a tenant that a caller or data named.

    A generator that is iterated runs in its consumer. A block that it leaves open at a ``yield`` counts while the
    generator runs and not for the consumer. Tasks that are started meanwhile cannot tell whose they are, which is an
    error: decorate the generator with `with_context` instead.

    Args:
        tenant_id: The tenant; ``None`` keeps the ambient one.
        agent_id: The agent; ``None`` keeps the ambient one, unless the block is another tenant's: then there is none. The
            same holds for the next two.
        conversation_id: The conversation.
        collection_id: The collection.
        validate_tenant: Refuse a tenant that is missing, ``"default"`` or the nil UUID when the block is entered.
        user_id: The user; ``None`` keeps the ambient one, likewise.
        tenant_info: Anything the application knows about the tenant; its ``tenant_id`` counts, and agrees with the
            argument if both are given.

    Raises:
        TenantMismatchError: ``tenant_id`` and ``tenant_info`` name different tenants.

    Attributes:
        metrics: Values by name, in the order in which they were added.
        metadata: Values by key, the last one added.
    """

    __slots__ = (
        "_user_id",
        "agent_id",
        "collection_id",
        "conversation_id",
        "metadata",
        "metrics",
        "tenant_id",
        "tenant_info",
        "validate_tenant",
    )

    def __init__(
        self,
        tenant_id: str | None = None,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        validate_tenant: bool = False,
        *,
        user_id: str | None = None,
        tenant_info: object = None,
    ) -> None:
        # Most blocks name a tenant and nothing else: a call for each id that is not given would be most of the price.
        self.tenant_id = None if tenant_id is None else check_id("tenant_id", tenant_id)
        if tenant_info is not None:
            in_info = check_id("tenant_id", getattr(tenant_info, "tenant_id", None))
            if self.tenant_id is None:
                self.tenant_id = in_info
            elif in_info is not None and in_info != self.tenant_id:
                raise TenantMismatchError("the argument tenant_id", self.tenant_id, in_info)
        self.agent_id = None if agent_id is None else check_id("agent_id", agent_id)
        self.conversation_id = None if conversation_id is None else check_id("conversation_id", conversation_id)
        self.collection_id = None if collection_id is None else check_id("collection_id", collection_id)
        self._user_id = None if user_id is None else check_id("user_id", user_id)
        self.validate_tenant = validate_tenant
        self.tenant_info = tenant_info
        self.metrics: dict[str, list[Any]] = {}
        self.metadata: dict[str, Any] = {}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name in FIELDS if (value := self._get(name)) is not None)
        return f"Context({given})"

    @property
    def user_id(self) -> str | None:
        """The user that this context names; a source that asks makes a value for this user, as with `get_user_id`."""
        if self._user_id is not None:
            note_reader()
        return self._user_id

    @user_id.setter
    def user_id(self, user_id: str | None) -> None:
        self._user_id = check_id("user_id", user_id)

    def _get(self, name: str) -> Any:
        """Returns what this context names, without making a value of it."""
        return getattr(self, "_user_id" if name == "user_id" else name)

    def __enter__(self) -> Self:
        if self.validate_tenant:
            require_tenant(self.tenant_id if self.tenant_id is not None else ambient(TENANT))
        # As they stand and not settled: on the way out a generator's value comes back as the same object.
        before = (TENANT.get(), AGENT.get(), CONVERSATION.get(), COLLECTION.get(), USER.get())
        inside: tuple[GeneratorValue, ...] = ()
        # Called from here and from no helper: it counts the frames up to the code that enters the block.
        generator = find_entering_generator()
        tenant, around = self.tenant_id, before[0]
        # The value of a generator equals no text.
        crosses = not (tenant is None or around is None or around == tenant) and any(
            one not in (None, tenant) for one in possible(around)
        )
        given = (tenant, self.agent_id, self.conversation_id, self.collection_id, self._user_id)
        for variable, value, was in zip(_VARIABLES, given, before, strict=True):
            if value is None and not crosses:
                continue
            if generator is None:
                variable.set(value)
            else:
                inner = GeneratorValue(value, was, generator)
                inside += (inner,)
                variable.set(inner)
        _FRAMES.set(_Frame(self, before, _FRAMES.get(), inside))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        frame = _FRAMES.get()
        # Not simply the innermost: a generator that is suspended may have left a block of its own open above this one.
        while frame is not None and not (frame.owner is self and (not frame.inside or frame.may_end)):
            frame = frame.outer
        if frame is None:  # left in a task that never entered it: there is nothing to restore here
            return
        if frame.inside:
            self._leave_generator(frame)
            return
        for variable, value in zip(_VARIABLES, frame.before, strict=True):
            # To ask costs a third of what it costs to set.
            if variable.get() is not value:
                variable.set(value)
        _FRAMES.set(frame.outer)
        for tell in ON_LEAVE:
            tell()

    @staticmethod
    def _leave_generator(frame: _Frame) -> None:
        """Ends a block of a generator, and leaves those alone that other generators have open meanwhile."""
        for value in frame.inside:
            # 1. Generator A enters a block. 2. Generator B enters one, and notes A's value as what was before. 3. A
            # leaves. B's note cannot be taken back, so A's value is marked: from now on it means what was before A.
            value.ended = True
            for variable in _VARIABLES:
                if variable.get() is value:
                    variable.set(value.before)
        top = _FRAMES.get()
        _FRAMES.set(None if top is None else top.without(frame))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def get_tenant_id(self, validate: bool = True) -> str | None:
        """Returns this context's tenant, else the ambient one.

        Args:
            validate: Raise if there is none; with ``False`` the answer is ``None``.

        Raises:
            MissingTenantError: There is no tenant, or it is ``"default"`` or the nil UUID.
        """
        tenant_id = self.tenant_id if self.tenant_id is not None else ambient(TENANT)
        return require_tenant(tenant_id) if validate else tenant_id

    def has_tenant_id(self) -> bool:
        """Returns whether `get_tenant_id` has something to give."""
        return self.get_tenant_id(validate=False) is not None

    def get_agent_id(self, validate: bool = False) -> str | None:
        """Returns this context's agent, else the ambient one, else ``None`` (with ``validate``: `LookupError`)."""
        return _find_id("agent_id", self.agent_id, AGENT, validate)

    def get_conversation_id(self, validate: bool = False) -> str | None:
        """Returns this context's conversation, else the ambient one, else ``None`` (with ``validate``: `LookupError`)."""
        return _find_id("conversation_id", self.conversation_id, CONVERSATION, validate)

    def get_collection_id(self, validate: bool = False) -> str | None:
        """Returns this context's collection, else the ambient one, else ``None`` (with ``validate``: `LookupError`)."""
        return _find_id("collection_id", self.collection_id, COLLECTION, validate)

    def get_user_id(self, validate: bool = False) -> str | None:
        """Returns this context's user, else the ambient one, else ``None`` (with ``validate``: `LookupError`)."""
        user = _find_id("user_id", self._user_id, USER, validate)
        if user is not None:
            note_reader()
        return user

    def set_agent_id(self, agent_id: str | None) -> None:
        """Changes the agent here and, while this is the innermost open block, in the code that runs."""
        self.agent_id = check_id("agent_id", agent_id)
        self._publish(AGENT, self.agent_id)

    def set_conversation_id(self, conversation_id: str | None) -> None:
        """Changes the conversation here and, while this is the innermost open block, in the code that runs."""
        self.conversation_id = check_id("conversation_id", conversation_id)
        self._publish(CONVERSATION, self.conversation_id)

    def set_collection_id(self, collection_id: str | None) -> None:
        """Changes the collection here and, while this is the innermost open block, in the code that runs."""
        self.collection_id = check_id("collection_id", collection_id)
        self._publish(COLLECTION, self.collection_id)

    def add_metric(self, name: str, value: Any) -> None:
        """Keeps a measurement, such as the metrics of a read, under ``name``."""
        self.metrics.setdefault(name, []).append(value)

    def add_metadata(self, key: str, value: Any) -> None:
        """Keeps something about this unit of work under ``key``."""
        self.metadata[key] = value

    def _publish(self, variable: Field, value: OptionalId) -> None:
        frame = _FRAMES.get()
        if frame is not None and frame.owner is self and not frame.inside:
            variable.set(value)


def _work_for(tenant_id: str) -> None:
    """Makes the running task work for a tenant until it ends, as if nobody had started it.

    Work of `SYSTEM_TENANT` belongs to nobody and has no tenant: it enters a `Context` of its own.
    """
    for variable in _VARIABLES:
        variable.set(None)
    _FRAMES.set(None)
    if tenant_id != SYSTEM_TENANT and is_valid_tenant_id(tenant_id):
        TENANT.set(tenant_id)


AmbientTenant.work_for = staticmethod(_work_for)


def _find_id(name: str, own: OptionalId, variable: Field, validate: bool) -> OptionalId:
    value = own if own is not None else ambient(variable)
    if value is None and validate:
        msg = f"no {name} was given and none is current: write Context({name}=...)"
        raise LookupError(msg)
    return value


async def run_public_context(
    work: Awaitable[R],
    tenant_id: str,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    collection_id: str | None = None,
) -> R:
    """Awaits ``work`` for a tenant that was named rather than authenticated, such as that of a public page.

    Raises:
        TenantMismatchError: The code runs for another tenant.
    """
    if not inspect.isawaitable(work):
        raise ArgumentError(f"work must be a coroutine, such as `page(request)`, not {show(work)}")
    try:
        agree_on_tenant(("the argument tenant_id", tenant_id))
    except TenantMismatchError:
        if inspect.iscoroutine(work):
            # Never awaited, it would warn at some later point, beside the error that says what is wrong.
            work.close()
        raise
    with Context(tenant_id, agent_id, conversation_id, collection_id, validate_tenant=True):
        return await work
