"""Refusals of a backend, over real sockets: asked again in another way, learnt, or told."""

import json
from typing import Any

import pytest

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
    respond,
    stream,
)

Json = dict[str, Any]

DONE = b"data: [DONE]\n\n"
both_ways = pytest.mark.parametrize("streaming", [True, False], ids=["stream", "message"])


def refused(message: str, status: int = 400, **fields: Any) -> Answer:
    return respond(json.dumps({"error": {"message": message, **fields}}).encode(), status=status)


def said(*texts: str, streaming: bool, finish: str = "stop") -> Answer:
    """A backend's answer of these pieces of text."""
    if streaming:
        return stream(*(chunk({"content": text}) for text in texts), chunk({}, finish), DONE)
    message = {"role": "assistant", "content": "".join(texts)}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return respond(json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def message_of(body: bytes, *, streaming: bool) -> Json:
    """The text, the stop reason and the stop sequence of an answer."""
    if not streaming:
        whole = json.loads(body)
        text = "".join(block.get("text", "") for block in whole["content"])
        return {"text": text, "reason": whole["stop_reason"], "stop": whole["stop_sequence"]}
    data = [data for _, data in events(body)]
    assert data[-1]["type"] == "message_stop", data
    deltas = [each["delta"] for each in data if "delta" in each]
    text = "".join(delta.get("text", "") for delta in deltas)
    end = deltas[-1]
    return {"text": text, "reason": end["stop_reason"], "stop": end["stop_sequence"]}


@both_ways
@pytest.mark.parametrize(
    ("pieces", "text", "stop"),
    [
        (["One EN", "D two"], "One ", "END"),
        (["One ", "E", "N", "D", " two"], "One ", "END"),
        (["ENDless"], "", "END"),
        (["One E", "ND"], "One ", "END"),
        (["One", " E"], "One E", None),
        (["One\n", "\nUser: two END"], "One", "\n\nUser:"),
        (["EEN", "ND"], "EENND", None),
    ],
    ids=["over a border", "in pieces", "at the beginning", "at the end", "only begun", "the first of two", "nearly"],
)
async def test_stop_strings_that_a_model_refuses_end_the_answer_here(
    pieces: list[str],
    text: str,
    stop: str | None,
    streaming: bool,
    scripted: ScriptedBackend,
    start_gateway: StartGateway,
) -> None:
    scripted.answers = [
        refused("Model grok-4 does not support parameter stop."),
        said(*pieces, streaming=streaming),
        said(*pieces, streaming=streaming),
    ]
    gateway = await start_gateway(scripted.url)
    for _ in "ab":
        request = ask(stream=streaming, stop_sequences=["END", "\n\nUser:"])
        response = await gateway.post("/v1/messages", json=request, headers=TOKEN)
        assert response.status == 200
        found = message_of(await response.read(), streaming=streaming)
        assert found == {"text": text, "reason": "stop_sequence" if stop else "end_turn", "stop": stop}
    assert ["stop" in request.json for request in scripted.requests] == [True, False, False]


async def test_what_follows_a_stop_string_is_dropped_whatever_it_is(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "Read", "arguments": "{}"}}
    scripted.answers = [
        refused("Argument not supported on this model: stop"),
        respond(
            json.dumps(
                {
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": "One END", "tool_calls": [call]},
                            "finish_reason": "tool_calls",
                        }
                    ]
                }
            ).encode()
        ),
    ]
    gateway = await start_gateway(scripted.url)
    response = await gateway.post("/v1/messages", json=ask(stop_sequences=["END"]), headers=TOKEN)
    answer = json.loads(await response.read())
    assert [block["type"] for block in answer["content"]] == ["text"]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")


async def test_several_fields_are_left_out_at_once(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.answers = [
        refused("Validation: Unsupported parameter(s): `chat_template_kwargs`, `top_k`"),
        stream(*HELLO, *END),
    ]
    gateway = await start_gateway(scripted.url)
    response = await gateway.post("/v1/messages", json=ask(stream=True, top_k=1), headers=TOKEN)
    assert events(await response.read())[-1][0] == "message_stop"
    assert len(scripted.requests) == 2
    assert not {"chat_template_kwargs", "top_k"} & set(scripted.requests[1].json)


async def test_output_that_does_not_fit_is_asked_for_again(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [
        refused(
            "You passed 136001 input tokens and requested 64000 output tokens. However, the model's context length is "
            "only 200000 tokens, resulting in a maximum input length of 136000 tokens."
        ),
        stream(*HELLO, *END),
    ]
    gateway = await start_gateway(scripted.url)
    response = await gateway.post("/v1/messages", json=ask(stream=True, max_tokens=64000), headers=TOKEN)
    assert events(await response.read())[-1][0] == "message_stop"
    assert scripted.requests[1].json["max_tokens"] < 64000


# tools

TOOLS: list[Json] = [
    {"name": "Read", "input_schema": {"type": "object"}},
    {"name": "Write", "input_schema": {"type": "object"}},
]
FORCED: Json = {"tools": TOOLS, "tool_choice": {"type": "tool", "name": "Write"}}


async def test_a_forced_tool_is_asked_for_without_thinking_then_alone_then_not_at_all(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [
        refused("tool_choice 'specified' is incompatible with thinking enabled"),
        refused("Invalid tool_choice type: 'object'. Supported string values: none, auto, required"),
        refused("tool_choice is not supported"),
        said("Hi", streaming=False),
        said("Hi", streaming=False),
    ]
    gateway = await start_gateway(scripted.url)
    request = ask(max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000}, **FORCED)
    for _ in "ab":
        response = await gateway.post("/v1/messages", json=request, headers=TOKEN)
        assert response.status == 200
    sent = [request.json for request in scripted.requests]
    assert [body["chat_template_kwargs"]["enable_thinking"] for body in sent] == [True, False, False, False, False]
    assert [body.get("tool_choice") for body in sent] == [
        {"type": "function", "function": {"name": "Write"}},
        {"type": "function", "function": {"name": "Write"}},
        "required",
        None,
        None,
    ]
    assert [[tool["function"]["name"] for tool in body["tools"]] for body in sent[2:]] == [["Write"]] * 3

    # what is not forced thinks as before
    scripted.answers = [said("Hi", streaming=False)]
    response = await gateway.post("/v1/messages", json={**request, "tool_choice": {"type": "auto"}}, headers=TOKEN)
    assert response.status == 200
    assert scripted.requests[-1].json["chat_template_kwargs"]["enable_thinking"]
    assert len(scripted.requests[-1].json["tools"]) == 2


@pytest.mark.parametrize("profile", ["llama.cpp", "ollama"])
async def test_a_server_that_ignores_the_name_is_offered_that_tool_alone(
    profile: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [said("Hi", streaming=False)]
    gateway = await start_gateway(scripted.url, backend_profile=profile)
    response = await gateway.post("/v1/messages", json=ask(**FORCED), headers=TOKEN)
    assert response.status == 200
    sent = scripted.requests[0].json
    assert sent["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["Write"]


async def test_a_schema_that_no_grammar_fits_is_sent_plainer_and_its_data_stay(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [refused("failed to parse grammar"), said("Hi", streaming=False), said("Hi", streaming=False)]
    gateway = await start_gateway(scripted.url)
    data = {"pattern": "x", "format": "y"}
    schema = {
        "type": "object",
        "properties": {
            "format": {"type": "string", "pattern": "^a+$", "minLength": 1, "enum": ["pattern", "format"]},
            "pattern": {"type": "object", "default": data, "const": data, "examples": [data]},
        },
        "required": ["format", "pattern"],
    }
    for _ in "ab":
        request = ask(tools=[{"name": "Grep", "input_schema": schema}])
        response = await gateway.post("/v1/messages", json=request, headers=TOKEN)
        assert response.status == 200
    assert len(scripted.requests) == 3
    for sent in scripted.requests[1:]:
        assert sent.json["tools"][0]["function"]["parameters"] == {
            "type": "object",
            "properties": {
                "format": {"type": "string", "enum": ["pattern", "format"]},
                "pattern": {"type": "object", "default": data, "const": data, "examples": [data]},
            },
            "required": ["format", "pattern"],
        }
