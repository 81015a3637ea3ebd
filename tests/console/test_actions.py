"""What the console changes: nothing unless it was allowed and asked for twice, and never more than was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alacena import MISSING
from alacena.ops.console.actions import CONFIRM_S, Actions
from alacena.ops.console.authentication import Authentication

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from alacena import Cache
    from alacena.ops.console import ActivityLog


async def act(client: httpx.AsyncClient, action: str, **given: Any) -> httpx.Response:
    asked = await client.post(f"/api/do/{action}", json=given)
    assert asked.status_code == 409
    return await client.post(f"/api/do/{action}", json={**given, "confirm": asked.json()["confirm"]})


async def kill(cache: Cache, count: int) -> list[str]:
    queue = cache.queues("jobs", tenant_id="acme", max_attempts=1)
    for number in range(count):
        await queue.push(number)
        (item,) = await queue.reserve(1)
        await item.nack(reason="no")
    return [str(letter.id) for letter in await queue.dead()]


async def test_replay_of_one_and_of_all(cache: Cache, client_of: Callable[..., httpx.AsyncClient]) -> None:
    first, *_ = await kill(cache, 3)
    async with client_of(allow_actions=True) as client:
        one = await act(client, "replay", tenant="acme", queue="jobs", ids=[first])
        assert (one.json(), (await cache.queues("jobs", tenant_id="acme").stats()).dead) == ({"count": 1}, 2)
        rest = await act(client, "replay", tenant="acme", queue="jobs")
        assert (rest.json(), (await cache.queues("jobs", tenant_id="acme").stats()).ready) == ({"count": 2}, 3)


async def test_discard(cache: Cache, client_of: Callable[..., httpx.AsyncClient]) -> None:
    await kill(cache, 2)
    async with client_of(allow_actions=True) as client:
        assert (await act(client, "discard", tenant="acme", queue="jobs")).json() == {"count": 2}

    assert (await cache.queues("jobs", tenant_id="acme").stats()).dead == 0


async def test_invalidate_ends_what_was_named_and_nothing_else(
    cache: Cache, client_of: Callable[..., httpx.AsyncClient]
) -> None:
    for tenant in ("acme", "globex"):
        for name in ("d1", "d2"):
            await cache.set("document", name, "text", tenant)
    async with client_of(allow_actions=True) as client:
        done = await act(client, "invalidate", tenant="acme", type="document", id="d1")

    assert done.json() == {"confirmed": True}
    assert await cache.get("document", "d1", "acme", default=MISSING) is MISSING
    assert await cache.get("document", "d2", "acme") == "text"
    assert await cache.get("document", "d1", "globex") == "text"


async def test_each_action_is_written_down_with_its_operator(
    cache: Cache, activity: ActivityLog, client_of: Callable[..., httpx.AsyncClient], caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(allow_actions=True) as client:
        await act(client, "invalidate", tenant="acme", type="document")

    line = next(line for line in activity.lines() if line["what"] == "console:invalidate")
    assert line["facts"] == {
        "operator": "operator",
        "tenant": "acme",
        "type": "document",
        "outcome": '{"confirmed": true}',
    }
    assert "invalidate by operator" in caplog.text


async def test_read_only_console_changes_nothing(client_of: Callable[..., httpx.AsyncClient]) -> None:
    async with client_of() as client:
        refused = await client.post("/api/do/invalidate", json={"tenant": "acme"})

    assert (refused.status_code, refused.json()["reason"]) == (403, "read-only")


@pytest.mark.parametrize(
    ("action", "given", "words"),
    [
        ("invalidate", {}, "tenant"),
        ("invalidate", {"tenant": ""}, "tenant"),
        ("invalidate", {"tenant": "acme", "data_type": "document"}, "data_type"),  # misspelt, it would end everything
        ("replay", {"tenant": "acme"}, "queue"),
        ("replay", {"tenant": "acme", "queue": "jobs", "ids": "x"}, "ids"),
        ("discard", {"tenant": 7, "queue": "jobs"}, "tenant"),
        ("discard", [], "object"),
    ],
)
async def test_parameters_that_are_wrong_are_named(
    client_of: Callable[..., httpx.AsyncClient], action: str, given: Any, words: str
) -> None:
    async with client_of(allow_actions=True) as client:
        refused = await client.post(f"/api/do/{action}", json=given)

    assert refused.status_code == 400
    assert words in refused.json()["error"]


async def test_code_of_one_question_answers_no_other(cache: Cache, client_of: Callable[..., httpx.AsyncClient]) -> None:
    await cache.set("document", "d1", "text", "acme")
    async with client_of(allow_actions=True) as client:
        asked = await client.post("/api/do/invalidate", json={"tenant": "acme", "type": "other"})
        code = asked.json()["confirm"]
        other = await client.post("/api/do/invalidate", json={"tenant": "acme", "confirm": code})
        forged = await client.post("/api/do/invalidate", json={"tenant": "acme", "confirm": "0.0"})

    assert (other.status_code, forged.status_code) == (409, 409)
    assert await cache.get("document", "d1", "acme") == "text"


def test_question_waits_a_minute(cache: Cache, activity: ActivityLog) -> None:
    now = [100.0]
    actions = Actions(cache, activity, Authentication("token"), allowed=True, clock=lambda: now[0])
    code = actions._code("replay", {"tenant": "acme"}, now[0])

    assert actions._is_confirmed("replay", {"tenant": "acme"}, code)
    now[0] += CONFIRM_S + 1
    assert not actions._is_confirmed("replay", {"tenant": "acme"}, code)


async def test_unknown_action(client_of: Callable[..., httpx.AsyncClient]) -> None:
    async with client_of(allow_actions=True) as client:
        assert (await client.post("/api/do/flushall", json={"tenant": "acme"})).status_code == 404
