"""The types of the public API, as a user's type checker sees them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXPECTED = re.compile(r"# error: ([a-z-]+)$")


def checked(file: Path, cache_dir: Path) -> subprocess.CompletedProcess[str]:
    """What `mypy --strict` of a user says of one file."""
    options = ["--strict", "--config-file", os.devnull, "--python-version", "3.11", "--no-error-summary"]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--cache-dir", str(cache_dir), str(file)],
        cwd=cache_dir,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_a_strict_type_checker_takes_right_uses(cache_dir: Path) -> None:
    ran = checked(HERE / "public_api.py", cache_dir)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_strict_type_checker_finds_mistakes(cache_dir: Path) -> None:
    file = HERE / "wrong_uses.py"
    expected = {
        (number, wanted[1])
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1)
        if (wanted := EXPECTED.search(line))
    }

    ran = checked(file, cache_dir)

    said = re.findall(r"wrong_uses\.py:(\d+): error: .*\[([a-z-]+)\]$", ran.stdout, re.MULTILINE)
    found = {(int(number), code) for number, code in said}
    assert expected <= found, ran.stdout + ran.stderr
    assert {number for number, _ in found} == {number for number, _ in expected}, ran.stdout


def test_pyright_takes_right_uses() -> None:
    pyright = os.environ.get("PYRIGHT") or shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed: `make typing` brings it")

    ran = subprocess.run(
        [pyright, "--pythonpath", sys.executable, str(HERE / "public_api.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
