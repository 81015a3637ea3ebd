"""`install_as_common`: code written for a package named ``common`` runs on this one unchanged."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from typing import TYPE_CHECKING, Final

from alacena.engine.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_HERE: Final = "alacena.common"
_THERE: Final = "common"


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports ``common.x`` as the very module ``alacena.common.x``, so that both names share one state."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the signature is importlib's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns a spec for every module under ``common``; ``None`` for all others."""
        if fullname != _THERE and not fullname.startswith(f"{_THERE}."):
            return None
        real = importlib.util.find_spec(_HERE + fullname.removeprefix(_THERE))
        return None if real is None else importlib.machinery.ModuleSpec(fullname, self, is_package=_is_package(real))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Returns the module that already is, or now is, imported under its own name."""
        module = importlib.import_module(_HERE + spec.name.removeprefix(_THERE))
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Runs nothing: it ran under its own name. The import put the alias's spec on it: give it its own back."""
        alias = module.__spec__
        if alias is not None:
            module.__spec__ = self._specs.pop(alias.name)

    def __init__(self) -> None:
        self._specs: dict[str, importlib.machinery.ModuleSpec | None] = {}


def install_as_common() -> None:
    """Makes ``alacena.common`` importable as ``common``, with all its submodules: ``from common.cache import ...``.

    The modules are the same objects under both names. Doing it twice changes nothing.

    Raises:
        UsageError: Another package named ``common`` was imported already.
    """
    present = sys.modules.get(_THERE)
    if present is not None and present.__name__ != _HERE:
        where = getattr(present, "__file__", None) or "an unknown place"
        msg = (
            f"another package named 'common' was imported already, from {where}: call install_as_common() before that "
            "import, or import from alacena.common"
        )
        raise UsageError(msg)
    if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        # Before the finder for sys.path, which would take a directory called common that happens to lie there.
        sys.meta_path.insert(0, _Alias())
    importlib.import_module(_THERE)


def _is_package(spec: importlib.machinery.ModuleSpec) -> bool:
    return spec.submodule_search_locations is not None
