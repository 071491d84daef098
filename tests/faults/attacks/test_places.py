"""A key that takes all the places it can get: others still get one."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conftest import END, HELLO, ask
from tests.faults.conftest import backend, serve, session

pytestmark = pytest.mark.attacks

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
MOST = 8


def token(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_key_that_opens_streams_leaves_room_for_others(workers: str, tmp_path: Path) -> None:
    good, hostile = "key-of-the-good-one", "key-of-the-hostile-one"
    done = asyncio.Event()

    async def held(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"".join(HELLO))
        await done.wait()
        writer.write(b"".join(END))

    settings = {"GATEWAY_API_KEYS": f"{good},{hostile}", "MAX_STREAMS": str(MOST), "WORKERS": workers}
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(backend())
        gateway = await stack.enter_async_context(serve(tmp_path, BACKEND_URL=served.url, **settings))
        client = await stack.enter_async_context(session())
        served.handler = held
        statuses = []
        for _ in range(MOST * 2):
            post = client.post(f"{gateway.url}/v1/messages", json=ask(stream=True), headers=token(hostile))
            statuses.append((await stack.enter_async_context(post)).status)
        assert statuses.count(200) <= MOST // 2
        assert set(statuses) == {200, 429}
        async with client.post(f"{gateway.url}/v1/messages", json=ask(stream=True), headers=token(good)) as response:
            assert response.status == 200
            done.set()
            assert b"message_stop" in await response.read()
