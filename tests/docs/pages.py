"""The pages of the documentation: their order, their titles, and their text with the examples in it."""

from __future__ import annotations

import re
import textwrap
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
LANGUAGES = ("en", "es")
_SNIPPET = re.compile(r"^--8<--\n(\S+)\n--8<--$", re.MULTILINE)
_MARK = re.compile(r"^\s*# --8<-- \[.*\]\n?", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """One heading of the navigation, and the pages below it.

    Attributes:
        titles: The heading in each language; empty: its pages stand above the first heading.
        pages: Paths of the pages below the folder of a language, without ``.md``.
        inner: The pages of a section inside this one; its titles are ``inner_titles``.
        is_english: Whether the pages exist in English only.
    """

    titles: dict[str, str]
    pages: tuple[str, ...]
    is_english: bool
    inner: tuple[str, ...] = ()
    inner_titles: dict[str, str] = field(default_factory=dict)

    def all_pages(self) -> tuple[str, ...]:
        """Returns its pages, and those of the section inside it."""
        return self.pages + self.inner


def sections() -> list[Section]:
    """Returns the navigation, as ``docs/nav.toml`` has it."""
    found = []
    for entry in tomllib.loads((DOCS / "nav.toml").read_text("utf-8"))["section"]:
        titles = {language: entry[language] for language in LANGUAGES if language in entry}
        folder = entry.get("folder", {})
        inner = (
            [f"{folder['path']}/{path.stem}" for path in sorted((DOCS / folder["path"]).glob("*.md"))] if folder else []
        )
        found.append(Section(titles, tuple(entry["pages"]), entry.get("only") == "en", tuple(inner), folder))
    return found


def title_of(text: str) -> str:
    """Returns the first heading of a page, without its marks."""
    return re.sub(r"`", "", text.partition("\n")[0].removeprefix("# ").strip())


def opening_of(text: str) -> str:
    """Returns the first paragraph of a page."""
    return " ".join(text.split("\n\n")[1].split())


def with_examples(text: str) -> str:
    """Returns a page whose examples stand in it, rather than their names.

    Raises:
        LookupError: The page names an example or a section that does not exist.
    """
    return _SNIPPET.sub(lambda found: example(found[1]), text)


def example(name: str) -> str:
    """Returns the text of ``file.py`` or of ``file.py:section``."""
    file, _, section = name.partition(":")
    source = (EXAMPLES / file).read_text("utf-8")
    if section:
        found = re.search(
            rf"^[ \t]*# --8<-- \[start:{section}\]\n(.*?)^[ \t]*# --8<-- \[end:{section}\]",
            source,
            re.DOTALL | re.MULTILINE,
        )
        if found is None:
            raise LookupError(f"docs/examples/{file} has no section {section!r}")
        source = textwrap.dedent(found[1])
    return _MARK.sub("", source).strip("\n")
