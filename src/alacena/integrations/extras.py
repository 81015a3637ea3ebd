"""The error of an integration whose framework is not installed, or too old."""

from __future__ import annotations


def missing_extra(module: str, extra: str, *requirements: str) -> ImportError:
    """Returns the error of an integration whose framework cannot be imported.

    Args:
        module: The integration, such as ``alacena.integrations.fastapi``.
        extra: The extra of Alacena that brings the framework.
        requirements: What is needed, with the range of versions, such as ``fastapi>=0.118``.
    """
    needed = " and ".join(requirements)
    return ImportError(f"{module} needs {needed}: pip install 'alacena[{extra}]'", name=module)
