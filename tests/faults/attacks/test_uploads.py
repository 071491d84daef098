"""Clients that send bodies in order to hold memory and places: half sent, idle, packed, many at once, and left."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import END, HELLO, TOKEN, ask
from tests.faults.conftest import Backend, Process, backend, serve, session, until

pytestmark = pytest.mark.attacks

MIB = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
# what the gateway may keep of any number of large requests
MOST_KEPT = 30 * MIB


def request(body: bytes, *fields: str, path: str = "/v1/messages", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: {TOKEN['Authorization']}", *fields]
    return "\r\n".join([*lines, f"Content-Length: {size}", "", ""]).encode() + body


def large(mib: int, **fields: Any) -> bytes:
    blocks = [{"type": "text", "text": "x" * 2000} for _ in range(mib * MIB // 2030)]
    return json.dumps(ask(messages=[{"role": "user", "content": blocks}], **fields)).encode()


@asynccontextmanager
async def line(folder: Path, **settings: str) -> AsyncIterator[tuple[Process, Backend]]:
    async with backend() as served, serve(folder, BACKEND_URL=served.url, **settings) as gateway:
        served.streamed = HEAD + b"".join([*HELLO, *END])
        await is_well(gateway)
        yield gateway, served


async def is_well(gateway: Process) -> None:
    async with session() as client:
        post = client.post(f"{gateway.url}/v1/messages", json=ask(stream=True), headers=TOKEN)
        async with post as response:
            assert b"message_stop" in await response.read()


async def connect(gateway: Process, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(sent)
    return reader, writer


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], str]:
    """Status, headers, message."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split(" ")[1]), headers, json.loads(body)["error"]["message"]


@pytest.mark.parametrize("stage", ["during the upload", "while the backend is silent", "packed"])
async def test_memory_comes_back_after_clients_that_leave(stage: str, tmp_path: Path) -> None:
    packed = gzip.compress(large(60), 9)
    sent = {
        "during the upload": request(large(24))[:-100],
        "while the backend is silent": request(large(24, stream=True)),
        "packed": request(packed, "Content-Encoding: gzip")[:-10],
    }[stage]
    done = asyncio.Event()

    async def silent(_: asyncio.StreamWriter) -> None:
        await done.wait()

    async def leave() -> None:
        _, writer = await connect(gateway, sent)
        await writer.drain()
        await asyncio.sleep(0.5)
        writer.transport.abort()

    async with line(tmp_path, MAX_BODIES_MIB="1000") as (gateway, served):
        # the first one loads what is loaded once
        await leave()
        await asyncio.sleep(1)
        before = gateway.rss
        served.handler = silent
        for _ in range(2):
            await asyncio.gather(*(leave() for _ in range(5)))
        # what it has accepted, it works off one after the other
        await until(lambda: gateway.rss <= before + MOST_KEPT, 40)
        done.set()
        served.handler = None
        await is_well(gateway)
        assert (await gateway.health())["streams"] == 0


async def test_idle_uploads_take_no_place_and_end_soon(tmp_path: Path) -> None:
    settings = {"MAX_STREAMS": "5", "MAX_UPLOADS": "40", "UPLOAD_PAUSE_SECS": "2", "SHUTDOWN_GRACE_SECS": "0"}
    async with line(tmp_path, **settings) as (gateway, _), AsyncExitStack() as stack:
        idle = []
        for number in range(25):
            path = "/v1/messages" if number % 2 else "/v1/messages/count_tokens"
            reader, writer = await connect(gateway, request(b'{"model"', length=1000, path=path))
            stack.callback(writer.close)
            idle.append(answer(reader))
        answers = await asyncio.gather(*idle[20:])
        assert {status for status, *_ in answers} == {429}
        assert answers[0][1]["retry-after"] == "2"
        assert answers[0][2].startswith("this client already has 20 uploads in progress, half of MAX_UPLOADS: ")
        # its body comes with its head
        await is_well(gateway)
        assert {(status, message) for status, _, message in await asyncio.gather(*idle[:20])} == {
            (
                408,
                "the request body came more slowly than 4096 bytes/s for 2 s: check the connection, or start the gateway "
                "with a larger UPLOAD_PAUSE_SECS",
            )
        }
        reader, writer = await connect(gateway, request(large(1), path="/v1/messages/count_tokens"))
        stack.callback(writer.close)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_sends_single_bytes_is_cut_off(tmp_path: Path) -> None:
    async with line(tmp_path, UPLOAD_PAUSE_SECS="1") as (gateway, _):
        reader, writer = await connect(gateway, request(b"{", length=10_000))
        answered = asyncio.create_task(answer(reader))
        async with asyncio.timeout(10):
            while not answered.done():
                writer.write(b" ")
                await asyncio.sleep(0.05)
        assert (await answered)[0] == 408
        writer.close()


async def test_a_slow_line_is_served(tmp_path: Path) -> None:
    body = json.dumps(ask("x" * 20_000, stream=True)).encode()
    async with line(tmp_path, UPLOAD_PAUSE_SECS="0.5") as (gateway, _):
        reader, writer = await connect(gateway, request(body)[:-20_000])
        for at in range(len(body) - 20_000, len(body), 1000):
            writer.write(body[at : at + 1000])
            await asyncio.sleep(0.1)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
async def test_bodies_share_a_budget_of_memory(packed: bool, tmp_path: Path) -> None:
    body = large(20)
    sent = request(gzip.compress(body, 9), "Content-Encoding: gzip") if packed else request(body)
    async with line(tmp_path, MAX_BODIES_MIB="64", MAX_BODY_MIB="24") as (gateway, _), AsyncExitStack() as stack:
        before = gateway.rss
        answers = []
        for _ in range(12):
            # all but the last bytes: none of them is answered before all are there
            reader, writer = await connect(gateway, sent[:-8])
            stack.callback(writer.close)
            answers.append(asyncio.create_task(answer(reader)))
        async with asyncio.timeout(20):
            done, waiting = set[Any](), set(answers)
            while len(done) < 11:
                now, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                done |= now
        said = {task.result()[2] for task in done}
        assert {task.result()[0] for task in done} <= {429, 529}
        assert said <= {
            "this client's requests already take up 32 MiB with this body, the most that one client may have: wait for "
            "one to be answered, or ask the operator for a larger MAX_BODIES_MIB",
            "the requests in progress take up 64 MiB with this body, the limit set by MAX_BODIES_MIB: try again in a "
            "moment",
        }
        assert gateway.rss < before + 3 * 64 * MIB
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
