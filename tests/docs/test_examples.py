"""Every example of the documentation is a program that runs, with a server and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proving.servers.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
IN_ONE_PROCESS = {
    "events.py": "configures the process-wide cache by itself",
    "settings.py": "opens nothing",
    "metadata.py": "opens nothing",
    "stale.py": "owns the time",
    "your_tests.py": "owns the time",
}
NEEDED = {
    "metrics.py": ("prometheus_client", "opentelemetry"),
    "langchain_cache.py": ("langchain", "langgraph"),
    "llama_index_cache.py": ("llama_index",),
}


@pytest.fixture(scope="module")
def host() -> Iterator[subprocess.Popen[str]]:
    """The process that runs examples; see `examples_host`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ALACENA_", "SUPABASE_"))}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.docs.examples_host"],
        cwd=ROOT,
        # A read that is over its budget on a busy machine is not what examples are run for.
        env={**inherited, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", "ALACENA_REDIS_BUDGET_S": "5"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def runs_of(host: subprocess.Popen[str], example: Path, urls: Sequence[str]) -> list[tuple[int, str]]:
    """Runs an example on each of these servers; returns how each run ended, and what it printed."""
    assert host.stdin is not None
    assert host.stdout is not None
    host.stdin.write(json.dumps([str(example), [*urls]]) + "\n")
    host.stdin.flush()
    runs = [(code, output) for code, output in json.loads(host.stdout.readline())]
    assert len(runs) == len(urls), runs
    return runs


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, host: subprocess.Popen[str], valkey_server: RedisServer) -> None:
    for framework in NEEDED.get(example.name, ()):
        pytest.importorskip(framework)
    places = {"one process": ""} if example.name in IN_ONE_PROCESS else {"one process": "", "server": valkey_server.url}
    for place, (code, output) in zip(places, runs_of(host, example, [*places.values()]), strict=True):
        assert code == 0, f"in {place}: {output}"


def test_list_of_serverless_examples_names_examples() -> None:
    assert {*IN_ONE_PROCESS, *NEEDED} <= {path.name for path in EXAMPLES}
