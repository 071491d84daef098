"""Requests that are on their way when the gateway is told to stop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from gateway.app import make_app
from gateway.serving.server import listening
from gateway.settings import load_settings
from tests.conftest import END, HELLO, ScriptedBackend, ask, stream

BODY = msgspec.json.encode(ask(stream=True))
HEAD = (
    b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
)


class Serving:
    """A gateway in this process that `stop` tells to stop."""

    def __init__(self, port: int, told: asyncio.Event, stopping: asyncio.Event) -> None:
        self.port = port
        self._told, self._stopping = told, stopping

    async def stop(self) -> None:
        """Return when idle connections have been closed, and what is in progress is waited for."""
        self._told.set()
        await self._stopping.wait()


Serve = Callable[[], AbstractAsyncContextManager[Serving]]


@pytest.fixture
def serve(scripted: ScriptedBackend, tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def run() -> AsyncIterator[Serving]:
        settings = load_settings({"host_port": "0", "backend_url": scripted.url}, {}, tmp_path)
        app = make_app(settings)
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        told, stopping = asyncio.Event(), asyncio.Event()

        async def note(_: web.Application) -> None:
            stopping.set()

        async def work() -> None:
            async with listening(app, settings) as url:
                port.set_result(int(url.rpartition(":")[2]))
                await told.wait()

        app.on_shutdown.insert(0, note)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work())
            try:
                yield Serving(await port, told, stopping)
            finally:
                told.set()

    return run


@asynccontextmanager
async def connected(gateway: Serving) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    yield reader, writer
    writer.close()
    await writer.wait_closed()


async def ask_for_health(gateway: Serving) -> None:
    """Answered, connections that were made before have been taken, too."""
    async with connected(gateway) as (reader, writer):
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")


async def test_a_request_whose_body_is_on_its_way_is_read_to_its_end_and_answered(
    serve: Serve, scripted: ScriptedBackend
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    async with serve() as gateway, connected(gateway) as (reader, writer):
        writer.write(HEAD + BODY[:20])
        await ask_for_health(gateway)
        await gateway.stop()
        writer.write(BODY[20:])
        answer = await asyncio.wait_for(reader.read(), 10)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"event: message_stop\n" in answer


async def test_a_client_that_has_just_connected_gets_its_request_answered(
    serve: Serve, scripted: ScriptedBackend
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    async with serve() as gateway, connected(gateway) as (reader, writer):
        await ask_for_health(gateway)
        stopping = asyncio.create_task(gateway.stop())
        await asyncio.sleep(0)
        writer.write(HEAD + BODY)
        answer = await asyncio.wait_for(reader.read(), 10)
        await stopping

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"event: message_stop\n" in answer


async def test_a_connection_that_stays_silent_does_not_hold_the_gateway(serve: Serve) -> None:
    async with serve() as gateway, connected(gateway) as (reader, _):
        await ask_for_health(gateway)
        await gateway.stop()
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_answers_that_end_meanwhile_say_that_their_connection_does(
    serve: Serve, scripted: ScriptedBackend
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, *END)]
    request = msgspec.json.encode(ask())
    head = HEAD.replace(b": %d\r" % len(BODY), b": %d\r" % len(request))
    async with serve() as gateway, connected(gateway) as (reader, writer):
        writer.write(head + request)
        await scripted.asked.wait()
        await gateway.stop()
        rest.set()
        answer = await asyncio.wait_for(reader.read(), 10)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer
