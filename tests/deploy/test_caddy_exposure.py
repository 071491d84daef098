"""What real Caddy shows to clients, and what it writes down."""

import asyncio
import contextlib
import io
import json
import secrets
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import (
    END,
    HELLO,
    TOKEN,
    ScriptedBackend,
    StartGateway,
    ask,
    respond,
    stream,
)
from tests.deploy.caddy import (
    CADDYFILE,
    MESSAGES,
    curl,
    error_of,
    free_port,
    greet,
    url_of,
)
from tests.deploy.conftest import StartCaddy
from tests.faults.conftest import until

pytestmark = [pytest.mark.caddy, pytest.mark.timeout(60)]


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/METRICS",
        "//metrics",
        "/metrics/",
        "/%6detrics",
        "/v1/../metrics",
        "/v1/..%2fmetrics",
        "/api/../events",
        "/events",
        "/status",
        "/debug",
    ],
)
async def test_what_is_not_for_clients_stays_inside(path: str, start_caddy: StartCaddy) -> None:
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        caddy = await start_caddy(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with curl(caddy, path, "--path-as-is", "-w", "\n%{http_code}") as client:
            assert client.stdout is not None
            body, status = (await client.stdout.read()).rsplit(b"\n", 1)

    assert status == b"404"
    assert json.loads(body)["error"]["type"] == "not_found_error"


async def test_a_browser_gets_no_status_page_and_no_header_twice(start_caddy: StartCaddy) -> None:
    async def page_or_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            body = b"page" if b"text/html" in await reader.readuntil(b"\r\n\r\n") else b"text"
            fields = b"X-Content-Type-Options: nosniff\r\nContent-Length: 4\r\nConnection: close"
            writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (fields, body))

    async with await asyncio.start_server(page_or_text, "127.0.0.1", 0) as server:
        caddy = await start_caddy(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with caddy.session() as client, client.get("/", headers={"Accept": "text/html, */*"}) as response:
            assert await response.text() == "text"

    assert response.headers.getall("X-Content-Type-Options") == ["nosniff"]


@pytest.mark.parametrize("path", ["/", "/health", "/api/hello", "/v1/models", "/nowhere"])
async def test_headers_for_browsers(path: str, gateway: str, start_caddy: StartCaddy) -> None:
    caddy = await start_caddy(gateway, tls="internal")

    async with caddy.session() as client, client.get(path, headers=TOKEN) as response:
        assert response.status == (404 if path == "/nowhere" else 200)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert not {"Server", "Via", "Strict-Transport-Security"} & set(response.headers)


async def test_browsers_come_back_by_https_to_a_name_of_its_own(gateway: str, start_caddy: StartCaddy) -> None:
    caddy = await start_caddy(gateway, tls="internal", CADDY_DOMAIN="gateway.test")

    async with curl(caddy, "/health", "-I", "-X", "GET") as client:
        assert client.stdout is not None
        head = (await client.stdout.read()).decode().lower()

    assert "strict-transport-security: max-age=31536000\r\n" in head


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_no_secret_is_logged(
    level: str, scripted: ScriptedBackend, gateway: str, start_caddy: StartCaddy, tmp_path: Path
) -> None:
    begun = asyncio.Event()
    scripted.answers = [stream(*HELLO, *END), respond(b"{}", status=500), stream(*HELLO, begun, cut=True)]
    caddyfile = tmp_path / "Caddyfile"
    option = "\tadmin off\n"
    assert option in CADDYFILE.read_text()
    caddyfile.write_text(CADDYFILE.read_text().replace(option, option + "\tdebug\n" * (level == "debug")))
    # one gateway is not there, so that Caddy logs errors, too
    gone = f"http://127.0.0.1:{free_port()}"
    caddy = await start_caddy(gateway, gone, caddyfile=caddyfile)
    await caddy.leaves_out(gone)
    secret = f"mark-{secrets.token_hex(12)}"
    names = ["Authorization", "x-api-key", "Cookie", "Proxy-Authorization", "X-Anything", "User-Agent", "Referer"]
    headers = dict.fromkeys(names, f"Bearer {secret}")

    async with caddy.session() as client:
        for body in (ask(secret, stream=True), ask(secret), ask(secret, stream=True)):
            async with client.post(f"{MESSAGES}?key={secret}", json=body, headers=headers) as response:
                if len(scripted.requests) == 3:
                    # before that, the gateway would ask again
                    begun.set()
                with contextlib.suppress(aiohttp.ClientPayloadError):
                    await response.read()
        async with client.get(f"/nowhere?key={secret}", headers=headers) as response:
            assert response.status == 404
        async with client.post(f"{MESSAGES}?{secret}", data=io.BytesIO(bytes(65 * 2**20)), headers=headers) as response:
            assert response.status == 413

    assert scripted.requests[0].headers["authorization"] == f"Bearer {secret}"
    await until(lambda: len(caddy.requests) == 5, 5)
    assert secret not in caddy.log.read_text()
    assert ("debug" in {line.get("level") for line in caddy.lines()}) is (level == "debug")
    logged = [(line["request"]["uri"], line["status"]) for line in caddy.requests]
    assert logged == [(MESSAGES, 200), (MESSAGES, 500), (MESSAGES, 200), ("/nowhere", 404), (MESSAGES, 413)]
    assert caddy.requests[0]["resp_headers"]["Request-Id"][0].startswith("req_")


async def test_without_tls_only_this_machine_reaches_it(gateway: str, start_caddy: StartCaddy) -> None:
    caddy = await start_caddy(gateway)

    # on Linux all of 127.0.0.0/8 is this machine: a socket for all addresses would take this, too
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", caddy.port)


async def test_nobody_behind_it_spends_the_operators_key(
    scripted: ScriptedBackend, start_gateway: StartGateway, start_caddy: StartCaddy
) -> None:
    behind = await start_gateway(scripted.url, backend_api_key="operator")
    caddy = await start_caddy(url_of(behind))

    async with caddy.session() as client, client.post(MESSAGES, json=ask(), headers=TOKEN) as response:
        status, kind, message = await error_of(response)

    assert (status, kind) == (403, "permission_error")
    assert "GATEWAY_API_KEYS" in message
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("settings", "status"), [({}, 403), ({"allowed_hosts": "gateway.test"}, 200), ({"allowed_hosts": "*.test"}, 200)]
)
async def test_the_gateway_behind_it_serves_the_names_that_it_knows(
    settings: dict[str, str],
    status: int,
    scripted: ScriptedBackend,
    start_gateway: StartGateway,
    start_caddy: StartCaddy,
) -> None:
    caddy = await start_caddy(url_of(await start_gateway(scripted.url, **settings)))

    async with (
        caddy.session() as client,
        client.get("/v1/models", headers=TOKEN | {"Host": "gateway.test"}) as response,
    ):
        assert response.status == status
