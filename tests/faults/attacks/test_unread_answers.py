"""Clients that ask for large answers and do not read them: they hold a place, and are cut off."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import TOKEN, ask
from tests.faults.conftest import Process, backend, json_response, serve, until

pytestmark = pytest.mark.attacks

MIB = 1024 * 1024
CLIENTS = 12
COMPLETION = {"choices": [{"message": {"content": "x" * (12 * MIB)}, "finish_reason": "stop"}]}


@asynccontextmanager
async def unread(gateway: Process, body: bytes) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
    head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN['Authorization']}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    try:
        yield reader
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_answers_that_nobody_reads_hold_a_place_until_they_are_cut(stream: bool, tmp_path: Path) -> None:
    async with (
        backend() as served,
        serve(tmp_path, BACKEND_URL=served.url, CLIENT_TIMEOUT_SECS="2", MAX_STREAMS=str(CLIENTS)) as gateway,
        AsyncExitStack() as stack,
    ):
        # also to a request for a stream
        served.whole = served.streamed = json_response(json.dumps(COMPLETION).encode())
        body = json.dumps(ask(stream=stream)).encode()
        for _ in range(CLIENTS):
            await stack.enter_async_context(unread(gateway, body))
        for _ in range(CLIENTS):
            await served.asked.get()
        assert (await gateway.health())["streams"] == CLIENTS
        reader = await stack.enter_async_context(unread(gateway, body))
        assert (await reader.readline()).startswith(b"HTTP/1.1 529")
        await until(lambda: len(gateway.requests) == CLIENTS + 1, 20)
        assert (await gateway.health())["streams"] == 0
        ended = [line for line in gateway.requests if line["outcome"] == "client_gone"]
        assert {line["error"] for line in ended} == {"the client took nothing for 2 s"}
        assert len(ended) == CLIENTS


async def test_an_answer_that_is_read_slowly_is_not_cut(tmp_path: Path) -> None:
    async with backend() as served, serve(tmp_path, BACKEND_URL=served.url, CLIENT_TIMEOUT_SECS="2") as gateway:
        served.whole = json_response(json.dumps(COMPLETION).encode())
        async with unread(gateway, json.dumps(ask()).encode()) as reader:
            received = 0
            async with asyncio.timeout(40):
                while received < 12 * MIB:
                    received += len(await reader.read(256 * 1024))
                    await asyncio.sleep(0.02)
        await until(lambda: gateway.requests, 5)
        assert gateway.requests[0]["outcome"] == "ok"
