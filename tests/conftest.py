"""What tests start: the gateway and its backends, all on real sockets in the test's own loop."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from gateway.app import make_app
from gateway.commands.demo.backend import make_backend
from gateway.relay.keep_alive import KeepAlive
from gateway.settings import load_settings

TOKEN = {"Authorization": "Bearer cpk_test"}
MODELS = {"object": "list", "data": [{"id": "Vendor/Model-1", "object": "model", "created": 1700000000}]}

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """A request as a backend got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ScriptedBackend:
    """A server that answers chat completions with the bytes that a test hands in, one answer for each request."""

    answers: list[Answer] = field(default_factory=list)
    models: bytes = json.dumps(MODELS).encode()
    models_status: int = 200
    # if set, each token has a list of its own, and others are refused
    lists: dict[str, list[str]] = field(default_factory=dict)
    requests: list[Received] = field(default_factory=list)
    listed: list[Received] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    was_listed: asyncio.Event = field(default_factory=asyncio.Event)
    client_left: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _read_request(reader):
                if request.method == "GET":
                    self.listed.append(request)
                    self.was_listed.set()
                    await self._list(request)(writer)
                    continue
                self.requests.append(request)
                self.asked.set()
                leaves = asyncio.create_task(self._watch(reader))
                try:
                    await self.answers.pop(0)(writer)
                finally:
                    leaves.cancel()
                    await asyncio.wait([leaves])
                break
        except ConnectionError:
            self.client_left.set()
        finally:
            writer.close()

    def _list(self, request: Received) -> Answer:
        if not self.lists:
            return respond(self.models, status=self.models_status)
        ids = self.lists.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if ids is None:
            return respond(b'{"error": "Unauthorized"}', status=401)
        return respond(json.dumps({"data": [{"id": name} for name in ids]}).encode())

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        if not await reader.read(1):
            self.client_left.set()


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split(" ")
    return Received(method, path, headers, body)


def respond(body: bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> Answer:
    """A whole response."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        fields = {"Content-Type": kind, "Content-Length": str(len(body))}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        writer.write(_head(status, fields) + body)
        await writer.drain()

    return answer


def stream(*pieces: bytes | asyncio.Event, cut: bool = False) -> Answer:
    """A streamed response, piece by piece; an event among the pieces is waited for. `cut`: it is never completed."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}))
        for piece in pieces:
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            else:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
        if not cut:
            writer.write(b"0\r\n\r\n")

    return answer


def silence(until: asyncio.Event) -> Answer:
    """No byte at all until the event is set; then the connection is closed."""

    async def answer(_: asyncio.StreamWriter) -> None:
        await until.wait()

    return answer


def _head(status: int, fields: dict[str, str]) -> bytes:
    fields = {**fields, "Connection": "close"}
    lines = [f"HTTP/1.1 {status} Something", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    """One event of a backend's stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": choices, **fields}).encode() + b"\n\n"


USAGE = {"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}}
HELLO = (chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"}))
END = (chunk({}, "stop"), chunk(None, usage=USAGE), b"data: [DONE]\n\n")


def events(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """An Anthropic stream as (event name, data)."""
    frames = [frame for frame in body.decode().split("\n\n") if frame]
    matches = [re.fullmatch(r"event: (\w+)\ndata: (.*)", frame) for frame in frames]
    assert all(matches), frames
    return [(match[1], json.loads(match[2])) for match in matches if match]


async def read_until(response: ClientResponse, mark: bytes) -> bytes:
    """What comes of a response up to the piece that holds `mark`."""
    received = b""
    while mark not in received:
        piece = await response.content.readany()
        assert piece, received
        received += piece
    return received


async def read_until_cut(response: ClientResponse) -> bytes:
    """What came of a response that breaks off before its end."""
    received = bytearray()
    try:
        async for piece in response.content.iter_any():
            received += piece
    except ClientPayloadError:
        return bytes(received)
    raise AssertionError("the response was not cut")


def ask(prompt: str = "Hi", **fields: Any) -> dict[str, Any]:
    """A small Messages request."""
    return {"model": "Vendor/Model-1", "max_tokens": 100, "messages": [{"role": "user", "content": prompt}], **fields}


@pytest.fixture(scope="session")
def cache() -> Path:
    """A folder for what slow tests install: CLAUDE_GATEWAY_TEST_CACHE, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "claude-gateway-tests"
    folder = Path(os.environ.get("CLAUDE_GATEWAY_TEST_CACHE") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
async def no_leaks() -> AsyncIterator[None]:
    """Fails a test that leaves a task behind. Comes down last: the fixtures that start things depend on it."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left


@pytest.fixture
async def scripted(no_leaks: None) -> AsyncIterator[ScriptedBackend]:
    """A scripted backend that is listening."""
    backend = ScriptedBackend()
    running: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.create_task(backend.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    backend.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield backend
    server.close()
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
        assert not [task.exception() for task in running if not task.cancelled() and task.exception()]


@pytest.fixture
async def embedded(no_leaks: None, aiohttp_server: Any) -> str:
    """The URL of the embedded backend, at full speed."""
    server: TestServer = await aiohttp_server(make_backend(tokens_per_second=0))
    return str(server.make_url("/"))


StartGateway = Callable[..., Awaitable[TestClient[Any, Any]]]


@pytest.fixture
async def start_gateway(no_leaks: None, aiohttp_client: Any, tmp_path: Path) -> StartGateway:
    """Starts a gateway in front of a backend: `await start_gateway(url, keep_alive=…, shutdown_grace_secs="1")`."""

    async def start(backend_url: str, *, keep_alive: KeepAlive | None = None, **settings: str) -> TestClient[Any, Any]:
        loaded = load_settings({"backend_url": backend_url, **settings}, {}, tmp_path)
        client: TestClient[Any, Any] = await aiohttp_client(make_app(loaded, keep_alive=keep_alive))
        return client

    return start
