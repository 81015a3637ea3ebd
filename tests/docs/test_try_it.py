"""The files with which one tries it without installing anything fit the pages and the package."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest
import yaml

from tests.docs.pages import DOCS, ROOT
from tests.servers import dev

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_server_is_set_up_as_the_page_on_deployment_says(language: str) -> None:
    page = (DOCS / language / "how-to" / "deploy.md").read_text("utf-8")
    settings = dict(line.split() for line in page.partition("```text\n")[2].partition("```")[0].splitlines())
    words = shlex.split(COMPOSE["valkey"]["command"])
    given = dict(zip((word.removeprefix("--") for word in words[1::2]), words[2::2], strict=True))

    assert given.keys() <= settings.keys()
    assert {**settings, **given, "maxmemory": settings["maxmemory"]} == settings


def test_no_port_is_open_to_others() -> None:
    ports = [port for service in COMPOSE.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_it_copies_and_installs_exists() -> None:
    text = (ROOT / "compose.yaml").read_text("utf-8")

    assert all((ROOT / path).exists() for path in re.findall(r"/source/([\w.]+)", text))
    assert set(re.findall(r"\[(\w+)\]'", text)) <= EXTRAS.keys()


def test_the_development_container_makes_what_the_makefile_has() -> None:
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8")
    settings = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    target = settings["postCreateCommand"].removeprefix("make ")

    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("page", ["lock", "service", "miss"])
def test_first_steps_name_the_server_that_make_dev_starts(language: str, page: str) -> None:
    text = (DOCS / language / "first-steps" / f"{page}.md").read_text("utf-8")

    assert set(re.findall(r"redis://127\.0\.0\.1:(\d+)", text)) == {str(dev.PORT)}
