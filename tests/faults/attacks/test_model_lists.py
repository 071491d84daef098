"""Clients of a backend that gives each account a list of its own."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from tests.conftest import ask
from tests.faults.conftest import serve, session

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(30)]

LISTS = {"Bearer cpk_alice": ["common", "alice/secret-tune"], "Bearer cpk_bob": ["common", "bob/secret-tune"]}


async def list_models(request: web.Request) -> web.Response:
    ids = LISTS.get(request.headers.get("Authorization", ""))
    if ids is None:
        return web.json_response({"error": {"message": "Unauthorized"}}, status=401)
    return web.json_response({"data": [{"id": name} for name in ids]})


async def complete(request: web.Request) -> web.Response:
    asked = json.loads(await request.read())
    if asked["model"] not in LISTS[request.headers["Authorization"]]:
        return web.json_response({"error": {"message": "no such model"}}, status=404)
    return web.json_response({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})


async def test_no_client_learns_the_models_of_another(folder: Path) -> None:
    app = web.Application()
    app.router.add_get("/v1/models", list_models)
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    backend = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with serve(folder, BACKEND_URL=backend, METRICS_PORT="0") as gateway, session() as client:
            shown: dict[str, str] = {"alice": "", "bob": ""}
            for _ in range(3):
                for name in shown:
                    headers = {"Authorization": f"Bearer cpk_{name}"}
                    for path in ("models?limit=1000", "models/nothing", f"models/{name}/secret-tune"):
                        async with client.get(f"{gateway.url}/v1/{path}", headers=headers) as response:
                            assert response.status == (404 if path.endswith("nothing") else 200)
                            shown[name] += await response.text()
                    for model, status in ((f"claude-{name}/secret-tune", 200), ("secret-tune", 404)):
                        async with client.post(
                            f"{gateway.url}/v1/messages", json=ask(model=model), headers=headers
                        ) as response:
                            assert response.status == status
                            shown[name] += await response.text()
            metrics = gateway.told("listening")[0]["metrics"]
            public = ""
            for url in (f"{gateway.url}/health", metrics):
                async with client.get(url) as response:
                    public += await response.text()
            async with client.get(f"{gateway.url}/events") as events:
                while "\n\n" not in public.partition("snapshot")[2]:
                    public += (await events.content.readany()).decode()

            assert "bob" not in shown["alice"]
            assert "alice" not in shown["bob"]
            catalogue = json.loads(public.partition("event: snapshot\ndata: ")[2].partition("\n")[0])["models"]
            assert catalogue == []
            assert "secret-tune" not in public.partition("event: snapshot")[0]
    finally:
        await runner.cleanup()
