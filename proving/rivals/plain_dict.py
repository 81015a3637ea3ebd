"""The floor in memory: a coroutine that does one dict look-up and knows nothing else."""

from __future__ import annotations

from typing import Any

from proving.rivals.rival import Ask, Drops, Place


class PlainDict(Drops):
    """A dict."""

    about = "await of a coroutine with one dict look-up"

    async def open(self, place: Place) -> None:
        self._values: dict[str, Any] = {}
        self._load = place.load

    async def get(self, key: str) -> Any:
        return self._values.get(key)

    async def set(self, key: str, value: Any) -> None:
        self._values[key] = value

    async def get_or_load(self, key: str) -> Any:
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = await self._load(key)
        return value

    async def delete(self, key: str) -> None:
        self._values.pop(key, None)

    async def close(self) -> None:
        self._values.clear()

    def hit(self, key: str) -> Ask:
        values = self._values

        async def look(key: str) -> Any:
            return values.get(key)

        return Ask(look, (key,))
