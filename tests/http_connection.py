"""A connection to a gateway, for tests that write HTTP byte by byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.app import make_app
from gateway.serving.server import listening
from gateway.settings import load_settings
from tests.conftest import ScriptedBackend, respond

COMPLETION = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """The next response: status, headers, JSON."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split(" ")[1]), headers, json.loads(body)

    async def send(self, data: bytes) -> tuple[int, dict[str, str], Any]:
        self.writer.write(data)
        return await self.answer()

    async def refusal(self, data: bytes) -> tuple[int, str, str]:
        """Status, error type and message."""
        status, _, answer = await self.send(data)
        return status, answer["error"]["type"], answer["error"]["message"]


Connect = Callable[..., Awaitable[Connection]]


@pytest.fixture
async def connect(scripted: ScriptedBackend, tmp_path: Path) -> AsyncIterator[Connect]:
    """Connects to a gateway in front of the scripted backend, which answers each request with the same words."""
    scripted.answers = [respond(json.dumps(COMPLETION).encode()) for _ in range(9)]
    async with AsyncExitStack() as stack:

        async def start(**settings: str) -> Connection:
            flags = {"host_port": "0", "backend_url": scripted.url, "shutdown_grace_secs": "0", **settings}
            loaded = load_settings(flags, {}, tmp_path)
            url = await stack.enter_async_context(listening(make_app(loaded), loaded))
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            stack.callback(writer.close)
            return Connection(reader, writer)

        yield start
