"""The trees that are read live as long as these tests: later collections of garbage do not walk through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.architecture.trees import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package", autouse=True)
def _forget_trees() -> Iterator[None]:
    yield
    tree_of.cache_clear()
