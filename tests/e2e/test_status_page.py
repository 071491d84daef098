"""The status page as a user sees it, in a real headless Chromium."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.commands.setup.client_settings import Choice, edit
from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, StartGateway, ask, respond, stream

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(120)]

KEY = "status-key-of-a-test"
# without these it looks for its maker's hosts at every start; the last one makes a name of another machine
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AWAY = "gateway.example"
MODELS = [
    {"id": "Vendor/Model-1", "max_model_len": 131072},
    {"id": "it's-a-" + "long-name-" * 9, "context_length": 200000},
]


@dataclass
class Browser:
    """Pages in contexts of their own; what they complained of, and whom they asked."""

    chromium: Any
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def open(self, url: str, *, width: int = 1440, dark: bool = False) -> Any:
        context = await self.chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = await context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: self._complain(message))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        await page.goto(url)
        return page

    def _complain(self, message: Any) -> None:
        # the browser itself tells of each answer that is an error, and of each connection that breaks
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture
async def browser(no_leaks: None) -> AsyncIterator[Browser]:
    """A Chromium; a page may complain of nothing, and ask nobody but the gateway."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed: extra `browser`")
    async with playwright.async_playwright() as started:
        flags = [*FLAGS, f"--host-resolver-rules=MAP {AWAY} 127.0.0.1"]
        chromium = await started.chromium.launch(executable_path=path, args=flags)
        pages = Browser(chromium)
        yield pages
        await chromium.close()
    assert pages.complaints == []
    assert {re.sub(r":\d+.*", "", url) for url in pages.asked} <= {"http://127.0.0.1", f"http://{AWAY}", "data"}


Accessible = Callable[[Any], Awaitable[None]]


@pytest.fixture
async def is_accessible() -> Accessible:
    """Fails where axe finds something in a page."""
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="axe is not installed: extra `browser`")

    async def check(page: Any) -> None:
        result = await axe.Axe().run(page)
        assert result.violations_count == 0, result.generate_report()

    return check


async def text(page: Any, selector: str, holds: str) -> Any:
    """The first element that shows a text; waits for it."""
    found = page.locator(selector).filter(has_text=holds).first
    await found.wait_for()
    return found


async def scrolls_sideways(page: Any) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


async def test_a_stream_is_seen_while_it_runs_and_then_among_the_finished(
    browser: Browser, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, *END)]
    gateway = await start_gateway(scripted.url)
    # the first count of a process reads the tokenizer, which a first token would wait for
    await gateway.post("/v1/messages/count_tokens", json=ask(), headers=TOKEN)
    page = await browser.open(str(gateway.make_url("/")))
    await text(page, "#connection", "Live")
    await text(page, "#running", "Nothing is being answered right now.")

    async with gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN) as answer:
        request_id = answer.headers["request-id"]
        running = page.locator(f'#running [data-id="{request_id}"]')
        await running.filter(has_text="writing").wait_for()
        seen = await running.inner_text()
        title = await page.title()
        rest.set()
        await answer.read()
    finished = page.locator(f'#finished [data-id="{request_id}"]')
    await finished.wait_for()
    await text(page, "#running", "Nothing is being answered right now.")

    assert re.search(r"Vendor/Model-1\s+writing\s+[\d.]+ s · first token after \d+ ms\s+≈ \d+ tokens · [\d.]+/s", seen)
    assert title == "(1) claude-gateway"
    cells = await finished.locator("td").all_inner_texts()
    assert cells[0].split("\n")[0] == "Vendor/Model-1"
    assert cells[1] == "done"
    assert cells[4:6] == ["30", "4"]
    label = await page.locator("#first-chart svg").get_attribute("aria-label")
    assert re.fullmatch(r"Time to the first token of the last 1 stream: median \d+ ms, at most \d+ ms", label)
    assert re.match(
        "Tokens per second over the last two minutes: now ",
        await page.locator("#rate-chart svg").get_attribute("aria-label"),
    )


async def test_errors_come_with_what_to_do_and_the_breaker_is_seen_to_open(
    browser: Browser, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b"{}", status=500)]
    settings = {"enable_circuit_breaker": "true", "circuit_breaker_fail_max": "1", "backend_retries": "0"}
    gateway = await start_gateway(scripted.url, **settings)
    page = await browser.open(str(gateway.make_url("/")))
    await text(page, "#failures", "None.")
    await text(page, "#tiles", "closed")
    await text(page, "#models", "Vendor/Model-1")

    for model in ("Vendor/Model-1", "gpt-4o"):
        await gateway.post("/v1/messages", json=ask(model=model), headers=TOKEN)

    await text(page, "#failures li", "Choose a model from the list below")
    assert "model: 'gpt-4o' is not served by this backend." in await page.locator("#failures li").first.inner_text()
    await text(page, "#failures li", "The backend failed; its own log should say why.")
    await text(page, "#tiles", "open")
    await text(page, "#notes", "The circuit breaker is open")
    await text(page, "#finished .tag.bad", "refused 404")


async def test_what_is_selected_and_where_one_is_outlive_what_comes(
    browser: Browser, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    failures = 30
    scripted.answers = [*[respond(b"{}", status=500)] * failures, stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url, backend_retries="0")
    for _ in range(failures):
        assert (await gateway.post("/v1/messages", json=ask(), headers=TOKEN)).status == 500
    page = await browser.open(str(gateway.make_url("/")))
    await text(page, "#failures li", "The backend failed")
    list_of_finished = "#finished > [tabindex]"
    await page.evaluate("getSelection().selectAllChildren(document.querySelector('#failures .remedy'))")
    await page.locator(list_of_finished).focus()
    await page.evaluate(f"document.querySelector('{list_of_finished}').scrollTop = 120")
    marked = await page.evaluate("String(getSelection())")

    async with gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN) as answer:
        await answer.read()
    await page.locator(f'#finished [data-id="{answer.headers["request-id"]}"]').wait_for()

    assert marked == "The backend failed; its own log should say why."
    assert await page.evaluate("String(getSelection())") == marked
    assert await page.evaluate(f"document.activeElement === document.querySelector('{list_of_finished}')")
    assert await page.evaluate("document.activeElement.scrollTop") >= 120


async def test_settings_for_claude_code_are_copied(
    browser: Browser, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.models = json.dumps({"data": MODELS}).encode()
    gateway = await start_gateway(scripted.url)
    origin = str(gateway.make_url("/")).rstrip("/")
    page = await browser.open(origin)
    await text(page, "#model", "Vendor/Model-1")

    await page.get_by_role("button", name="Copy settings.json").click()
    await text(page, "#copied", "Copied to the clipboard")
    settings = json.loads(await page.evaluate("navigator.clipboard.readText()"))
    await page.get_by_label("Model", exact=True).select_option(MODELS[1]["id"])
    await page.get_by_role("button", name="Copy shell lines").focus()
    await page.keyboard.press("Enter")
    await text(page, "button", "Copied shell lines")
    lines = await page.evaluate("navigator.clipboard.readText()")

    written = edit("", Choice(origin, "your-backend-key", "Vendor/Model-1", context=131_072))[0]
    assert settings == json.loads(written)
    # a shell reads what was written
    shell = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        f'{lines}\nprintf %s "$ANTHROPIC_MODEL $CLAUDE_CODE_MAX_CONTEXT_TOKENS"',
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await shell.communicate())[0].decode() == f"{MODELS[1]['id']} 200000"


async def test_from_elsewhere_it_asks_for_the_key_and_forgets_it_with_the_tab(
    browser: Browser, scripted: ScriptedBackend, start_gateway: StartGateway, is_accessible: Accessible
) -> None:
    gateway = await start_gateway(scripted.url, status_key=KEY, allowed_hosts=AWAY)
    url = f"http://{AWAY}:{gateway.port}/"
    page = await browser.open(url)
    key = page.get_by_label("Status key")
    await key.wait_for()
    await is_accessible(page)
    assert not await page.locator("#board").is_visible()

    await key.fill("another-key-than-this")
    await key.press("Enter")
    await text(page, "#gate-text", "That is not the key.")
    # the cursor is where it is needed
    await page.keyboard.type(KEY)
    await page.get_by_role("button", name="Show the status").click()
    await text(page, "#connection", "Live")
    assert not await page.locator("#gate").is_visible()
    await page.reload()
    await text(page, "#connection", "Live")

    # plain HTTP from another machine: the browser has no clipboard there
    await page.get_by_role("button", name="Copy settings.json").click()
    await text(page, "button", "Copied settings.json")

    other = await browser.open(url)
    await other.get_by_label("Status key").wait_for()
    assert KEY not in await page.content()
    assert await page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"


async def test_without_a_key_to_ask_for_it_says_why(
    browser: Browser, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, allowed_hosts=AWAY)
    page = await browser.open(f"http://{AWAY}:{gateway.port}/")

    await text(page, "#gate-text", "start the gateway with a STATUS_KEY")
    assert not await page.get_by_label("Status key").is_visible()


async def test_a_lost_gateway_is_said_to_be_lost(
    browser: Browser, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, shutdown_grace_secs="0")
    page = await browser.open(str(gateway.make_url("/")))
    await text(page, "#connection", "Live")

    await gateway.server.close()

    await text(page, "#connection", "Connection lost, trying again")
    assert await page.locator("#board").is_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
async def test_it_is_good_to_use_at_each_width_in_both_themes(
    width: int,
    dark: bool,
    browser: Browser,
    scripted: ScriptedBackend,
    start_gateway: StartGateway,
    is_accessible: Accessible,
) -> None:
    rest = asyncio.Event()
    scripted.models = json.dumps({"data": MODELS}).encode()
    scripted.answers = [stream(*HELLO, *END), respond(b"{}", status=500), stream(*HELLO, rest, *END)]
    gateway = await start_gateway(scripted.url, backend_retries="0")
    for model in (MODELS[1]["id"], MODELS[1]["id"], "x" * 300):
        await (await gateway.post("/v1/messages", json=ask(stream=True, model=model), headers=TOKEN)).read()
    async with gateway.post("/v1/messages", json=ask(stream=True, model=MODELS[1]["id"]), headers=TOKEN) as answer:
        page = await browser.open(str(gateway.make_url("/")), width=width, dark=dark)
        await text(page, "#running", "writing")

        await is_accessible(page)
        assert not await scrolls_sideways(page)
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 384) is dark
        # text of the charts does not shrink with the screen
        assert await page.locator("#rate-chart text").first.evaluate("text => text.getBoundingClientRect().height") > 10
        rest.set()
        await answer.read()


async def test_the_keyboard_reaches_everything_in_order(
    browser: Browser, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)
    page = await browser.open(str(gateway.make_url("/")))
    await text(page, "#model", "Vendor/Model-1")

    reached = []
    for _ in range(6):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        reached.append(await focused.evaluate("here => here.id || here.dataset.copy || here.className || here.tagName"))
        # where one is must be seen
        assert await focused.evaluate("here => getComputedStyle(here).outlineStyle") != "none"

    assert reached == ["skip", "model", "settings-code", "PRE", "shell-code", "PRE"]
