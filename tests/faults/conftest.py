"""The gateway as a process of its own, its backend, and what goes wrong between them."""

import asyncio
import contextlib
import json
import os
import re
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import MODELS
from tests.gateway_process import GATEWAY, python

# what asyncio, aiohttp and Python say of work that was left behind, and what the gateway says of its own faults
_COMPLAINTS = ("never retrieved", "never awaited", "was destroyed", "Unclosed", "Traceback", "not kept alive")
_SECONDS = 10.0
_HEAD = re.compile(rb"(?:POST /v1/chat/completions|GET /v1/models) HTTP/1\.1\r\n(?:[A-Za-z-]+: [^\r\n]+\r\n)+\r\n")


@dataclass
class Process:
    """A gateway that serves."""

    pid: int
    log: Path
    url: str = ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208  # no folder of a disk

    @property
    def rss(self) -> int:
        """Memory in use, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log about `event`."""
        return [line for line in self.lines() if line["event"] == event]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The access log so far."""
        return self.told("request")

    async def health(self) -> Any:
        async with session() as client, client.get(f"{self.url}/health") as response:
            return await response.json()

    async def descriptors_at_rest(self) -> int:
        """How many it holds when their number no longer changes."""
        seen = [-1]
        while len(set(seen[-20:])) > 1 or len(seen) < 20:
            seen.append(self.descriptors)
            await asyncio.sleep(0.01)
        return seen[-1]

    async def comes_to_rest(self, descriptors: int) -> None:
        """Fails if, after some seconds, the process holds more than it did."""
        await until(lambda: self.descriptors <= descriptors, 5.0)


@asynccontextmanager
async def serve(folder: Path, *, tolerated: str | None = None, **settings: str) -> AsyncIterator[Process]:
    """Runs `python -m gateway`, warnings as errors, with no settings but those given. At its end it must leave in
    order, and must have complained of nothing, or only in lines with the words that are `tolerated`.
    """
    log = folder / "log"
    environment = {"HOST_PORT": "0", "SHUTDOWN_GRACE_SECS": "1"} | settings
    with log.open("wb") as file:
        async with python(*GATEWAY, folder=folder, environment=environment, stdout=DEVNULL, stderr=file) as child:
            process = Process(child.pid, log)
            await until(lambda: process.told("listening") or child.returncode is not None, _SECONDS)
            process.url = process.told("listening")[0]["url"]
            yield process
            child.terminate()
            assert await asyncio.wait_for(child.wait(), _SECONDS) == 0
    complaints = [line for line in log.read_text().splitlines() if any(word in line for word in _COMPLAINTS)]
    assert not [line for line in complaints if tolerated is None or tolerated not in line]


async def until(holds: Callable[[], Any], seconds: float) -> None:
    """Wait until something holds; fails after so many seconds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # what a process holds, and its log, tell nobody when they change
            await asyncio.sleep(0.01)


def session() -> aiohttp.ClientSession:
    """A client that leaves no connection behind, and that does not wait without end."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(sock_read=_SECONDS))


Answer = Callable[[asyncio.StreamWriter], Any]


@dataclass
class Backend:
    """A server that gives `streamed` to a request for a stream, `whole` to others, and any number of times. With
    `handler`, that answers. `left` gets the loop's time when a connection ends in the middle of a call.
    """

    streamed: bytes = b""
    whole: bytes = b""
    handler: Answer | None = None
    port: int = 0
    asked: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    left: asyncio.Queue[float] = field(default_factory=asyncio.Queue)
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="backend's connection")
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if not _HEAD.fullmatch(head):
                    writer.write(json_response(b"no HTTP", status=400))
                    return
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                if head.startswith(b"GET "):
                    writer.write(json_response(json.dumps(MODELS).encode()))
                    return
                self.asked.put_nowait(body)
                await self._answer(reader, writer, body)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        watch = asyncio.create_task(self._watch(reader), name="watch")
        try:
            if self.handler is not None:
                await self.handler(writer)
            else:
                writer.write(self._bytes(body))
                await writer.drain()
        finally:
            if self.handler is None:
                watch.cancel()
            await asyncio.wait([watch])

    def _bytes(self, body: bytes) -> bytes:
        try:
            stream = json.loads(body).get("stream")
        except ValueError:
            return json_response(b'{"error": {"message": "no JSON"}}', status=400)
        return self.streamed if stream else self.whole

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        self.left.put_nowait(asyncio.get_running_loop().time())


def json_response(body: bytes, *, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d Any\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


@asynccontextmanager
async def backend() -> AsyncIterator[Backend]:
    """A backend that listens."""
    served = Backend()
    server = await asyncio.start_server(served.connected, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in served.connections:
            task.cancel()
        if served.connections:
            await asyncio.wait(served.connections)


Start = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, without a `.env`."""
    return tmp_path_factory.mktemp("gateway")
