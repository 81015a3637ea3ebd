import dataclasses
import uuid

import pytest

from alacena.engine import InvalidKeyError, MissingTenantError, Scope
from alacena.engine.base.scope import DIMENSIONS, identifier

AN_ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize("value", ["a", "a:b", "{a}", "a\0b", "é🙂", " a ", "*", "x" * 100_000, "~", "%41"])
def test_text_is_taken_literally(value):
    assert identifier("resource_id", value) == value


def test_numbers_and_uuids_have_one_text():
    assert identifier("resource_id", 42) == "42"
    assert identifier("resource_id", AN_ID) == str(AN_ID)


@pytest.mark.parametrize("value", ["", " ", "\t\n", "\u2003"])
def test_what_is_blank_is_named(value):
    with pytest.raises(InvalidKeyError, match="agent_id is blank"):
        identifier("agent_id", value)


@pytest.mark.parametrize("value", [None, True, 1.0, b"a", ["a"], object()])
def test_what_has_no_single_text_is_named(value):
    with pytest.raises(
        InvalidKeyError,
        match=rf"agent_id must be a string, an int, a UUID or a member of an Enum, not {type(value).__name__}",
    ):
        identifier("agent_id", value)


@pytest.mark.parametrize("tenant", [None, "", "  "])
def test_there_is_no_scope_without_a_tenant(tenant):
    with pytest.raises(MissingTenantError) as caught:
        Scope(tenant)
    assert isinstance(caught.value, ValueError)
    assert "tenant_id=" in str(caught.value)


@pytest.mark.parametrize("name", DIMENSIONS)
def test_a_blank_part_is_refused_and_none_means_not_given(name):
    with pytest.raises(InvalidKeyError, match=name):
        Scope("acme", **{name: " "})
    assert Scope("acme", **{name: None}).is_tenant_wide
    assert not Scope("acme", **{name: 7}).is_tenant_wide
    assert getattr(Scope("acme", **{name: 7}), name) == (frozenset({"7"}) if name == "permissions" else "7")


def test_widening_goes_from_the_most_specific_to_the_tenant():
    wide = Scope("acme", "a", "v", "c").widening()
    assert wide == (
        Scope("acme", "a", "v", "c"),
        Scope("acme", "a", "v"),
        Scope("acme", "a", None, "c"),
        Scope("acme", None, "v", "c"),
        Scope("acme", "a"),
        Scope("acme", None, "v"),
        Scope("acme", None, None, "c"),
        Scope("acme"),
    )
    assert Scope("acme").widening() == (Scope("acme"),)
    assert Scope("acme", collection_id="c").widening() == (Scope("acme", collection_id="c"), Scope("acme"))


def test_a_scope_is_a_value():
    assert Scope(AN_ID) == Scope(str(AN_ID))
    assert len({Scope("a"), Scope("a"), Scope("b")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scope("a").tenant_id = "b"
