"""What standardized metadata guarantees."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from alacena.common.cache.metadata import standardize_langchain_metadata, standardize_llama_metadata
from alacena.common.context import Context
from alacena.common.runtime import PROCESS
from alacena.engine.base.errors import MissingTenantError, TenantMismatchError


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock stands at 1,700,000,000.9."""
    monkeypatch.setattr(PROCESS, "environment", SimpleNamespace(wall=lambda: 1_700_000_000.9))


def test_it_copies_and_keeps_unknown_fields() -> None:
    given = {"page": 3, "nested": {"x": 1}}
    standard = standardize_llama_metadata(given, "t", "d", "c1", "col")
    assert given == {"page": 3, "nested": {"x": 1}}
    assert standard == {
        "page": 3,
        "nested": {"x": 1},
        "tenant_id": "t",
        "document_id": "d",
        "chunk_id": "c1",
        "collection_id": "col",
        "created_at": 1_700_000_000,
    }


def test_arguments_outrank_metadata_and_metadata_outranks_the_context() -> None:
    ctx = Context("given", "ctx-agent", "ctx-conversation", "ctx-collection")
    standard = standardize_llama_metadata(
        {"tenant_id": "given", "collection_id": "own-collection", "agent_id": "own-agent"},
        tenant_id="given",
        ctx=ctx,
        conversation_id="given-conversation",
    )
    assert standard["tenant_id"] == "given"
    assert standard["collection_id"] == "own-collection"
    assert standard["agent_id"] == "own-agent"
    assert standard["conversation_id"] == "given-conversation"
    for named in ({"ctx": ctx}, {"tenant_id": "given"}):
        with pytest.raises(TenantMismatchError, match="metadata"):
            standardize_llama_metadata({"tenant_id": "own"}, **named)
    assert standardize_llama_metadata({}, ctx=ctx)["agent_id"] == "ctx-agent"
    assert standardize_llama_metadata(None, ctx=SimpleNamespace(tenant_id="duck"))["tenant_id"] == "duck"
    with Context("ambient"):
        assert standardize_llama_metadata()["tenant_id"] == "ambient"


@pytest.mark.parametrize("tenant", [None, "", "  "])
def test_blank_tenants_are_no_tenants_wherever_they_stand(tenant: str | None) -> None:
    for call in (
        {"tenant_id": tenant},
        {"metadata": {"tenant_id": tenant}},
        {"metadata": {"tenant_id": tenant}, "ctx": Context()},
        {"ctx": SimpleNamespace(tenant_id=tenant)},
    ):
        with pytest.raises(ValueError, match="tenant_id es obligatorio"):
            standardize_llama_metadata(**call)
    assert standardize_llama_metadata({"tenant_id": tenant}, ctx=Context("t"))["tenant_id"] == "t"


def test_a_missing_tenant_is_the_librarys_own_error_too() -> None:
    with pytest.raises(MissingTenantError):
        standardize_llama_metadata({})


def test_a_chunk_needs_a_document_and_blank_ids_are_absent() -> None:
    with pytest.raises(ValueError, match="has no document"):
        standardize_llama_metadata({}, "t", chunk_id="c1")
    with pytest.raises(ValueError, match="has no document"):
        standardize_llama_metadata({"chunk_id": "c1", "document_id": ""}, "t")
    kept = standardize_llama_metadata({"chunk_id": "", "document_id": ""}, "t", document_id="", chunk_id="")
    assert (kept["chunk_id"], kept["document_id"]) == ("", "")


@pytest.mark.parametrize(
    ("document", "chunk", "name"),
    [
        ("d", "3", "d_3"),
        ("d", 0, "d_0"),
        ("d", "0", "d_0"),
        ("1", "10", "1_10"),
        ("1", "1_10", "1_10"),
        ("d", "ab12", "ab12"),
        ("d", "x", "x"),
        ("d", "d_3", "d_3"),
    ],
)
def test_only_bare_numbers_get_their_document_in_front(document: str, chunk: str | int, name: str) -> None:
    once = standardize_llama_metadata({}, "t", document, chunk)
    assert once["chunk_id"] == name
    assert standardize_llama_metadata(once) == once
    assert standardize_llama_metadata(once, "t", document, once["chunk_id"]) == once


def test_created_at_is_kept_whatever_its_type_and_made_where_it_is_absent() -> None:
    assert standardize_llama_metadata({"created_at": "2024-01-01"}, "t")["created_at"] == "2024-01-01"
    made = standardize_llama_metadata({"created_at": None}, "t")["created_at"]
    assert made == 1_700_000_000
    assert type(made) is int


def test_langchain_documents_are_marked() -> None:
    standard = standardize_langchain_metadata(
        {"source": "s"}, "t", agent_id="a", conversation_id="v", collection_id="c"
    )
    assert standard == {
        "source": "s",
        "tenant_id": "t",
        "agent_id": "a",
        "conversation_id": "v",
        "collection_id": "c",
        "created_at": 1_700_000_000,
        "source_framework": "langchain",
    }
