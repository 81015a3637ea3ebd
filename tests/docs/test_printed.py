"""Where a page shows what an example prints, it is what the example prints."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.docs.pages import DOCS, EXAMPLES, LANGUAGES, ROOT

PRINTED = {"quickstart.py": "quickstart", "first_lock.py": "first-steps/lock"}


@pytest.mark.parametrize(("example", "page"), PRINTED.items())
def test_the_page_shows_what_the_example_prints(example: str, page: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ALACENA_")}
    environ.update(PYTHONPATH=str(ROOT / "src"), REDIS_URL="")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / example)], env=environ, capture_output=True, text=True, timeout=60, check=True
    )

    for language in LANGUAGES:
        text = (DOCS / language / f"{page}.md").read_text("utf-8")
        assert ran.stdout == text.partition("```text\n")[2].partition("```")[0], language
