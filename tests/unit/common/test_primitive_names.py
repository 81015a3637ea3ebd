"""Names that carry their tenant, and names made of parts."""

from __future__ import annotations

from itertools import product

import pytest

from alacena.common.cache.primitive_names import compose, split_tenant
from alacena.common.cache.tenancy import scope_of, tenant_of
from alacena.common.context import Context
from alacena.engine import Scope
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError, TenantMismatchError


@pytest.mark.parametrize(
    ("name", "tenant", "place"),
    [
        ("queue", "a", ("a", "queue")),
        ("a:queue", None, ("a", "queue")),
        ("a:queue", "a", ("a", "queue")),
        ("a:v1:messages", "a", ("a", "v1:messages")),
        ("b:queue", "a", ("a", "b:queue")),
        ("ab:queue", "a", ("a", "ab:queue")),
    ],
)
def test_a_leading_tenant_is_taken_off_or_read(name: str, tenant: str | None, place: tuple[str, str]) -> None:
    assert split_tenant(name, tenant) == place


def test_without_any_tenant_a_bare_name_is_refused() -> None:
    for name in ("queue", ":queue", "  :queue"):
        with pytest.raises(MissingTenantError):
            split_tenant(name, None)


def test_the_ambient_tenant_places_bare_names_and_its_own() -> None:
    with Context("a"):
        assert split_tenant("queue", None) == ("a", "queue")
        assert split_tenant("a:queue", None) == ("a", "queue")
        with pytest.raises(TenantMismatchError):
            split_tenant("queue", "b")


def test_a_name_that_may_be_another_tenants_is_refused_rather_than_guessed() -> None:
    with Context("a"), pytest.raises(InvalidKeyError, match="pass tenant_id="):
        split_tenant("ingestion:jobs", None)
    with Context("ingestion"):
        assert split_tenant("ingestion:jobs", "ingestion") == ("ingestion", "jobs")


@pytest.mark.parametrize("name", ["", "  ", None, 5.0])
def test_blank_names_are_refused(name: object) -> None:
    with pytest.raises(InvalidKeyError, match="the name of a list, set or key"):
        split_tenant(name, "a")


def test_composed_names_differ_where_a_part_differs() -> None:
    parts = [None, "", "~", "a", ":", "a:b", "%3A", "%7E", "\x00", "ñ"]
    names = {compose(*three) for three in product(parts, repeat=3)}
    assert len(names) == len(parts) ** 3


def test_tenants_come_from_the_argument_then_from_the_context() -> None:
    with pytest.raises(MissingTenantError):
        tenant_of(None)
    with Context("ambient", "agent", "conversation", "collection"):
        assert tenant_of("ambient") == "ambient"
        with pytest.raises(TenantMismatchError):
            tenant_of("given")
    assert tenant_of("given") == "given"
    with Context("ambient"):
        assert scope_of(None) == Scope("ambient")
    assert scope_of("t", ..., collection_id="c") == Scope("t", collection_id="c")
    with pytest.raises(MissingTenantError):
        scope_of("")
    with pytest.raises(InvalidKeyError):
        scope_of("t", agent_id=" ")
