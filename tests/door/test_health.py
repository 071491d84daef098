import asyncio
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.app import make_app
from gateway.backend.policy.breaker import BreakerStatus
from gateway.interprocess.scoreboard import Scoreboard
from gateway.settings import load_settings
from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, StartGateway, ask, respond, stream


async def test_it_tells_how_the_gateway_is_without_asking_the_backend(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)
    await scripted.was_listed.wait()
    asked = len(scripted.listed)

    status = await (await gateway.get("/health")).json()

    assert status.pop("uptime_seconds") >= 0
    assert status == {
        "status": "ok",
        "version": __version__,
        "backend": {"url": f"{scripted.url}/v1/chat/completions", "models": 1},
        "circuit_breaker": {"state": "disabled", "failures": 0, "opened": 0},
        "streams": 0,
    }
    assert len(scripted.listed) == asked
    assert scripted.requests == []


async def test_it_shows_no_query_of_the_backends_url(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(f"{scripted.url}/v1?key=canary")

    assert "canary" not in await (await gateway.get("/health")).text()


async def test_it_shows_the_breaker(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.answers = [respond(b"{}", status=500), respond(b"{}", status=500)]
    gateway = await start_gateway(scripted.url, enable_circuit_breaker="true", circuit_breaker_fail_max="2")

    states = []
    for _ in range(3):
        states.append((await (await gateway.get("/health")).json())["circuit_breaker"])
        await gateway.post("/v1/messages", json=ask(), headers=TOKEN)

    assert states == [
        {"state": "closed", "failures": 0, "opened": 0},
        {"state": "closed", "failures": 1, "opened": 0},
        {"state": "open", "failures": 2, "opened": 1},
    ]


async def test_one_of_several_workers_answers_for_all(
    scripted: ScriptedBackend, no_leaks: None, aiohttp_client: Any, tmp_path: Path
) -> None:
    rest = asyncio.Event()
    scripted.answers = [respond(b"{}", status=500), stream(*HELLO, rest, *END)]
    settings = load_settings({"backend_url": scripted.url, "enable_circuit_breaker": "true"}, {}, tmp_path)
    board = Scoreboard(3)
    board.row(0).begin(pid=100, restarts=0)
    board.row(1).begin(pid=101, restarts=4)
    board.row(1).set_streams(2)
    board.row(1).set_breaker(BreakerStatus("open", 5, 1))
    gateway = await aiohttp_client(make_app(settings, row=board.row(0)))

    async def status() -> Any:
        return await (await gateway.get("/health")).json()

    before = (await status())["workers"][0]
    await gateway.post("/v1/messages", json=ask(), headers=TOKEN)
    failed = (await status())["workers"][0]
    async with gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN) as response:
        await response.content.readany()
        during = await status()
        rest.set()
        await response.read()
    after = (await status())["workers"][0]

    mine = {"pid": 100, "restarts": 0, "streams": 0}
    assert before == {**mine, "circuit_breaker": {"state": "closed", "failures": 0, "opened": 0}}
    assert failed == {**mine, "circuit_breaker": {"state": "closed", "failures": 1, "opened": 0}}
    assert during["streams"] == 3
    assert during["circuit_breaker"] == {"state": "open", "failures": 5, "opened": 1}
    assert during["workers"] == [
        {**failed, "streams": 1},
        {"pid": 101, "restarts": 4, "streams": 2, "circuit_breaker": {"state": "open", "failures": 5, "opened": 1}},
    ]
    assert after == before


async def test_it_is_ready_once_the_backend_has_answered(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)
    await scripted.was_listed.wait()

    async def ready() -> tuple[int, Any]:
        response = await gateway.get("/ready")
        return response.status, await response.json()

    status, body = await ready()
    while status != 200:
        assert body == {"status": "not ready", "reasons": ["the backend has not been reached yet"]}
        status, body = await ready()
    assert body == {"status": "ready", "reasons": []}


async def test_a_backend_that_keeps_its_list_to_itself_is_there(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.models, scripted.models_status = b"{}", 401
    gateway = await start_gateway(scripted.url)
    await scripted.was_listed.wait()

    while (await gateway.get("/ready")).status != 200:
        pass


async def test_it_is_not_ready_without_a_backend(start_gateway: StartGateway, unused_tcp_port: int) -> None:
    gateway = await start_gateway(f"http://127.0.0.1:{unused_tcp_port}")

    response = await gateway.get("/ready")

    assert response.status == 503
    assert (await response.json())["reasons"] == ["the backend has not been reached yet"]
    assert (await gateway.get("/health")).status == 200


async def test_it_is_not_ready_while_the_breaker_is_open(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b"{}", status=500)]
    gateway = await start_gateway(scripted.url, enable_circuit_breaker="true", circuit_breaker_fail_max="1")
    await gateway.post("/v1/messages", json=ask(), headers=TOKEN)

    response = await gateway.get("/ready")

    assert response.status == 503
    assert (await response.json())["reasons"] == ["the circuit breaker is open"]


async def test_it_is_ready_again_when_the_breaker_would_let_a_trial_through(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b"{}", status=500)]
    gateway = await start_gateway(
        scripted.url,
        enable_circuit_breaker="true",
        circuit_breaker_fail_max="1",
        circuit_breaker_reset_secs="0.2",
        backend_retries="0",
    )
    await gateway.post("/v1/messages", json=ask(), headers=TOKEN)
    assert (await gateway.get("/ready")).status == 503

    # nobody sends the trial to a gateway that is not ready
    async with asyncio.timeout(5):
        while (await gateway.get("/ready")).status != 200:
            pass
    assert (await (await gateway.get("/health")).json())["circuit_breaker"]["state"] == "open"
