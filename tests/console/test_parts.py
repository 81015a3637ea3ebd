"""The parts of the page: what was committed is what was built, with its licence, and asks nobody else."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

STATIC = files("alacena.ops.console").joinpath("static")
OWN = [
    Path(str(STATIC)) / name
    for name in ("index.html", *(p.name for p in Path(str(STATIC)).glob("*.js")), "console.css")
]
VENDOR = Path(str(STATIC)) / "vendor"


def test_vendored_files_are_those_that_were_built() -> None:
    sums = dict(reversed(line.split("  ")) for line in (VENDOR / "SHA256SUMS").read_text().splitlines())

    assert set(sums) == {path.name for path in VENDOR.iterdir()} - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_each_part_has_its_licence() -> None:
    recipe = json.loads((Path(__file__).parents[2] / "tools/console/package.json").read_text())

    assert {path.stem for path in VENDOR.glob("*.LICENSE")} == set(recipe["dependencies"])
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in recipe["dependencies"].values())


def test_page_names_no_other_host_and_holds_no_code_of_its_own() -> None:
    for path in OWN:
        text = path.read_text().replace("http://www.w3.org", "")
        assert not re.search(r"https?://|//cdn", text), path.name
        assert not re.search(r"innerHTML|\beval\(|new Function|\bon\w+=\"|style=", text), path.name
    page = (Path(str(STATIC)) / "index.html").read_text()
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]


def test_both_languages_say_everything() -> None:
    words = (Path(str(STATIC)) / "words.js").read_text()
    entries = re.findall(
        r"^  (\w+): \[\s*((?:'[^']*'|\"[^\"]*\"|`[^`]*`)),\s*((?:'[^']*'|\"[^\"]*\"|`[^`]*`)),?\s*\]",
        words,
        re.MULTILINE,
    )
    names = {name for name, _, _ in entries}
    used = set(re.findall(r"\bt\('(\w+)'", "".join(path.read_text() for path in OWN)))

    assert len(names) == len(entries) > 100
    assert used <= names
    for name, english, spanish in entries:
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", spanish)), name
