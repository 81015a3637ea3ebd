"""Each integration names its extra and the range of versions that it fits, and the extra brings just that range."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alacena.integrations import requirement

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
FRAMEWORKS = [
    ("celery", "celery", "celery", "celery"),
    ("fastapi", "fastapi", "fastapi", "fastapi"),
    ("hishel", "hishel", "hishel", "hishel"),
    ("key_value", "key_value", "key-value", "py-key-value-aio"),
    ("langchain", "langchain_core", "langchain", "langchain-core"),
    ("langchain_agents", "langchain", "langchain", "langchain"),
    ("langgraph", "langgraph", "langgraph", "langgraph-checkpoint"),
    ("litellm", "litellm", "litellm", "litellm"),
    ("llama_index", "llama_index", "llama-index", "llama-index-core"),
    ("opentelemetry", "opentelemetry", "opentelemetry", "opentelemetry-api"),
    ("prometheus", "prometheus_client", "prometheus", "prometheus-client"),
    ("pydantic_ai", "pydantic_ai", "pydantic-ai", "pydantic-ai-slim"),
    ("sentry", "sentry_sdk", "sentry", "sentry-sdk"),
    ("sqlalchemy", "sqlalchemy", "sqlalchemy", "sqlalchemy"),
    ("taskiq", "taskiq", "taskiq", "taskiq"),
]
INDIRECT = {"langgraph-checkpoint"}
"""Brought by the package that the extra names."""


@pytest.mark.parametrize(("module", "framework", "extra", "package"), FRAMEWORKS)
def test_missing_framework_is_named_with_its_extra_and_its_range(
    module: str, framework: str, extra: str, package: str, import_without: Callable[[str, str], Any]
) -> None:
    with pytest.raises(ImportError, match=rf"{package}>=[\d.]+,<[\d.]+.*pip install 'alacena\[{extra}\]'"):
        import_without(f"alacena.integrations.{module}", framework)


@pytest.mark.parametrize("other", ["0.0.1", "999.0.0"])
@pytest.mark.parametrize(("module", "framework", "extra", "package"), FRAMEWORKS)
def test_other_version_is_named_with_the_range_and_what_is_here(
    module: str, framework: str, extra: str, package: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    monkeypatch.setattr(requirement, "version", lambda name: other if name == package else version(name))
    monkeypatch.delitem(sys.modules, f"alacena.integrations.{module}", raising=False)
    said = rf"{package}>=[\d.]+,<[\d.]+ \(here is {re.escape(other)}\).*pip install 'alacena\[{extra}\]'"
    with pytest.raises(ImportError, match=said):
        importlib.import_module(f"alacena.integrations.{module}")


@pytest.mark.parametrize(("module", "framework", "extra", "package"), FRAMEWORKS)
def test_extra_brings_the_range_that_the_module_demands(module: str, framework: str, extra: str, package: str) -> None:
    if package in INDIRECT:
        return
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = [re.sub(r"\[.*?\]", "", one) for one in extras[extra]]
    source = (ROOT / "src/alacena/integrations" / f"{module}.py").read_text()
    (lowest, ceiling) = re.findall(rf'\("{package}", "([\d.]+)", "([\d.]+)"\)', source)[0]
    assert f"{package}>={lowest},<{ceiling}" in brought
