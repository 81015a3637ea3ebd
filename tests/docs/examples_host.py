"""Runs examples for `test_examples`, each run in a process of its own, and imports once what several of them import.

Reads a line ``["path of an example", ["REDIS_URL of a run", ...]]`` and answers one of ``[[exit code, output], ...]``.
A run is a fork of a process that has the example's modules and has not begun anything.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import runpy
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMON = ("alacena", "alacena.engine", "alacena.coordination", "alacena.ledger", "alacena.sources", "alacena.testing")


def import_common() -> None:
    """Imports the public names, which the package itself brings only when they are asked for."""
    for name in COMMON:
        module = importlib.import_module(name)
        for member in getattr(module, "__all__", ()):
            with suppress(ImportError):  # of an extra that is not installed
                getattr(module, member)


def import_needs(example: str) -> None:
    """Imports the modules that an example's first lines name; what fails here fails again in the run, and is shown."""
    for node in ast.parse(Path(example).read_text("utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            with suppress(Exception):
                importlib.import_module(name)


def in_a_fork(job: Callable[[], None], output: int) -> int:
    """Does a job in a child that writes to this file; returns its exit code."""
    child = os.fork()
    if child == 0:
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 1
        try:
            job()
            code = 0
        except SystemExit as done:
            code = done.code if isinstance(done.code, int) else int(done.code is not None)
        except BaseException:  # noqa: BLE001 - whatever ended the example is shown
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_once(example: str, redis_url: str) -> None:
    """Does what ``python example.py`` does."""
    warnings.simplefilter("error")
    os.environ["REDIS_URL"] = redis_url
    sys.argv = [example]
    sys.path.insert(0, str(Path(example).parent))
    runpy.run_path(example, run_name="__main__")


def run_everywhere(example: str, redis_urls: Sequence[str]) -> None:
    """Prints what the runs of one example came to."""
    import_needs(example)
    runs = []
    for url in redis_urls:
        with tempfile.TemporaryFile() as output:
            code = in_a_fork(lambda url=url: run_once(example, url), output.fileno())  # type: ignore[misc]
            output.seek(0)
            runs.append((code, output.read().decode(errors="replace")))
    print(json.dumps(runs))  # noqa: T201


def main() -> None:
    """Answers until nothing is asked any more."""
    import_common()
    for line in sys.stdin:
        example, urls = json.loads(line)
        with tempfile.TemporaryFile() as output:
            code = in_a_fork(lambda: run_everywhere(example, urls), output.fileno())  # noqa: B023
            output.seek(0)
            said = output.read().decode(errors="replace")
        answer = said if code == 0 else json.dumps([(code, said)])
        print(answer.strip().rpartition("\n")[2], flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
