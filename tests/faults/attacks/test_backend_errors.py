"""A backend's error is a text that a client can choose, for backends echo what they refuse: it must do no harm."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.conftest import TOKEN, ask
from tests.faults.conftest import Backend, Process, backend, json_response, serve, session

pytestmark = [pytest.mark.attacks, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

FINE = json_response(
    json.dumps({"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode()
)


@dataclass
class Line:
    gateway: Process
    backend: Backend

    async def post(self, client: aiohttp.ClientSession, **fields: Any) -> tuple[int, Any]:
        async with client.post(f"{self.gateway.url}/v1/messages", json=ask(**fields), headers=TOKEN) as response:
            return response.status, await response.json()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def line(folder: Path) -> AsyncIterator[Line]:
    async with backend() as answering, serve(folder, BACKEND_URL=answering.url) as gateway:
        yield Line(gateway, answering)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 16_000,
        "a" * 200_000,
        "1" * 200_000,
        "model " * 40_000,
        "Tool call id was " * 15_000,
        "exceed context limit: " + "9" * 5_000 + " + 5 > 1",
        "maximum context length is " + "9" * 5_000 + " tokens",
        "max_tokens: 1 > " + "9" * 5_000,
    ],
    ids=lambda text: text[:20],
)
async def test_an_error_of_any_text_holds_up_nobody(line: Line, text: str) -> None:
    async with session() as client:
        line.backend.whole = json_response(json.dumps({"error": {"message": text}}).encode(), status=400)
        # far longer than it takes, and far shorter than a quadratic search does
        async with asyncio.timeout(2.0):
            results = await asyncio.gather(*(refused(line, client) for _ in range(3)))
        for status, body in results:
            assert status == 400
            assert len(body["error"]["message"]) < 5_000
        line.backend.whole = FINE
        assert (await line.post(client))[0] == 200


async def refused(line: Line, client: aiohttp.ClientSession) -> tuple[int, Any]:
    answer = await line.post(client)
    await line.gateway.health()
    return answer
