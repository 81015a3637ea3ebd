"""Sentences of the pages that can be tried: names exist, defaults are the code's, and answers have the parts that are listed."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alacena import Cache, Policy, Settings
from tests.docs.pages import DOCS, LANGUAGES

if TYPE_CHECKING:
    from proving.servers.redis_server import RedisServer

PAGES = sorted(page for language in LANGUAGES for page in (DOCS / language).rglob("*.md"))
MODULE = re.compile(r"\balacena\.(?:constants|common|engine|integrations|ops|sources|testing)(?:\.\w+)*")
DEFAULT = re.compile(r"`(\w+)` \((\d[\d.,]*)(?: (s|MiB))?\)")
UNITS = {"": 1, "s": 1, "MiB": 1 << 20}


def _name_of(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.mark.parametrize("page", PAGES, ids=_name_of)
def test_a_module_that_is_named_exists(page: Path) -> None:
    for name in set(MODULE.findall(page.read_text("utf-8"))):
        module, names_inside = _split(name)
        spec = importlib.util.find_spec(module)
        assert spec is not None, name
        assert spec.origin is not None, name
        source = Path(spec.origin).read_text("utf-8")
        assert all(re.search(rf"\b{one}\b", source) for one in names_inside[:1]), name


def _split(name: str) -> tuple[str, list[str]]:
    """Returns the module that a dotted name begins with, and what is left; its framework may not be here to import it."""
    module, *rest = name.split(".")
    while rest:
        spec = importlib.util.find_spec(module)
        inner = f"{module}.{rest[0]}"
        if spec is None or spec.submodule_search_locations is None or importlib.util.find_spec(inner) is None:
            break
        module, rest = inner, rest[1:]
    return module, rest


def _defaults() -> dict[str, object]:
    of_policies = {field.name: field.default for field in dataclasses.fields(Policy)}
    return of_policies | {field.name: field.default for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("page", PAGES, ids=_name_of)
def test_a_default_in_brackets_is_that_of_the_code(page: Path) -> None:
    defaults = _defaults()
    for name, figure, unit in DEFAULT.findall(page.read_text("utf-8")):
        if name in defaults:
            spanish = page.is_relative_to(DOCS / "es")
            plain = figure.replace(".", "").replace(",", ".") if spanish else figure.replace(",", "")
            assert float(plain) * UNITS[unit] == defaults[name], f"{name} ({figure} {unit})"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("mode", ["memory", "server"])
async def test_the_table_of_guarantee_has_its_keys(language: str, mode: str, request: pytest.FixtureRequest) -> None:
    server: RedisServer | None = None if mode == "memory" else request.getfixturevalue("valkey_server")
    page = (DOCS / language / "explanation" / "consistency.md").read_text("utf-8")
    table = page.partition("guarantee()`\n\n|")[2].partition("\n\n")[0]
    listed = [key for row in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])]
    async with Cache(Settings(redis_url=None if server is None else server.url)) as cache:
        assert sorted(cache.guarantee()) == sorted(listed)
