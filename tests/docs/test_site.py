"""The site has every page in its navigation, keeps to itself, and has a text for language models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs import site
from tests.docs.pages import DOCS, LANGUAGES, ROOT, example, sections, title_of, with_examples

if TYPE_CHECKING:
    from pathlib import Path


def test_every_page_is_in_the_navigation_once() -> None:
    named = [page for section in sections() if not section.is_english for page in section.pages]
    there = sorted(path.relative_to(DOCS / "en").with_suffix("").as_posix() for path in (DOCS / "en").rglob("*.md"))

    assert sorted(named) == there


def test_english_pages_of_the_project_are_in_the_navigation() -> None:
    named = {page for section in sections() if section.is_english for page in section.all_pages()}

    assert {"changes", "modules"} < named
    assert {f"decisions/{path.stem}" for path in (DOCS / "decisions").glob("*.md")} < named


@pytest.mark.parametrize("language", LANGUAGES)
def test_titles_tell_the_pages_of_a_language_apart(language: str) -> None:
    titles = [title_of(text) for text in site.texts(language).values()]

    assert sorted({title for title in titles if titles.count(title) > 1}) == []


def test_an_example_stands_in_its_page() -> None:
    shown = with_examples("--8<--\nsettings.py:code\n--8<--")

    assert "8<" not in shown
    assert shown == example("settings.py:code")


def test_a_section_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(LookupError, match="no section 'nothing'"):
        example("settings.py:nothing")


@pytest.mark.parametrize("language", LANGUAGES)
def test_models_get_every_page_as_text(tmp_path: Path, language: str) -> None:
    pages = site.texts(language)
    for page in pages:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)

    site.write_for_models(tmp_path, language, pages)

    index = (tmp_path / "llms.txt").read_text("utf-8")
    links = re.findall(r"\]\(([^)]+)\): \S", index)
    assert links
    assert all((tmp_path / link).is_file() for link in links)
    whole = (tmp_path / "llms-full.txt").read_text("utf-8")
    assert "--8<--" not in whole
    assert whole.count("<!-- how-to/") == sum(link.startswith("how-to/") for link in links)


@pytest.mark.parametrize(
    "loaded",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        "body { background: url(https://img.example/x.png) }",
    ],
)
def test_what_would_be_loaded_from_elsewhere_is_found(tmp_path: Path, loaded: str) -> None:
    (tmp_path / "index.html").write_text(f"<p>See <a href='https://example.com'>this</a>.</p>{loaded}", "utf-8")

    assert len(site.foreign(tmp_path)) == 1


def test_a_link_and_a_shown_address_load_nothing(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        "<a href='https://example.com'>x</a><code>&lt;img src=https://x&gt; url(https://x)</code>", "utf-8"
    )

    assert site.foreign(tmp_path) == []


@pytest.mark.parametrize("name", ["README.md", "README.es.md"])
def test_readme_links_to_pages_of_its_language(name: str) -> None:
    language = "es" if name == "README.es.md" else "en"
    links = re.findall(r"\]\(docs/(\w+)/", (ROOT / name).read_text("utf-8"))

    assert links
    assert set(links) == {language}
