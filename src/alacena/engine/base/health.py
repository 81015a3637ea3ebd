"""The health of a cache's background parts."""

from __future__ import annotations


class Health:
    """Faults of the parts without a waiting caller: a task that has died, a server that is not reached.

    Each part reports under a name of its own, and takes the report back once it is well again.
    """

    def __init__(self) -> None:
        self._faults: dict[str, str] = {}

    def report(self, part: str, fault: str) -> bool:
        """Notes a fault of a part. Returns whether that is news: an old fault need not be logged again."""
        is_news = self._faults.get(part) != fault
        self._faults[part] = fault
        return is_news

    def mend(self, part: str) -> bool:
        """Notes that a part is well. Returns whether it was not."""
        return self._faults.pop(part, None) is not None

    def faults(self) -> dict[str, str]:
        """Returns the faults of now, by part."""
        return dict(self._faults)
