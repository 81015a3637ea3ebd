"""The example service, against a provider on the loopback: nothing is paid for twice, nothing stale, no tenant's for another."""

from __future__ import annotations

import asyncio
import importlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("langchain_core")
pytest.importorskip("openai")
pytest.importorskip("aiosqlite")
pytest.importorskip("uvicorn")

import httpx2

from tests.integrations.openai_server import Server, openai_server
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FACTS = {"rent": "The rent is 900 euros a month", "pets": "Pets are allowed in the garden", "keys": "Keys come in June"}


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    async with openai_server() as server:
        yield server


@pytest.fixture
async def service(
    provider: Server, url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """A client of the service, which runs as it stands in the repository."""
    environ = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": provider.url, "REDIS_URL": url or ""}
    for name, value in {**environ, "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/rag.db"}.items():
        monkeypatch.setenv(name, value)
    sys.modules.pop("examples.rag_api", None)
    app = importlib.import_module("examples.rag_api").app
    transport = httpx2.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://t") as client:
        client.headers["X-Tenant-ID"] = "acme"
        yield client
    sys.modules.pop("examples.rag_api")


async def _fill(service: Any, tenant: str = "acme") -> None:
    for document, text in FACTS.items():
        told = {"X-Tenant-ID": tenant, "Content-Type": "text/plain"}
        assert (await service.put(f"/documents/{document}", content=text, headers=told)).status_code == 200


async def _ask(service: Any, question: str, **headers: str) -> Any:
    answer = await service.get("/ask", params={"question": question}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_repeated_question_is_paid_for_once_and_says_what_it_saved(service: Any, provider: Server) -> None:
    await _fill(service)
    first = await _ask(service, "how much is the rent")
    paid = provider.tokens
    assert await _ask(service, "how much is the rent") == first
    assert "rent" in first["documents"]
    assert (len(provider.chats), provider.tokens) == (1, paid)
    assert sorted(provider.texts) == sorted([*FACTS.values(), "how much is the rent"])
    saved = len(str(provider.chats[0]["messages"]).split()) + 2
    await until(partial(_is_told, service, paid, saved))  # the ledger is told behind the answer


async def _is_told(service: Any, used: int, saved: int) -> bool:
    usage = (await service.get("/usage")).json()
    return (usage["tokens"], usage["tokens_saved"]) == (used, saved)


async def test_equal_questions_at_one_time_are_one_call(service: Any, provider: Server) -> None:
    await _fill(service)
    answers = await asyncio.gather(*[_ask(service, "are pets allowed") for _ in range(6)])
    assert (len(provider.chats), len({one["answer"] for one in answers})) == (1, 1)


async def test_edit_ends_what_was_made_of_the_document_and_nothing_else(service: Any, provider: Server) -> None:
    await _fill(service)
    questions = ["how much is the rent", "are pets allowed in the garden"]
    before = {question: await _ask(service, question) for question in questions}
    told = {"Content-Type": "text/plain"}
    await service.put("/documents/rent", content="The rent is 950 euros a month", headers=told)
    after = {question: await _ask(service, question) for question in questions}

    for question in questions:
        rests_on_it = "rent" in before[question]["documents"]
        assert (after[question]["answer"] != before[question]["answer"]) == rests_on_it
    assert provider.texts.count("The rent is 950 euros a month") == 1
    assert len(provider.texts) == len(FACTS) + len(questions) + 1


async def test_tenants_neither_see_nor_pay_for_each_other(service: Any, provider: Server) -> None:
    for tenant in ("acme", "globex"):
        await _fill(service, tenant)
        await _ask(service, "how much is the rent", **{"X-Tenant-ID": tenant})
    assert len(provider.chats) == 2
    for tenant in ("acme", "globex"):
        service.headers["X-Tenant-ID"] = tenant
        await until(partial(_is_told, service, provider.tokens // 2, 0))


async def test_request_without_a_tenant_is_refused_and_costs_nothing(service: Any, provider: Server) -> None:
    del service.headers["X-Tenant-ID"]
    for path in ("/ask?question=rent", "/usage"):
        assert (await service.get(path)).status_code == 401
    assert provider.tokens == 0


async def test_provider_that_refuses_for_now_is_asked_again_by_its_client(service: Any, provider: Server) -> None:
    await _fill(service)
    provider.failures += [(429, {"retry-after-ms": "1"}), (503, {"retry-after-ms": "1"})]
    assert (await _ask(service, "how much is the rent"))["answer"] == "answer 1"
    assert provider.failures == []
