"""Builds the site: one build a language, each with a search of its own, and the texts for language models.

``python -m tests.docs.site [FOLDER]`` writes it to ``site/``. It needs the extra ``docs`` and, for diagrams,
``mermaid.min.js`` in ``.parts``, which ``make docs`` fetches.
"""

from __future__ import annotations

import json
import re
import shutil
import string
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.docs.pages import DOCS, LANGUAGES, ROOT, Section, opening_of, sections, title_of, with_examples

STAGE = ROOT / "build" / "docs"
MERMAID = ROOT / ".parts" / "mermaid" / "mermaid.min.js"
_CDN = re.compile(r'"https://unpkg\.com/mermaid@[\w.]+/dist/mermaid\.min\.js"')
_LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(https?:)?//"
    r"|<link[^>]*\srel=[\"']?(?:stylesheet|icon|preload|preconnect)[^>]*\shref=[\"']?(https?:)?//"
    r"|url\([\"']?(https?:)?//|@import\s+[\"'](https?:)?//"
)
_WORDS = {
    "en": {
        "description": "A multi-tenant, multi-level asyncio cache for RAG and LLM back ends",
        "dark": "Switch to dark mode",
        "light": "Switch to light mode",
    },
    "es": {
        "description": "Una caché asyncio de varios niveles y muchos inquilinos para servicios de RAG y LLM",
        "dark": "Cambiar al modo oscuro",
        "light": "Cambiar al modo claro",
    },
}


def texts(language: str) -> dict[str, str]:
    """Returns every page of a language by its path, with its examples in it."""
    found = {}
    for section in sections():
        if section.is_english and language != "en":
            continue
        for page in section.all_pages():
            found[page] = with_examples(source_of(section, page, language).read_text("utf-8"))
    return found


def source_of(section: Section, page: str, language: str) -> Path:
    """Returns the file that a page is written in."""
    if page == "changes":
        return ROOT / "CHANGELOG.md"
    return DOCS / f"{page}.md" if section.is_english else DOCS / language / f"{page}.md"


def stage(language: str, pages: dict[str, str]) -> Path:
    """Writes the pages of a language and the settings of its build, and returns the latter."""
    folder = STAGE / language / "pages"
    for page, text in pages.items():
        path = folder / f"{page}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    nav: list[object] = []
    for section in sections():
        links: list[object] = [f"{page}.md" for page in section.pages]
        if section.inner:
            links.append({section.inner_titles[language]: [f"{page}.md" for page in section.inner]})
        if not section.titles:
            nav += links
        elif section.is_english and language != "en":
            nav.append({section.titles[language]: f"../en/{section.pages[0]}/"})
        else:
            nav.append({section.titles[language]: links})
    base = string.Template((DOCS / "site.yml").read_text("utf-8"))
    filled = base.substitute(_WORDS[language], language=language, pages="pages", out="built")
    settings = STAGE / language / "site.yml"
    settings.write_text(f"{filled}\nnav: {json.dumps(nav, ensure_ascii=False)}\n", "utf-8")  # JSON is YAML.
    return settings


def build(out: Path) -> None:
    """Builds both languages into a folder.

    Raises:
        SystemExit: A build found a broken link, or a built page loads something from another host.
    """
    for folder in (out, STAGE):
        shutil.rmtree(folder, ignore_errors=True)
    pages = {language: texts(language) for language in LANGUAGES}
    files = [stage(language, pages[language]) for language in LANGUAGES]
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(_run_zensical, files))
    for done in ended:
        if done.returncode:
            said, _, trace = (done.stdout + done.stderr).partition("Traceback")
            sys.exit(said if "Warning" in said else f"{said}{trace}")
    out.mkdir(parents=True)
    for language in LANGUAGES:
        shutil.move(STAGE / language / "built", out / language)
        _serve_mermaid(out / language)
        write_for_models(out / language, language, pages[language])
    for name in ("llms.txt", "llms-full.txt"):
        text = (out / "en" / name).read_text("utf-8")
        (out / name).write_text(re.sub(r"\]\((?!http)", "](en/", text) if name == "llms.txt" else text, "utf-8")
    shutil.copy(DOCS / "index.html", out / "index.html")
    shutil.copy(MERMAID, out / "mermaid.min.js")
    if found := foreign(out):
        sys.exit("these pages load from other hosts:\n" + "\n".join(found))


def _run_zensical(settings: Path) -> subprocess.CompletedProcess[str]:
    # Each build runs in a folder of its own: two would empty one another's cache, which lies where they run.
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(settings)]
    return subprocess.run(command, cwd=settings.parent, capture_output=True, text=True, check=False)


def _serve_mermaid(out: Path) -> None:
    """Has pages with a diagram load Mermaid from the site itself, and only these."""
    replaced = 0
    for script in (out / "assets" / "javascripts").glob("bundle.*.js"):
        text, count = _CDN.subn('new URL("../mermaid.min.js",__md_scope).href', script.read_text("utf-8"))
        script.write_text(text, "utf-8")
        replaced += count
    if not replaced:
        sys.exit("the theme loads Mermaid in another way now: look at _serve_mermaid")


def write_for_models(out: Path, language: str, pages: dict[str, str]) -> None:
    """Writes each page as text beside its HTML, ``llms.txt`` that lists them, and ``llms-full.txt`` that has them all."""
    lines = ["# Alacena", "", f"> {_WORDS[language]['description']}.", "", opening_of(pages["index"]), ""]
    whole = []
    for section in sections():
        if section.is_english:
            continue
        lines += ["", f"## {section.titles.get(language, 'Alacena')}", ""]
        for page in section.pages:
            (out / f"{page}.md").write_text(pages[page], "utf-8")
            lines.append(f"- [{title_of(pages[page])}]({page}.md): {plain(opening_of(pages[page]))}")
            whole.append(f"<!-- {page}.md -->\n\n{pages[page].strip()}\n")
    (out / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (out / "llms-full.txt").write_text("\n\n".join(whole), "utf-8")


def plain(text: str) -> str:
    """Returns a paragraph with the words of its links, and without where they lead."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def foreign(out: Path) -> list[str]:
    """Returns what the built pages and styles load from other hosts."""
    found = []
    for path in sorted(out.rglob("*")):
        if path.suffix in {".html", ".css"}:
            text = re.sub(r"<(pre|code)\b.*?</\1>", "", path.read_text("utf-8"), flags=re.DOTALL)
            found += [f"{path.relative_to(out)}: {hit[0][:120]}" for hit in _LOADED.finditer(text)]
    return found


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "site")
