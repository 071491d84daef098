"""Clients that leave, or stop, at each stage of a request: the backend is freed at once, and nothing is left behind."""

import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import END, HELLO, TOKEN, ask, chunk
from tests.faults.conftest import Answer, Backend, Process, backend, json_response, serve, session, until
from tests.faults.injector import hang_up

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"REQUEST_TIMEOUT_SECS": "0.5", "CLIENT_TIMEOUT_SECS": "0.5", "HEADERS_GRACE_SECS": "0.2"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
BUSY = json_response(b'{"error": {"message": "busy"}}', status=429).replace(b"\r\n", b"\r\nRetry-After: 1\r\n", 1)
# the backend must be free within 0.1 s; a busy machine gets ten times as long
FREED_SECONDS = 1.0
LEAVES = 20


def request(*, stream: bool, content: str = "Hi") -> bytes:
    body = json.dumps(ask(content, stream=stream)).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN['Authorization']}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Line:
    """A gateway and its backend. `descriptors`: what the gateway holds at rest."""

    gateway: Process
    backend: Backend
    descriptors: int = 0

    async def connect(self, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        writer.write(sent)
        return reader, writer

    def logged(self, **fields: str) -> int:
        """How many lines of the log have these fields."""
        return sum(fields.items() <= line.items() for line in self.gateway.lines())

    async def is_well(self) -> None:
        """Fails if anything is left of a client."""
        await self.gateway.comes_to_rest(self.descriptors)
        self.backend.handler = says(HEAD, *HELLO, *END)
        async with session() as client:
            post = client.post(f"{self.gateway.url}/v1/messages", json=ask(stream=True), headers=TOKEN)
            async with post as response:
                assert b"message_stop" in await response.read()
        await self.gateway.comes_to_rest(self.descriptors)
        assert (await self.gateway.health())["streams"] == 0
        for queue in (self.backend.asked, self.backend.left):
            while not queue.empty():
                queue.get_nowait()


def says(*pieces: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()

    return answer


def waits(*pieces: bytes) -> Answer:
    """Some bytes, and no more; the caller must leave."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
        await writer.drain()

    return answer


def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def half_close(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


LEAVE = pytest.mark.parametrize("leave", [hang_up, close, half_close], ids=["reset", "close", "half-close"])
REQUEST = request(stream=True)
# what the backend does, whether a stream is asked for, and what the client has when it leaves
CALLS = {
    "waiting for the head": (waits(), True, b""),
    "in the stream": (waits(HEAD, *HELLO), True, b'"lo"'),
    "in the stream, before its content": (waits(HEAD, HELLO[0]), True, b"message_start"),
    "waiting for a whole answer": (waits(), False, b""),
    "in the middle of a whole answer": (waits(json_response(bytes(100))[:-50]), False, b""),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(folder: Path) -> AsyncIterator[Line]:
    async with backend() as served, serve(folder, BACKEND_URL=served.url, **SETTINGS) as gateway:
        line = Line(gateway, served, 1000)
        await line.is_well()
        line.descriptors = await gateway.descriptors_at_rest()
        yield line


@LEAVE
@pytest.mark.parametrize(
    "sent",
    [REQUEST[:8], REQUEST[:60], REQUEST[:-20], b""],
    ids=["in the request line", "in the headers", "in the body", "before it says anything"],
)
async def test_a_client_that_leaves_in_its_request(
    sent: bytes, leave: Callable[[asyncio.StreamWriter], None], line: Line
) -> None:
    _, writer = await line.connect(sent)
    await until(lambda: line.gateway.descriptors > line.descriptors, FREED_SECONDS)
    leave(writer)

    await line.gateway.comes_to_rest(line.descriptors)
    writer.close()
    assert line.backend.asked.empty()
    await line.is_well()


@LEAVE
@pytest.mark.parametrize("stage", CALLS)
async def test_a_client_that_leaves_frees_the_backend(
    stage: str, leave: Callable[[asyncio.StreamWriter], None], line: Line
) -> None:
    await freed(line, stage, leave)
    await line.is_well()


async def freed(line: Line, stage: str, leave: Callable[[asyncio.StreamWriter], None]) -> float:
    """The seconds from the client's leaving to the end of the backend's connection."""
    line.backend.handler, stream, mark = CALLS[stage]
    reader, writer = await line.connect(request(stream=stream))
    await line.backend.asked.get()
    if mark:
        await reader.readuntil(mark)
    assert line.backend.left.empty()
    started = asyncio.get_running_loop().time()
    leave(writer)
    ended = await asyncio.wait_for(line.backend.left.get(), FREED_SECONDS)
    writer.close()
    return ended - started


async def test_how_soon_the_backend_is_free(line: Line) -> None:
    for stage in ("waiting for the head", "in the stream", "waiting for a whole answer"):
        took = [await freed(line, stage, close) * 1000 for _ in range(LEAVES)]
        print(f"{stage}: median {statistics.median(took):.1f} ms, worst {max(took):.1f} ms of {LEAVES}")
    await line.is_well()


@pytest.mark.parametrize(
    ("stream", "leave"), [(True, hang_up), (True, close), (False, half_close)], ids=["reset", "close", "half-close"]
)
async def test_a_client_that_leaves_before_the_next_try_ends_the_tries(
    stream: bool, leave: Callable[[asyncio.StreamWriter], None], line: Line
) -> None:
    line.backend.handler = says(BUSY)
    tries, gone = line.logged(event="trying again"), line.logged(outcome="client_gone")
    _, writer = await line.connect(request(stream=stream))
    await line.backend.asked.get()
    await until(lambda: line.logged(event="trying again") > tries, 1.0)
    leave(writer)

    await until(lambda: line.logged(outcome="client_gone") > gone, FREED_SECONDS)
    await line.gateway.comes_to_rest(line.descriptors)
    writer.close()
    with pytest.raises(TimeoutError):
        # the next try would have come by then
        await asyncio.wait_for(line.backend.asked.get(), 1.3)
    await line.is_well()


async def test_a_body_that_does_not_come_is_a_408(line: Line) -> None:
    reader, writer = await line.connect(REQUEST[:-20])

    head = await reader.readuntil(b"\r\n\r\n")
    error = await reader.readuntil(b"timeout_error")
    writer.close()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in head
    assert error.startswith(b'{"type":"error"')
    await line.is_well()


async def test_a_client_that_takes_nothing_of_a_stream_is_cut(line: Line) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(chunk({"content": "x" * 1000}))
            await writer.drain()

    line.backend.handler = endless
    reader, writer = await line.connect(REQUEST)
    await reader.readuntil(b"message_start")

    await asyncio.wait_for(line.backend.left.get(), 5)
    await line.gateway.comes_to_rest(line.descriptors)
    hang_up(writer)
    await line.is_well()
