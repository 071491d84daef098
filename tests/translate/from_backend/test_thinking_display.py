"""Thinking that was not asked for, that is asked for without its text, and that is all there is."""

import json
from typing import Any

import pytest

from gateway.anthropic.decode import decode_request
from gateway.anthropic.request import Block
from gateway.translate.both_ways.signed_reasoning import omitted_thinking, thinking_signature
from gateway.translate.from_backend.answer import StreamTranslator, translate_message
from gateway.translate.from_backend.thinking_display import Display, display_of
from gateway.translate.to_backend.thinking import replayed_thinking
from tests.translate.conftest import (
    ESTIMATED_INPUT,
    USAGE,
    Chunk,
    Event,
    answer,
    call,
    calls,
    delta,
    ended,
    parse,
    sse,
    text,
    thinking,
    tool,
)

STOP = delta("stop")
THOUGHT = delta(reasoning_content="Hm. ")


def shown(display: Display, *chunks: Chunk, copies: bool = True) -> list[Event]:
    """The events behind `message_start`, one read for each chunk."""
    translator = StreamTranslator(display=display, copies=copies)
    translator.writer.message_start("msg_1", "model-1", ESTIMATED_INPUT)
    for chunk in (*chunks, USAGE):
        translator.feed(sse(chunk))
    translator.feed(sse("[DONE]"))
    translator.end(estimated_input=ESTIMATED_INPUT)
    return parse(translator.writer.take())[1:]


def content(display: Display, **message: Any) -> Any:
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    made, _ = translate_message(body, message_id="msg_1", model="m", estimated_input=1, display=display)
    return json.loads(made)["content"]


@pytest.mark.parametrize(
    ("field", "display"),
    [
        (None, "left_out"),
        ({"type": "disabled"}, "left_out"),
        ({"type": "adaptive"}, "shown"),
        ({"type": "enabled", "budget_tokens": 1024}, "shown"),
        ({"type": "adaptive", "display": "summarized"}, "shown"),
        ({"type": "adaptive", "display": "omitted"}, "omitted"),
        ({"type": "adaptive", "display": 1}, "shown"),
    ],
)
def test_the_request_says_how_thinking_is_shown(field: Any, display: str) -> None:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}], "thinking": field}
    assert display_of(decode_request(json.dumps(body).encode())) == display


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([THOUGHT, THOUGHT, delta(content="Hi"), STOP], id="a field of its own"),
        pytest.param([delta(content="<think>Hm."), delta(content="</think>\n\nHi"), STOP], id="tags"),
        pytest.param([delta(content=[{"type": "thinking", "thinking": "Hm"}]), delta(content="Hi"), STOP], id="parts"),
        pytest.param(
            [delta(reasoning_details=[{"type": "x", "data": "sealed"}]), delta(content="Hi"), STOP], id="data"
        ),
    ],
)
def test_thinking_that_nobody_asked_for_is_left_out(chunks: list[Chunk]) -> None:
    assert shown("left_out", *chunks) == text(0, "Hi") + ended("end_turn")


def test_text_around_it_is_one_block() -> None:
    chunks = [delta(content="A"), THOUGHT, delta(content="B"), STOP]
    assert shown("left_out", *chunks) == text(0, "A", "B") + ended("end_turn")


def test_a_call_behind_it_stays_and_so_do_the_data_that_it_needs() -> None:
    details = [{"type": "reasoning.encrypted", "data": "sealed", "index": 0}]
    chunks = [delta(reasoning_details=details), calls(call(0, "c1", "Read", '{"a":1}')), delta("tool_calls")]
    events = shown("left_out", *chunks)
    assert [data["content_block"]["type"] for name, data in events if name == "content_block_start"] == [
        "redacted_thinking",
        "tool_use",
    ]


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_an_answer_of_nothing_but_thinking_is_shown_as_text(finish: str) -> None:
    reason = {"stop": "end_turn", "length": "max_tokens"}[finish]
    assert shown("left_out", THOUGHT, THOUGHT, delta(finish)) == text(0, "Hm. Hm.") + ended(reason)
    assert content("left_out", content="", reasoning_content="Hm.") == [{"type": "text", "text": "Hm."}]


def test_a_whole_answer_begins_with_its_text() -> None:
    assert content("left_out", content="Hi", reasoning_content="Hm.") == [{"type": "text", "text": "Hi"}]


def test_the_tokens_of_thinking_are_counted_all_the_same() -> None:
    body = json.dumps({"choices": [{"message": {"content": "Hi", "reasoning": "x" * 398}, "finish_reason": "stop"}]})
    _, finish = translate_message(body.encode(), message_id="m", model="m", estimated_input=1, display="left_out")
    assert finish.usage.output_tokens == 100


@pytest.mark.parametrize("display", ["left_out", "omitted"])
def test_the_copier_still_learns_behind_much_thinking(display: Display) -> None:
    texts = [delta(content=f"{number} ") for number in range(40)]
    chunks = [*[THOUGHT] * 100, *texts, STOP]
    assert shown(display, *chunks) == shown(display, *chunks, copies=False)
    translator = StreamTranslator(display=display)
    translator.writer.message_start("msg_1", "model-1", ESTIMATED_INPUT)
    for chunk in chunks[:-1]:
        translator.feed(sse(chunk))
    assert translator.copier.pattern is not None
    assert translator.copier.pattern.kind == "text"


def test_much_thinking_that_is_not_seen_is_no_silence() -> None:
    translator = StreamTranslator(display="left_out")
    translator.writer.message_start("msg_1", "model-1", ESTIMATED_INPUT)
    for _ in range(12):
        translator.feed(sse(THOUGHT) * 10_000)


def test_omitted_thinking_has_a_block_without_text_and_a_signature_that_brings_it_back() -> None:
    events = shown("omitted", THOUGHT, delta(reasoning_content="Yes: é."), delta(content="Hi"), STOP)
    signature = events[1][1]["delta"]["signature"]
    assert events == [
        ("content_block_start", thinking(0)[0][1]),
        (
            "content_block_delta",
            {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": signature}},
        ),
        ("content_block_stop", {"type": "content_block_stop", "index": 0}),
        *text(1, "Hi"),
        *ended("end_turn"),
    ]
    assert omitted_thinking(signature) == "Hm. Yes: é."
    block = Block(type="thinking", thinking="", signature=signature)
    assert replayed_thinking([block]) == "Hm. Yes: é."
    whole = content("omitted", content="Hi", reasoning_content="Hm. Yes: é.")
    assert whole == [{"type": "thinking", "thinking": "", "signature": signature}, {"type": "text", "text": "Hi"}]


@pytest.mark.parametrize("signature", [None, "", "claude-gateway", "EqoB", "claude-gateway:thinking:%"])
def test_other_signatures_carry_nothing(signature: str | None) -> None:
    assert omitted_thinking(signature) == ""
    assert thinking_signature("") == "claude-gateway"


def test_a_tag_that_never_closes_and_nothing_else_is_shown_as_text() -> None:
    chunks = [delta(content="<think>The answer"), delta(content=" is 4."), STOP]
    assert answer(*chunks) == thinking(0, "The answer", " is 4.") + text(1, "The answer is 4.") + ended("end_turn")
    assert shown("left_out", *chunks) == text(0, "The answer is 4.") + ended("end_turn")
    cut = [*chunks[:2], delta("length")]
    assert answer(*cut) == thinking(0, "The answer", " is 4.") + ended("max_tokens")


def test_a_tag_that_never_closes_before_a_call_is_thinking() -> None:
    chunks = [delta(content="<think>Hm"), calls(call(0, "c1", "Read", '{"a":1}')), delta("tool_calls")]
    assert answer(*chunks) == thinking(0, "Hm") + tool(1, "c1", "Read", '{"a":1}') + ended("tool_use")
