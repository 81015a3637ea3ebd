"""What identifies an embedding: a format that does not move, for one text as for many."""

import hashlib
import json

import pytest

from alacena import get_embeddings_batch_with_cache
from alacena.common.cache.embeddings import embedding_id

TEXTS = ["a", "", "ñandú 😀", 'quote " backslash \\ line\n', "\ud800", "x" * 5_000]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize(("revision", "dimensions"), [(None, None), ("2", 256)])
def test_an_id_is_the_model_and_a_digest_of_everything_that_matters(text, revision, dimensions):
    what = json.dumps(["the:model", revision, dimensions, text], separators=(",", ":"))
    assert embedding_id(text, "the:model", revision=revision, dimensions=dimensions) == (
        "the:model:" + hashlib.sha256(what.encode()).hexdigest()
    )


async def test_what_is_not_a_text_is_refused():
    with pytest.raises(TypeError, match="list of strings"):
        await get_embeddings_batch_with_cache(["a", None], "acme", "model", lambda texts: [])
