"""Keys: readable where they can be, injective always, bound to their tenant. Collisions at large: tests/property."""

import itertools

import pytest

from alacena.engine import InvalidKeyError, Scope
from alacena.engine.base.keys import Keys, document_tag, escape, name_tags
from tests.waiting import until

PARTS = ["a", "b", "a:b", "a%3Ab", "{a}", "a.0", "~a", "%7Ea", "é", "", " ", "a\0", "a" * 97, "a" * 98, "*", "\ud800"]
USABLE = [part for part in PARTS if part.strip()]


def test_plain_parts_are_readable():
    key = Keys("ours").entry("document", "d-1_x@y/z+2.0", Scope("acme", agent_id="bot", collection_id="manuals"))
    assert key.entry == b"ours:e:{acme.0}:document:d-1_x@y/z+2.0:a=bot:c=manuals"
    assert key.lease == b"ours:l:{acme.0}:document:d-1_x@y/z+2.0:a=bot:c=manuals"
    assert key.hold == b"ours:h:{acme.0}:document:d-1_x@y/z+2.0"
    assert key.journal == "ours:g:{acme.0}:j"
    assert key.tag_name("document:d1") == "ours:g:{acme.0}:k:document%3Ad1"


@pytest.mark.parametrize("secret", [None, b"s"])
def test_different_parts_make_different_keys(secret):
    keys = Keys(secret=secret)
    scopes = [Scope(t, *rest) for t in USABLE for rest in ((), ("a",), (None, "a"), (None, None, "a"))]
    made = {}
    for scope, data_type, resource in itertools.product(scopes, USABLE[:6], USABLE):
        key = keys.entry(data_type, resource, scope)
        assert made.setdefault(key.entry, (scope, data_type, resource)) == (scope, data_type, resource)
    assert len(made) == len(scopes) * 6 * len(USABLE)
    if secret is not None:
        assert not any(b"acme" in entry or "é".encode() in entry for entry in made)


@pytest.mark.parametrize("secret", [None, b"s"])
@pytest.mark.parametrize("buckets", [None, {"acme": 4}])
@pytest.mark.parametrize("scope", [Scope("acme"), Scope("acme", agent_id="bot")], ids=["tenant", "agent"])
def test_the_keys_of_many_are_those_of_each(scope, buckets, secret):
    keys = Keys(secret=secret, buckets=buckets)
    ids = [*USABLE, 7]
    for made, resource in zip(keys.many("note:s", ids, scope), ids, strict=True):
        key = keys.entry("note:s", resource, scope)
        assert (made.ident, made.entry, made.generations) == (key.ident, key.entry, key.generations)
        assert (made.lease, made.hold, made.digest) == (key.lease, key.hold, key.digest)
    assert keys.many("note", [], scope) == []
    for wrong in ("", " ", None):
        with pytest.raises(InvalidKeyError, match="resource_id"):
            keys.many("note", ["a", wrong], scope)


@pytest.mark.parametrize("part", USABLE)
def test_no_part_brings_a_separator_a_brace_or_a_nul_along(part):
    assert not set(escape(part)) & set(":{}\0 \r\n*")
    assert len(escape(part)) <= 96
    assert escape(part).isascii()


def test_everything_that_decides_over_an_entry_has_its_hash_tag():
    key = Keys().entry("note", "n", Scope("acme", "a", "v", "c"))
    names = [
        key.entry.decode(),
        key.lease.decode(),
        key.hold.decode(),
        key.journal,
        *key.generations,
        key.tag_name("t"),
    ]
    assert all("{acme.0}" in name for name in names)
    assert len(set(key.generations)) == len(key.generations)


def test_buckets_spread_a_tenant_and_its_scopes_name_all_of_them():
    keys = Keys(buckets={"big": 4})
    buckets = {keys.bucket("big", "note", f"n{i}") for i in range(100)}
    assert buckets == {0, 1, 2, 3}
    assert {keys.bucket("small", "note", f"n{i}") for i in range(100)} == {0}
    assert len(keys.scope_generations(Scope("big"), None)) == 4
    assert len(keys.tag_generations("big", "t")) == 4
    assert len(keys.scope_generations(Scope("small"), "note")) == 1


@pytest.mark.parametrize(
    "scope", [Scope("acme"), Scope("acme", "a"), Scope("acme", None, "v"), Scope("acme", "a", "v", "c")]
)
@pytest.mark.parametrize("data_type", [None, "note"])
def test_what_ends_a_scope_is_among_what_its_entries_depend_on(scope, data_type):
    keys = Keys(buckets={"acme": 3})
    key = keys.entry("note", "n", scope)
    ended = {name for group in keys.scope_generations(scope, data_type) for name in group}
    assert ended & set(key.generations)
    if not scope.is_tenant_wide:
        assert keys.resource_generation("note", "n", Scope("acme")) in key.generations


def test_idents_are_short_where_there_is_no_scope():
    keys = Keys()
    assert keys.entry("note", "n", Scope("acme")).ident == ("acme", "note", "n")
    assert keys.entry("note", 7, Scope("acme", collection_id="c")).ident == ("acme", "note", "7", None, None, "c")


def test_lone_surrogates_and_100_kb_make_keys():
    keys = Keys()
    assert len(keys.entry("note", "x" * 100_000, Scope("acme")).entry) < 200
    assert keys.entry("note", "\ud800", Scope("acme")).entry != keys.entry("note", "\ud801", Scope("acme")).entry


def test_a_key_without_a_name_is_refused():
    with pytest.raises(InvalidKeyError, match="needs a name"):
        Keys().render("queue", "acme")
    assert Keys().render("queue", "acme", "a:b") == "alacena:queue:{acme.0}:a%3Ab"


def test_tags_and_documents_have_one_name_each():
    assert document_tag("d1") == "document:d1"
    assert name_tags(["a"], ["d"]) == ("a", "document:d")
    assert name_tags("abc", "def") == ("abc", "document:def")
    assert name_tags((), iter(["1", "2"])) == ("document:1", "document:2")
    with pytest.raises(InvalidKeyError, match="document_id is blank"):
        name_tags((), [" "])


def test_the_digest_stands_for_the_whole_key():
    keys = Keys()
    digests = {keys.entry("note", f"n{i}", Scope("acme")).digest for i in range(100)}
    assert len(digests) == 100
    assert {len(digest) for digest in digests} == {16}


async def test_a_namespace_with_separators_is_told_of_changes_too(redis_url):
    from alacena.engine import Cache, Settings

    settings = Settings(redis_url=redis_url, namespace="prod:eu {1}", redis_budget_s=5.0)
    async with Cache(settings) as writer, Cache(settings) as reader:
        await writer.set("note", "n", "old", "acme")
        await writer.set("note", "m", "old", "acme")
        assert await reader.get("note", "n", "acme") == "old"
        assert await reader.get("note", "m", "acme") == "old"
        await writer.set("note", "n", "new", "acme")
        await writer.invalidate("acme", "note")

        async def told():
            return await reader.get("note", "m", "acme") != "old" and reader.peek(("acme", "note", "n")) != "old"

        await until(told)


@pytest.mark.parametrize(
    ("tenant", "data_type", "resource", "parts"),
    [
        ("acme", "document", "d1", {}),
        ("a.b.0", "type:x", "doc:1:é~%/\x1f", {}),
        ("{t}", "d", "}:", {"agent_id": "a:b", "collection_id": "c="}),
        ("acme", "document", "d1", {"conversation_id": "v", "user_id": "ü"}),
    ],
)
def test_a_key_without_a_digest_tells_what_memory_files_its_entry_under(tenant, data_type, resource, parts):
    keys = Keys("name:space", buckets={"a.b.0": 3})
    key = keys.entry(data_type, resource, Scope(tenant, **parts))
    assert key.wire_key == b""
    assert keys.ident_of(key.entry) == key.ident


@pytest.mark.parametrize(
    ("keys", "tenant", "resource", "parts"),
    [
        (Keys(), "t" * 97, "d1", {}),
        (Keys(), "acme", "d" * 97, {}),
        (Keys(), "acme", "d1", {"agent_id": "a" * 97}),
        (Keys(), "acme", "d1", {"permissions": ["read"]}),
        (Keys(secret=b"secret"), "acme", "d1", {}),
    ],
)
def test_memory_knows_an_entry_by_its_key_where_that_holds_a_digest(keys, tenant, resource, parts):
    key = keys.entry("document", resource, Scope(tenant, **parts))
    assert key.wire_key == key.entry


@pytest.mark.parametrize(
    "entry", [b"", b"other:e:{acme.0}:document:d1", b"alacena:l:{acme.0}:document:d1", b"\xff", b"alacena:e:{"]
)
def test_what_is_no_key_of_an_entry_here_tells_nothing(entry):
    assert Keys().ident_of(entry) is None
