"""What the tests of the demo give it to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = {
    "tenants.md": "# Tenants\n\nTenants are kept apart by keys: every key names its tenant, and none is shared.\n",
    "colas.md": "# Colas\n\nUn trabajo se encola con rpush.\n\n## Bloqueos\n\nUn bloqueo evita procesarlo dos veces.\n",
    "tokens.txt": "Tokens are counted with a ledger. A key names each call, so that none is counted twice.\n",
    "weather.txt": "It rains in the mountains. Snow falls above two thousand metres.\n",
    "cooking.txt": "Boil the rice for eighteen minutes. Let it rest before you serve it.\n",
    "music.txt": "The orchestra tunes to the oboe. The violins play the first theme.\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six small documents, of which no answer uses all."""
    documents = tmp_path / "six documents"
    documents.mkdir()
    for name, text in DOCUMENTS.items():
        (documents / name).write_text(text, encoding="utf-8")
    return documents
