import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from aiohttp.test_utils import TestClient

from tests.conftest import (
    END,
    HELLO,
    TOKEN,
    ScriptedBackend,
    StartGateway,
    ask,
    read_until,
    respond,
    stream,
)

Lines = list[dict[str, Any]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as captured:
        yield captured


async def post(gateway: TestClient[Any, Any], **fields: Any) -> None:
    response = await gateway.post("/v1/messages?beta=true", json=ask(**fields), headers=TOKEN)
    await response.read()


async def finished(gateway: TestClient[Any, Any], lines: Lines) -> dict[str, Any]:
    """The last request's line. It is written a moment after the answer, so close the server first, which waits for it."""
    await gateway.close()
    return [line for line in lines if line["event"] == "request"][-1]


async def test_a_stream_leaves_one_line_with_all_that_operators_ask_for(
    scripted: ScriptedBackend, start_gateway: StartGateway, lines: Lines
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)

    await post(gateway, model="vendor/model-1", stream=True)

    line = await finished(gateway, lines)
    assert line.pop("request_id").startswith("req_")
    assert 0 < line.pop("first_event_ms") <= line.pop("duration_ms")
    assert line.pop("bytes_in") > 50
    assert line.pop("bytes_out") > 500
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "outcome": "ok",
        "model": "vendor/model-1",
        "backend_model": "Vendor/Model-1",
        "stream": True,
        "stop_reason": "end_turn",
        "input_tokens": 20,
        "cached_tokens": 10,
        "output_tokens": 4,
    }


async def test_a_refusal_says_why(embedded: str, start_gateway: StartGateway, lines: Lines) -> None:
    gateway = await start_gateway(embedded)

    await post(gateway, max_tokens=-1)

    line = await finished(gateway, lines)
    assert (line["status"], line["outcome"], line["error"]) == (400, "refused", "max_tokens: must not be negative")


async def test_a_backends_fault_is_marked_as_such(
    scripted: ScriptedBackend, start_gateway: StartGateway, lines: Lines
) -> None:
    scripted.answers = [respond(b'{"error":"boom"}', status=500)]
    gateway = await start_gateway(scripted.url)

    await post(gateway)

    line = await finished(gateway, lines)
    assert (line["status"], line["outcome"], line["error"]) == (500, "backend_fault", "api_error from the backend")


async def test_a_stream_that_broke_off_is_marked_though_its_status_was_200(
    scripted: ScriptedBackend, start_gateway: StartGateway, lines: Lines
) -> None:
    opened = asyncio.Event()
    scripted.answers = [stream(*HELLO, opened, cut=True)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    await read_until(response, b'"lo"')
    opened.set()
    await response.read()

    line = await finished(gateway, lines)
    assert (line["status"], line["outcome"]) == (200, "backend_fault")
    assert line["error"].startswith("the backend's answer broke off")


async def test_a_client_that_left_is_marked(
    scripted: ScriptedBackend, start_gateway: StartGateway, lines: Lines
) -> None:
    scripted.answers = [stream(*HELLO, asyncio.Event())]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    await response.content.readany()
    response.close()

    line = await finished(gateway, lines)
    assert line["outcome"] == "client_gone"
    assert "status" not in line


async def test_a_client_that_leaves_behind_the_end_had_its_answer(
    scripted: ScriptedBackend, start_gateway: StartGateway, lines: Lines
) -> None:
    # a client that closes at once, as curl does, before the backend has closed its stream
    held = asyncio.Event()
    scripted.answers = [stream(*HELLO, *END, held)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    await read_until(response, b"message_stop")
    response.close()

    line = await finished(gateway, lines)
    assert (line["outcome"], line["status"], line["stop_reason"]) == ("ok", 200, "end_turn")


async def test_no_token_prompt_or_answer_is_logged(
    scripted: ScriptedBackend, start_gateway: StartGateway, lines: Lines
) -> None:
    echo = b'{"error":{"message":"1 validation error: input \'canary-prompt\'","code":400}}'
    garbage = b"data: canary-answer\n\n"
    scripted.answers = [
        respond(echo, status=400),
        stream(*HELLO, garbage),
        stream(*HELLO, *END),
        respond(b"canary-answer, but not JSON"),
    ]
    gateway = await start_gateway(scripted.url)
    headers = {"Authorization": "Bearer canary-token"}

    for streaming in (True, True, True, False):
        response = await gateway.post(
            "/v1/messages?canary-query", json=ask("canary-prompt", stream=streaming), headers=headers
        )
        if not response.content.at_eof():
            await asyncio.wait([asyncio.ensure_future(response.content.read())])
    await gateway.post("/v1/messages", json=ask(), headers={"x-api-key": "sk-ant-canary"})
    await gateway.post("/v1/messages", data=b'{"canary": canary}', headers=headers)
    await finished(gateway, lines)

    visible = [line for line in lines if line["log_level"] != "debug"]
    assert len([line for line in visible if line["event"] == "request"]) >= 5
    assert "canary" not in str(visible)


async def test_a_name_of_any_length_leaves_a_short_line(
    scripted: ScriptedBackend, start_gateway: StartGateway, lines: Lines
) -> None:
    scripted.answers = [respond(b"{}", status=500)]
    scripted.models = b'{"data": []}'
    gateway = await start_gateway(scripted.url)

    await post(gateway, model="m" * 250 + "[1m]")

    line = await finished(gateway, lines)
    # without the suffix, the name is the same
    assert line["model"] == "m" * 200 + "…"
    assert len(str(line)) < 1500


async def test_a_path_of_any_length_leaves_a_short_line(
    embedded: str, start_gateway: StartGateway, lines: Lines
) -> None:
    gateway = await start_gateway(embedded)

    response = await gateway.get("/" + "p" * 7000, headers=TOKEN)

    assert response.status == 404
    line = await finished(gateway, lines)
    assert line["path"] == "/" + "p" * 199 + "…"
    assert len(str(line)) < 1500


async def test_health_checks_do_not_fill_the_log(embedded: str, start_gateway: StartGateway, lines: Lines) -> None:
    gateway = await start_gateway(embedded)

    await gateway.get("/health")

    assert (await finished(gateway, lines))["log_level"] == "debug"
