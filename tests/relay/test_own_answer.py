"""Answers without anything from a model: web searches that nobody can make, and requests that only warm a cache."""

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event

from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, StartGateway, ask, events, respond, stream
from tests.samples import recorded_request

Json = dict[str, Any]

SEARCH = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}]
ASKED = "Perform a web search for the query: who won?"
SAMPLE = "2.1.330-web-search-side-call"


def message_of(body: bytes, *, streaming: bool) -> Json:
    """The message of an answer; of a stream, what the official SDK makes of it."""
    if not streaming:
        return dict(json.loads(body))
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for _, data in events(body):
        snapshot = accumulate_event(event=data, current_snapshot=snapshot, json_bufs=buffers)  # type: ignore[arg-type]
    return dict(snapshot.to_dict())


def completion(finish: str = "length", **message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hel", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 30, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 10}}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


# searches


@pytest.mark.parametrize("streaming", [False, True])
async def test_claude_codes_web_search_gets_an_error_that_it_shows(
    streaming: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.post(
        "/v1/messages", json=ask(ASKED, tools=SEARCH, tool_choice={"type": "auto"}, stream=streaming), headers=TOKEN
    )

    assert response.status == 200
    message = message_of(await response.read(), streaming=streaming)
    search, result, text = message["content"]
    assert search["id"].startswith("srvtoolu_")
    assert search | {"id": ""} == {
        "type": "server_tool_use",
        "id": "",
        "name": "web_search",
        "input": {"query": "who won?"},
    }
    assert result == {
        "type": "web_search_tool_result",
        "tool_use_id": search["id"],
        "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
    }
    assert "no search provider" in text["text"]
    assert message["stop_reason"] == "end_turn"
    assert scripted.requests == []


async def test_a_search_is_streamed_as_anthropic_streams_one(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)
    body = ask(ASKED, tools=SEARCH, stream=True)

    response = await gateway.post("/v1/messages", json=body, headers=TOKEN)

    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert [name for name, _ in events(await response.read())] == [
        "message_start",
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]


async def test_the_clients_own_request_is_recognised(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)
    body = recorded_request(SAMPLE) | {"model": "Vendor/Model-1"}

    response = await gateway.post("/v1/messages", json=body, headers=TOKEN)

    assert message_of(await response.read(), streaming=True)["content"][0]["input"] == {"query": "test query"}
    assert scripted.requests == []


OTHERS: dict[str, Json] = {
    "a search among other tools": ask(ASKED, tools=[*SEARCH, {"name": "Read", "input_schema": {"type": "object"}}]),
    "another question with a search tool": ask("Who won?", tools=SEARCH),
    "the phrase without a search tool": ask(ASKED, tools=[{"name": "Read", "input_schema": {"type": "object"}}]),
    "the phrase without tools": ask(ASKED),
    "a conversation that began with the phrase": ask(
        tools=SEARCH,
        messages=[
            {"role": "user", "content": ASKED},
            {"role": "assistant", "content": "Nobody."},
            {"role": "user", "content": "Sure?"},
        ],
    ),
}


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
async def test_every_other_request_goes_to_the_model(
    body: Json, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(completion("stop"))]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=body, headers=TOKEN)

    assert (await response.json())["content"] == [{"type": "text", "text": "Hel"}]
    [sent] = scripted.requests
    if "web_search" in json.dumps(body):
        system = sent.json["messages"][0]["content"]
        assert system.startswith("These tools are not available here: web_search.")
        assert "do not make up what they would return" in system


# warm-ups


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("streams", [False, True], ids=["a backend that obeys", "a backend that always streams"])
async def test_max_tokens_0_warms_the_backends_cache_and_answers_with_no_content(
    streaming: bool, streams: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, *END) if streams else respond(completion())]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(max_tokens=0, stream=streaming), headers=TOKEN)

    assert response.status == 200
    message = message_of(await response.read(), streaming=streaming)
    assert message["content"] == []
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"] == {
        "input_tokens": 20,
        "output_tokens": 0,
        "cache_read_input_tokens": 10,
        "cache_creation_input_tokens": 0,
    }
    assert scripted.requests[0].json["max_tokens"] == 1


async def test_half_a_call_of_a_warm_up_is_nobodys(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "Read", "arguments": '{"a'}}
    scripted.answers = [respond(completion(content=None, tool_calls=[call]))]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(max_tokens=0), headers=TOKEN)

    assert (await response.json())["content"] == []


async def test_a_warm_up_that_the_backend_refuses_is_an_error(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b'{"error":{"message":"no such thing"}}', status=400)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(max_tokens=0), headers=TOKEN)

    assert response.status == 400


async def test_the_prompt_of_a_warm_up_is_that_of_the_request_that_follows(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(completion()), respond(completion("stop"))]
    gateway = await start_gateway(scripted.url)
    fields = {"system": "Be brief.", "tools": [{"name": "Read", "input_schema": {"type": "object"}}]}

    for most in (0, 100):
        await gateway.post("/v1/messages", json=ask(max_tokens=most, **fields), headers=TOKEN)

    warm, real = (request.json for request in scripted.requests)
    assert {**warm, "max_tokens": 100} == real
