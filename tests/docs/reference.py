"""The parts of the reference that are written from the code: settings, policies, errors, events, messages, names.

``python -m tests.docs.reference`` rewrites them between their marks, in both languages. What the code says in English is
said in Spanish by ``spanish.toml``. Each of its texts names the English one that it was made from, so that a test finds
those that lag behind; ``python -m tests.docs.reference --reviewed`` notes that all of them were looked at again.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import json
import re
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alacena.engine.base import errors, events
from alacena.engine.base.policy import Policy
from alacena.engine.base.settings import Settings
from alacena.engine.remote.redis.server_facts import NEEDS
from tests.docs import messages, names
from tests.docs.pages import DOCS, LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
SPANISH = HERE / "spanish.toml"
_HEADS = {
    "settings": {"en": "| setting | default | what it says |", "es": "| ajuste | por defecto | qué dice |"},
    "policy": {"en": "| policy | default | what it says |", "es": "| política | por defecto | qué dice |"},
    "errors": {"en": "| error | when | what to do |", "es": "| error | cuándo | qué hacer |"},
    "rights": {"en": "| right | what to grant, and why |", "es": "| permiso | qué conceder, y por qué |"},
    "events": {"en": "| event | when | attributes |", "es": "| evento | cuándo | atributos |"},
}
_ALSO = {"en": "also a", "es": "también es"}


class Words:
    """The texts of the code in one language, and what is missing or lags behind.

    Args:
        language: ``"en"`` or ``"es"``.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self._spanish = tomllib.loads(SPANISH.read_text("utf-8")) if SPANISH.exists() else {}
        self.asked: dict[str, str] = {}
        self.missing: list[str] = []
        self.behind: list[str] = []

    def say(self, name: str, english: str) -> str:
        """Returns a text of the code in the language; the English one if there is no other."""
        self.asked[name] = english
        if self.language == "en":
            return english
        known = self._spanish.get(name)
        if known is None:
            self.missing.append(name)
            return english
        if known["of"] != mark_of(english):
            self.behind.append(name)
        return str(known["es"])

    def left_over(self) -> list[str]:
        """Returns the names of texts that nothing in the code asks for."""
        return sorted(self._spanish.keys() - self.asked.keys())


def mark_of(english: str) -> str:
    """Returns a short digest of a text."""
    return hashlib.sha256(english.encode()).hexdigest()[:8]


def markdown(text: str) -> str:
    """Returns the words of a docstring in one line, as a cell of a table takes them."""
    words = " ".join(text.split())
    words = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", words).replace("``", "`")
    return words.replace("|", "\\|")


def field_texts(kind: type) -> dict[str, str]:
    """Returns the docstring under each attribute of a class."""
    body = ast.parse(inspect.getsource(inspect.getmodule(kind) or kind)).body
    (found,) = (node for node in body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    texts = {}
    for node, after in pairwise(found.body):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(node.target, ast.Name)
            texts[node.target.id] = str(after.value.value)
    return texts


def described(kind: type) -> tuple[list[str], dict[str, str]]:
    """Returns the paragraphs of a class's docstring, and its attributes."""
    text = inspect.cleandoc(vars(kind).get("__doc__") or "")
    prose, _, attributes = text.partition("\n\nAttributes:\n")
    found = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", attributes, re.MULTILINE | re.DOTALL)
    return prose.split("\n\n"), {name: markdown(words) for name, words in found}


def table_of_fields(kind: Any, name: str, words: Words) -> str:
    """Returns the table of the attributes of a dataclass: name, default, meaning."""
    texts = field_texts(kind)
    lines = [_HEADS[name][words.language], "|---|---|---|"]
    for field in dataclasses.fields(kind):
        given = field.default is not dataclasses.MISSING
        default: object = field.default if given else dict(field.default_factory())  # type: ignore[misc]
        said = words.say(f"{kind.__name__}.{field.name}", markdown(texts[field.name]))
        lines.append(f"| `{field.name}` | {_shown(default)} | {said} |")
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else f"`{json_of(value)}`"


def json_of(value: object) -> str:
    """Returns a default as code."""
    return json.dumps(value) if isinstance(value, str) else repr(value)


def table_of_errors(root: type[Exception], words: Words, *, among: set[type] | None = None) -> str:
    """Returns the table of an error and of those below it."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, root)]
    source = inspect.getsource(errors)
    kinds.sort(key=lambda kind: source.index(f"class {kind.__name__}("))
    lines = [_HEADS["errors"][words.language], "|---|---|---|"]
    for kind in kinds:
        if among is not None and kind not in among:
            continue
        (meaning, *more), attributes = described(kind)
        if not more and ": " in meaning:
            meaning, _, remedy = meaning.partition(": ")
            more = [f"{remedy[0].upper()}{remedy[1:]}"]
        meaning, remedy = markdown(meaning).rstrip("."), markdown(" ".join(more))
        when = words.say(kind.__name__, meaning)
        also = [
            f"`{base.__name__}`" for base in kind.__bases__ if base.__module__ == "builtins" and base is not Exception
        ]
        when += f" ({_ALSO[words.language]} {', '.join(also)})" if also else ""
        if remedy:
            remedy = words.say(f"{kind.__name__}.mend", remedy)
        for name, text in attributes.items():
            remedy += f" `{name}`: {words.say(f'{kind.__name__}.{name}', text)}"
        lines.append(f"| `{kind.__name__}` | {when} | {remedy.strip()} |")
    return "\n".join(lines)


def single_errors() -> set[type]:
    """Returns the errors that have no family of their own: those of loading."""
    return {kind for kind in errors.AlacenaError.__subclasses__() if not kind.__subclasses__()}


def table_of_events(words: Words) -> str:
    """Returns the table of all events and their attributes."""
    members = inspect.getmembers(events, inspect.isclass)
    kinds = [kind for _, kind in members if issubclass(kind, events.Event) and kind is not events.Event]
    source = inspect.getsource(events)
    kinds.sort(key=lambda kind: source.find(f"class {kind.__name__}("))
    lines = [_HEADS["events"][words.language], "|---|---|---|"]
    for kind in kinds:
        paragraphs, attributes = described(kind)
        when = words.say(kind.__name__, markdown(" ".join(paragraphs)))
        said = [f"`{name}`: {words.say(f'{kind.__name__}.{name}', text)}" for name, text in attributes.items()]
        lines.append(f"| `{kind.__name__}` | {when} | {' '.join(said)} |")
    return "\n".join(lines)


def table_of_rights(words: Words) -> str:
    """Returns the table of rights, and what follows if one is missing."""
    lines = [_HEADS["rights"][words.language], "|---|---|"]
    lines += [
        f"| `{right}` | {words.say(f'right.{right}', f'{need[0].upper()}{need[1:]}.'.replace('{ns}', 'alacena'))} |"
        for right, need in NEEDS.items()
    ]
    return "\n".join(lines)


BLOCKS: dict[str, tuple[str, Callable[[Words], str]]] = {
    "settings": ("reference/settings", lambda words: table_of_fields(Settings, "settings", words)),
    "policy": ("reference/settings", lambda words: table_of_fields(Policy, "policy", words)),
    "usage errors": ("reference/errors", lambda words: table_of_errors(errors.UsageError, words)),
    "backend errors": ("reference/errors", lambda words: table_of_errors(errors.BackendError, words)),
    "codec errors": ("reference/errors", lambda words: table_of_errors(errors.CodecError, words)),
    "loading errors": (
        "reference/errors",
        lambda words: table_of_errors(errors.AlacenaError, words, among=single_errors()),
    ),
    "coordination errors": ("reference/errors", lambda words: table_of_errors(errors.CoordinationError, words)),
    "events": ("reference/events", table_of_events),
    "messages": ("reference/messages", lambda words: messages.table(words.language)),
    "rights": ("how-to/permissions", table_of_rights),
    "names": ("reference/api", lambda _: names.text()),
}
"""Each part: the page that it stands on, and its text."""


def filled(page: str, words: Words) -> str:
    """Returns a page with its parts as the code has them."""
    text = (DOCS / words.language / f"{page}.md").read_text("utf-8")
    for name, (home, write) in BLOCKS.items():
        if home != page:
            continue
        start, end = f"<!-- from the code: {name} -->\n", "\n<!-- /from the code -->"
        before, found, rest = text.partition(start)
        if not found or end not in rest:
            raise LookupError(f"docs/{words.language}/{page}.md lacks the marks {start.strip()} ... {end.strip()}")
        text = f"{before}{start}\n{write(words)}\n{end}{rest.partition(end)[2]}"
    return text


def pages() -> list[str]:
    """Returns the pages that have such parts."""
    return sorted({page for page, _ in BLOCKS.values()})


def note_all_reviewed() -> None:
    """Writes ``spanish.toml`` anew, with the marks of the English texts of now."""
    words = Words("en")
    for page in pages():
        filled(page, words)
    known = tomllib.loads(SPANISH.read_text("utf-8"))
    lines = ["# The texts of docstrings in Spanish. `of` marks the English text that `es` was made from.", ""]
    for name, english in sorted(words.asked.items()):
        if name in known:
            spanish = json.dumps(known[name]["es"], ensure_ascii=False)
            lines.append(f"{json.dumps(name)} = {{ of = {json.dumps(mark_of(english))}, es = {spanish} }}")
    SPANISH.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    if "--reviewed" in sys.argv:
        note_all_reviewed()
    for language in LANGUAGES:
        spoken = Words(language)
        for one in pages():
            (DOCS / language / f"{one}.md").write_text(filled(one, spoken), "utf-8")
        for problem in (*spoken.missing, *spoken.behind):
            sys.stderr.write(f"spanish.toml: look at {problem}: {spoken.asked[problem]}\n")
