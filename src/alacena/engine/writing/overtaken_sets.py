"""Sets that an invalidation overtakes: the tasks that were at work when a tag ended may be about to store an older value."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet, ref

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from alacena.engine.base.environment import Environment

_REMEMBERED_S = 5.0
"""How long an ending is held against the tasks that were at work: a `reading` knows without a limit."""

_MOST = 10_000
"""Endings that are remembered."""

_MANY = 200
_PAUSE_S = 20e-6
"""For each of many tasks, how long no other look is taken: it costs a small part of that."""

_WAITS_FOR_WORK = asyncio.Queue.get.__code__


class _AtWork:
    """The tasks that were at work at one moment.

    Attributes:
        tasks: Each with its wait then.
        others: The tasks that were there and not at work: idle ones, and those that know of the end.
    """

    __slots__ = ("others", "tasks")

    def __init__(self, tasks: Iterable[asyncio.Task[Any]] = ()) -> None:
        self.tasks: WeakKeyDictionary[asyncio.Task[Any], ref[Any] | None] = WeakKeyDictionary()
        self.others: WeakSet[asyncio.Task[Any]] = WeakSet()
        for task in tasks:
            inner: Any = task.get_coro()
            while inner is not None and getattr(inner, "cr_code", None) is not _WAITS_FOR_WORK:
                inner = getattr(inner, "cr_await", None)
            if inner is not None:
                self.others.add(task)
            else:
                waiter = getattr(task, "_fut_waiter", None)
                self.tasks[task] = None if waiter is None else ref(waiter)

    def clear(self, knows: asyncio.Task[Any]) -> None:
        """Takes out a task that knows of the end, and those that wait for it."""
        for task in _with_awaiting(knows, self.tasks):
            self.tasks.pop(task, None)
            self.others.add(task)

    def holds(self, task: asyncio.Task[Any]) -> bool:
        """Returns whether a task was at work, or was started since by one that was and waits for it now."""
        if task in self.tasks or task in self.others or len(self.tasks) > _MANY:
            return task in self.tasks
        # Without those that still wait for the same as then: others may have added tasks to it since.
        todo = [
            one
            for one, waiter in self.tasks.items()
            if waiter is None or waiter() is not getattr(one, "_fut_waiter", None)
        ]
        while todo:
            for child in _children_of(todo.pop()):
                if isinstance(child, asyncio.Task) and child not in self.tasks and child not in self.others:
                    self.tasks[child] = None
                    todo.append(child)
        return task in self.tasks


class OvertakenSets:
    """The tasks of this process that a tag's end overtook.

    A plain ``set`` does not say when its value was read. A task that was at work when a document ended, and stores a
    value made from the document a moment later, read it before. So did the tasks that it starts to store it, and waits
    for. Three others are not overtaken: the task that ended the document knows of it, a task that another one started
    later read later, and a task that waited for work at a queue had not begun.

    Args:
        environment: The clock.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._ended: dict[str, tuple[float, _AtWork]] = {}
        self._at_work = _AtWork()
        self._look_again_at = 0.0

    def note_end(self, names: Iterable[str], *, anew: bool, by: asyncio.Task[Any] | None = None) -> None:
        """Notes that the current task ends tags, given by the names of their generations.

        Args:
            names: The names.
            anew: Whether it is the first in this turn of the loop; the others are at work with the same tasks.
            by: For which task it ends them, if that is another one.
        """
        names = list(names)
        if not names:
            return
        now = self._environment.now()
        if anew and now >= self._look_again_at:
            tasks = asyncio.all_tasks()
            self._at_work = _AtWork(tasks)
            # Among very many tasks a look at all of them takes a while: then some that are new are overlooked instead.
            self._look_again_at = now + len(tasks) * _PAUSE_S if len(tasks) > _MANY else now
        for knows in filter(None, (asyncio.current_task(), by)):
            self._at_work.clear(knows)
        mark = (now + _REMEMBERED_S, self._at_work)
        for name in names:
            # Put at the end again: `_forget` begins with the oldest, and stops at the first that still counts.
            self._ended.pop(name, None)
            self._ended[name] = mark
        self._forget()

    @property
    def has_ended(self) -> bool:
        """Whether any tag ended lately."""
        if self._ended:
            self._forget()
        return bool(self._ended)

    def has_overtaken(self, names: Collection[str]) -> bool:
        """Returns whether one of these tags ended while the current task was at work already."""
        # A `set` is rarely of what ended: nothing is asked before that is known.
        if self._ended.keys().isdisjoint(names):
            return False
        self._forget()
        current = asyncio.current_task()
        marks = (self._ended.get(name) for name in names)
        return current is not None and any(mark is not None and mark[1].holds(current) for mark in marks)

    def _forget(self) -> None:
        now = self._environment.now()
        while self._ended:
            name = next(iter(self._ended))
            if len(self._ended) <= _MOST and self._ended[name][0] > now:
                return
            del self._ended[name]


def _with_awaiting(task: asyncio.Task[Any], others: Collection[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Returns a task and those that wait for it: one that has sent it to end something knows that it ended."""
    known = {task}
    if len(others) > _MANY:  # To look at very many would hold the loop up; then a caller that waits is refused.
        return known
    children = {other: _children_of(other) for other in others if other is not task}
    while awaiting := [other for other, own in children.items() if not known.isdisjoint(own)]:
        for other in awaiting:
            known.add(other)
            del children[other]
    return known


def _children_of(task: asyncio.Task[Any]) -> list[Any]:
    """Returns the waits of a task: one task, the children of a `gather`, or those that a frame of asyncio holds."""
    waiter = getattr(task, "_fut_waiter", None)
    children = [waiter, *getattr(waiter, "_children", ())]
    inner: Any = task.get_coro()
    while (deeper := getattr(inner, "cr_await", None)) is not None and hasattr(deeper, "cr_frame"):
        inner = deeper
    frame = getattr(inner, "cr_frame", None)
    if frame is not None and frame.f_globals.get("__name__", "").startswith("asyncio."):
        held = frame.f_locals
        children.append(held.get("fut"))  # `wait_for`
        children += held.get("fs") or ()  # `wait`
        children += getattr(held.get("self"), "_tasks", ())  # a `TaskGroup`
    return children
