"""One model of the backend that fails or hangs must not take the others along."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import TOKEN, ask
from tests.faults.conftest import Process, serve, session

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(30)]

SETTINGS = {
    "ENABLE_CIRCUIT_BREAKER": "true",
    "CIRCUIT_BREAKER_FAIL_MAX": "5",
    "CIRCUIT_BREAKER_RESET_SECS": "0.5",
    "CIRCUIT_BREAKER_TRIAL_SECS": "0.5",
    "BACKEND_RETRIES": "0",
}


async def send(gateway: Process, client: aiohttp.ClientSession, model: str) -> int:
    async with client.post(f"{gateway.url}/v1/messages", json=ask(model=model), headers=TOKEN) as response:
        await response.read()
        return response.status


async def test_a_model_that_fails_and_then_hangs_refuses_only_itself(folder: Path) -> None:
    mood = "fails"
    hanging = asyncio.Semaphore(0)
    over = asyncio.Event()

    async def list_models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "bad"}, {"id": "good"}]})

    async def complete(request: web.Request) -> web.Response:
        if json.loads(await request.read())["model"] == "bad":
            if mood == "fails":
                return web.json_response({"error": {"message": "out of memory"}}, status=500)
            if mood == "hangs":
                hanging.release()
                await over.wait()
        return web.json_response({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})

    app = web.Application()
    app.router.add_get("/v1/models", list_models)
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    backend = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with serve(folder, BACKEND_URL=backend, **SETTINGS) as gateway, session() as client:
            assert [await send(gateway, client, "bad") for _ in range(5)] == [500] * 5
            assert await send(gateway, client, "bad") == 529
            assert await send(gateway, client, "good") == 200
            assert (await gateway.health())["circuit_breaker"] == {"state": "open", "failures": 5, "opened": 1}
            async with client.get(f"{gateway.url}/ready") as response:
                assert response.status == 200

            mood = "hangs"
            trials = [asyncio.create_task(trial(gateway, client)) for _ in range(2)]
            # the second trial is let through although the first one has no result
            for _ in trials:
                await hanging.acquire()
            assert await send(gateway, client, "good") == 200
            mood = "works"
            over.set()
            assert await asyncio.gather(*trials) == [200, 200]
            assert await send(gateway, client, "bad") == 200
            assert (await gateway.health())["circuit_breaker"] == {"state": "closed", "failures": 0, "opened": 1}
    finally:
        await runner.cleanup()


async def trial(gateway: Process, client: aiohttp.ClientSession) -> int:
    """Ask until the breaker lets it through."""
    while (status := await send(gateway, client, "bad")) == 529:
        pass
    return status
