"""The guide is the one that was given, and every promise of it is checked somewhere."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

import pytest

from tests.conformance.blocks import GUIDE
from tests.conformance.sentences import SENTENCES

HERE = Path(__file__).parent


def test_the_guide_is_kept_as_it_was_given() -> None:
    digest = hashlib.sha256(GUIDE.read_bytes()).hexdigest()
    assert digest == "352e9522a76672c1ce72c665f11953496abdf8190152d5b660c68aa97f635a05"


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_stands_in_the_guide_and_has_a_test(sentence: str) -> None:
    assert sentence in GUIDE.read_text("utf-8")
    assert SENTENCES[sentence]
    for name in SENTENCES[sentence]:
        file, _, function = name.partition("::")
        assert function in functions(file), f"{name} does not exist"


def test_every_bold_promise_and_bullet_of_the_components_is_listed() -> None:
    """Sections of the guide that list what things do: each of their lines holds a sentence of the list."""
    text = GUIDE.read_text("utf-8")
    section = text[text.index("### Componentes Principales") : text.index("### Operaciones Básicas")]
    lines = re.findall(r"^   - (.+?)\s*$", section, re.MULTILINE)
    assert len(lines) == 17
    unlisted = [line for line in lines if not any(sentence in line or line in sentence for sentence in SENTENCES)]
    assert unlisted == INTERNALS


INTERNALS = ["Implementan la funcionalidad real", "Acceden a atributos de instancia como `self.settings`"]
"""How the first implementation was made inside: what this one need not be."""


@cache
def functions(file: str) -> frozenset[str]:
    """The tests that a file defines."""
    path = HERE.parent / file if file.startswith("unit/") else HERE / file
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE))
