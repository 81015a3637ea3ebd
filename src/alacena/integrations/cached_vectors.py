"""Vectors of texts, kept by model and use: the common part of the wrappers of embedding models."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Self

from alacena.common.cache.vectors import Vectors
from alacena.engine.base.errors import ArgumentError, show
from alacena.integrations.ambient_scope import digest, tenant_scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.engine import Cache
    from alacena.integrations.bridge import Access, Ask

_log = logging.getLogger("alacena")
_TYPE: Final = "embedding"
_NAMES: Final = ("model", "model_name", "model_id", "deployment")


class CachedVectors:
    """The vectors of one embedding model.

    Args:
        access: How the cache is reached.
        model: The model's name.
        revision: Its revision.
        dimensions: Its number of dimensions.
    """

    def __init__(self, access: Access, model: str, revision: str | None, dimensions: int | None) -> None:
        self._access = access
        self._model = model
        self._names = (revision, dimensions)

    @classmethod
    def of(
        cls, embedder: object, model: str | None, access: Access, revision: str | None, dimensions: int | None
    ) -> Self:
        """Returns those of a framework's embedder; its own attributes say all that is not given.

        Raises:
            ValueError: Nothing names the model.
        """
        names = (model, *(getattr(embedder, name, None) for name in _NAMES))
        found = next((name for name in names if isinstance(name, str) and name.strip() and name != "unknown"), None)
        if found is None:
            kind = type(embedder).__name__
            raise ArgumentError(
                f'{kind} does not say which model it is: pass model="...", as vectors are kept by model'
            )
        if dimensions is None and isinstance(own := getattr(embedder, "dimensions", None), int):
            dimensions = own
        return cls(access, found, revision, dimensions)

    async def get(
        self, use: str, texts: Sequence[str], source: Callable[[list[str]], Awaitable[Sequence[Any]]]
    ) -> list[list[float]]:
        """Returns the vectors of texts in their order; ``use`` is ``"query"`` or ``"passage"``.

        Raises:
            ValueError: The source returned another number of vectors than it was given texts, or one that is none. The
                others are kept, and not paid for again.
            Exception: The source's own.
        """
        batch = _Batch(self._ids(use, texts))

        async def ask(ids: Sequence[str]) -> dict[str, Any]:
            return batch.make(ids, await source(batch.texts(ids)))

        found = await self._access.load(ask, self._verb(batch.distinct))
        if outdated := batch.find_outdated(found):
            self._warn(batch, len(found[outdated[0]]))
            await self._access.call(self._removal(outdated))
            found |= await self._access.load(ask, self._verb(outdated))
            await self._access.call(self._removal(batch.drop_odd(found)))
        return batch.order(found)

    def get_now(
        self, use: str, texts: Sequence[str], source: Callable[[list[str]], Sequence[Any]], name: str
    ) -> list[list[float]]:
        """As `get`, from sync code; ``name`` is the caller's verb."""
        batch = _Batch(self._ids(use, texts))

        def ask(ids: Sequence[str]) -> dict[str, Any]:
            return batch.make(ids, source(batch.texts(ids)))

        found = self._access.load_now(ask, self._verb(batch.distinct), name)
        if outdated := batch.find_outdated(found):
            self._warn(batch, len(found[outdated[0]]))
            self._access.call_now(self._removal(outdated), name)
            found |= self._access.load_now(ask, self._verb(outdated), name)
            self._access.call_now(self._removal(batch.drop_odd(found)), name)
        return batch.order(found)

    def _ids(self, use: str, texts: Sequence[str]) -> list[tuple[str, str]]:
        return [(f"{self._model}:{use}:{digest(self._model, use, *self._names, text)}", text) for text in texts]

    @staticmethod
    def _verb(ids: Sequence[str]) -> Callable[[Cache, Ask], Any]:
        scope = tenant_scope()
        return lambda cache, ask: cache.load_many(_TYPE, tuple(ids), scope, ask)

    def _warn(self, batch: _Batch, before: int) -> None:
        _log.warning(
            "%s makes vectors of %d numbers now, and those that are cached under its name have %d: they are made "
            "anew; give the new model a name or a revision= of its own",
            self._model,
            batch.latest,
            before,
        )

    @staticmethod
    def _removal(ids: Sequence[str]) -> Callable[[Cache], Any]:
        scope = tenant_scope()

        async def remove(cache: Cache) -> None:
            for one in ids:
                await cache.delete(_TYPE, one, scope)

        return remove


class _Batch:
    """The texts of one call, by the names of their vectors."""

    def __init__(self, ids: Sequence[tuple[str, str]]) -> None:
        self._ids = [one for one, _ in ids]
        self._texts = dict(ids)
        self._lengths: dict[str, int] = {}
        self._faults: dict[str, str] = {}
        self.distinct = tuple(self._texts)

    def texts(self, ids: Sequence[str]) -> list[str]:
        return [self._texts[one] for one in ids]

    def make(self, ids: Sequence[str], made: Sequence[Any]) -> dict[str, Any]:
        """Returns the vectors that the model has just made, by name; without those that are none."""
        made = list(made)
        if len(made) != len(ids):
            raise ValueError(
                f"the embedding model got {len(ids)} texts and returned {len(made)} vectors: it must return one for each "
                "text in their order"
            )
        vectors = Vectors.of(made, self.texts(ids))
        vectors.keep(vectors.usual, self.texts(ids))
        self._faults |= {ids[position]: words for position, words in vectors.faults.items()}
        good = {ids[position]: vector for position, vector in vectors.good.items()}
        self._lengths |= {one: len(vector) for one, vector in good.items()}
        return good

    @property
    def latest(self) -> int:
        """The length that most of the vectors have that the model has made."""
        # Backwards: of as many, those that were made last count.
        return Counter(reversed(self._lengths.values())).most_common(1)[0][0]

    def find_outdated(self, found: dict[str, Any]) -> list[str]:
        """Returns the vectors that have another length than those that the model has just made."""
        now = set(self._lengths.values())
        return [one for one, vector in found.items() if len(vector) not in now] if now else []

    def drop_odd(self, found: dict[str, Any]) -> list[str]:
        """Takes those out that have another length than most of those that the model has made, and returns their names."""
        usual = self.latest
        odd = [one for one, vector in found.items() if len(vector) != usual]
        for one in odd:
            self._faults[one] = f"that of {show(self._texts[one])} has {len(found.pop(one))} numbers and not {usual}"
        return odd

    def order(self, found: dict[str, Any]) -> list[list[float]]:
        """Returns the vectors in the order of the texts.

        Raises:
            ValueError: One is missing, or they are of two models.
        """
        if missing := [one for one in self.distinct if one not in found]:
            told = self._faults.get(missing[0], f"none was made for {show(self._texts[missing[0]])}")
            raise ValueError(
                f"the embedding model returned no vector for {len(missing)} of {len(self.distinct)} texts, the others are "
                f"kept: {told}"
            )
        if len({len(vector) for vector in found.values()}) > 1:
            raise ValueError(
                "the vectors of these texts have different lengths, because another model makes some of them now: give each "
                "model a name or a revision= of its own"
            )
        return [_as_list(found[one]) for one in self._ids]


def _as_list(vector: Any) -> list[float]:
    listed: list[float] = vector.tolist() if hasattr(vector, "tolist") else vector
    return listed
