import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.app import make_app
from gateway.settings import load_settings
from tests.conftest import ScriptedBackend, StartGateway

KEY = "status-key-of-a-test"
HERE = "the status is available only on the gateway's own machine"
WITH_KEY = "the status requires the status key"


async def refusal(response: Any) -> tuple[int, str]:
    error = (await response.json())["error"]
    return response.status, error["message"]


async def test_a_program_of_this_machine_needs_no_key(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)

    async with gateway.get("/events") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X-Forwarded-For": "203.0.113.9"}, id="behind a proxy on the same host"),
        pytest.param({"Forwarded": "for=203.0.113.9"}, id="the same, as RFC 7239 has it"),
        pytest.param({"X-Real-IP": "203.0.113.9"}, id="the same, as nginx has it"),
        pytest.param({"Via": "1.1 proxy"}, id="through a forward proxy"),
        pytest.param({"Host": "rebound.example"}, id="a foreign name that leads here"),
        pytest.param({"Host": "127.0.0.1.rebound.example"}, id="a foreign name that looks like ours"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="asked for by another site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="asked for by another port of this host"),
        pytest.param({"Origin": "https://evil.example"}, id="by another site, in an older browser"),
        pytest.param({"Origin": "null"}, id="by a page without an origin"),
    ],
)
async def test_what_is_not_of_this_machine_is_refused(
    headers: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, allowed_hosts="*")
    status, message = await refusal(await gateway.get("/events", headers=headers))

    assert status == 403
    assert message.startswith(HERE)
    assert "STATUS_KEY" in message

    guarded = await start_gateway(scripted.url, status_key=KEY, allowed_hosts="*")
    status, message = await refusal(await guarded.get("/events", headers=headers))

    assert status == 401
    assert message.startswith(WITH_KEY)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
async def test_a_page_of_this_machine_may_read_it_under_each_name(
    name: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)
    host = f"{name}:{gateway.port}"
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}

    async with gateway.get("/events", headers=own) as response:
        assert response.status == 200


FROM_AFAR = {"X-Forwarded-For": "203.0.113.9"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {KEY} "}, 200),
        ({"x-api-key": KEY}, 200),
        ({"Authorization": f"Bearer {KEY}x"}, 401),
        ({"Authorization": "Bearer é"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({}, 401),
    ],
)
async def test_a_key_opens_it_from_anywhere(
    headers: dict[str, str], status: int, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, status_key=KEY)

    async with gateway.get("/events", headers=FROM_AFAR | headers) as response:
        assert response.status == status


async def test_without_a_key_no_key_is_right(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.get("/events", headers=FROM_AFAR | {"Authorization": "Bearer "})

    assert response.status == 403


async def test_a_clients_key_does_not_open_it(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    client_key = "sk-of-a-client-0123456789"
    gateway = await start_gateway(scripted.url, gateway_api_keys=client_key)

    response = await gateway.get("/events", headers=FROM_AFAR | {"Authorization": f"Bearer {client_key}"})

    assert response.status == 403


async def test_who_comes_by_a_socket_without_an_address_is_nobody_known(
    scripted: ScriptedBackend, tmp_path: Path
) -> None:
    runner = web.AppRunner(make_app(load_settings({"backend_url": scripted.url}, {}, tmp_path)))
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "socket")).start()
        connector = aiohttp.UnixConnector(str(tmp_path / "socket"))
        async with aiohttp.ClientSession(connector=connector) as session:
            response = await session.get("http://localhost/events")
            assert response.status == 403
    finally:
        await runner.cleanup()


async def test_bytes_that_are_no_text_are_no_key(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url, status_key=KEY, allowed_hosts="*")
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: rebound.example\r\nx-api-key: \xff\xfe\r\nConnection: close\r\n\r\n")

    assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    await reader.read()
    writer.close()
    await writer.wait_closed()
