"""`GET /` as bytes; `e2e/test_status_page.py` tests what a user sees."""

import base64
import json
import re
from hashlib import sha256
from importlib import resources

import pytest

from gateway.commands.setup.client_settings import Choice, edit
from tests.conftest import ScriptedBackend, StartGateway

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize("accept", ["*/*", "application/json", None])
async def test_who_takes_no_html_gets_a_word(
    accept: str | None, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.get("/", headers={"Accept": accept} if accept else {})

    assert response.status == 200
    assert await response.text() == "claude-gateway: point ANTHROPIC_BASE_URL at this address\n"


async def test_claude_code_asks_whether_there_is_anybody(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.head("/")

    assert (response.status, await response.read()) == (200, b"")


async def test_a_browser_gets_a_page_that_can_load_nothing(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, status_key="status-key-of-a-test")

    # the page contains no data, so anybody may load it
    response = await gateway.get("/", headers=BROWSER | {"X-Forwarded-For": "203.0.113.9"})
    page = await response.text()

    assert response.status == 200
    assert response.content_type == "text/html"
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for kind, name in (("style", "style-src"), ("script", "script-src")):
        found = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert len(found) == 1
        digest = base64.b64encode(sha256(found[0].encode()).digest()).decode()
        assert policy[name] == f"'sha256-{digest}'"
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)
    assert " style=" not in page
    assert scripted.url not in page
    assert "status-key-of-a-test" not in page
    assert len(page.encode()) < 48_000
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Vary"] == "Accept"


async def test_a_page_that_has_not_changed_need_not_come_again(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)
    tag = (await gateway.get("/", headers=BROWSER)).headers["ETag"]

    again = await gateway.get("/", headers=BROWSER | {"If-None-Match": tag})
    other = await gateway.get("/", headers=BROWSER | {"If-None-Match": '"other"'})

    assert (again.status, await again.read()) == (304, b"")
    assert other.status == 200


def test_the_connect_card_names_what_setup_writes() -> None:
    choice = Choice(url="http://x", token="y", model="m", context=32_768)
    written = json.loads(edit("", choice)[0])["env"]
    script = resources.files("gateway").joinpath("observability/status/static/connect.js").read_text()
    assert [name for name in written if name not in script] == []
