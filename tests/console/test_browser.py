"""The console as it is seen: in Chromium, by mouse and by keyboard, in both languages, light, dark and on a phone."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alacena import MISSING
from tests.console.conftest import TOKEN
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from alacena import Cache

if not os.environ.get("TESTS_BROWSER"):
    pytest.skip("a browser is used by `make console` alone", allow_module_level=True)
playwright = pytest.importorskip("playwright.async_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / ".parts" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")

VIEWS = {
    "health": "Promises",
    "overview": "Reads by where they were answered",
    "tenants": "Tenants and types",
    "explain?type=document&id=d1&tenant=acme": "Facts",
    "queues?tenant=acme&queue=jobs": "Dead letters of jobs of acme",
    "tokens?tenant=acme": "Tokens",
    "log": "Log",
}
SHAPES: dict[str, dict[str, Any]] = {
    "light": {"locale": "en-GB", "viewport": {"width": 1280, "height": 900}},
    "dark": {"locale": "en-GB", "color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"locale": "en-GB", "viewport": {"width": 375, "height": 740}, "is_mobile": True, "has_touch": True},
}
MOST_MS = 60_000


class Seen:
    """A page, and what went wrong on it."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address
        self.wrong: list[str] = []
        page.set_default_timeout(MOST_MS)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", lambda line: line.type in {"error", "warning"} and self.wrong.append(line.text))
        page.on("request", lambda request: request.url.startswith(address) or self.wrong.append(request.url))

    async def sign_in(self) -> None:
        await self.page.goto(f"{self.address}/#token={TOKEN}")
        await self.page.wait_for_selector("nav")

    async def go(self, view: str, words: str) -> None:
        await self.page.goto(f"{self.address}/#/{view}")
        await self.page.locator("caption", has_text=words).first.wait_for()


@pytest.fixture
async def look(served: Any) -> AsyncIterator[Callable[..., Any]]:
    """`async with look(allow_actions=True, **context) as seen`: the console in a browser; nothing may go wrong on it."""
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        @asynccontextmanager
        async def looking(*, allow_actions: bool = True, **shape: Any) -> AsyncIterator[Seen]:
            async with served(allow_actions=allow_actions) as address:
                context = await browser.new_context(**(SHAPES["light"] | shape))
                seen = Seen(await context.new_page(), address)
                await seen.page.add_init_script(
                    "document.addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.blockedURI))"
                )
                yield seen
                assert seen.wrong == []
                await context.close()

        yield looking
        await browser.close()


@pytest.fixture
async def busy(cache: Cache) -> Cache:
    """A cache with something of everything."""
    for number in range(8):
        await cache.set("document", f"d{number}", "text", "acme", document_ids=[f"d{number}"])
    queue = cache.queues("jobs", tenant_id="acme", max_attempts=1)
    for number in range(3):
        await queue.push({"html": f"<img src=x onerror=alert({number})>"})
        (item,) = await queue.reserve(1)
        await item.nack(reason="<script>alert(1)</script>")
    await cache.ledger.record("acme", 1_200, model="m", operation="answer")
    await cache.invalidate("acme", "document", "d7")
    return cache


@pytest.mark.parametrize("shape", SHAPES)
async def test_each_view_in_each_shape(busy: Cache, look: Any, shape: str) -> None:
    async with look(**SHAPES[shape]) as seen:
        await seen.sign_in()
        for view, words in VIEWS.items():
            await seen.go(view, words)
            assert await seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), view
            await seen.page.evaluate(AXE.read_text())
            found = await seen.page.evaluate(
                "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            )
            assert len(found["passes"]) > 10
            assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]] == [], view


async def test_token_leaves_the_address_and_a_wrong_one_is_told(look: Any) -> None:
    async with look() as seen:
        await seen.page.goto(f"{seen.address}/")
        await seen.page.get_by_label("Token").fill("wrong")
        await seen.page.get_by_role("button", name="Sign in").click()
        await seen.page.get_by_text("This is not the token.").wait_for()
        await seen.page.get_by_label("Token").fill(TOKEN)
        await seen.page.get_by_role("button", name="Sign in").click()
        await seen.page.get_by_role("heading", name="Health").wait_for()
        assert TOKEN not in seen.page.url
        # A refusal is no fault of the page: the browser writes it down all the same.
        seen.wrong = [line for line in seen.wrong if "401" not in line]


async def test_overview_is_live_until_it_is_paused(busy: Cache, look: Any) -> None:
    async with look() as seen:
        await seen.sign_in()
        await seen.go("overview", VIEWS["overview"])
        memory = seen.page.get_by_role("cell", name="memory", exact=True).locator("xpath=following-sibling::td[1]")
        before = int(await memory.inner_text())
        for _ in range(5):
            await busy.get("document", "d1", "acme")

        async def grown() -> bool:
            return int(await memory.inner_text()) == before + 5

        await until(grown)
        await seen.page.get_by_role("button", name="Pause").click()
        await seen.page.get_by_text("Paused").wait_for()


async def test_silence_is_told(busy: Cache, look: Any) -> None:
    async with look() as seen:
        await seen.sign_in()
        await seen.page.route("**/api/**", lambda route: route.abort())
        await seen.page.get_by_text("No data arrives since").wait_for()
        seen.wrong = [line for line in seen.wrong if "ERR_FAILED" not in line]


async def test_dead_letter_is_replayed_after_a_second_yes(busy: Cache, look: Any) -> None:
    async with look() as seen:
        await seen.sign_in()
        await seen.go("queues?tenant=acme&queue=jobs", VIEWS["queues?tenant=acme&queue=jobs"])
        await seen.page.get_by_role("checkbox").nth(1).check()
        await seen.page.get_by_role("button", name="Replay…").click()
        await seen.page.get_by_role("button", name="No").click()
        assert (await busy.queues("jobs", tenant_id="acme").stats()).dead == 3
        await seen.page.get_by_role("button", name="Replay…").click()
        await seen.page.get_by_role("button", name="Yes, do it").click()
        await seen.page.get_by_text("1 made ready again.").wait_for()
        assert (await busy.queues("jobs", tenant_id="acme").stats()).dead == 2
        seen.wrong = [line for line in seen.wrong if "409" not in line]


async def test_entry_is_explained_and_invalidated_by_keyboard_alone(busy: Cache, look: Any) -> None:
    async with look() as seen:
        await seen.sign_in()
        keyboard = seen.page.keyboard

        async def focus(name: str) -> None:
            for _ in range(60):
                await keyboard.press("Tab")
                here = "document.activeElement.textContent.trim() || document.activeElement.name"
                if await seen.page.evaluate(here) == name:
                    return
            pytest.fail(f"no way to {name!r} by the keyboard")

        await focus("Explain")
        await keyboard.press("Enter")
        for name, words in (("type", "document"), ("id", "d1"), ("tenant", "acme")):
            await focus(name)
            await keyboard.type(words)
        await keyboard.press("Enter")
        await seen.page.get_by_text("Fresh, served from memory.").wait_for()
        await focus("Invalidate…")
        await keyboard.press("Enter")
        await seen.page.get_by_role("dialog").wait_for()
        await keyboard.press("Tab")
        await keyboard.press("Enter")
        await seen.page.get_by_text("Invalidated, and confirmed by the server.").wait_for()
        seen.wrong = [line for line in seen.wrong if "409" not in line]
    assert await busy.get("document", "d1", "acme", default=MISSING) is MISSING


async def test_form_says_what_the_answer_is_about_after_the_way_back(busy: Cache, look: Any) -> None:
    async with look() as seen:
        await seen.sign_in()
        for entry in ("d1", "d2"):
            await seen.go(f"explain?type=document&id={entry}&tenant=acme", "Facts")
        assert await seen.page.locator("[name=id]").input_value() == "d2"
        await seen.page.locator("[name=id]").fill("typed")
        await seen.page.go_back()
        await seen.page.wait_for_function("document.querySelector('[name=id]').value === 'd1'")
        await seen.page.locator("[name=id]").fill("typed")
        assert await seen.page.locator("[name=id]").input_value() == "typed"


async def test_spanish_is_chosen_by_the_browser_and_english_by_hand(busy: Cache, look: Any) -> None:
    async with look(locale="es-ES") as seen:
        await seen.sign_in()
        await seen.page.get_by_role("heading", name="Salud").wait_for()
        assert await seen.page.evaluate("document.documentElement.lang") == "es"
        await seen.page.locator("caption", has_text="Promesas").wait_for()
        english = await seen.page.locator("td span[lang=en]").all_text_contents()
        assert [words for words in english if " " in words] == []  # an address is the same in both
        assert "el servidor acepta escrituras" in await seen.page.locator("td span[lang=es]").all_text_contents()
        await seen.go("explain?type=document&id=d7&tenant=acme", "Datos")
        sentence = seen.page.locator("p.sentence span")
        assert await sentence.get_attribute("lang") == "es"
        assert "document d7" not in await sentence.text_content()
        await seen.go("health", "Promesas")
        await seen.page.get_by_role("button", name="English").click()
        await seen.page.get_by_role("heading", name="Health").wait_for()


async def test_what_is_not_seen_in_a_name_is_written_as_its_code_and_long_names_are_shortened(
    cache: Cache, look: Any
) -> None:
    for name in ("line\nbreak", "\u202egnp.exe", "x" * 300):
        await cache.set("document", "d1", "text", name)
    async with look() as seen:
        await seen.sign_in()
        await seen.go("tenants", VIEWS["tenants"])
        cells = await seen.page.locator("tbody td:first-child").all_inner_texts()
    assert {"line\\nbreak", "\\u{202e}gnp.exe"} <= set(cells)
    assert any("(300 characters)" in text for text in cells)


async def test_tenant_that_is_summed_up_is_asked_for(cache: Cache, look: Any) -> None:
    for number in range(30):
        await cache.set("document", "d1", "text", f"tenant-{number}")
    async with look() as seen:
        await seen.sign_in()
        await seen.go("tenants", VIEWS["tenants"])
        assert "tenant-29" not in await seen.page.locator("tbody td:first-child").all_inner_texts()
        await seen.page.get_by_label("One tenant").fill("tenant-29")
        await seen.page.get_by_role("button", name="Show").click()
        await seen.page.get_by_text("1 of 1 answered").wait_for()
        await seen.page.get_by_role("cell", name="tenant-29").wait_for()


async def test_every_view_is_reached_on_a_phone_without_scrolling_aside(busy: Cache, look: Any) -> None:
    async with look(**(SHAPES["phone"] | {"locale": "es-ES"})) as seen:
        await seen.sign_in()
        for link in await seen.page.locator("nav a").all():
            box = await link.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 375


async def test_page_of_another_site_changes_nothing(busy: Cache, look: Any) -> None:
    async with look() as seen:
        await seen.sign_in()
        other = await seen.page.context.new_page()
        # The same machine by another name is another site; the form would carry the cookie if it could.
        await other.route(
            "http://other.example/", lambda route: route.fulfill(body="<p>hello", content_type="text/html")
        )
        await other.goto("http://other.example/")
        sent = """address => fetch(address + '/api/do/invalidate', {method: 'POST', mode: 'no-cors', credentials: 'include',
            headers: {'content-type': 'text/plain'}, body: '{"tenant": "acme"}'}).then(() => 'sent', error => String(error))"""
        await other.evaluate(sent, seen.address)
        await other.close()
    assert await busy.get("document", "d1", "acme") == "text"


async def test_many_tabs_all_load(busy: Cache, look: Any) -> None:
    async with look() as seen:
        await seen.sign_in()
        for _ in range(8):
            tab = await seen.page.context.new_page()
            await tab.goto(f"{seen.address}/#/overview")
            await tab.locator("caption", has_text=VIEWS["overview"]).wait_for(timeout=MOST_MS)
