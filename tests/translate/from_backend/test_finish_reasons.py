"""Finish reasons in the words of engines, models and gateways."""

from typing import Any

import pytest

from tests.translate.conftest import answer, call, calls, delta, ended, sse, text, tool, translate, unfinished

FAILURES = {
    "vLLM, SGLang: aborted": "abort",
    "vLLM: the answer went in circles": "repetition",
    "DeepSeek": "insufficient_system_resource",
    "Z.ai": "network_error",
    "Cohere": "ERROR",
    "Cohere: cancelled": "USER_CANCEL",
    "Cohere: too late": "TIMEOUT",
    "Gemini: a call that is none": "MALFORMED_FUNCTION_CALL",
    "Gemini: a call of no tool": "UNEXPECTED_TOOL_CALL",
    "Gemini: too many calls": "TOO_MANY_TOOL_CALLS",
    "Gemini: no signature": "MISSING_THOUGHT_SIGNATURE",
    "Gemini: the answer is unreadable": "MALFORMED_RESPONSE",
    "Gemini: anything else": "OTHER",
    "Vertex, with the enum's name": "FINISH_REASON_MALFORMED_FUNCTION_CALL",
    "Gemini's OpenAI-compatible API": "function_call_filter: MALFORMED_FUNCTION_CALL",
    "Bedrock": "malformed_model_output",
    "Bedrock: a call": "malformed_tool_use",
    "LM Studio": "modelUnloaded",
    "SGLang's own": {"type": "abort", "message": "Aborted"},
    "not in the table": "engine_error",
    "not in the table, either": "request-cancelled",
}
LIMITS = {
    "Gemini, Cohere": ("MAX_TOKENS", "max_tokens"),
    "Vertex": ("FINISH_REASON_MAX_TOKENS", "max_tokens"),
    "OpenAI's Responses": ("max_output_tokens", "max_tokens"),
    "any case": ("Length", "max_tokens"),
    "LM Studio": ("maxPredictedTokensReached", "max_tokens"),
    "Mistral": ("model_length", "model_context_window_exceeded"),
    "LM Studio: the context": ("contextLengthReached", "model_context_window_exceeded"),
    "Gemini: prohibited": ("PROHIBITED_CONTENT", "refusal"),
    "Gemini: safety": ("SAFETY", "refusal"),
    "Gemini: copied": ("RECITATION", "refusal"),
    "Gemini: block list": ("BLOCKLIST", "refusal"),
    "Gemini: personal data": ("SPII", "refusal"),
    "Gemini: a language": ("LANGUAGE", "refusal"),
    "Vertex: Model Armor": ("MODEL_ARMOR", "refusal"),
    "Gemini's OpenAI-compatible API": ("content_filter: PROHIBITED_CONTENT", "refusal"),
    "Bedrock": ("guardrail_intervened", "refusal"),
    "Bedrock: filtered": ("content_filtered", "refusal"),
    "Cohere": ("ERROR_TOXIC", "refusal"),
    "with a hyphen": ("content-filter", "refusal"),
    "not in the table": ("output_blocked", "refusal"),
}
ENDS = ["STOP", "COMPLETE", "STOP_SEQUENCE", "FINISH_REASON_STOP", "eosFound", "endTurn", "FINISH"]


@pytest.mark.parametrize("finish", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("behind", [[], ["[DONE]"]], ids=["cut", "done"])
def test_a_failure_is_an_error_that_can_be_tried_again(finish: Any, behind: list[Any]) -> None:
    outcome = translate(sse(delta(content="Hi"), delta(finish), *behind))
    assert outcome.events == unfinished(text(0, "Hi"))
    name = finish["type"] if isinstance(finish, dict) else finish
    fault = outcome.fault
    assert fault is not None
    assert (fault.status, fault.type, fault.should_retry, fault.counts) == (502, "api_error", True, True)
    assert name.split(": ")[-1] in fault.message


def test_half_a_call_behind_an_abort_is_no_call() -> None:
    outcome = translate(sse(calls(call(0, "c1", "Write", '{"path":"a')), delta("abort"), "[DONE]"))
    assert outcome.events == unfinished(tool(0, "c1", "Write", '{"path":"a'))
    assert outcome.fault is not None


def test_a_failure_with_nothing_before_it_is_told() -> None:
    assert translate(sse(delta("MALFORMED_FUNCTION_CALL"), "[DONE]")).fault is not None
    assert translate(sse(delta("something_new"), "[DONE]")).fault is not None
    assert answer(delta("STOP")) == ended("end_turn")


@pytest.mark.parametrize(("finish", "stop_reason"), LIMITS.values(), ids=LIMITS)
def test_limits_and_filters_have_their_stop_reasons(finish: str, stop_reason: str) -> None:
    assert answer(delta(content="Hi"), delta(finish)) == text(0, "Hi") + ended(stop_reason)


@pytest.mark.parametrize("finish", ENDS)
def test_a_plain_end_in_other_words(finish: str) -> None:
    assert answer(delta(content="Hi"), delta(finish)) == text(0, "Hi") + ended("end_turn")


def test_the_reason_behind_the_reason_counts() -> None:
    def native(reason: str, finish: str = "stop") -> Any:
        chunk = delta(finish)
        chunk["choices"][0]["native_finish_reason"] = reason
        return chunk

    assert answer(delta(content="Hi"), native("STOP")) == text(0, "Hi") + ended("end_turn")
    assert answer(delta(content="Hi"), native("SAFETY")) == text(0, "Hi") + ended("refusal")
    assert translate(sse(delta(content="Hi"), native("MALFORMED_FUNCTION_CALL"), "[DONE]")).fault is not None


def test_a_limit_is_not_forgotten() -> None:
    assert answer(delta(content="Hi"), delta("MAX_TOKENS"), delta("STOP")) == text(0, "Hi") + ended("max_tokens")
