"""Where programs and templates that the repository does not hold are kept between runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = Path(os.environ.get("TESTS_PARTS", Path(__file__).parents[2] / ".parts")).resolve()
"""The folder that ``make`` fills; ``TESTS_PARTS`` names another one."""


def publish(build: Callable[[Path], object], target: Path) -> None:
    """Has ``build`` make a folder and renames it to ``target``: whole or not at all, whoever else builds it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    try:
        draft = workshop / target.name
        build(draft)
        if not target.exists():
            draft.rename(target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
