"""Other libraries behind one shape. One that is not installed is shown as absent."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

ABSENT = "not installed"
_PACKAGES = ("arq", "taskiq", "taskiq-redis", "dramatiq", "redis", "coredis", "aiocache")


def versions() -> dict[str, str]:
    """Which of them are installed."""
    return {name: installed(name) or ABSENT for name in _PACKAGES}


def installed(package: str) -> str | None:
    """The version of a package, ``None`` where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
