"""Real Caddy before several gateways, or none: who gets a request, and what clients are told."""

import asyncio
import contextlib

import pytest

from tests.conftest import (
    TOKEN,
    ScriptedBackend,
    StartGateway,
    ask,
)
from tests.deploy.caddy import (
    CURRENT,
    DEBIAN,
    MESSAGES,
    WHOLE,
    error_of,
    free_port,
    greet,
    url_of,
)
from tests.deploy.conftest import StartCaddy

pytestmark = [pytest.mark.caddy, pytest.mark.timeout(60)]


async def test_a_gateway_that_is_gone_is_left_out(
    caddy_version: str, scripted: ScriptedBackend, gateway: str, start_caddy: StartCaddy
) -> None:
    scripted.answers = [WHOLE] * 20
    gone = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    caddy = await start_caddy(gone[0], gateway, gone[1])
    if caddy_version == DEBIAN:
        # tries none again that has a body, so that what comes before the first check may get a 502
        await caddy.leaves_out(*gone)

    async with caddy.session() as client:
        for _ in range(20):
            async with client.post(MESSAGES, json=ask(), headers=TOKEN) as response:
                assert response.status == 200

    assert len(scripted.requests) == 20


# 2.6 waits only with requests that have no body
@pytest.mark.parametrize("caddy_version", [CURRENT])
async def test_a_gateway_that_is_being_restarted_is_waited_for(start_caddy: StartCaddy) -> None:
    port = free_port()
    caddy = await start_caddy(f"http://127.0.0.1:{port}")
    await caddy.leaves_out(f"http://127.0.0.1:{port}")

    async with caddy.session() as client, asyncio.TaskGroup() as tasks:
        post = tasks.create_task(client.post(MESSAGES, json=ask(), headers=TOKEN))
        # nothing tells that it waits
        await asyncio.sleep(0.3)
        assert not post.done()
        async with await asyncio.start_server(greet, "127.0.0.1", port), await post as response:
            assert response.status == 200


async def test_a_gateway_that_is_not_ready_is_left_out(
    scripted: ScriptedBackend, gateway: str, start_gateway: StartGateway, start_caddy: StartCaddy
) -> None:
    """The second one does not reach its backend: only /ready tells."""
    scripted.answers = [WHOLE] * 20
    lonely = await start_gateway(f"http://127.0.0.1:{free_port()}")
    caddy = await start_caddy(url_of(lonely), gateway)
    await caddy.leaves_out(url_of(lonely))

    async with caddy.session() as client:
        for _ in range(20):
            async with client.post(MESSAGES, json=ask(), headers=TOKEN) as response:
                assert response.status == 200

    assert len(scripted.requests) == 20


async def test_sessions_can_be_kept_together(start_caddy: StartCaddy) -> None:
    async def answering(name: int) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n%d" % name)

        return await asyncio.start_server(answer, "127.0.0.1", 0)

    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(await answering(name)) for name in range(4)]
        urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
        caddy = await start_caddy(*urls, CADDY_BALANCE="header X-Claude-Code-Session-Id")
        async with caddy.session() as client:
            answers = {}
            for session in range(20):
                headers = {"X-Claude-Code-Session-Id": f"session-{session}"}
                answers[session] = {await (await client.get("/v1/models", headers=headers)).read() for _ in range(4)}

    assert [len(names) for names in answers.values()] == [1] * 20
    assert len(set.union(*answers.values())) > 1


async def test_without_any_gateway_clients_are_told_to_come_again(start_caddy: StartCaddy) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    caddy = await start_caddy(nobody)
    await caddy.leaves_out(nobody)

    async with caddy.session() as client, client.post(MESSAGES, json=ask(), headers=TOKEN) as response:
        assert await error_of(response) == (
            503,
            "overloaded_error",
            "no gateway is ready to take this request; try again shortly",
        )
        assert response.headers["retry-after"] == "1"


async def test_a_request_that_was_sent_is_not_sent_again(start_caddy: StartCaddy) -> None:
    heads = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /ready"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                heads.append(head)

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        caddy = await start_caddy(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with caddy.session() as client, client.post(MESSAGES, json=ask(), headers=TOKEN) as response:
            assert await error_of(response) == (502, "api_error", "the gateway did not answer this request; try again")

    assert len(heads) == 1


async def test_one_malformed_request_takes_no_gateway_away_from_others(gateway: str, start_caddy: StartCaddy) -> None:
    caddy = await start_caddy(gateway)
    reader, writer = await asyncio.open_connection("127.0.0.1", caddy.port)

    writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nno chunk\r\n")
    await reader.readuntil(b"\r\n")
    writer.close()

    async with caddy.session() as client, client.get("/health") as response:
        assert response.status == 200
