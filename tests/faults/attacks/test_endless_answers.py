"""A backend that sends without end stops neither the gateway nor the other requests: memory and answers stay in bounds."""

import asyncio
import contextlib
import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest

from tests.conftest import chunk
from tests.faults.conftest import Answer, Backend, Process, backend, json_response, serve, session

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(60)]

MIB = 1024 * 1024
SAYS_SO = re.compile("larger than|sent (?:a|more)|not a chat completion")
# for one answer of 64 MiB in pieces and joined, with what the allocator keeps
GROWTH = 400 * MIB
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
CHUNKED = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
TOKEN = {"x-api-key": "any"}
BEGUN = b'{"choices":[{"message":{"content":"'


def repeated(*head: bytes, pump: bytes) -> Iterator[bytes]:
    yield from head
    pump *= max(1, 65536 // len(pump))
    for _ in range(3 * 1024 * MIB // len(pump)):
        yield pump


def chunks(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def bomb(wbits: int) -> bytes:
    compressor = zlib.compressobj(9, wbits=wbits)
    return b"".join([*(compressor.compress(b" " * MIB) for _ in range(200)), compressor.flush()])


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
ENDLESS = {
    "an endless line": (CHUNKED, chunks(b"data: "), chunks(b"x" * 65536)),
    "an endless comment": (CHUNKED, chunks(b": "), chunks(b"x" * 65536)),
    "endless comments": (CHUNKED, b"", chunks(b": nothing\n\n" * 6000)),
    "endless blank lines": (CHUNKED, b"", chunks(b"\n" * 65536)),
    "endless empty events": (CHUNKED, b"", chunks(b"data: {}\n\n" * 6000)),
    "endless data lines": (CHUNKED, b"", chunks(b"data:\n" * 10000)),
    "endless blanks": (CHUNKED, b"", chunks(chunk({"content": " "}) * 500)),
    "a chunk's size without end": (CHUNKED, b"", b"0" * 65536),
    "small chunks of blank lines": (CHUNKED, b"", b"40\r\n" + b"\n" * 64 + b"\r\n"),
    "calls without end": (CHUNKED, b"", chunks(
        b"".join(chunk({"tool_calls": [CALL | {"index": n, "id": f"c{n}"}]}) for n in range(3000))
    )),
    "arguments without end": (
        CHUNKED,
        chunks(chunk({"tool_calls": [CALL | {"index": 0, "function": {"name": "f", "arguments": '{"a":"'}}]})),
        chunks(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}" * 30000}}]})),
    ),
    "interim responses": (b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a head without end": (b"HTTP/1.1 200 OK\r\n", b"", b"X-More: and more\r\n"),
    "a header without end": (b"HTTP/1.1 200 OK\r\nX-More: ", b"", b"x" * 65536),
    "one JSON in chunks": (JSON + b"Transfer-Encoding: chunked\r\n\r\n", chunks(BEGUN), chunks(b"x" * 65536)),
    "one JSON to the end of the connection": (JSON + b"\r\n", BEGUN, b"x" * 65536),
    "one JSON with its length": (JSON + b"Content-Length: 9000000000\r\n\r\n", BEGUN, b"x" * 65536),
    "gzip": (JSON + b"Content-Encoding: gzip\r\n\r\n", bomb(31), b""),
    "deflate": (JSON + b"Content-Encoding: deflate\r\n\r\n", bomb(15), b""),
}  # fmt: skip


@pytest.fixture(scope="module")
def gzipped() -> bytes:
    return gzip.compress(b" " * 256 * MIB)


@contextlib.asynccontextmanager
async def gateway_with_backend(folder: Path) -> AsyncIterator[tuple[Process, Backend]]:
    async with backend() as served, serve(folder, BACKEND_URL=served.url) as gateway:
        yield gateway, served


def sends(pieces: Iterable[bytes]) -> Answer:
    async def handler(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        writer.close()

    return handler


@contextlib.asynccontextmanager
async def unharmed(gateway: Process, growth: int) -> AsyncIterator[None]:
    """Fails if the gateway stands still, or if its memory grows by more than so many bytes."""
    before = gateway.rss
    watch = asyncio.create_task(slowest_health(gateway))
    yield
    assert not watch.done(), watch
    watch.cancel()
    await asyncio.wait([watch])
    assert gateway.rss - before < growth


async def ask(gateway: Process, *, stream: bool) -> str:
    body = {"model": "Vendor/Model-1", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    async with (
        session() as client,
        client.post(f"{gateway.url}/v1/messages", json=body | {"stream": stream}, headers=TOKEN) as response,
    ):
        answer = bytearray()
        with contextlib.suppress(Exception):
            async for piece in response.content.iter_any():
                answer += piece
        return answer[-4000:].decode()


async def slowest_health(gateway: Process) -> float:
    slowest, loop = 0.0, asyncio.get_running_loop()
    while True:
        began = loop.time()
        await gateway.health()
        slowest = max(slowest, loop.time() - began)
        if slowest > 2:
            raise AssertionError(f"the loop stood still for {slowest:.1f} s")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_an_answer_without_end_ends_in_an_error(stream: bool, folder: Path) -> None:
    async with gateway_with_backend(folder) as (gateway, served):
        for kind, (head, first, pump) in ENDLESS.items():
            served.handler = sends(repeated(head, first, pump=pump) if pump else [head, first])
            async with unharmed(gateway, GROWTH):
                said = await ask(gateway, stream=stream)
            assert SAYS_SO.search(said), (kind, said)
        served.handler = None
        served.whole = json_response(json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode())
        assert '"Hi"' in await ask(gateway, stream=False)


async def test_an_error_without_end_is_told(gzipped: bytes, folder: Path) -> None:
    begun = b'{"error":{"message":"'
    async with gateway_with_backend(folder) as (gateway, served):
        for status in (400, 404, 500):
            head = b"HTTP/1.1 %d No\r\nContent-Type: application/json\r\n" % status
            served.handler = sends(repeated(head + b"\r\n", begun, pump=b"x" * 65536))
            async with unharmed(gateway, 100 * MIB):
                assert "backend: " in await ask(gateway, stream=False)
            served.handler = sends([head + b"Content-Encoding: gzip\r\n\r\n", gzipped])
            async with unharmed(gateway, 100 * MIB):
                assert '"type":"error"' in await ask(gateway, stream=False)


async def test_an_answer_of_a_million_parts_is_refused(folder: Path) -> None:
    bodies = (
        b'{"choices":[' + b"{}," * 3_000_000 + b"{}]}",
        b'{"choices":[{"message":{"tool_calls":[' + b"{}," * 300_000 + b"{}]}}]}",
        b'{"choices":[{"message":{"content":[' + b'"",' * 300_000 + b'""]}}]}',
        b'{"choices":[{"message":{"content":' + b"[" * 1_000_000,
        b'{"choices":[{"message":{"content":[' + b"NaN," * 3_000_000 + b"1]}}]}",
        json.dumps({"choices": [{"message": {"tool_calls": [CALL] * 100_000}}]}).encode(),
    )
    async with gateway_with_backend(folder) as (gateway, served):
        for body in bodies:
            served.handler = sends([json_response(body)])
            async with unharmed(gateway, 200 * MIB):
                said = await ask(gateway, stream=False)
            assert SAYS_SO.search(said), (body[:40], said)


async def test_a_model_list_without_end_is_refused(gzipped: bytes, folder: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(JSON + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzipped) + gzipped)
            await writer.drain()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with serve(folder, BACKEND_URL=url) as gateway, session() as client:
        before = gateway.rss
        async with client.get(f"{gateway.url}/v1/models", headers=TOKEN) as response:
            said = await response.text()
        assert "model list of more than 8 MiB" in said
        assert gateway.rss - before < 100 * MIB
    server.close()
