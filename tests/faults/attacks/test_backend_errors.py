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


async def test_half_a_command_is_not_run(line: Line) -> None:
    cut = '{"command": "rm -rf /srv/build'
    call = {"id": "c1", "type": "function", "function": {"name": "Bash", "arguments": cut}}
    async with session() as client:
        for finish in ("stop", "tool_calls"):
            choice = {"index": 0, "message": {"tool_calls": [call]}, "finish_reason": finish}
            line.backend.whole = json_response(json.dumps({"choices": [choice]}).encode())
            _, body = await line.post(client)
            assert body["content"][0]["input"] == {"__unparsedToolInput": {"raw": cut, "len": len(cut)}}


async def test_no_client_turns_images_off_for_the_others(line: Line) -> None:
    # the backend repeats the media type, and the client has chosen it
    async def answer(writer: asyncio.StreamWriter) -> None:
        body = line.backend.asked.get_nowait()
        sees.append(b'"image_url"' in body)
        error = {"error": {"message": "Invalid media type: x support image"}}
        writer.write(json_response(json.dumps(error).encode(), status=400) if b"x support image" in body else FINE)

    def about(media_type: str) -> dict[str, Any]:
        source = {"type": "base64", "media_type": media_type, "data": "iVBORw0KGgo="}
        return {"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}

    sees: list[bool] = []
    while not line.backend.asked.empty():
        line.backend.asked.get_nowait()
    line.backend.handler = answer
    try:
        async with session() as client:
            for media_type in ("x support image", "image/png"):
                await line.post(client, **about(media_type))
    finally:
        line.backend.handler = None
    assert sees[-1]
