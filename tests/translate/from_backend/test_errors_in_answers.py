"""Errors inside a 200 answer, in the shapes of vendors and proxies."""

import json
from typing import Any

import pytest

from gateway.translate.from_backend.answer import translate_message
from gateway.translate.refusals.faults import BackendFault
from tests.translate.conftest import answer, delta, ended, sse, text, translate, unfinished

OVERFLOW = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
TOO_LONG = f"prompt is too long: 9000 tokens > 8192 maximum ({OVERFLOW})"
CASES: dict[str, tuple[Any, int, bool, str]] = {
    "the type and the message in keys of their own": (
        {"error_type": "invalid", "error_message": json.dumps({"error": {"message": OVERFLOW, "code": 400}})},
        *(400, False, TOO_LONG),
    ),
    "MiniMax: no money": (
        {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        *(402, False, "insufficient balance"),
    ),
    "MiniMax: too many, with counts": (
        {"choices": None, "usage": {"total_tokens": 0}, "base_resp": {"status_code": 1002, "status_msg": "limit"}},
        *(429, True, "limit"),
    ),
    "MiniMax: the key": (
        {"choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail"}},
        *(401, False, "login fail"),
    ),
    "MiniMax: a filter, with a choice": (
        {"choices": [{"delta": {}, "finish_reason": "stop"}], "base_resp": {"status_code": 1027, "status_msg": "new"}},
        *(400, False, "new"),
    ),
    "Baidu": ({"error_code": 18, "error_msg": "Open api qps request limit reached"}, 429, True, "limit reached"),
    "Cloudflare": (
        {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}], "result": None},
        *(401, False, "Authentication error"),
    ),
    "Spark": ({"header": {"code": 10013, "message": "invalid parameter"}}, 400, False, "invalid parameter"),
    "Tencent": ({"Response": {"Error": {"Code": "X", "Message": "余额不足"}}}, 402, False, "余额不足"),
    "DashScope": (
        {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."},
        *(402, False, "Access denied"),
    ),
    "Google": ({"error": {"message": "Later", "status": "RESOURCE_EXHAUSTED"}}, 429, True, "Later"),
    "Google, in a list": ([{"error": {"message": "No", "code": 400, "status": "INVALID_ARGUMENT"}}], 400, False, "No"),
    "AWS": ({"__type": "ThrottlingException", "message": "Too many tokens"}, 429, True, "Too many tokens"),
    "OpenRouter, in the choice": (
        {"choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "Upstream down"}}]},
        *(502, True, "Upstream down"),
    ),
    "problem+json": ({"title": "Too Many Requests", "status": 429, "detail": "slow down"}, 429, True, "slow down"),
    "camel case": ({"errorCode": "overloaded", "errorMessage": "busy"}, 529, True, "busy"),
    "a state and words": ({"status": "error", "message": "boom"}, 500, True, "boom"),
    "a state and data": ({"event": "error", "data": "boom"}, 500, True, "boom"),
    "a list of words": ({"errors": ["boom"]}, 500, True, "boom"),
    "a status in the words": ({"message": "Error code: 401 - wrong"}, 401, False, "wrong"),
}


@pytest.mark.parametrize(("body", "status", "retried", "words"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("name", ["", "event: error\n"], ids=["data", "error event"])
def test_an_error_is_told_in_its_words(name: str, body: Any, status: int, retried: bool, words: str) -> None:
    if name and isinstance(body, dict) and "choices" in body:
        pytest.skip("an answer's chunk is no error event")
    outcome = translate(sse(delta(content="Hi")) + name.encode() + sse(json.dumps(body), "[DONE]"))
    assert outcome.events == unfinished(text(0, "Hi"))
    fault = outcome.fault
    assert fault is not None
    assert (fault.status, fault.should_retry) == (status, retried)
    assert words in fault.message


@pytest.mark.parametrize(("body", "status", "retried", "words"), CASES.values(), ids=CASES)
def test_an_error_instead_of_a_whole_answer_is_told(body: Any, status: int, retried: bool, words: str) -> None:
    with pytest.raises(BackendFault) as caught:
        translate_message(json.dumps(body).encode(), message_id="msg_1", model="m", estimated_input=1)
    assert (caught.value.status, caught.value.should_retry) == (status, retried)
    assert words in caught.value.message


@pytest.mark.parametrize("before", [b"", sse(delta(content="Hi"))], ids=["at once", "in the middle"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"], ids=["cut", "a line", "an event"])
def test_an_error_that_is_no_event_is_told(before: bytes, end: bytes) -> None:
    fault = translate(before + b'{"error":{"message":"Insufficient balance"}}' + end).fault
    assert fault is not None
    assert (fault.status, fault.should_retry) == (402, False)


def test_a_bare_line_in_a_whole_answer_changes_nothing() -> None:
    outcome = translate(b'{"progress":1}\n\n' + sse(delta(content="Hi"), delta("stop"), "[DONE]"))
    assert outcome.fault is None


def test_an_error_in_plain_words_is_told() -> None:
    fault = translate(sse("[ERROR] insufficient balance")).fault
    assert fault is not None
    assert (fault.status, fault.message.startswith("backend: ")) == (402, True)


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"choices": [], "error_code": 0, "error_msg": ""},
        {"choices": [], "errors": []},
        {"type": "ping"},
        {"status": "processing", "reason": "queued"},
    ],
)
def test_what_tells_of_no_error_is_none(chunk: Any) -> None:
    assert answer(chunk, delta(content="Hi"), delta("stop")) == text(0, "Hi") + ended("end_turn")
