from gateway import __version__
from tests.conftest import TOKEN, ScriptedBackend, StartGateway, ask, respond


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
        "circuit_breaker": {"state": "disabled", "failures": 0},
        "streams": 0,
    }
    assert len(scripted.listed) == asked
    assert scripted.requests == []


async def test_it_shows_no_password_of_the_backends_url(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    address = scripted.url.removeprefix("http://")
    gateway = await start_gateway(f"http://user:canary@{address}/v1?key=canary")

    assert "canary" not in await (await gateway.get("/health")).text()


async def test_it_shows_the_breaker(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.answers = [respond(b"{}", status=500), respond(b"{}", status=500)]
    gateway = await start_gateway(scripted.url, enable_circuit_breaker="true", circuit_breaker_fail_max="2")

    states = []
    for _ in range(3):
        states.append((await (await gateway.get("/health")).json())["circuit_breaker"])
        await gateway.post("/v1/messages", json=ask(), headers=TOKEN)

    assert states == [
        {"state": "closed", "failures": 0},
        {"state": "closed", "failures": 1},
        {"state": "open", "failures": 2},
    ]
