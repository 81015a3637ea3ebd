"""The requirement of an integration: its framework, in a version that is known to fit."""

from __future__ import annotations

import re
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def require_extra(module: str, extra: str, *ranges: tuple[str, str, str]) -> Iterator[None]:
    """Wraps the imports of a framework.

    Args:
        module: The integration.
        extra: The extra that brings the framework.
        ranges: ``(distribution, lowest version, first version that is too new)`` of its needs.

    Raises:
        ImportError: Something is missing, or of another version; it names the extra and the range.
    """
    wanted = [f"{name}>={lowest},<{ceiling}" for name, lowest, ceiling in ranges]
    try:
        wrong = [
            f"{one} (here is {version(name)})"
            for one, (name, lowest, ceiling) in zip(wanted, ranges, strict=True)
            if not _numbers(lowest) <= _numbers(version(name)) < _numbers(ceiling)
        ]
        if not wrong:
            # The imports of the block raise here.
            yield
    except (PackageNotFoundError, ImportError) as error:
        raise _make_error(module, extra, wanted) from error
    if wrong:
        raise _make_error(module, extra, wrong)


def _make_error(module: str, extra: str, needed: list[str]) -> ImportError:
    return ImportError(f"{module} needs {' and '.join(needed)}: pip install 'alacena[{extra}]'", name=module)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("+")[0])[:3])
