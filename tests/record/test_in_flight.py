"""Limits on answers in progress, for all and for each key."""

import asyncio
from pathlib import Path
from typing import Any

from gateway.app import make_app
from gateway.interprocess.scoreboard import Scoreboard
from gateway.settings import load_settings
from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, StartGateway, ask, events, stream

KEYS = "sk-team-alice-0001 name=alice streams=1, sk-team-bob-000002 name=bob requests=1"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


ALICE, BOB = bearer("sk-team-alice-0001"), bearer("sk-team-bob-000002")


async def test_more_answers_than_may_be_are_told_to_come_back(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, *END), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url, max_streams="1")

    async with gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN) as running:
        refused = await gateway.post("/v1/messages", json=ask(), headers=TOKEN)
        counted = await gateway.post("/v1/messages/count_tokens", json=ask(), headers=TOKEN)
        rest.set()
        assert events(await running.read())[-1][0] == "message_stop"
    after = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert (refused.status, refused.headers["retry-after"]) == (529, "2")
    assert (await refused.json())["error"] == {
        "type": "overloaded_error",
        "message": (
            "this gateway already has 1 requests in progress, the limit set by MAX_STREAMS: try again in a moment"
        ),
    }
    assert counted.status == 529
    assert events(await after.read())[-1][0] == "message_stop"
    assert len(scripted.requests) == 2


async def test_the_answers_of_all_workers_count(
    scripted: ScriptedBackend, no_leaks: None, aiohttp_client: Any, tmp_path: Path
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    board = Scoreboard(2)
    board.row(0).begin(pid=100, restarts=0)
    board.row(1).begin(pid=101, restarts=0)
    settings = load_settings({"backend_url": scripted.url, "max_streams": "3"}, {}, tmp_path)
    gateway = await aiohttp_client(make_app(settings, row=board.row(0)))

    board.row(1).set_streams(3)
    refused = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    board.row(1).set_streams(2)
    taken = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert (refused.status, taken.status) == (529, 200)


async def test_a_key_of_the_gateway_opens_it_and_goes_no_further(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url, gateway_api_keys=KEYS, backend_api_key="cpk_own")

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=ALICE)

    assert events(await response.read())[-1][0] == "message_stop"
    assert scripted.requests[0].headers["authorization"] == "Bearer cpk_own"
    assert {request.headers["authorization"] for request in scripted.listed} == {"Bearer cpk_own"}


async def test_without_a_key_for_the_backend_none_is_sent(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url, gateway_api_keys=KEYS)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=ALICE)

    assert response.status == 200
    assert "authorization" not in scripted.requests[0].headers


async def test_who_has_no_key_stays_out(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url, gateway_api_keys=KEYS)

    for path in ("/v1/messages", "/v1/messages/count_tokens", "/v1/v1/messages"):
        response = await gateway.post(path, json=ask(), headers=TOKEN)
        assert response.status == 401
        assert (await response.json())["error"]["message"].startswith("this token is not a key of this gateway")
    assert (await gateway.get("/v1/models", headers=TOKEN)).status == 401
    assert (await gateway.get("/health")).status == 200
    assert scripted.requests == []


async def test_a_keys_limits_are_its_own(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, *END), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url, gateway_api_keys=KEYS)

    async with gateway.post("/v1/messages", json=ask(stream=True), headers=ALICE) as running:
        too_many = await gateway.post("/v1/messages", json=ask(), headers=ALICE)
        other = await gateway.post("/v1/messages", json=ask(stream=True), headers=BOB)
        too_often = await gateway.post("/v1/messages", json=ask(), headers=BOB)
        rest.set()
        await running.read()

    assert [response.status for response in (too_many, other, too_often)] == [429, 200, 429]
    assert too_often.headers["retry-after"] == "60"
    assert (await too_often.json())["error"]["type"] == "rate_limit_error"
