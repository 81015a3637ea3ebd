"""Embeddings of many texts: cached ones from the cache, the rest from the provider in as few calls as it takes."""

from __future__ import annotations

import inspect
import json
import logging
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quoted
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

from alacena.common import runtime
from alacena.common.cache.tenancy import Id, Permissions, scope_of
from alacena.common.cache.vectors import Vectors, list_vectors
from alacena.common.context import Context
from alacena.common.runtime import PROCESS
from alacena.constants import SOURCE_CACHE, SOURCE_GENERATION, SOURCE_MIXED
from alacena.engine.base.arguments import check_callable
from alacena.engine.base.errors import ArgumentError, show
from alacena.engine.base.scope import identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from alacena.engine import Cache, Scope

_TYPE: Final = "embedding"
_MOST: Final = 2_048
"""Texts a call, unless the caller says otherwise: no provider is known to take more."""
_log = logging.getLogger("alacena")


def embedding_id(
    text: str,
    model_name: str,
    *,
    revision: str | None = None,
    dimensions: int | None = None,
    input_type: str | None = None,
) -> str:
    """Returns the resource id of a text's embedding: another one for another model, revision, length or use of the text."""
    named = _words(model_name, revision, input_type)
    return _ids_of(_as_texts([text]), *named, _count(dimensions, "dimensions"))[0]


def _words(model_name: Any, revision: Any, input_type: Any) -> tuple[str, str | None, str | None]:
    """Returns the words of an embedding's identity as text, so that equal ones make equal ids."""
    return (
        identifier("model_name", model_name),
        None if revision is None else identifier("revision", revision),
        None if input_type is None else identifier("input_type", input_type),
    )


def _ids_of(
    texts: Iterable[str], model_name: str, revision: str | None, input_type: str | None, dimensions: int | None
) -> list[str]:
    """Returns the digest of an embedding's identity, as a JSON list, behind the model's name."""
    # Without a use the list is one shorter: ids that were made before there was such a word stay as they are.
    what = [model_name, revision, dimensions, *(() if input_type is None else (input_type,))]
    # The JSON of all but the text is the same for each: it is made once, and the text is closed into it. quoted()
    # escapes what is not ASCII, so a lone surrogate in a text does not fail the encoding.
    shared = json.dumps(what, separators=(",", ":"))[:-1]
    return [f"{model_name}:{sha256(f'{shared},{quoted(text)}]'.encode()).hexdigest()}" for text in texts]


def _count(value: Any, name: str) -> int | None:
    """Returns a number that may be left out.

    Raises:
        ValueError: It is no integer, or less than 1.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ArgumentError(f"{name} must be an integer of at least 1, or None, not {show(value)}")
    return int(value)


def _as_texts(texts: Any) -> list[str]:
    """Returns the texts as a list.

    Raises:
        TypeError: It is one text, and its letters would be taken for texts; or something else than text is among them.
    """
    if isinstance(texts, str | bytes):
        msg = "texts is one text, whose letters would be embedded one by one: give a list of strings, [text]"
        raise ArgumentError(msg)
    if isinstance(texts, Mapping) or not hasattr(texts, "__iter__"):
        msg = f"texts is a list of strings: this is a {type(texts).__name__}"
        raise ArgumentError(msg)
    made = list(texts)
    for position, text in enumerate(made):
        if not isinstance(text, str):
            msg = f"texts is a list of strings: something else is among them, a {type(text).__name__} at {position}"
            raise ArgumentError(msg)
    return made


async def get_embeddings_batch_with_cache(
    texts: Iterable[str],
    tenant_id: str | None,
    model_name: str,
    embedding_provider: Callable[[list[str]], Any],
    agent_id: Id = None,
    conversation_id: Id = None,
    collection_id: Id = None,
    ctx: Context | None = None,
    *,
    revision: str | None = None,
    dimensions: int | None = None,
    input_type: str | None = None,
    batch_size: int | None = _MOST,
    as_arrays: bool = False,
    user_id: Id = None,
    permissions: Permissions = None,
) -> tuple[list[Any], dict[str, Any]]:
    """Returns the embeddings of texts, in their order. Each distinct text is embedded once and kept for the next time.

    Embeddings are kept as float32 where numpy is installed, and come out the same whether they were cached or not.
    A vector is kept only if it is one: at least one number, all finite and within float32, as many as ``dimensions``
    says, else as many as the others have. One that is none is ``None`` in the answer, and logged with its text.
    If the model was replaced under its name by one with longer or shorter vectors, the texts of this call are all
    embedded anew.

    Args:
        texts: The texts, in any iterable; repeated ones cost nothing.
        tenant_id: The tenant; ``None``: the tenant of ``ctx``, else the ambient one. All that are named must agree.
        model_name: The model; part of an embedding's identity.
        embedding_provider: Called with the list of the texts that are not cached, once for each ``batch_size`` of them;
            sync or async. Returns one embedding for each, in their order; ``None`` in the place of one that it could
            not make. The provider's own answer will do: OpenAI's, as an object or a dict, in any order, as numbers or
            base64; a dict with them under ``"embeddings"``; an array.
        agent_id: Keep them as the agent's own. The same holds for the next two.
        conversation_id: Keep them as the conversation's own.
        collection_id: Keep them as the collection's own.
        ctx: The context that the call works in.
        revision: The model's revision, if a name is used for several.
        dimensions: The number of dimensions asked for, where the model offers several; vectors of another length are
            not kept.
        input_type: The use of the embedding, such as ``"query"`` or ``"passage"``, where the model tells them
            apart; part of an embedding's identity, as is anything else that changes the vector and is put here.
        batch_size: The most texts a call of the provider; ``None``: all that are missing. Each portion is stored as
            soon as it is made.
        user_id: Keep them as the user's own.
        permissions: Keep them for this set of permissions.
        as_arrays: Return float32 arrays, read-only, instead of lists: no conversion, about a hundredth of the time.

    Returns:
        The embeddings, and a dict with ``source`` (``"cache"``, ``"generation"`` or ``"mixed"``), ``data_type``,
        ``texts_count``, ``cache_hits``, ``cache_misses`` (in texts, repeated ones included), ``total_time_ms``,
        ``generation_time_ms``; ``partial_results`` and ``missing`` (positions) where some could not be made, with
        ``faults`` (the fault, by position) for those that were no vectors.

    Raises:
        TypeError: ``texts`` is one text; the provider's answer has none of the shapes above.
        ValueError: The provider returned another number of embeddings than it was given texts.
        Exception: Any error that the provider raises, as it is. The portions before are kept, and not paid for again.

    Cost: at most 1 round trip a node for cached ones; 2 more and the provider for the rest, which is stored behind.
    If Redis fails: the provider answers for all, and nothing that it was paid for is lost.
    """
    started = PROCESS.now()
    texts = _as_texts(texts)
    batch_size, dimensions = _count(batch_size, "batch_size"), _count(dimensions, "dimensions")
    model_name, revision, input_type = _words(model_name, revision, input_type)
    check_callable(embedding_provider, "embedding_provider", "async def provider(texts)")
    if inspect.isasyncgenfunction(embedding_provider):
        msg = "the embedding provider is an async generator: collect what it yields and return it as a list"
        raise ArgumentError(msg)
    scope = scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions, ctx=ctx)
    ids = _ids_of(texts, model_name, revision, input_type, dimensions)
    by_id = dict(zip(ids, texts, strict=True))
    provider = _Provider(embedding_provider, by_id, scope.tenant_id, model_name, dimensions)
    found: Mapping[str, Any] = {}
    if ids:
        found = await _load_vectors(await runtime.opened(), list(by_id), scope, provider, batch_size)
    embeddings = [found.get(one) for one in ids]
    if not as_arrays:
        embeddings = [one if one is None or isinstance(one, list) else one.tolist() for one in embeddings]
    return embeddings, _metrics(ids, embeddings, provider, started)


async def _load_vectors(
    cache: Cache, ids: list[str], scope: Scope, provider: _Provider, batch_size: int | None
) -> dict[str, Any]:
    """Returns the vectors by id; each portion of those that are missing is a load of its own, stored before the next."""
    # Before anything is loaded: the length of the cached vectors is what new ones are compared with.
    known = await cache.peek_many(_TYPE, tuple(ids), scope)
    lengths = Counter(len(vector) for vector in known.values())
    provider.cached = provider.dimensions or (lengths.most_common(1)[0][0] if lengths else None)
    await _load(cache, ids, known, scope, provider, batch_size)
    if provider.replaced:
        await _load(cache, ids, known, scope, provider, batch_size)
    if len({len(vector) for vector in known.values()}) > 1:
        raise ValueError(
            "the vectors of these texts have different lengths, because another provider makes some of them now: give "
            "each model a name or a revision= of its own"
        )
    return known


async def _load(
    cache: Cache, ids: list[str], known: dict[str, Any], scope: Scope, provider: _Provider, batch_size: int | None
) -> None:
    """Loads embeddings that are unknown, or have another length than the model's vectors have now."""
    for one in [one for one, vector in known.items() if len(vector) != provider.cached]:
        del known[one]
        # Left in place, load_many would find it and answer with the wrong length again.
        await cache.delete(_TYPE, one, scope)
    # A text that the provider left out is not asked for once more by the second pass.
    missing = [one for one in ids if one not in known and one not in provider.asked]
    # range() refuses a step of 0, which is what nothing missing would give.
    step = batch_size or len(missing) or 1
    for start in range(0, len(missing), step):
        try:
            known |= await cache.load_many(_TYPE, tuple(missing[start : start + step]), scope, provider)
        except Exception as error:
            if start:
                error.add_note(f"{start} of {len(missing)} texts are embedded and kept: they are not paid for again")
            elif 1 < len(missing) <= step:
                error.add_note(
                    f"none of the {len(missing)} texts is kept: with a smaller batch_size=, each portion is stored as it "
                    "is made"
                )
            raise


def _metrics(ids: list[str], embeddings: list[Any], provider: _Provider, started: float) -> dict[str, Any]:
    misses = sum(one in provider.asked for one in ids) if provider.asked else 0
    metrics: dict[str, Any] = {
        "source": SOURCE_CACHE if not misses else SOURCE_GENERATION if misses == len(ids) else SOURCE_MIXED,
        "data_type": "embedding_batch",
        "texts_count": len(ids),
        "cache_hits": len(ids) - misses,
        "cache_misses": misses,
        "generation_time_ms": provider.spent_ms,
        "total_time_ms": (PROCESS.now() - started) * 1000.0,
    }
    missing = [index for index, embedding in enumerate(embeddings) if embedding is None]
    if missing:
        metrics |= {"partial_results": True, "missing": missing}
    if provider.faults:
        metrics["faults"] = {index: provider.faults[one] for index, one in enumerate(ids) if one in provider.faults}
    return metrics


class _Provider:
    """Calls the embedding provider for the ids that are missing, and remembers which ones these were."""

    def __init__(
        self,
        provider: Callable[[list[str]], Any],
        texts: dict[str, str],
        tenant_id: str,
        model_name: str,
        dimensions: int | None,
    ) -> None:
        self._provider = provider
        self._texts = texts
        self._tenant_id = tenant_id
        self._model_name = model_name
        self.dimensions = dimensions
        self.cached: int | None = None
        self.replaced = False
        self.asked: set[str] = set()
        self.faults: dict[str, str] = {}
        self.spent_ms = 0.0

    async def __call__(self, ids: Sequence[str]) -> dict[str, Any]:
        """Returns the embeddings by id; without those that the provider left out, or that are no vectors."""
        # Before the call: _doubt() picks a text that is not among these, which is one whose vector is cached.
        self.asked.update(ids)
        texts = [self._texts[one] for one in ids]
        vectors = await self._call_provider(texts)
        if vectors.good and not vectors.agrees(self.cached):
            await self._doubt()
        vectors.keep(self.dimensions or self.cached or vectors.usual, texts)
        if vectors.good:
            self.cached = vectors.usual
        for position, words in vectors.faults.items():
            self.faults[ids[position]] = words
        if vectors.faults:
            first = next(iter(vectors.faults.values()))
            _log.warning("%s: %d of %d are not kept: %s", self._model_name, len(vectors.faults), len(ids), first)
        return {ids[position]: vector for position, vector in vectors.good.items()}

    async def _doubt(self) -> None:
        """Finds out, with one text, whether the new vectors are none, or the cached ones are another model's.

        If it is another model under the same name, all that the old one made is made anew: vectors of two models must
        not stand in one answer.
        """
        text = next((text for one, text in self._texts.items() if one not in self.asked), None)
        if self.dimensions is not None or text is None:
            return
        again = await self._call_provider([text])
        if again.good and again.usual != self.cached:
            _log.warning(
                "%s makes vectors of %d numbers now, and those that are cached under its name have %d: they are made "
                "anew; give the new model a name or a revision= of its own",
                self._model_name,
                again.usual,
                self.cached,
            )
            self.cached, self.replaced = again.usual, True

    async def _call_provider(self, texts: list[str]) -> Vectors:
        started = PROCESS.now()
        # The tenant may have come as an argument alone: the provider's own code finds it here as the ambient one.
        with Context(self._tenant_id):
            # A copy: if a provider sorted or emptied its list, vectors would be paired with other texts.
            answer = self._provider(list(texts))
            if inspect.isawaitable(answer):
                answer = await answer
        self.spent_ms += (PROCESS.now() - started) * 1000.0
        return Vectors.of(list_vectors(answer, texts), texts)
