"""Pieces that a backend has broken, where there is one way to mend them."""

import json
from typing import Any

import pytest

from gateway.translate.from_backend.answer import StreamTranslator, translate_message
from tests.translate.conftest import (
    ESTIMATED_INPUT,
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
    translate,
)

STOP = delta("stop")
RAW = '{"command": "a\nb\tc", "n": 1}'
MENDED = '{"command": "a\\nb\\tc", "n": 1}'


@pytest.mark.parametrize("control", ["\x01", "\t", "\x0b", "\x1f", "\x7f"])
def test_a_raw_control_character_in_a_line_is_that_character(control: str) -> None:
    line = json.dumps(delta(content="a?b")).replace("?", control)
    assert answer(line, STOP) == text(0, f"a{control}b") + ended("end_turn")
    body = json.dumps({"choices": [{"message": {"content": "a?b"}, "finish_reason": "stop"}]}).replace("?", control)
    made, _ = translate_message(body.encode(), message_id="m", model="m", estimated_input=1)
    assert json.loads(made)["content"] == [{"type": "text", "text": f"a{control}b"}]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("copies", [True, False], ids=["copied", "in full"])
def test_a_raw_line_end_within_an_arguments_string_is_escaped(size: int, copies: bool) -> None:
    pieces = [RAW[at : at + size] for at in range(0, len(RAW), size)]
    translator = StreamTranslator(copies=copies)
    translator.writer.message_start("msg_1", "model-1", ESTIMATED_INPUT)
    translator.feed(sse(calls(call(0, "c1", "Bash", ""))))
    for piece in pieces:
        translator.feed(sse(calls(call(0, arguments=piece))))
    translator.feed(sse(delta("tool_calls"), "[DONE]"))
    translator.end(estimated_input=ESTIMATED_INPUT)
    events = parse(translator.writer.take())
    said = [data["delta"].get("partial_json", "") for _, data in events if data["type"] == "content_block_delta"]
    assert "".join(said) == MENDED


def test_a_raw_line_end_in_a_whole_call_is_escaped() -> None:
    message = {"tool_calls": [{"id": "c1", "function": {"name": "Bash", "arguments": RAW}}]}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()
    made, _ = translate_message(body, message_id="m", model="m", estimated_input=1)
    assert json.loads(made)["content"][0]["input"] == {"command": "a\nb\tc", "n": 1}


def test_line_ends_between_values_stay() -> None:
    pretty = json.dumps({"a": 'say "hi"', "b": ["\\"]}, indent=2)
    assert answer(calls(call(0, "c1", "X", pretty)), delta("tool_calls")) == tool(0, "c1", "X", pretty) + ended(
        "tool_use"
    )


@pytest.mark.parametrize("tag", ["think", "thinking", "thought", "seed:think"])
@pytest.mark.parametrize("step", [0, 1], ids=["at once", "byte by byte"])
def test_thinking_in_a_tag_at_the_start_is_thinking(tag: str, step: int) -> None:
    wire = sse(delta(content=f"<{tag}>Hm</{tag}>\n\nHi"), STOP, "[DONE]")
    assert translate(wire, step=step).events[:-2] == thinking(0, "Hm") + text(1, "Hi")


@pytest.mark.parametrize("tags", [("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷")])
def test_so_is_thinking_in_other_marks(tags: tuple[str, str]) -> None:
    opening, closing = tags
    chunks = [delta(content=opening[:3]), delta(content=f"{opening[3:]}Hm{closing[:4]}"), delta(content=closing[4:])]
    assert answer(*chunks, delta(content="Hi"), STOP) == thinking(0, "Hm") + text(1, "Hi") + ended("end_turn")


@pytest.mark.parametrize("content", ["<thinker> is a tag", "A <thinking> tag", "<thoughts>", "[THINKING]", "<t"])
def test_text_that_is_no_tag_stays(content: str) -> None:
    assert answer(delta(content=content), STOP) == text(0, content) + ended("end_turn")


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
@pytest.mark.parametrize("copies", [True, False], ids=["copied", "in full"])
@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["a\ud83d", "\ude00b"], "a😀b"),
        (["a", "\ud83d", "\ude00", "b"], "a😀b"),
        (["a\ud83d", "b"], "a\ufffdb"),
        (["a\ud83d", "\ud83d", "\ude00"], "a\ufffd😀"),
        (["a", "\ude00b"], "a\ufffdb"),
        (["a\ud83db"], "a\ufffdb"),
        (["a\ud83d"], "a\ufffd"),
    ],
    ids=[
        "halves",
        "alone",
        "the second is missing",
        "two first halves",
        "the first is missing",
        "within",
        "at the end",
    ],
)
def test_the_halves_of_a_character_are_joined(field: str, copies: bool, pieces: list[str], said: str) -> None:
    translator = StreamTranslator(copies=copies)
    translator.writer.message_start("msg_1", "model-1", ESTIMATED_INPUT)
    translator.feed(sse(*(delta(**{field: "."}) for _ in range(9))))
    for piece in pieces:
        translator.feed(sse(delta(**{field: piece})))
    translator.feed(sse(STOP, "[DONE]"))
    translator.end(estimated_input=ESTIMATED_INPUT)
    events = parse(translator.writer.take())
    deltas: list[dict[str, Any]] = [data["delta"] for _, data in events if data["type"] == "content_block_delta"]
    shown = "".join(part.get("text") or part.get("thinking") or "" for part in deltas)
    assert shown == "." * 9 + said


def test_the_halves_of_a_character_in_arguments_are_joined() -> None:
    pieces = [calls(call(0, arguments=piece)) for piece in ('{"a":"\ud83d', '\ude00"}')]
    events = answer(calls(call(0, "c1", "X", "")), *pieces, delta("tool_calls"))
    assert "".join(data["delta"].get("partial_json", "") for _, data in events if "delta" in data) == '{"a":"😀"}'
