"""Values that can be read only once: generators, streams, cursors, files, coroutines. They are handed to no caller.

A cache gives one value to many readers, and each of these is empty for the second. So a source that returns one gets an
error at its first call, unless it was wrapped in :func:`collected`, which reads the stream to its end.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import io
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any, Final, TypeAlias

from alacena.engine.base.errors import OneShotValueError, UnsharableValueError, show

_PLAIN: Final = frozenset({str, bytes, bytearray, int, float, complex, bool, type(None), range})
_MOST_PARTS: Final = 10_000
"""How many parts of a value are looked at: it is looked at if it cannot be stored, which each load of it repeats."""

_COLLECT: Final = "wrap the source in collected(...), which reads it to its end, or return its items in a list"
_READ: Final = ("read", "close")
Join: TypeAlias = Callable[[list[Any]], Any]


def one_shot(value: object) -> str | None:
    """Returns the kind of a value that can be read only once, with the remedy; ``None`` if it is no such value."""
    # All is asked of the class, not of the value: an object that answers to any name would pass for a stream.
    kind = type(value)
    if kind in _PLAIN or isinstance(value, type):
        return None
    if isinstance(value, CoroutineType) or hasattr(kind, "__await__"):
        return f"{_name_kind(value)} that nobody has awaited: await it in the source"
    if hasattr(kind, "__anext__") or (hasattr(kind, "__aiter__") and not hasattr(kind, "__iter__")):
        return f"{_name_kind(value)}, which can be read only once: {_COLLECT}"
    if isinstance(value, io.IOBase) or all(callable(getattr(kind, verb, None)) for verb in _READ):
        return f"{_name_kind(value)}, which can be read only once: read it in the source and return its content"
    if hasattr(kind, "__next__"):
        return f"{_name_kind(value)}, which can be read only once: {_COLLECT}"
    if callable(getattr(kind, "execute", None)):
        return f"{_name_kind(value)}, a query or cursor: execute it in the source, await that, and return the rows"
    is_entered_later = hasattr(kind, "__aenter__") and not hasattr(kind, "__iter__")
    if is_entered_later or (isinstance(value, AbstractContextManager) and hasattr(kind, "_recreate_cm")):
        return f"{_name_kind(value)}, a block that is not entered: enter it in the source and return what it gives"
    return None


def _name_kind(value: object) -> str:
    kind = type(value)
    name = "coroutine" if isinstance(value, CoroutineType) else kind.__qualname__
    return f"a value of type {name!r}"


def refuse_one_shot(value: object, what: str) -> None:
    """Refuses a value that can be read only once, or that holds one at any depth.

    Args:
        value: The result of a source, which cannot be stored.
        what: The entry, as messages call it.

    Raises:
        OneShotValueError: It is or holds one. A coroutine is closed, so that there is no warning that it was never awaited.
    """
    todo: deque[tuple[object, str]] = deque(((value, ""),))
    seen: set[int] = set()
    while todo and len(seen) < _MOST_PARTS:
        part, path = todo.popleft()
        if type(part) in _PLAIN or id(part) in seen:
            continue
        seen.add(id(part))
        try:
            found = one_shot(part) if not path.endswith(" ") or isinstance(part, _MADE_BY_CALLS) else None
            inside = list(islice(_parts(part, path), _MOST_PARTS))
        except Exception:  # noqa: BLE001, S112 - code of the value's own runs, and the value was paid for
            continue
        if found is not None:
            if isinstance(part, CoroutineType):
                part.close()
            where = f" at {path.rstrip()}" if path else ""
            raise OneShotValueError(f"{what}: its source returned{where} {found}")
        todo.extend(inside)


_MADE_BY_CALLS: Final = (GeneratorType, AsyncGeneratorType, CoroutineType)
"""What cannot be anything but one-shot; other objects may hold files, counters and clients of their own."""


def _parts(value: object, path: str) -> Iterable[tuple[object, str]]:
    """Returns the parts of a value; the path of an attribute ends in a blank."""
    base = path.rstrip()
    if isinstance(value, Mapping):
        return ((part, f"{base}[{show(key)}]") for key, part in value.items())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return ((part, f"{base}[{index}]") for index, part in enumerate(value))
    if dataclasses.is_dataclass(value):
        return ((getattr(value, field.name, None), f"{base}.{field.name} ") for field in dataclasses.fields(value))
    held = getattr(value, "__dict__", None)
    if isinstance(held, dict) and not isinstance(value, type):
        return ((part, f"{base}.{name} ") for name, part in held.items())
    return ()


def refuse_generator_function(source: object) -> None:
    """Refuses a source that is a generator function, before it is called and its provider is paid.

    Raises:
        OneShotValueError: It is one.
    """
    if makes_stream(source):
        name = getattr(source, "__qualname__", None) or type(source).__qualname__
        raise OneShotValueError(f"{name} is a generator function, whose result can be read only once: {_COLLECT}")


_STREAMS: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def makes_stream(source: object) -> bool:
    """Returns whether a function can be seen to return a generator: it, or what it is a part or an object of, has a ``yield``."""
    if type(source) is FunctionType:
        return bool(source.__code__.co_flags & _STREAMS)
    while isinstance(source, functools.partial):
        source = source.func
    if not inspect.isroutine(source):
        source = getattr(type(source), "__call__", source)  # noqa: B004
    return inspect.isasyncgenfunction(source) or inspect.isgeneratorfunction(source)


def collected(source: Callable[..., Any], join: Join | None = None) -> Callable[..., Any]:
    """Returns a source whose stream is read to its end, so that what it gives can be stored and handed to everybody.

    ::

        async def answer(resource_id, tenant_id):
            async for chunk in await client.chat.completions.create(..., stream=True):
                yield chunk.choices[0].delta.content or ""


        text, _ = await get_with_cache_aside("answer", "q1", generate_func=collected(answer))

    Nothing is stored of a stream that fails on the way. A source that returns no stream is left as it is.

    Args:
        source: Sync or async; it returns or yields a stream: an (async) generator or iterator.
        join: Makes the value from the list of items; left out: texts and bytes are joined, anything else stays
            a list.
    """

    @functools.wraps(source)
    async def collect(*args: Any, **kwargs: Any) -> Any:
        stream = source(*args, **kwargs)
        if inspect.isawaitable(stream):
            stream = await stream
        if hasattr(stream, "__aiter__"):
            parts = [part async for part in stream]
        elif hasattr(stream, "__next__"):
            parts = list(stream)
        else:
            return stream
        return _join_parts(parts) if join is None else join(parts)

    # A generator function that is wrapped is none any more, though its signature is still the one to call it by.
    return collect


def _join_parts(parts: list[Any]) -> Any:
    if parts and all(isinstance(part, str) for part in parts):
        return "".join(parts)
    if parts and all(isinstance(part, bytes) for part in parts):
        return b"".join(parts)
    return parts


def duplicate(value: Any) -> Any:
    """Returns a copy of a value that cannot be encoded, for one more receiver.

    Raises:
        UnsharableValueError: It cannot be copied either.
    """
    try:
        return copy.deepcopy(value)
    except Exception as error:
        raise UnsharableValueError(
            f"several callers share a load whose value, a {type(value).__qualname__}, can be neither stored nor copied "
            f"({error}): return something that can be stored, or give serializer= and deserializer="
        ) from error
