"""The two languages say the same."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import pytest

from alacena import configure

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LANGUAGES = ("es", "en")
PAGES = sorted(path.relative_to(DOCS / "en").as_posix() for path in (DOCS / "en").rglob("*.md"))
EVERYWHERE = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md")],
)
FENCE = re.compile(r"^```.*?^```\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SNIPPET = re.compile(r"^--8<--\n(\S+)\n--8<--$", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def text_of(language: str, page: str) -> str:
    return (DOCS / language / page).read_text("utf-8")


def prose(text: str) -> str:
    return FENCE.sub("", text)


def slug(heading: str) -> str:
    plain = re.sub(r"[^\w\s-]", "", heading.lower().replace("`", "")).strip()
    return re.sub(r"[\s-]+", "-", plain)


def test_both_languages_have_the_same_pages() -> None:
    spanish = sorted(path.relative_to(DOCS / "es").as_posix() for path in (DOCS / "es").rglob("*.md"))

    assert spanish == PAGES
    assert "guide.md" in PAGES


@pytest.mark.parametrize("page", PAGES)
def test_headings_have_the_same_levels(page: str) -> None:
    levels = [re.findall(r"^(#+) ", prose(text_of(language, page)), re.MULTILINE) for language in LANGUAGES]

    assert levels[0] == levels[1]
    assert levels[0][0] == "#"
    assert levels[0].count("#") == 1


@pytest.mark.parametrize("page", PAGES)
def test_the_same_examples_are_included(page: str) -> None:
    included = [SNIPPET.findall(text_of(language, page)) for language in LANGUAGES]

    assert included[0] == included[1]
    for name in included[0]:
        file, _, section = name.partition(":")
        source = (DOCS / "examples" / file).read_text("utf-8")
        assert not section or f"[start:{section}]" in source


@pytest.mark.parametrize("page", PAGES)
def test_code_written_out_is_the_same(page: str) -> None:
    """Commands and snippets may not drift apart; comments are prose and may differ."""
    blocks = [re.findall(r"^```(\w+)", text_of(language, page), re.MULTILINE) for language in LANGUAGES]

    assert blocks[0] == blocks[1]


@pytest.mark.parametrize("page", PAGES)
def test_the_first_paragraph_is_short(page: str) -> None:
    """Each page opens with its answer, in one sentence."""
    for language in LANGUAGES:
        opening = text_of(language, page).split("\n\n")[1]
        assert len(opening) <= 300, (language, opening)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_piece_of_python_is_an_example_that_runs(language: str) -> None:
    """But for that of arq, which needs a redis-py that the suite cannot have beside its own, and generated signatures."""
    written = re.compile(r"^```python[^\n]*\n(?!--8<--)(.*?)^```", re.MULTILINE | re.DOTALL)
    found = [
        (page, code)
        for page in PAGES
        if page != "reference/api.md"
        for code in written.findall(text_of(language, page))
    ]

    assert [(page, code) for page, code in found if "alacena.integrations.arq" not in code] == []


def test_every_example_is_shown() -> None:
    shown = {name.partition(":")[0] for page in PAGES for name in SNIPPET.findall(text_of("en", page))}

    assert {path.name for path in (DOCS / "examples").glob("*.py")} == shown


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(path: Path) -> None:
    broken = []
    for target in LINK.findall(prose(path.read_text("utf-8"))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        aim = (path.parent / file).resolve() if file else path
        if not aim.exists():
            broken.append(target)
        elif anchor and aim.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", prose(aim.read_text("utf-8")), re.MULTILINE)
            if anchor not in {slug(heading) for heading in headings}:
                broken.append(target)

    assert broken == []


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_rows_of_a_table_have_the_cells_of_its_head(path: Path) -> None:
    crooked, width = [], None
    for line in prose(path.read_text("utf-8")).splitlines():
        cells = re.sub(r"`[^`]*`|\\\|", "", line).count("|") if line.startswith("|") else None
        if cells is not None and width is not None and cells != width:
            crooked.append(line)
        width = cells if width is None or cells is None else width

    assert crooked == []


@pytest.mark.parametrize("name", ["README.md", "README.es.md"])
async def test_readme_code_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("REDIS_URL", "ALACENA_NAMESPACE"):
        monkeypatch.delenv(variable, raising=False)
    configure()  # as in a new process, whatever ran in this one before
    blocks = BLOCK.findall((ROOT / name).read_text("utf-8"))

    assert blocks
    for block in blocks:
        code = compile(block, name, "exec")
        await asyncio.to_thread(exec, code, {"__name__": "__main__"})


def test_readmes_show_the_same_code() -> None:
    shown = [BLOCK.findall((ROOT / name).read_text("utf-8")) for name in ("README.md", "README.es.md")]

    assert shown[0] == shown[1]


def test_readmes_have_the_same_shape() -> None:
    """As many headings, rows and points in the same order, and the same figures."""
    texts = [prose((ROOT / name).read_text("utf-8")) for name in ("README.md", "README.es.md")]
    shapes = [re.findall(r"^(#+|\||- |\d+\.)(?= |-)", text, re.MULTILINE) for text in texts]
    tables = [re.findall(r"^\|.*", text, re.MULTILINE) for text in texts]
    figures = [[re.findall(r"\d+", row) for row in rows] for rows in tables]
    extras = [re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE) for text in texts]

    assert shapes[0] == shapes[1]
    assert figures[0] == figures[1]
    assert extras[0] == extras[1]


@pytest.mark.parametrize("name", ["README.md", "README.es.md"])
def test_figures_name_the_version_and_the_way_they_were_measured(name: str) -> None:
    figures = (ROOT / name).read_text("utf-8").partition("<!-- figures -->")[2].partition("<!-- /figures -->")[0]

    assert "`python -m bench`" in figures
    assert re.search(r"\b0\.\d+\.\d+\b", figures)
    assert "`CacheManager.get`" in figures


def test_the_readmes_name_every_extra() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    ours = {"bench", "demo", "docs", "suites", "test"}
    for name in ("README.md", "README.es.md"):
        rows = re.findall(r"^\| (`[^|]*`) \|", (ROOT / name).read_text("utf-8"), re.MULTILINE)
        assert {extra for row in rows for extra in re.findall(r"`([\w-]+)`", row)} == declared.keys() - ours
