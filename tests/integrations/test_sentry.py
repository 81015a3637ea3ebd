"""Sentry gets spans and breadcrumbs by its conventions for caches, and nothing of what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import BackendFailed, Cache

sentry_sdk = pytest.importorskip("sentry_sdk")

from sentry_sdk.transport import Transport  # noqa: E402

from alacena.integrations.sentry import SentryObserver  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__({"dsn": "https://key@localhost/1"})
        self.sent: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.sent += [event for item in envelope.items if (event := item.payload.json) is not None]


@pytest.fixture
def kept() -> Iterator[Kept]:
    transport = Kept()
    sentry_sdk.init(
        dsn="https://key@localhost/1", transport=transport, traces_sample_rate=1.0, default_integrations=False
    )
    yield transport
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.init()


def spans(kept: Kept) -> list[dict[str, Any]]:
    return [span for event in kept.sent for span in event.get("spans", ())]


async def test_reads_and_invalidations_are_spans_of_the_callers_transaction(kept: Kept) -> None:
    async with Cache(observers=[SentryObserver(resource_ids=True)]) as cache:
        with sentry_sdk.start_transaction(name="request", op="test"):
            await cache.load("document", "d1", "acme", lambda: "secret text")
            await cache.invalidate("acme", "document")
    found = [(span["op"], span["data"].get("cache.hit"), span["data"]["cache.key"]) for span in spans(kept)]
    assert ("cache.get", False, ["document/d1"]) in found
    assert ("cache.remove", None, ["document"]) in found
    assert "secret text" not in str(kept.sent)


async def test_without_a_transaction_no_span_is_made(kept: Kept) -> None:
    async with Cache(observers=[SentryObserver()]) as cache:
        await cache.load("document", "d1", "acme", lambda: "text")
    assert spans(kept) == []


def test_what_went_wrong_is_a_breadcrumb(kept: Kept) -> None:
    SentryObserver().observe(BackendFailed("acme", "document", "get", "10.0.0.1 said no"))
    sentry_sdk.capture_message("something else")
    (event,) = [event for event in kept.sent if "breadcrumbs" in event]
    (crumb,) = [crumb for crumb in event["breadcrumbs"]["values"] if crumb["category"] == "cache"]
    assert (crumb["category"], crumb["level"], crumb["message"]) == ("cache", "warning", "BackendFailed")
    assert crumb["data"] == {"data_type": "document", "verb": "get"}


def test_a_missing_sdk_is_named(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"alacena\[sentry\]"):
        import_without("alacena.integrations.sentry", "sentry_sdk")
