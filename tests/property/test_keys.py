"""Keys are injective and bound to their tenant, whatever the ids are made of."""

import itertools
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacena.engine.base.keys import Keys, escape
from alacena.engine.base.scope import Scope

NASTY = ["a", "b", "a:b", ":", "::", "{", "}", "{a}", "%", "%3A", "~", "~a", "=", "c=a", "a.0", "0", ".", "*", "?", "\0", "\n",
         " x", "x ", "é", "e\u0301", "😀", "\ud800", "A", "acme",
         "acme.0", "t", "y", "r", "x" * 96, "x" * 97, "x" * 512]  # fmt: skip
WRITTEN = {"plain": Keys(), "secret": Keys(secret=b"s3cret"), "buckets": Keys(buckets={"acme": 16, "a": 4})}


def somewhere(chance):
    """A random name of an entry, most of its parts from what breaks naive keys."""

    def part():
        if chance.random() < 0.7:
            return chance.choice(NASTY)
        return "".join(chance.choice(NASTY[:20]) for _ in range(chance.randint(1, 4)))

    scope = [part() if chance.random() < 0.4 else None for _ in range(3)]
    return (part(), part(), part(), *scope)


def visible(name):
    return all(p is None or not p.isspace() for p in name)


@pytest.mark.parametrize("keys", WRITTEN.values(), ids=WRITTEN)
def test_no_two_names_share_a_key(keys):
    seed = 20260101
    chance = random.Random(seed)
    names = {name for name in (somewhere(chance) for _ in range(1_600)) if visible(name)}
    rendered = {}
    for name in names:
        tenant, data_type, resource_id, *scope = name
        key = keys.entry(data_type, resource_id, Scope(tenant, *scope))
        for text in (key.entry, key.lease):
            assert rendered.setdefault(text, name) == name
        assert rendered.setdefault(key.digest, name) == name
    pairs = len(names) * (len(names) - 1) // 2
    sys.stdout.write(f"seed {seed}: {len(names)} names, {pairs} pairs, 0 collisions\n")

    assert pairs >= 1_000_000
    assert len(rendered) == 3 * len(names)


@pytest.mark.parametrize("keys", WRITTEN.values(), ids=WRITTEN)
def test_nothing_of_one_tenant_is_anothers(keys):
    tenants = [tenant for tenant in NASTY if not tenant.isspace()]
    owner = {}
    for tenant, (data_type, resource_id) in itertools.product(tenants, itertools.product(NASTY[:12], NASTY[:12])):
        key = keys.entry(data_type, resource_id, Scope(tenant, "a", None, "b"))
        for name in (
            key.entry,
            key.lease,
            key.hold,
            key.journal.encode(),
            *(g.encode("utf-8", "surrogatepass") for g in key.generations),
        ):
            assert owner.setdefault(name, tenant) == tenant
    tags = {tag: tuple(keys.tag_generations(tag, "x")) for tag in tenants}
    assert len(set(tags.values())) == len(tenants)


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
@settings(max_examples=500)
def test_escaping_is_injective_and_leaves_no_separator(one, other):
    assert (escape(one) == escape(other)) == (one == other)
    assert not set(escape(one)) & set(":{}=*?[]\\ \0\n")
