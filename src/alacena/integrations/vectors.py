"""Vectors of texts, kept by model and use: the common part of the wrappers of embedding models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Self

from alacena.engine.base.errors import ArgumentError
from alacena.integrations.surroundings import digest, tenant_scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.engine import Cache
    from alacena.integrations.bridge import Access, Ask

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
        """Returns those of a framework's embedder, whose own attributes say what is not given.

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
            ValueError: The source returned another number of vectors than it was given texts, or none for one.
            Exception: The source's own.
        """
        batch = _Batch(self._ids(use, texts))

        async def ask(ids: Sequence[str]) -> dict[str, Any]:
            return batch.make(ids, await source(batch.texts(ids)))

        found = await self._access.load(ask, self._verb(batch))
        return batch.order(found)

    def get_now(
        self, use: str, texts: Sequence[str], source: Callable[[list[str]], Sequence[Any]], name: str
    ) -> list[list[float]]:
        """As `get`, from sync code; ``name`` is the caller's verb."""
        batch = _Batch(self._ids(use, texts))

        def ask(ids: Sequence[str]) -> dict[str, Any]:
            return batch.make(ids, source(batch.texts(ids)))

        found = self._access.load_now(ask, self._verb(batch), name)
        return batch.order(found)

    def _ids(self, use: str, texts: Sequence[str]) -> list[tuple[str, str]]:
        return [(f"{self._model}:{use}:{digest(self._model, use, *self._names, text)}", text) for text in texts]

    @staticmethod
    def _verb(batch: _Batch) -> Callable[[Cache, Ask], Any]:
        scope = tenant_scope()
        return lambda cache, ask: cache.load_many(_TYPE, batch.distinct, scope, ask)


class _Batch:
    def __init__(self, ids: Sequence[tuple[str, str]]) -> None:
        self._ids = [one for one, _ in ids]
        self._texts = dict(ids)
        self.distinct = tuple(self._texts)

    def texts(self, ids: Sequence[str]) -> list[str]:
        return [self._texts[one] for one in ids]

    @staticmethod
    def make(ids: Sequence[str], vectors: Sequence[Any]) -> dict[str, Any]:
        vectors = list(vectors)
        # Not `not vector`: the truth value of an array of several numbers is an error.
        if len(vectors) != len(ids) or any(vector is None or len(vector) == 0 for vector in vectors):
            raise ValueError(
                f"the embedding model got {len(ids)} texts and returned {len(vectors)} vectors, or an empty one: it "
                "must return one for each text in their order"
            )
        return {one: _keep(vector) for one, vector in zip(ids, vectors, strict=True)}

    def order(self, found: dict[str, Any]) -> list[list[float]]:
        return [_as_list(found[one]) for one in self._ids]


def _keep(vector: Any) -> Any:
    try:
        import numpy as np
    except ImportError:
        return _finite([float(number) for number in vector])
    # A copy even of float32: it is made read-only below, and the model's own array must stay writable.
    array = np.array(vector, dtype=np.float32)
    # After the conversion: a number that no float32 can hold has become infinite by now.
    _finite(array.tolist())
    array.setflags(write=False)
    return array


def _finite(vector: list[float]) -> list[float]:
    if not all(map(math.isfinite, vector)):
        raise ValueError("the embedding model returned a vector with a number that is not finite")
    return vector


def _as_list(vector: Any) -> list[float]:
    listed: list[float] = vector.tolist() if hasattr(vector, "tolist") else vector
    return listed
