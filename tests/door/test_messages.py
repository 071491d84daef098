import asyncio
import base64
import gzip
import io
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from gateway.relay.keep_alive import KeepAlive
from tests.conftest import (
    END,
    HELLO,
    TOKEN,
    ScriptedBackend,
    StartGateway,
    ask,
    chunk,
    events,
    read_until,
    read_until_cut,
    respond,
    silence,
    stream,
)
from tests.samples import recorded_request

COMPLETION = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}},
}
USAGE = {
    "input_tokens": 20,
    "output_tokens": 4,
    "cache_read_input_tokens": 10,
    "cache_creation_input_tokens": 0,
}


async def test_a_stream_reads_like_anthropics(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages?beta=true", json=ask(stream=True), headers=TOKEN)

    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["request-id"].startswith("req_")
    assert "Content-Encoding" not in response.headers
    (_, start), *rest = events(await response.read())
    message = start["message"]
    assert message.pop("id").startswith("msg_")
    assert message.pop("usage")["input_tokens"] > 0
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "Vendor/Model-1",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    text = {"type": "content_block_delta", "index": 0}
    assert rest == [
        (
            "content_block_start",
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ),
        ("content_block_delta", text | {"delta": {"type": "text_delta", "text": "Hel"}}),
        ("content_block_delta", text | {"delta": {"type": "text_delta", "text": "lo"}}),
        ("content_block_stop", {"type": "content_block_stop", "index": 0}),
        (
            "message_delta",
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
        ),
        ("message_stop", {"type": "message_stop"}),
    ]


async def test_a_message_reads_like_anthropics(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.answers = [respond(json.dumps(COMPLETION).encode())]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(), headers=TOKEN)

    assert response.status == 200
    message = await response.json()
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "Vendor/Model-1",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }


async def test_the_backend_gets_the_translated_request_and_the_clients_token(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, *END), respond(json.dumps(COMPLETION).encode())]
    gateway = await start_gateway(scripted.url)

    await gateway.post("/v1/messages", json=ask(stream=True, system="Be brief."), headers={"x-api-key": "cpk_other"})
    await gateway.post("/v1/messages", json=ask(), headers=TOKEN)

    first, second = scripted.requests
    assert first.path == "/v1/chat/completions"
    assert first.headers["authorization"] == "Bearer cpk_other"
    assert first.headers["accept-encoding"] == "identity"
    assert first.json == {
        "model": "Vendor/Model-1",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    }
    assert second.headers["authorization"] == "Bearer cpk_test"
    assert second.json["stream"] is False
    assert "stream_options" not in second.json


@pytest.mark.parametrize("prompt", ["Hi", "x" * 2_000_000], ids=["short", "two megabytes"])
async def test_tools_that_come_with_each_turn_go_out_with_each(
    scripted: ScriptedBackend, start_gateway: StartGateway, prompt: str
) -> None:
    scripted.answers = [stream(*HELLO, *END), stream(*HELLO, *END), respond(json.dumps(COMPLETION).encode())]
    gateway = await start_gateway(scripted.url)
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    tools = [{"name": name, "description": "d" * 2000, "input_schema": schema} for name in ("Read", "Edit")]
    body = ask(prompt, tools=tools)

    async def post(sent: str) -> tuple[int, bytes]:
        response = await gateway.post("/v1/messages", data=io.BytesIO(sent.encode()), headers=TOKEN)
        return response.status, await response.read()

    streams = [await post(json.dumps(body | {"stream": True})) for _ in range(2)]
    assert (await post(json.dumps(body)))[0] == 200
    assert (await post(json.dumps(body)[:-1]))[0] == 400

    usages = [events(answer)[0][1]["message"]["usage"] for _, answer in streams]
    assert usages[0] == usages[1]
    assert len({json.dumps(request.json["tools"]) for request in scripted.requests}) == 1
    assert scripted.requests[0].json["tools"] == [
        {"type": "function", "function": {"name": name, "description": "d" * 2000, "parameters": schema}}
        for name in ("Read", "Edit")
    ]


async def test_only_the_gateways_own_headers_reach_the_backend(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(json.dumps(COMPLETION).encode())]
    gateway = await start_gateway(scripted.url)

    await gateway.post("/v1/messages", json=ask(), headers={**TOKEN, "x-app": "cli", "Cookie": "a=b"})

    sent = scripted.requests[0].headers
    assert sorted(sent) == [
        "accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "user-agent",
    ]  # fmt: skip


async def test_a_base_url_that_ends_with_v1_works(embedded: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(embedded)

    response = await gateway.post("/v1/v1/messages", json=ask(model="demo"), headers=TOKEN)

    assert response.status == 200


async def test_message_ids_are_unique(embedded: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(embedded)

    answers = [await (await gateway.post("/v1/messages", json=ask(model="demo"), headers=TOKEN)).json() for _ in "ab"]

    assert answers[0]["id"] != answers[1]["id"]


async def test_the_requested_name_is_echoed_and_the_backends_name_is_asked(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(json.dumps(COMPLETION).encode())]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(model="vendor/model-1"), headers=TOKEN)

    assert (await response.json())["model"] == "vendor/model-1"
    assert scripted.requests[0].json["model"] == "Vendor/Model-1"


async def test_stream_and_message_agree(embedded: str, start_gateway: StartGateway) -> None:
    tool = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    request = ask('Use get_weather for "Ulm"', model="demo", tools=[tool], thinking={"type": "adaptive"})
    gateway = await start_gateway(embedded)

    whole = await (await gateway.post("/v1/messages", json=request, headers=TOKEN)).json()
    streamed = await (await gateway.post("/v1/messages", json=request | {"stream": True}, headers=TOKEN)).read()

    assert whole["stop_reason"] == "tool_use"
    assert [block["type"] for block in whole["content"]] == ["thinking", "tool_use"]
    names = [(name, data) for name, data in events(streamed) if name == "content_block_start"]
    assert [data["content_block"]["type"] for _, data in names] == ["thinking", "tool_use"]
    delta = next(data for name, data in events(streamed) if name == "message_delta")
    assert (delta["delta"]["stop_reason"], delta["usage"]) == ("tool_use", whole["usage"])


async def test_an_error_status_goes_through_with_its_words(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    body = b'{"error":{"message":"slow down","type":"rate_limit","code":429}}'
    scripted.answers = [respond(body, status=429, retry_after="7")]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert response.status == 429
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-should-retry"] == "true"
    assert await response.json() == {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": "backend: slow down (the backend's limit for this key: wait, or send less at a time)",
        },
        "request_id": response.headers["request-id"],
    }


async def test_an_error_in_the_stream_before_any_content_still_gets_a_status(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    failing = b'data: {"error":{"message":"Loading model","type":"unavailable_error","code":503}}\n\n'
    scripted.answers = [stream(b": ping\n\n", HELLO[0], failing)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert response.status == 529
    assert (await response.json())["error"] == {
        "type": "overloaded_error",
        "message": "backend: Loading model (the backend has no capacity right now: try again)",
    }


@pytest.mark.parametrize(
    ("pieces", "kind", "message"),
    [
        pytest.param(
            [b'data: {"error":{"message":"engine died","code":500}}\n\n', b"data: [DONE]\n\n"],
            "api_error",
            "backend: engine died",
            id="an error object",
        ),
        pytest.param([], "api_error", "the backend's answer broke off before its end; try again", id="a cut"),
    ],
)
async def test_a_fault_in_mid_text_is_never_a_clean_end(
    pieces: list[bytes], kind: str, message: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    opened = asyncio.Event()
    scripted.answers = [stream(*HELLO, opened, *pieces, cut=not pieces)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    received = await read_until(response, b'"lo"')
    opened.set()
    received += await response.read()

    seen = events(received)
    assert [name for name, _ in seen] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "error",
    ]  # fmt: skip
    assert seen[-1][1]["error"] == {"type": kind, "message": message}


async def test_a_cut_before_any_content_is_asked_again_in_silence(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(HELLO[0], cut=True), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert response.status == 200
    names = [name for name, _ in events(await response.read())]
    assert (names.count("message_start"), names[-1]) == (1, "message_stop")
    assert scripted.requests[0].body == scripted.requests[1].body


async def test_a_cut_before_any_content_twice_gets_a_status(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(HELLO[0], cut=True), stream(HELLO[0], cut=True), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert response.status == 502
    assert (await response.json())["error"]["message"] == "the backend's answer broke off before its end; try again"
    assert len(scripted.answers) == 1


async def test_an_answer_that_is_asked_again_after_the_headers_goes_on(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    opened = asyncio.Event()
    scripted.answers = [stream(HELLO[0], opened, cut=True), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url, keep_alive=KeepAlive(open_after=0, tick=0.01))

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    opened.set()

    names = [name for name, _ in events(await response.read())]
    assert (names.count("message_start"), names[-1]) == (1, "message_stop")


async def test_a_json_answer_to_a_request_for_a_stream_becomes_a_stream(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(json.dumps(COMPLETION).encode())]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert [name for name, _ in events(await response.read())] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "message"])
async def test_an_error_in_a_200_body_is_an_error(
    streaming: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b'{"error":{"message":"no credits","code":402}}')]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=streaming), headers=TOKEN)

    assert response.status == 402
    assert (await response.json())["error"] == {
        "type": "billing_error",
        "message": "backend: no credits (add credit to the backend account, or use another key)",
    }


async def test_a_backend_that_is_not_there_says_what_to_check(
    start_gateway: StartGateway, unused_tcp_port: int
) -> None:
    gateway = await start_gateway(f"http://127.0.0.1:{unused_tcp_port}")

    response = await gateway.post("/v1/messages", json=ask(), headers=TOKEN)

    assert response.status == 502
    error = (await response.json())["error"]
    assert error["type"] == "api_error"
    assert error["message"] == (
        f"no connection to the backend at http://127.0.0.1:{unused_tcp_port}/v1/chat/completions "
        "(Connection refused): is it running? Start it, or correct BACKEND_URL"
    )


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "message"])
async def test_a_silent_backend_times_out(
    streaming: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    done = asyncio.Event()
    scripted.answers = [silence(done)]
    gateway = await start_gateway(scripted.url, backend_timeout_secs="0.1")

    response = await gateway.post("/v1/messages", json=ask(stream=streaming), headers=TOKEN)

    assert response.status == 504
    assert (await response.json())["error"]["message"].endswith(
        "sent no answer within 0.1 s (BACKEND_TIMEOUT_SECS): it may be overloaded; try again, or allow it more time"
    )
    await scripted.client_left.wait()


async def test_a_backend_that_falls_silent_in_the_answer_times_out(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, asyncio.Event())]
    gateway = await start_gateway(scripted.url, silence_timeout_secs="0.1")

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    received = await response.read()
    name, data = events(received)[-1]
    assert (name, data["error"]["type"]) == ("error", "timeout_error")


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "message"])
async def test_a_client_that_leaves_while_the_backend_is_silent_frees_it(
    streaming: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [silence(asyncio.Event())]
    gateway = await start_gateway(scripted.url)

    asking = asyncio.create_task(gateway.post("/v1/messages", json=ask(stream=streaming), headers=TOKEN))
    await scripted.asked.wait()
    asking.cancel()

    await asyncio.wait_for(scripted.client_left.wait(), 2)


async def test_a_client_that_leaves_in_mid_stream_frees_the_backend(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, asyncio.Event())]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    await response.content.readany()
    response.close()

    await asyncio.wait_for(scripted.client_left.wait(), 2)


async def test_the_first_text_arrives_while_the_backend_holds_the_rest(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO[:2], rest, HELLO[2], *END)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    received = await read_until(response, b'"Hel"')
    rest.set()
    received += await response.read()

    assert events(received)[-1][0] == "message_stop"


DEAF = {"User-Agent": "claude-cli/2.1.197 (external, cli)"}


@pytest.mark.parametrize(
    ("client", "signs"), [({}, {"ping"}), (DEAF, {"ping", "message_delta"})], ids=["any", "2.1.197"]
)
async def test_a_silent_stream_is_opened_and_kept_alive(
    client: dict[str, str], signs: set[str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(rest, *HELLO, *END)]
    alive = KeepAlive(open_after=0.02, ping_after=0.02, heartbeat_after=0.1, tick=0.01)
    gateway = await start_gateway(scripted.url, keep_alive=alive)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN | client)
    received = b""
    while not all(b"event: " + sign.encode() in received for sign in signs) or received.count(b"event: ping") < 8:
        received += await response.content.readany()
    rest.set()
    before, received = received, received + await response.read()

    seen = events(received)
    assert seen[0][0] == "message_start"
    assert [name for name, _ in seen].count("message_start") == 1
    assert {name for name, _ in events(before)} == {"message_start"} | signs
    beats = [data for name, data in events(before) if name == "message_delta"]
    assert all(data["delta"] == {"stop_reason": None, "stop_sequence": None} for data in beats)
    assert seen[-1][0] == "message_stop"


@pytest.mark.parametrize(("agent", "cut"), [("claude-cli/2.1.330 (external, cli)", True), ("ai-sdk/6.0", False)])
async def test_a_failed_stream_breaks_off_for_claude_code_and_ends_cleanly_for_others(
    agent: str, cut: bool, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, b'data: {"error":{"message":"out of memory"}}\n\n')]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN | {"User-Agent": agent})
    received = await (read_until_cut(response) if cut else response.read())

    assert events(received)[-1][0] == "error"


async def test_an_error_after_the_grace_comes_in_the_stream(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    opened = asyncio.Event()

    async def refuse_late(writer: asyncio.StreamWriter) -> None:
        await opened.wait()
        await respond(b'{"error":{"message":"too late","code":400}}', status=400)(writer)

    scripted.answers = [refuse_late]
    gateway = await start_gateway(scripted.url, keep_alive=KeepAlive(open_after=0, tick=0.01))

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    opened.set()

    received = await response.read()
    assert [name for name, _ in events(received)] == ["message_start", "error"]


async def test_a_field_that_the_backend_refuses_is_left_out_from_then_on(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    refusal = b'{"error":{"message":"Unrecognized request argument supplied: chat_template_kwargs"}}'
    scripted.answers = [respond(refusal, status=400), stream(*HELLO, *END), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)

    for _ in "ab":
        response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
        assert events(await response.read())[-1][0] == "message_stop"

    sent = [request.json for request in scripted.requests]
    assert ["chat_template_kwargs" in request for request in sent] == [True, False, False]
    assert sent[1] == sent[2]
    assert {**sent[1], "chat_template_kwargs": sent[0]["chat_template_kwargs"]} == sent[0]


async def test_one_refusal_after_the_other_is_learnt(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    fields = ["chat_template_kwargs", "top_k", "temperature"]
    refusals = [f'{{"error":"Unrecognized request argument supplied: {name}"}}' for name in fields]
    scripted.answers = [respond(refusal.encode(), status=400) for refusal in refusals]
    scripted.answers += [respond(json.dumps(COMPLETION).encode())] * 2
    gateway = await start_gateway(scripted.url)

    statuses = [
        (await gateway.post("/v1/messages", json=ask(top_k=1, temperature=1), headers=TOKEN)).status for _ in "ab"
    ]

    assert statuses == [200, 200]
    assert len(scripted.requests) == 5
    assert not set(fields) & set(scripted.requests[4].json)


async def test_a_backend_that_refuses_everything_is_not_asked_for_ever(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    fields = ["chat_template_kwargs", "top_k", "temperature", "top_p", "stream_options"]
    scripted.answers = [
        respond(f'{{"error":"Unrecognized request argument supplied: {name}"}}'.encode(), status=400) for name in fields
    ]
    gateway = await start_gateway(scripted.url)

    request = ask(top_k=1, temperature=1, top_p=1, stream=True)
    response = await gateway.post("/v1/messages", json=request, headers=TOKEN)

    assert response.status == 400
    assert len(scripted.requests) == 5


async def test_no_client_turns_images_off_for_the_others(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    def about(media_type: str) -> dict[str, Any]:
        source = {"type": "base64", "media_type": media_type, "data": "iVBORw0KGgo="}
        return ask() | {"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}

    echo = b'{"error":{"message":"Invalid media type: x support image"}}'
    fine = respond(json.dumps(COMPLETION).encode())
    scripted.answers = [respond(echo, status=400), fine, fine]
    gateway = await start_gateway(scripted.url)

    for media_type in ("x support image", "image/png"):
        response = await gateway.post("/v1/messages", json=about(media_type), headers=TOKEN)
        assert response.status == 200

    assert [b'"image_url"' in request.body for request in scripted.requests] == [True, False, True]


async def test_a_model_that_does_not_see_gets_a_note_in_place_of_the_image(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    request = ask() | {"messages": [{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}]}
    refusal = b'{"error":{"code":500,"message":"image input is not supported - hint: ...","type":"server_error"}}'
    scripted.answers = [respond(refusal, status=500), respond(json.dumps(COMPLETION).encode())]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=request, headers=TOKEN)

    assert response.status == 200
    assert scripted.requests[1].json["messages"] == [
        {"role": "user", "content": "[image left out: this model does not take images]\n\nWhat is it?"}
    ]


async def test_a_limit_over_what_is_left_of_the_window_is_lowered_once(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    refusal = {
        "error": "This model's maximum context length is 16384 tokens. However, you requested 19591 tokens "
        "(9591 in the messages, 10000 in the completion). Please reduce the length."
    }
    scripted.answers = [respond(json.dumps(refusal).encode(), status=400), stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True, max_tokens=10000), headers=TOKEN)

    assert response.status == 200
    assert [request.json["max_tokens"] for request in scripted.requests] == [10000, 16384 - 9591]


async def test_a_refusal_that_cannot_be_helped_is_told_at_once(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b'{"error":{"message":"no such thing"}}', status=400)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert response.status == 400
    assert len(scripted.requests) == 1


async def test_an_answer_longer_than_the_silence_limit_goes_on(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        pieces = [HELLO[0], *[chunk({"content": "x"})] * 8, *END]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.04)

    scripted.answers = [drip]
    gateway = await start_gateway(scripted.url, backend_timeout_secs="0.3")

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)

    assert events(await response.read())[-1][0] == "message_stop"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the request body is empty"),
        (b"[]", "the request body: Expected `object`, got `array`"),
        (b'{"model":"m","messages":[{"role":"user","content":5}],"max_tokens":1}', None),
    ],
    ids=["empty", "array", "wrong content"],
)
async def test_a_bad_body_is_a_400_that_says_where(
    body: bytes, message: str | None, embedded: str, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(embedded)

    response = await gateway.post("/v1/messages", data=body, headers=TOKEN)

    assert response.status == 400
    error = (await response.json())["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"] == message or error["message"].startswith("messages.0.content: ")


async def test_a_body_over_64_mib_is_a_413(embedded: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(embedded)

    response = await gateway.post("/v1/messages", data=io.BytesIO(b" " * (64 * 1024 * 1024 + 1)), headers=TOKEN)

    assert response.status == 413
    assert (await response.json())["error"]["type"] == "request_too_large"


@pytest.mark.parametrize(
    "prompt",
    ["word " * 1_000_000, 'é "😀" \\ / \n' * 300_000, 'é "😀" \\ / \n' * 10_000],
    ids=["plain", "with escapes", "less than one"],
)
async def test_a_body_of_many_megabytes_goes_through(
    scripted: ScriptedBackend, start_gateway: StartGateway, prompt: str
) -> None:
    scripted.answers = [respond(json.dumps(COMPLETION).encode())]
    gateway = await start_gateway(scripted.url)

    body = io.BytesIO(json.dumps(ask(prompt)).encode())
    response = await gateway.post("/v1/messages", data=body, headers=TOKEN)

    assert response.status == 200
    assert scripted.requests[0].json["messages"] == [{"role": "user", "content": prompt}]


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_read(
    coding: str, compress: Callable[[bytes], bytes], embedded: str, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(embedded)

    body = compress(json.dumps(ask(model="demo")).encode())
    headers = {**TOKEN, "Content-Encoding": coding, "Content-Type": "application/json"}
    response = await gateway.post("/v1/messages", data=body, headers=headers)

    assert response.status == 200


async def test_a_stream_is_not_compressed_for_clients_that_would_take_it(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)

    headers = {**TOKEN, "Accept-Encoding": "gzip, deflate, br, zstd"}
    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=headers)

    assert "Content-Encoding" not in response.headers
    assert events(await response.read())[-1][0] == "message_stop"


async def test_an_unknown_model_is_a_404_that_names_what_there_is(embedded: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(embedded)

    response = await gateway.post("/v1/messages", json=ask(model="demos"), headers=TOKEN)

    assert response.status == 404
    assert response.headers["x-should-retry"] == "false"
    assert (await response.json())["error"] == {
        "type": "not_found_error",
        "message": (
            "model: 'demos' is not served by this backend. Did you mean demo? Available: demo, zai-org/GLM-4.5-Air. "
            "Choose one, or map the name with MODEL_MAP."
        ),
    }


async def test_a_pdf_reaches_the_model_as_text(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    request = recorded_request("2.1.330-pdf-in-tool-result") | {"model": "Vendor/Model-1"}
    scripted.answers = [stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=request, headers=TOKEN)

    assert response.status == 200
    await response.read()
    result = next(message for message in scripted.requests[0].json["messages"] if message["role"] == "tool")
    assert "Hello PDF" in result["content"]


async def test_a_document_that_cannot_be_read_is_noted(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF-1.4 no").decode()}
    content: list[dict[str, Any]] = [{"type": "document", "source": source}, {"type": "text", "text": "Sum it up"}]
    scripted.answers = [respond(json.dumps(COMPLETION).encode())]
    gateway = await start_gateway(scripted.url)

    request = ask() | {"messages": [{"role": "user", "content": content}]}
    response = await gateway.post("/v1/messages", json=request, headers=TOKEN)

    assert response.status == 200
    sent = scripted.requests[0].json["messages"][0]["content"]
    assert sent == (
        "[document left out: the PDF cannot be read: it cannot be opened (Failed to load document (PDFium: Data format "
        "error).)]\n\nSum it up"
    )


async def test_a_fault_of_our_own_is_a_500_without_a_traceback(
    scripted: ScriptedBackend, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start_gateway(scripted.url)
    monkeypatch.setattr("gateway.turn.backend_request.translate_request", lambda *_, **__: 1 / 0)

    response = await gateway.post("/v1/messages", json=ask(), headers=TOKEN)

    assert response.status == 500
    error = (await response.json())["error"]
    assert error["type"] == "api_error"
    assert error["message"].startswith(
        "the gateway itself failed on this request: try again; its log has the details under req_"
    )


async def test_an_answer_that_is_complete_outlives_the_cut_of_its_connection(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    read = asyncio.Event()
    scripted.answers = [stream(*HELLO, chunk({}, "stop"), read, cut=True)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    received = await read_until(response, b'"lo"')
    read.set()

    assert events(received + await response.read())[-1][0] == "message_stop"


async def test_an_answer_as_a_stream_to_a_client_that_asked_for_none_is_a_message(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(), headers=TOKEN)

    assert response.status == 200
    assert (await response.json())["content"] == [{"type": "text", "text": "Hello"}]
