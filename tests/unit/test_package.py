"""The package's face: what it offers, and how little importing it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import alacena
from alacena import constants
from alacena.common import install
from alacena.common.core import constants as guide_constants
from alacena.common.install import install_as_common
from alacena.engine.base.errors import UsageError


def in_a_process_of_its_own(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_loads_neither_its_engine_nor_a_dependency() -> None:
    loaded = in_a_process_of_its_own(
        "import sys; before = set(sys.modules); import alacena; print(*sorted(set(sys.modules) - before))"
    ).split()
    foreign = [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names]
    assert foreign == ["alacena"]


@pytest.mark.parametrize("heavy", ["redis", "numpy"])
def test_using_the_facade_in_memory_loads_no(heavy: str) -> None:
    code = f"import sys, alacena; alacena.CacheManager; alacena.get_with_cache_aside; print({heavy!r} in sys.modules)"
    assert in_a_process_of_its_own(code) == "False"


def test_every_public_name_is_there_and_is_listed_once() -> None:
    assert len(alacena.__all__) == len(set(alacena.__all__))
    for name in alacena.__all__:
        assert hasattr(alacena, name), name
    assert set(alacena.__all__) <= set(dir(alacena))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = alacena.nothing


def test_what_type_checkers_see_is_what_is_there() -> None:
    tree = ast.parse(Path(alacena.__file__).with_suffix(".pyi").read_text("utf-8"))
    seen = {
        (alias.name, node.module)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "alacena.constants"
        for alias in node.names
    }
    assert seen == set(alacena._HOME_OF.items())
    listed = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == sorted(alacena.__all__)


def test_the_front_door_is_narrow() -> None:
    assert len(alacena.__all__) <= 60
    assert not [name for name in alacena.__all__ if name.isupper() and hasattr(constants, name)]
    star: dict[str, Any] = {}
    exec("from alacena import *", star)
    assert set(star) - {"__builtins__"} == set(alacena.__all__)


def test_a_constant_is_the_same_in_every_place_that_has_it() -> None:
    for name in (name for name in vars(constants) if name.isupper()):
        value = getattr(constants, name)
        assert getattr(alacena, name) is value
        assert getattr(guide_constants, name) is value


@pytest.mark.parametrize(
    "name",
    [
        "serialize_chunk_data",
        "estimate_object_size",
        "track_cache_metrics",
        "set_current_tenant_id",
        "UNSET",
        "MISSING",
    ],
)
def test_a_name_that_is_not_listed_can_be_imported_too(name: str) -> None:
    assert name not in alacena.__all__
    assert in_a_process_of_its_own(f"from alacena import {name}; print({name} is not None)") == "True"


def test_public_functions_and_classes_are_documented() -> None:
    for name in alacena.__all__:
        thing: Any = getattr(alacena, name)
        if callable(thing):
            assert thing.__doc__, name


def test_common_is_the_same_package_under_another_name() -> None:
    out = in_a_process_of_its_own(
        "import alacena, sys; alacena.install_as_common(); alacena.install_as_common()\n"
        "import common, common.cache.manager as m, common.context.vars\n"
        "import alacena.common, alacena.common.cache.manager as n, alacena.common.context.vars as v\n"
        "from common.tracking import track_token_usage\n"
        "assert common is alacena.common and m is n and common.context.vars is v\n"
        "assert m.__spec__.name == m.__name__ == 'alacena.common.cache.manager'\n"
        "from common.cache import CacheManager; assert CacheManager is alacena.CacheManager\n"
        "assert sum(type(f).__name__ == '_Alias' for f in sys.meta_path) == 1\n"
        "try:\n    import common.nothing\nexcept ModuleNotFoundError as e: print(e)"
    )
    assert out == "No module named 'common.nothing'"


def test_another_common_that_is_imported_already_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("common")
    other.__file__ = "/somewhere/common/__init__.py"
    monkeypatch.setitem(sys.modules, "common", other)
    finders = list(sys.meta_path)
    with pytest.raises(UsageError, match=r"from /somewhere/common/__init__\.py"):
        install_as_common()
    assert sys.meta_path == finders


def test_only_common_is_answered_for() -> None:
    alias = install._Alias()
    assert alias.find_spec("commonplace", None) is None
    assert alias.find_spec("json", None) is None
    assert alias.find_spec("common.no_such_module", None) is None
