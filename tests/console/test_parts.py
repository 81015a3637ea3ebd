"""The parts of the page: what was committed is what was built, with its licence, and asks nobody else."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

from alacena.engine.remote.redis.server_facts import NEEDS
from alacena.ops import doctor_checks

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


FINDERS = (
    "ops/doctor_checks.py", "ops/check_runner.py", "ops/rights.py", "ops/symptom_checks.py", "ops/read_explanation.py",
    "engine/remote/redis/guarantees.py",
)  # fmt: skip
UNSEEN = (
    "max number of clients", "permissions to access", "no sentinel", "no master",  # are looked for in a refusal
    "return redis.call",  # a script
    "redis-cli ACL SETUSER",  # a command
    "checks were skipped", "Not well", "It works", "look at", "All is well",  # the verdict: the page has its own
    "await CacheManager", "await ",  # code
    "Set maxmemory-policy noeviction there",  # an error's words
    "all processes", "per process",  # values of facts
)  # fmt: skip


def _templates(name: str) -> list[tuple[str, str]]:
    """The pairs of words of a table of ``findings.js``."""
    text = (Path(str(STATIC)) / "findings.js").read_text()
    table = text.partition(f"const {name} = [")[2].partition("\n]\n")[0]
    found = re.findall(r"""^  \[('[^']*'|"[^"]*"), ('[^']*'|"[^"]*")(?:, FIRST)?\],$""", table, re.MULTILINE)
    assert len(found) == len(table.strip().splitlines()), name
    return [(english[1:-1], spanish[1:-1]) for english, spanish in found]


def test_what_checks_and_explanations_say_is_there_in_both_languages_with_the_same_parts() -> None:
    for name in ("CHECKS", "FINDINGS", "REASONS"):
        pairs = _templates(name)
        assert len({english for english, _ in pairs}) == len(pairs)
        for english, spanish in pairs:
            assert english.count("{}") == spanish.count("{}"), english


def test_every_word_of_a_check_and_of_an_explanation_is_translated() -> None:
    known = "\n".join(english for name in ("CHECKS", "FINDINGS", "REASONS") for english, _ in _templates(name))
    said = [piece for path in FINDERS for piece in _pieces(Path(str(files("alacena"))) / path)]
    said += [piece for need in NEEDS.values() for piece in need.replace("; ", ": ").split(": ")]
    missing = {piece for piece in said if piece not in known and not any(piece.startswith(words) for words in UNSEEN)}
    assert missing == set()


def test_every_check_has_a_name_in_both_languages() -> None:
    known = {english for english, _ in _templates("CHECKS")}
    assert {check.name for check in doctor_checks.list_checks()} | {"coordination", "storing"} <= known


def _pieces(path: Path) -> list[str]:
    """The runs of words in the texts of a module, without what varies in them; its docstrings are left out."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]
    parts = [
        part.strip(" ;,:.()") for text in texts for part in text.replace("{ns}", ": ").replace("; ", ": ").split(": ")
    ]
    return [part for part in parts if re.search(r"[a-z]{2} [a-z]", part) and not part.startswith("symptom")]
