"""The public names: signature and first paragraph of each, as the code has them."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import alacena

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 96
_MADE_HERE = {"CacheManager", "Claim", "LoadContext", "Lookup", "Observer", "Tenant"}
"""Classes that the caller does not make, so that how they are made is nobody's business."""


def text() -> str:
    """Returns a section for each name of ``alacena.__all__``, but for errors and events, which have pages of their own."""
    lines: list[str] = []
    for name in sorted(alacena.__all__, key=lambda name: (name[0].islower(), name.lower())):
        thing = getattr(alacena, name)
        if inspect.isclass(thing) and issubclass(thing, alacena.AlacenaError | alacena.Event):
            continue
        lines += [f"### `{name}`", ""]
        if callable(thing) and name not in _MADE_HERE:
            lines += ["```python", signature(name, thing), "```", ""]
        lines += [paragraph(thing) if callable(thing) else _said_under(name, thing), ""]
        if inspect.isclass(thing):
            lines += [f"- `{one}`: {_sentence(member)}" for one, member in _members(thing)]
            lines.append("")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def paragraph(thing: Any) -> str:
    """Returns the first paragraph of a docstring, as Markdown."""
    return _markdown(inspect.getdoc(thing) or "")


def _markdown(docstring: str) -> str:
    words = " ".join(docstring.strip().split("\n\n")[0].split())
    return re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", words).replace("``", "`")


def _said_under(name: str, constant: object) -> str:
    """Returns the first paragraph of the text that stands under a constant, in the module of its type."""
    body = ast.parse(inspect.getsource(sys.modules[type(constant).__module__])).body
    for node, after in pairwise(body):
        named = isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return _markdown(str(after.value.value))
    raise LookupError(f"nothing stands under {name}: say there what it is")


def _sentence(thing: Any) -> str:
    return re.split(r"(?<=\.)\s", f"{paragraph(thing)} ")[0].strip()


def signature(name: str, thing: Any) -> str:
    """Returns how a thing is called, a parameter a line if one line is too short."""
    try:
        called = inspect.signature(thing)
    except ValueError:
        return name
    before = "async " if inspect.iscoroutinefunction(inspect.unwrap(thing)) else ""
    shown = f"{before}{name}{_plain(str(called))}"
    if len(shown) <= WIDTH:
        return shown
    parts, star = [], False
    for parameter in called.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or parameter.kind in {parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL}
        parts.append(_plain(str(parameter)))
    returned = "" if called.return_annotation is called.empty else f" -> {_plain(str(called.return_annotation))}"
    return f"{before}{name}(\n    " + ",\n    ".join(parts) + f",\n){returned}"


def _plain(words: str) -> str:
    words = re.sub(r"'(~?[A-Za-z_][^']*)'(?=[\],) =]|$)", r"\1", words)
    return re.sub(r"<(?:Unset\.)?(\w+)[^>]*>", r"\1", words)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    for name in dir(kind):
        if name.startswith("_"):
            continue
        static = inspect.getattr_static(kind, name)
        thing = static.fget if isinstance(static, property) else _unbound(kind, name, static)
        if not (callable(thing) or isinstance(static, property)) or not inspect.getdoc(thing):
            continue
        called = name
        if not isinstance(static, property) and not inspect.isclass(thing):
            awaited = "await " if inspect.iscoroutinefunction(inspect.unwrap(thing)) else ""
            called = f"{awaited}{name}({_short(thing)})"
        yield called, thing


def _unbound(kind: type, name: str, static: Any) -> Any:
    """Returns a member of a class, also one that only an instance has."""
    try:
        return getattr(kind, name)
    except AttributeError:
        return static.__get__(object.__new__(kind), kind)


def _short(thing: Any) -> str:
    """Returns the names of the parameters, without types and defaults."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (ValueError, TypeError):
        return ""
    parts, star = [], False
    for one in parameters:
        if one.name in {"self", "cls"}:
            continue
        if one.kind is one.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        prefix = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        star = star or prefix == "*"
        parts.append(f"{prefix}{one.name}" + ("=…" if one.default is not one.empty else ""))
    return ", ".join(parts)
