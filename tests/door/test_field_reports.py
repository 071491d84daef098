"""Faults that users of other gateways reported, over real sockets: both directions together, and what no module does
alone.
"""

import asyncio
import base64
import io
import json
import re
from typing import Any

import pytest

from gateway.relay.keep_alive import KeepAlive
from tests.conftest import (
    END,
    HELLO,
    TOKEN,
    Answer,
    ScriptedBackend,
    StartGateway,
    ask,
    chunk,
    events,
    read_until,
    respond,
    stream,
)

Json = dict[str, Any]

LONG = "mcp__plugin_playwright_playwright__browser_take_screenshot_of_everything"
DONE = b"data: [DONE]\n\n"
HI = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}

both_ways = pytest.mark.parametrize("streaming", [True, False], ids=["stream", "message"])


def answered(delta: Json, finish: str, *, streaming: bool) -> Answer:
    """An answer of one piece."""
    if streaming:
        return stream(chunk(delta), chunk({}, finish), DONE)
    choice = {"index": 0, "message": {"role": "assistant", **delta}, "finish_reason": finish}
    return respond(json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def called(call_id: str, name: str, arguments: str = "{}") -> Json:
    call = {"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"content": None, "tool_calls": [call]}


def blocks(body: bytes, *, streaming: bool) -> list[Json]:
    """The content of an answer; that of a stream without what comes in deltas."""
    if not streaming:
        content: list[Json] = json.loads(body)["content"]
        return content
    return [data["content_block"] for name, data in events(body) if name == "content_block_start"]


def loop_of(tool_use: Json, *before: Json) -> list[Json]:
    """A conversation in which the model called a tool and got its result."""
    result = {"type": "tool_result", "tool_use_id": tool_use["id"], "content": "ok"}
    return [
        {"role": "user", "content": "Go on"},
        {"role": "assistant", "content": [*before, {**tool_use, "input": {}}]},
        {"role": "user", "content": [result]},
    ]


# tools


@both_ways
async def test_a_tool_name_over_64_characters_is_short_for_the_backend_and_whole_for_the_client(  # cline/cline#11877
    streaming: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    async def call_it(writer: asyncio.StreamWriter) -> None:
        name = scripted.requests[-1].json["tools"][0]["function"]["name"]
        await answered(called("c1", name), "tool_calls", streaming=streaming)(writer)

    scripted.answers = [call_it]
    gateway = await start_gateway(scripted.url)

    request = ask(
        stream=streaming,
        messages=loop_of({"type": "tool_use", "id": "c0", "name": LONG}),
        tools=[{"name": LONG, "input_schema": {"type": "object"}}],
        tool_choice={"type": "tool", "name": LONG},
    )
    response = await gateway.post("/v1/messages", json=request, headers=TOKEN)

    assert [block["name"] for block in blocks(await response.read(), streaming=streaming)] == [LONG]
    sent = scripted.requests[0].json
    short = sent["tools"][0]["function"]["name"]
    assert len(short) <= 64
    assert sent["tool_choice"]["function"]["name"] == short
    assert sent["messages"][1]["tool_calls"][0]["function"]["name"] == short


@both_ways
async def test_kimis_ids_suit_the_client_and_come_back_to_the_backend_as_they_were(
    streaming: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    calling = answered(called("functions.Bash:0", "Bash"), "tool_calls", streaming=streaming)
    scripted.answers = [calling, answered({"content": "Done"}, "stop", streaming=streaming)]
    gateway = await start_gateway(scripted.url, backend_profile="moonshot")

    first = await gateway.post("/v1/messages", json=ask(stream=streaming), headers=TOKEN)
    [tool_use] = blocks(await first.read(), streaming=streaming)
    second = ask(stream=streaming, messages=loop_of(tool_use))
    await (await gateway.post("/v1/messages", json=second, headers=TOKEN)).read()

    assert re.fullmatch("[a-zA-Z0-9_-]+", tool_use["id"])
    _, call, result = scripted.requests[1].json["messages"]
    assert (call["tool_calls"][0]["id"], result["tool_call_id"]) == ("functions.Bash:0", "functions.Bash:0")


@pytest.mark.parametrize(
    ("profile", "field"), [("deepseek", "reasoning_content"), ("moonshot", "reasoning_content"), ("vllm", "reasoning")]
)
async def test_thinking_in_front_of_a_call_comes_back_to_the_backend(
    profile: str, field: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    thought = answered({"reasoning_content": "I need a list.", **called("c1", "Bash")}, "tool_calls", streaming=False)
    scripted.answers = [thought, answered({"content": "Done"}, "stop", streaming=False)]
    gateway = await start_gateway(scripted.url, backend_profile=profile)
    request = ask(thinking={"type": "enabled", "budget_tokens": 1024})

    first = await (await gateway.post("/v1/messages", json=request, headers=TOKEN)).json()
    thinking, tool_use = first["content"]
    await gateway.post("/v1/messages", json={**request, "messages": loop_of(tool_use, thinking)}, headers=TOKEN)

    assert scripted.requests[1].json["messages"][1][field] == "I need a list."


# streams that stall


@pytest.mark.parametrize(
    ("piece", "more"),
    [
        pytest.param({"reasoning_content": "Let"}, {"reasoning_content": " me"}, id="thinking"),
        pytest.param({"content": "Let"}, {"content": " me"}, id="text"),
        pytest.param(
            {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "Bash", "arguments": '{"a":'}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
            id="arguments",
        ),
    ],
)
async def test_a_backend_that_stops_for_breath_within_a_block_is_covered_by_signs_of_life(  # BerriAI/litellm#36024
    piece: Json, more: Json, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(HELLO[0], chunk(piece), rest, chunk(more), chunk({}, "stop"), DONE)]
    alive = KeepAlive(open_after=60, ping_after=0.02, heartbeat_after=0.1, tick=0.01)
    gateway = await start_gateway(scripted.url, keep_alive=alive)

    response = await gateway.post("/v1/messages", json=ask(stream=True, thinking={"type": "adaptive"}), headers=TOKEN)
    received = await read_until(response, b"event: ping")
    rest.set()
    received += await response.read()

    names = [name for name, _ in events(received)]
    assert names[:4] == ["message_start", "content_block_start", "content_block_delta", "ping"]
    # what came before and after the pause is one block
    assert (names.count("content_block_start"), names.count("content_block_stop")) == (1, 1)
    assert names[-2:] == ["message_delta", "message_stop"]


async def test_a_backend_that_stays_open_behind_its_end_does_not_hold_up_the_client(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, *END, asyncio.Event())]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    received = await asyncio.wait_for(response.read(), 5)
    assert events(received)[-1][0] == "message_stop"


# tokens and context


async def test_a_session_of_many_images_is_not_too_large(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    data = base64.b64encode(b"\x89PNG" + bytes(1_500_000)).decode()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    body = json.dumps(ask(messages=[{"role": "user", "content": [image] * 20}])).encode()
    assert len(body) > 32 * 1024 * 1024
    scripted.answers = [respond(json.dumps(HI).encode())]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", data=io.BytesIO(body), headers=TOKEN)

    assert response.status == 200
    assert len(scripted.requests[0].json["messages"][0]["content"]) == 20


@both_ways
async def test_a_probe_for_one_token_may_get_an_empty_answer(
    streaming: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [answered({"content": ""}, "length", streaming=streaming)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=streaming, max_tokens=1), headers=TOKEN)

    assert response.status == 200
    assert blocks(await response.read(), streaming=streaming) == []


LM_STUDIO = {
    "error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with "
    "context length of only 4096 tokens, which is not enough."
}
OPENROUTER = {
    "error": {
        "message": "Provider returned error",
        "code": 400,
        "metadata": {
            "provider_name": "X",
            "raw": '{"error":{"message":"The input (9000 tokens) is longer than the model\'s context length (4096 tokens)."}}',
        },
    }
}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(stream(b"event: error\ndata: " + json.dumps(LM_STUDIO).encode() + b"\n\n"), id="lm studio: event"),
        pytest.param(respond(json.dumps(LM_STUDIO).encode()), id="lm studio: body"),
        pytest.param(
            stream(b": OPENROUTER PROCESSING\n\n", b"data: " + json.dumps(OPENROUTER).encode() + b"\n\n", DONE),
            id="openrouter: data",
        ),
        pytest.param(respond(json.dumps(OPENROUTER).encode()), id="openrouter: body"),
    ],
)
async def test_an_overflow_in_a_200_is_a_400_that_makes_the_client_compact(  # musistudio/claude-code-router#1799
    answer: Answer, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [answer]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert response.status == 400
    error = (await response.json())["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("prompt is too long: 9000 tokens > 4096 maximum (")


# errors and models


@both_ways
@pytest.mark.parametrize(("given", "told"), [(400, 400), (401, 401), (403, 403), (413, 413), (422, 400)])
async def test_a_refusal_is_an_error_at_once_and_never_a_200(  # lemonade-sdk/lemonade#1820
    given: int, told: int, streaming: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b'{"error":{"message":"not like this"}}', status=given)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=streaming), headers=TOKEN)

    assert response.status == told
    assert "not like this" in (await response.json())["error"]["message"]
    assert len(scripted.requests) == 1


@both_ways
async def test_a_side_call_for_anthropics_small_model_is_served(  # anthropics/claude-code#66965
    streaming: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    name = "claude-haiku-4-5-20251001"
    scripted.answers = [answered({"content": "A title"}, "stop", streaming=streaming)]
    gateway = await start_gateway(scripted.url, model_map="default=Vendor/Model-1")

    response = await gateway.post("/v1/messages", json=ask(stream=streaming, model=name), headers=TOKEN)
    counted = await gateway.post("/v1/messages/count_tokens", json=ask(model=name), headers=TOKEN)

    assert (response.status, counted.status) == (200, 200)
    assert scripted.requests[0].json["model"] == "Vendor/Model-1"
    # the client knows the answer by the name that it asked for
    assert f'"model":"{name}"'.encode() in await response.read()


async def test_history_that_the_backend_refuses_under_its_field_is_left_out_from_then_on(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    refusal = {
        "error": {
            "message": "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property "
            "'reasoning' is unsupported)]",
            "type": "invalid_request_error",
        }
    }
    scripted.answers = [
        respond(json.dumps(refusal).encode(), status=400),
        *[answered({"content": "Done"}, "stop", streaming=False)] * 2,
    ]
    gateway = await start_gateway(scripted.url, backend_profile="vllm")
    thinking = {"type": "thinking", "thinking": "Hm", "signature": "x"}
    request = ask(messages=loop_of({"type": "tool_use", "id": "c1", "name": "Bash"}, thinking))

    statuses = [(await gateway.post("/v1/messages", json=request, headers=TOKEN)).status for _ in "ab"]

    assert statuses == [200, 200]
    histories = [received.json["messages"][1] for received in scripted.requests]
    assert ["reasoning" in message for message in histories] == [True, False, False]
    assert [message["tool_calls"][0]["id"] for message in histories] == ["c1", "c1", "c1"]


async def test_ids_in_the_form_that_mistral_wants_are_learnt_where_the_host_does_not_tell(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    refusal = {
        "object": "error",
        "message": "Tool call id was toolu_1 but must be a-z, A-Z, 0-9, with a length of 9.",
        "type": "invalid_request_error",
        "param": None,
        "code": "3280",
    }
    scripted.answers = [
        respond(json.dumps(refusal).encode(), status=400),
        *[answered({"content": "Done"}, "stop", streaming=False)] * 2,
    ]
    gateway = await start_gateway(scripted.url)
    request = ask(messages=loop_of({"type": "tool_use", "id": "toolu_1", "name": "Bash"}))

    statuses = [(await gateway.post("/v1/messages", json=request, headers=TOKEN)).status for _ in "ab"]

    assert statuses == [200, 200]
    for received in scripted.requests[1:]:
        _, call, result = received.json["messages"]
        assert re.fullmatch("[a-zA-Z0-9]{9}", call["tool_calls"][0]["id"])
        assert result["tool_call_id"] == call["tool_calls"][0]["id"]


GEMINI = [
    {
        "error": {
            "code": 400,
            "message": 'Invalid JSON payload received. Unknown name "$schema" at '
            "'tools[0].function_declarations[0].parameters': Cannot find field.\nInvalid JSON payload received. "
            "Unknown name \"additionalProperties\" at 'tools[0].function_declarations[0].parameters': Cannot find "
            'field.\nInvalid JSON payload received. Unknown name "propertyNames" at '
            "'tools[0].function_declarations[0].parameters.properties[1].value': Cannot find field.",
            "status": "INVALID_ARGUMENT",
        }
    }
]


async def test_keywords_of_a_schema_that_the_backend_refuses_are_left_out(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(json.dumps(GEMINI).encode(), status=400), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"path": {"type": "string"}, "map": {"type": "object", "propertyNames": {"type": "string"}}},
        "additionalProperties": False,
    }

    response = await gateway.post(
        "/v1/messages", json=ask(tools=[{"name": "Read", "input_schema": schema}]), headers=TOKEN
    )

    assert response.status == 200
    assert scripted.requests[1].json["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"path": {"type": "string"}, "map": {"type": "object"}},
    }


async def test_descriptions_that_the_backend_finds_too_long_are_cut(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    refusal = {
        "error": {
            "message": "Invalid 'tools[0].function.description': string too long. Expected a string with maximum "
            "length 1024, but got a string with length 3000 instead.",
            "type": "invalid_request_error",
            "param": "tools[0].function.description",
            "code": "string_above_max_length",
        }
    }
    scripted.answers = [respond(json.dumps(refusal).encode(), status=400), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)
    tool = {"name": "Read", "description": "x" * 3000, "input_schema": {"type": "object"}}

    response = await gateway.post("/v1/messages", json=ask(tools=[tool]), headers=TOKEN)

    assert response.status == 200
    assert len(scripted.requests[1].json["tools"][0]["function"]["description"]) <= 1024
