"""Four gateways behind real Caddy: replaced one by one under load, and one of them killed.

Each is a process of its own. It leaves in order: at SIGTERM its /ready says no, Caddy sends it nothing more, what it
has begun it ends; only then its successor takes the port.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import END, HELLO, TOKEN, ask, chunk, events
from tests.deploy.caddy import CURRENT, DEBIAN, free_port
from tests.deploy.conftest import StartCaddy
from tests.faults.conftest import Backend, Process, backend, json_response, serve, until

pytestmark = [pytest.mark.caddy, pytest.mark.timeout(120)]

REPLICAS = 4
STREAMS = 24
PIECES = 12
PIECE_SECONDS = 0.1
SETTINGS = {
    # Caddy looks twice a second
    "SHUTDOWN_DELAY_SECS": "1.5",
    # more than a stream takes
    "SHUTDOWN_GRACE_SECS": "5",
}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
WHOLE = json_response(json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode())
MESSAGES = "/v1/messages"


async def paced(writer: asyncio.StreamWriter) -> None:
    """An answer of more than a second."""
    writer.write(HEAD)
    for _ in range(PIECES):
        writer.write(chunk({"content": "word "}))
        await writer.drain()
        await asyncio.sleep(PIECE_SECONDS)
    writer.write(b"".join(END))
    writer.close()


async def at_once(writer: asyncio.StreamWriter) -> None:
    writer.write(WHOLE)
    writer.close()


@dataclass
class Replicas:
    """The gateways, each on a port of its own; `generations` counts the starts."""

    folder: Path
    backend: Backend
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(REPLICAS)])
    running: dict[int, tuple[Process, AsyncExitStack]] = field(default_factory=dict)
    generations: int = 0

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    async def start(self, port: int) -> Process:
        """Returns once it is ready."""
        self.generations += 1
        folder = self.folder / str(self.generations)
        folder.mkdir()
        stack = AsyncExitStack()
        process = await stack.enter_async_context(
            serve(folder, BACKEND_URL=self.backend.url, HOST_PORT=str(port), **SETTINGS)
        )
        self.running[port] = process, stack
        async with aiohttp.ClientSession() as client, asyncio.timeout(10):
            while (await client.get(f"{process.url}/ready")).status != 200:
                pass
        return process

    async def stop(self, port: int) -> None:
        """SIGTERM; it must leave in order, and must have complained of nothing."""
        _, stack = self.running.pop(port)
        await stack.aclose()

    async def kill(self, port: int) -> None:
        """SIGKILL."""
        process, stack = self.running.pop(port)
        os.kill(process.pid, signal.SIGKILL)
        # it cannot leave in order
        with contextlib.suppress(AssertionError, ProcessLookupError):
            await stack.aclose()

    def served(self) -> list[int]:
        """Of each generation, how many requests for messages it has logged."""
        logs = [self.folder / str(number + 1) / "log" for number in range(self.generations)]
        return [log.read_text().count(f'"{MESSAGES}"') for log in logs]


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    async with backend() as behind:
        replicas = Replicas(tmp_path, behind)
        for port in replicas.ports:
            await replicas.start(port)
        yield replicas
        await asyncio.gather(*map(replicas.stop, list(replicas.running)))


async def ask_for_a_stream(client: aiohttp.ClientSession) -> str:
    """How it went: "whole", or what went wrong."""
    async with client.post(MESSAGES, json=ask(stream=True), headers=TOKEN) as response:
        if response.status != 200:
            return f"{response.status}: {await response.text()}"
        received = events(await response.read())
    text = [data["delta"]["text"] for name, data in received if name == "content_block_delta"]
    whole = received[-1][0] == "message_stop" and "".join(text) == "word " * PIECES
    return "whole" if whole else f"broken after {len(received)} events: {received[-1]}"


async def ask_shortly(client: aiohttp.ClientSession) -> str:
    async with client.post(MESSAGES, json=ask(), headers=TOKEN) as response:
        return "whole" if response.status == 200 else f"{response.status}: {await response.text()}"


async def test_replicas_are_replaced_one_by_one_under_load(replicas: Replicas, start_caddy: StartCaddy) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        # `_serve` has put the body there just now
        body = json.loads(replicas.backend.asked.get_nowait())
        await (paced if body.get("stream") else at_once)(writer)

    replicas.backend.handler = answer
    caddy = await start_caddy(*replicas.urls)
    done = asyncio.Event()
    streams: Counter[str] = Counter()
    shorts: Counter[str] = Counter()

    async def stream_on(client: aiohttp.ClientSession) -> None:
        while not done.is_set():
            streams[await ask_for_a_stream(client)] += 1

    async def ask_on(client: aiohttp.ClientSession) -> None:
        while not done.is_set():
            shorts[await ask_shortly(client)] += 1
            await asyncio.sleep(0.1)

    async with caddy.session() as client, asyncio.TaskGroup() as load:
        for _ in range(STREAMS):
            load.create_task(stream_on(client))
        for _ in range(4):
            load.create_task(ask_on(client))
        # each that is replaced has work
        await until(lambda: min(replicas.served()), 5)
        for port in replicas.ports:
            await replicas.stop(port)
            await replicas.start(port)
        # the last one is to have its share, too
        await until(lambda: replicas.served()[-1], 5)
        done.set()

    print(f"{streams.total()} streams, {shorts.total()} short requests, by process: {replicas.served()}")
    assert (set(streams), set(shorts)) == ({"whole"}, {"whole"})
    assert min(replicas.served()) > 0
    assert streams.total() > 3 * STREAMS


async def test_of_a_replica_that_is_killed_only_its_own_streams_break(
    caddy_version: str, replicas: Replicas, start_caddy: StartCaddy
) -> None:
    rest = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        body = json.loads(replicas.backend.asked.get_nowait())
        if not body.get("stream"):
            await at_once(writer)
            return
        writer.write(HEAD + HELLO[0] + HELLO[1])
        await writer.drain()
        await rest.wait()
        writer.write(HELLO[2] + b"".join(END))
        writer.close()

    replicas.backend.handler = answer
    caddy = await start_caddy(*replicas.urls)
    ended: Counter[str] = Counter()

    async with caddy.session() as client, asyncio.TaskGroup() as tasks:
        begun = [asyncio.Event() for _ in range(STREAMS)]
        for event in begun:
            tasks.create_task(stream_until_its_end(client, event, ended))
        await asyncio.gather(*(event.wait() for event in begun))
        victim = replicas.ports[0]
        held = (await replicas.running[victim][0].health())["streams"]
        assert 0 < held < STREAMS

        await replicas.kill(victim)
        # Caddy knows of it then; a request of just that moment gets a 502, for it may have been sent
        await until(lambda: ended.total() == held, 5)
        if caddy_version == DEBIAN:
            # tries none again that has a body
            await caddy.leaves_out(replicas.urls[0])
        started = asyncio.get_running_loop().time()
        assert Counter([await ask_shortly(client) for _ in range(20)]) == {"whole": 20}
        print(f"20 requests just after the kill: {asyncio.get_running_loop().time() - started:.2f} s")
        assert ended.total() == held
        rest.set()

    # before 2.8, Caddy ends every answer properly: what tells is that the stream has no end of its own
    broken = "cut" if caddy_version == CURRENT else "without its end"
    assert ended == {"whole": STREAMS - held, broken: held}
    await replicas.start(victim)
    async with caddy.session() as client, asyncio.timeout(5):
        while not replicas.served()[-1]:
            assert await ask_shortly(client) == "whole"


async def stream_until_its_end(client: aiohttp.ClientSession, begun: asyncio.Event, ended: Counter[str]) -> None:
    received = bytearray()
    try:
        async with client.post(MESSAGES, json=ask(stream=True), headers=TOKEN) as response:
            async for piece in response.content.iter_any():
                received += piece
                begun.set()
    except aiohttp.ClientPayloadError:
        ended["cut"] += 1
    else:
        ended["whole" if b"message_stop" in received else "without its end"] += 1
