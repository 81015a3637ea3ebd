"""I: metadata, each fault by its name. Details are in tests/unit/common/test_metadata.py."""

from __future__ import annotations

import pytest

from alacena import Context, standardize_llama_metadata


@pytest.mark.parametrize("tenant", [None, "", " "])
def test_i1_a_blank_tenant_is_refused(tenant: str | None) -> None:
    with pytest.raises(ValueError, match="tenant_id"):
        standardize_llama_metadata({"tenant_id": tenant})


def test_i2_a_chunk_without_a_document_is_refused() -> None:
    with pytest.raises(ValueError, match="document"):
        standardize_llama_metadata({}, "t", chunk_id="c")


def test_i3_a_context_without_a_tenant_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="tenant_id"):
        standardize_llama_metadata({}, ctx=Context())


def test_i4_numbers_get_their_documents_name_and_nothing_else_is_rewritten() -> None:
    assert standardize_llama_metadata({}, "t", "1", "10")["chunk_id"] == "1_10"
    assert standardize_llama_metadata({}, "t", "d", "ab12")["chunk_id"] == "ab12"
    assert standardize_llama_metadata({}, "t", "d", 0)["chunk_id"] == "d_0"


def test_i5_agent_and_conversation_are_arguments_too() -> None:
    standard = standardize_llama_metadata({}, "t", agent_id="a", conversation_id="v")
    assert (standard["agent_id"], standard["conversation_id"]) == ("a", "v")
