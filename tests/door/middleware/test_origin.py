"""Requests of web pages of other sites, and of strangers behind a proxy."""

import asyncio
import socket

import pytest
from aiohttp import ClientResponse

from tests.conftest import TOKEN, ScriptedBackend, StartGateway, ask, respond

ANSWER = respond(b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}')
REBOUND = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
PATHS = [
    ("POST", "/v1/messages"), ("POST", "/v1/v1/messages/count_tokens"), ("GET", "/v1/models"), ("HEAD", "/v1/models"),
    ("GET", "/v1/models/Vendor/Model-1"), ("GET", "/"), ("GET", "/events"), ("POST", "/api/event_logging/batch"),
    ("GET", "/nothing"),
]  # fmt: skip
ANYWHERE = "0.0.0.0"  # noqa: S104
KEY = "a-key-of-the-gateway"


async def error(response: ClientResponse) -> tuple[int, str, str]:
    said = (await response.json())["error"]
    return response.status, said["type"], said["message"]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("settings", [{}, {"backend_api_key": "operator"}], ids=["client's token", "operator's key"])
async def test_a_page_that_rebinds_its_name_to_this_machine_is_refused(
    method: str, path: str, settings: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, **settings)

    body = ask() if method == "POST" else None
    response = await gateway.request(method, path, json=body, headers=REBOUND | TOKEN)

    assert response.status == 403
    if method != "HEAD":
        _, kind, message = await error(response)
        assert kind == "permission_error"
        assert "'evil.example'" in message
        assert "ALLOWED_HOSTS" in message
    assert scripted.requests == []


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_probes_ask_at_any_address(path: str, scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)
    await scripted.was_listed.wait()

    async with asyncio.timeout(5):
        while (await gateway.get(path, headers={"Host": "10.0.0.7:8080"})).status != 200:
            pass


@pytest.mark.parametrize(
    ("host", "settings"),
    [
        ("localhost:1", {}),
        ("app.LOCALHOST", {}),
        ("[::1]:8080", {}),
        (socket.gethostname(), {}),
        ("llm.example", {"allowed_hosts": "llm.example"}),
        ("a.llm.example:80", {"allowed_hosts": "*.llm.example"}),
        ("anything.example", {"allowed_hosts": "*"}),
        ("anything.example", {"gateway_api_keys": KEY}),
        ("anything.example", {"host": ANYWHERE}),
    ],
)
async def test_names_that_are_served(
    host: str, settings: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, **settings)
    scripted.answers = [ANSWER]

    response = await gateway.post("/v1/messages", json=ask(), headers={"x-api-key": KEY, "Host": host})

    assert response.status == 200


@pytest.mark.parametrize("settings", [{"host": ANYWHERE}, {"gateway_api_keys": KEY}], ids=str)
async def test_where_names_are_allowed_others_are_not(
    settings: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, allowed_hosts="llm.example", **settings)

    response = await gateway.get("/v1/models", headers={"x-api-key": KEY, "Host": "other.example"})

    assert response.status == 403


async def test_the_host_behind_a_proxy_counts_too(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url, allowed_hosts="llm.example")

    statuses = [
        (await gateway.get("/v1/models", headers=TOKEN | {"X-Forwarded-Host": host})).status
        for host in ("llm.example", "evil.example")
    ]

    assert statuses == [200, 403]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/Vendor/Model-1"])
@pytest.mark.parametrize("settings", [{}, {"gateway_api_keys": KEY}, {"backend_api_key": "k", "allow_anyone": "true"}])
async def test_a_page_of_another_site_cannot_read(
    settings: dict[str, str],
    path: str,
    headers: dict[str, str],
    scripted: ScriptedBackend,
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(scripted.url, **settings)

    status, kind, message = await error(await gateway.get(path, headers=headers | {"x-api-key": KEY}))

    assert (status, kind) == (403, "permission_error")
    assert message.startswith("a web page of another site may not read")


@pytest.mark.parametrize(
    "origin",
    ["http://127.0.0.1:{port}", "http://localhost:3000", "http://[::1]", "app://desktop", "vscode-webview://x"],
)
async def test_own_pages_and_programs_may_read(
    origin: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)

    headers = TOKEN | {"Origin": origin.format(port=gateway.port)}

    assert (await gateway.get("/v1/models", headers=headers)).status == 200


PROXIES = [
    {"X-Forwarded-For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}, {"Via": "1.1 caddy"},
    {"X-Real-IP": "203.0.113.9"}, {"x-forwarded-proto": "https"},
]  # fmt: skip


@pytest.mark.parametrize("headers", PROXIES, ids=str)
@pytest.mark.parametrize(("method", "path"), [path for path in PATHS if path[1].startswith("/v1")])
async def test_strangers_behind_a_proxy_do_not_spend_the_operators_key(
    method: str, path: str, headers: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, backend_api_key="operator")

    response = await gateway.request(
        method, path, json=ask() if method == "POST" else None, headers=headers | {"x-api-key": "anything"}
    )

    assert response.status == 403
    if method != "HEAD":
        _, kind, message = await error(response)
        assert kind == "permission_error"
        assert all(name in message for name in ("GATEWAY_API_KEYS", "ALLOW_ANYONE", "BACKEND_API_KEY"))
        assert "203.0.113.9" not in message
    assert scripted.requests == []


@pytest.mark.parametrize("headers", PROXIES, ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gateway_api_keys": KEY},
        {"backend_api_key": "operator", "gateway_api_keys": KEY},
        {"backend_api_key": "operator", "allow_anyone": "true"},
    ],
    ids=str,
)
async def test_behind_a_proxy_with_keys_or_on_purpose(
    settings: dict[str, str], headers: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, **settings)
    scripted.answers = [ANSWER]

    assert (await gateway.post("/v1/messages", json=ask(), headers=headers | {"x-api-key": KEY})).status == 200
