"""Cache marks go on for the models that read them, and for no other."""

import json
from typing import Any

import msgspec
import pytest

from gateway.anthropic.decode import decode_request
from gateway.backend.profiles import PROFILES
from gateway.translate.to_backend.request import translate_request

Json = dict[str, Any]

MARK = {"type": "ephemeral", "ttl": "1h"}
BODY: Json = {
    "model": "m",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}],
    "tools": [{"name": "Read", "input_schema": {"type": "object"}, "cache_control": MARK}],
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": "Go on", "cache_control": MARK}]},
    ],
}


def sent(profile: str, model: str, body: Json = BODY) -> Json:
    chat = translate_request(decode_request(json.dumps(body).encode()), PROFILES[profile], model=model)
    decoded: Json = msgspec.json.decode(msgspec.json.encode(chat))
    return decoded


@pytest.mark.parametrize(
    ("profile", "model", "mark"),
    [
        ("openrouter", "anthropic/claude-sonnet-5", MARK),
        ("openrouter", "qwen/qwen3-coder", {"type": "ephemeral"}),
        ("dashscope", "qwen3-coder-plus", {"type": "ephemeral"}),
    ],
)
def test_marks_go_on(profile: str, model: str, mark: Json) -> None:
    system, hi, hello, last = sent(profile, model)["messages"]
    assert system["content"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    assert last["content"] == [{"type": "text", "text": "Go on", "cache_control": mark}]
    assert (hi["content"], hello["content"]) == ("Hi", "Hello")


@pytest.mark.parametrize(
    ("profile", "model"),
    [("openrouter", "z-ai/glm-5"), ("vllm", "qwen/qwen3"), ("generic", "anthropic/claude"), ("dashscope", "m")],
)
def test_no_other_model_gets_marks(profile: str, model: str) -> None:
    assert "cache_control" not in json.dumps(sent(profile, model))


def test_the_mark_of_a_result_goes_on_its_message() -> None:
    call = {"type": "tool_use", "id": "a", "name": "Read", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": "x", "cache_control": {"type": "ephemeral"}}
    messages = [BODY["messages"][0], {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    last = sent("openrouter", "anthropic/claude-opus-5", {**BODY, "messages": messages})["messages"][-1]
    assert last["role"] == "tool"
    assert last["content"] == [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]


def test_without_marks_nothing_is_marked() -> None:
    body = {"model": "m", "max_tokens": 9, "system": "Be brief.", "messages": BODY["messages"][:1]}
    assert "cache_control" not in json.dumps(sent("openrouter", "anthropic/claude-opus-5", body))
