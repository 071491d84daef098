"""Faults that users of other gateways reported, and quirks of backends, where it takes the whole translation to see
them.
"""

import json
from typing import Any

import msgspec
import pytest

from gateway.anthropic.decode import decode_request
from gateway.backend.profiles import PROFILES
from gateway.translate.refusals.faults import fault_from_response
from gateway.translate.to_backend.request import translate_request
from tests.translate.conftest import Chunk, answer, call, calls, delta, ended, live, text, thinking, tool

Json = dict[str, Any]

STOP = delta("stop")


def translated(profile: str, **fields: Any) -> Json:
    """The body that a backend gets, as it reads it."""
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi."}], **fields}
    chat = translate_request(decode_request(json.dumps(body).encode()), PROFILES[profile], model="m")
    decoded: Json = msgspec.json.decode(msgspec.json.encode(chat))
    return decoded


def keys_of(value: Any) -> set[str]:
    """The names of all fields, however deep."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set()


# requests


@pytest.mark.parametrize("profile", PROFILES)
def test_what_some_backend_refuses_and_none_needs_is_sent_to_none(profile: str) -> None:
    """DeepSeek refuses a `user` that is JSON, as Claude Code's is; Kimi, Together and NIM refuse `strict`, Groq `store`;
    and `defer_loading` among a tool's fields has been a bad request, too (BerriAI/litellm#22878).
    """
    tool_spec = {
        "name": "Read",
        "input_schema": {"type": "object"},
        "strict": True,
        "defer_loading": True,
        "eager_input_streaming": True,
        "cache_control": {"type": "ephemeral"},
    }
    chat = translated(
        profile,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        tools=[tool_spec],
        metadata={"user_id": '{"device_id":"d","session_id":"s"}'},
        service_tier="auto",
        context_management={"edits": []},
        betas=["x"],
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
    )
    refused = {"user", "metadata", "strict", "store", "defer_loading", "eager_input_streaming", "cache_control"}
    assert not keys_of(chat) & (refused | {"service_tier", "context_management", "betas"})
    assert {message["role"] for message in chat["messages"]} == {"system", "user"}


@pytest.mark.parametrize("profile", PROFILES)
def test_what_the_assistant_said_is_one_string(profile: str) -> None:
    """DeepSeek imitates the structure of an assistant's message that is a list of parts."""
    source = {"type": "url", "url": "https://x.test/a.png"}
    blocks = [
        {"type": "thinking", "thinking": "Hm", "signature": "x"},
        {"type": "text", "text": "A"},
        {"type": "image", "source": source},
        {"type": "text", "text": "B"},
        {"type": "tool_use", "id": "abc123xyz", "name": "Read", "input": {}},
    ]
    results = [{"type": "tool_result", "tool_use_id": "abc123xyz", "content": [{"type": "image", "source": source}]}]
    chat = translated(
        profile,
        messages=[
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": results},
        ],
    )
    contents = [(message["role"], message["content"]) for message in chat["messages"] if message["role"] != "user"]
    assert ("tool", "[image: in the next user message]") in contents
    assert [role for role, content in contents if not isinstance(content, str)] == []


def test_a_count_of_the_tokens_left_spoils_nothing_in_front_of_it() -> None:  # ollama/ollama#17918
    def sent(left: int) -> list[Json]:
        reminder = f"<total_tokens>{left} tokens left</total_tokens>"
        history = [
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Go on."},
            {"role": "system", "content": reminder},
        ]
        messages: list[Json] = translated("generic", system="Be brief.", messages=history)["messages"]
        return messages

    (*before, last), (*before_later, last_later) = sent(9000), sent(8000)
    assert before == before_later
    assert last["role"] == last_later["role"] == "user"
    assert last["content"] == (
        "Go on.\n\n<system-reminder>\n<total_tokens>9000 tokens left</total_tokens>\n</system-reminder>"
    )
    assert last_later["content"] == last["content"].replace("9000", "8000")


# answers


def test_thinking_is_closed_in_front_of_a_call() -> None:
    chunks = [delta(reasoning_content="Hm"), calls(call(0, "c1", "Read", "{}")), delta("tool_calls")]
    assert answer(*chunks) == thinking(0, "Hm") + tool(1, "c1", "Read", "{}") + ended("tool_use")


@pytest.mark.parametrize("finish", ["stop", "tool_calls"])
def test_a_whole_call_behind_the_finish_reason_counts(finish: str) -> None:
    chunks = [delta(content="I read."), delta(finish), calls(call(0, "c1", "Read", '{"a":1}'))]
    assert answer(*chunks) == text(0, "I read.") + tool(1, "c1", "Read", '{"a":1}') + ended("tool_use")


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>", id="qwen3-coder"),
        pytest.param('<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>', id="hermes"),
        pytest.param("<|tool_calls_section_begin|><|tool_call_begin|>functions.Bash:0", id="kimi"),
    ],
)
@pytest.mark.parametrize("finish", ["stop", "tool_calls"])
def test_a_call_that_the_backends_parser_missed_ends_the_turn_in_plain_sight(finish: str, written: str) -> None:
    # no client waits for a call that does not come, and none of it is lost (ollama/ollama#16686)
    assert answer(delta(content=written), delta(finish)) == text(0, written) + ended("end_turn")
    assert answer(delta(reasoning=written), delta(finish)) == thinking(0, written) + ended("end_turn")


@pytest.mark.parametrize(
    "extras",
    [
        pytest.param({"timings": {"prompt_n": 9, "predicted_per_second": 51.5}}, id="llama.cpp: timings"),
        pytest.param({"prompt_progress": {"total": 900, "cache": 0, "processed": 512}}, id="llama.cpp: progress"),
        pytest.param({"__verbose": {"content": "other", "tokens": [1, 2], "stop": False}}, id="llama.cpp: verbose"),
        pytest.param({"provider": "X", "native_finish_reason": "STOP"}, id="openrouter"),
        pytest.param({"x_groq": {"id": "req_1"}, "system_fingerprint": "fp"}, id="groq"),
        pytest.param({"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}, id="azure"),
        pytest.param({"prompt_token_ids": [1, 2], "kv_transfer_params": None}, id="vllm"),
    ],
)
def test_what_backends_add_of_their_own_changes_nothing(extras: Chunk) -> None:
    first = {**delta(role="assistant", content=None), **extras}
    assert live(first) == [[]]
    chunks = [first, {**delta(content="Hi"), **extras}, {**STOP, **extras}]
    assert answer(*chunks) == text(0, "Hi") + ended("end_turn")


# errors


def test_a_prompt_that_azure_filters_is_refused_in_its_words() -> None:
    body = {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {}}},
        }
    }
    fault = fault_from_response(400, {}, json.dumps(body).encode())
    assert (fault.status, fault.type, fault.should_retry) == (400, "invalid_request_error", False)
    assert fault.message == f"backend: {body['error']['message']}"


@pytest.mark.parametrize(("status", "code"), [(400, 500), (400, "429"), (403, 200), (500, 400), (504, None)])
def test_the_status_of_a_response_counts_whatever_code_its_body_holds(status: int, code: Any) -> None:
    body = json.dumps({"error": {"message": "It broke", "code": code}}).encode()
    assert fault_from_response(status, {}, body).status == status
