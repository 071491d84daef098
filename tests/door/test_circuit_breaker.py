"""The circuit breaker as clients see it."""

import asyncio
from collections import Counter
from typing import Any

import pytest
import structlog
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from tests.conftest import (
    END,
    HELLO,
    TOKEN,
    Answer,
    ScriptedBackend,
    StartGateway,
    ask,
    events,
    read_until,
    respond,
    silence,
    stream,
)

Gateway = TestClient[Any, Any]

RESET_SECONDS = 0.3
BREAKER = {
    "enable_circuit_breaker": "true",
    "circuit_breaker_fail_max": "1",
    "circuit_breaker_reset_secs": str(RESET_SECONDS),
    "backend_retries": "0",
    "backend_timeout_secs": "5",
}
FAILURE = respond(b"{}", status=500)


async def send(gateway: Gateway) -> ClientResponse:
    return await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)


async def breaker(gateway: Gateway) -> tuple[str, int, int]:
    status = (await (await gateway.get("/health")).json())["circuit_breaker"]
    return status["state"], status["failures"], status["opened"]


async def pass_reset() -> None:
    await asyncio.sleep(RESET_SECONDS * 1.1)


async def test_of_a_hundred_requests_at_the_moment_of_reset_one_goes_through(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    rest = asyncio.Event()
    scripted.answers = [FAILURE, stream(rest, *HELLO, *END)]
    gateway = await start_gateway(scripted.url, **BREAKER)
    assert (await send(gateway)).status == 500
    assert (await send(gateway)).status == 529
    assert await breaker(gateway) == ("open", 1, 1)
    await pass_reset()

    statuses: Counter[int] = Counter()
    for sent in asyncio.as_completed([send(gateway) for _ in range(100)]):
        response = await sent
        statuses[response.status] += 1
        if statuses[529] == 99 and not rest.is_set():
            assert await breaker(gateway) == ("half-open", 1, 1)
            rest.set()
        received = await response.read()

    assert statuses == {529: 99, 200: 1}
    assert events(received)[-1][0] == "message_stop"
    assert await breaker(gateway) == ("closed", 0, 1)
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("trial", [silence(asyncio.Event()), stream(asyncio.Event())], ids=["no answer", "no content"])
async def test_a_trial_whose_client_leaves_makes_way_for_the_next(
    trial: Answer, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [FAILURE, trial, stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url, **BREAKER)
    await send(gateway)
    await pass_reset()
    scripted.asked.clear()

    leaving = asyncio.create_task(send(gateway))
    await scripted.asked.wait()
    assert (await send(gateway)).status == 529
    leaving.cancel()
    await scripted.client_left.wait()
    response = await send(gateway)

    assert events(await response.read())[-1][0] == "message_stop"
    assert await breaker(gateway) == ("closed", 0, 1)


async def test_a_stream_that_breaks_off_by_the_backends_fault_opens_it(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    shown = asyncio.Event()
    scripted.answers = [stream(*HELLO, shown, cut=True)]
    gateway = await start_gateway(scripted.url, **BREAKER)

    with structlog.testing.capture_logs() as lines:
        response = await send(gateway)
        received = await read_until(response, b'"lo"')
        shown.set()
        received += await response.read()

    assert events(received)[-1][0] == "error"
    assert await breaker(gateway) == ("open", 1, 1)
    changes = [line for line in lines if line["event"] == "circuit breaker changed"]
    assert changes == [{"event": "circuit breaker changed", "old": "closed", "new": "open", "log_level": "warning"}]


@pytest.mark.parametrize("status", [400, 401, 402, 404, 413, 422, 429])
async def test_what_is_the_requests_or_the_accounts_fault_does_not(
    status: int, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b'{"error":{"message":"no"}}', status=status)]
    gateway = await start_gateway(scripted.url, **BREAKER)

    await send(gateway)

    assert await breaker(gateway) == ("closed", 0, 0)


async def test_a_client_that_leaves_a_stream_does_not(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.answers = [stream(*HELLO, asyncio.Event())]
    gateway = await start_gateway(scripted.url, **BREAKER)

    (await send(gateway)).close()
    await scripted.client_left.wait()

    assert await breaker(gateway) == ("closed", 0, 0)
