"""Several choices that are one answer, though only one was asked for."""

import json
from typing import Any

import pytest

from gateway.translate.from_backend.answer import translate_message
from tests.translate.conftest import Chunk, answer, call, ended, sse, text, tool, translate

READ = call(0, "c1", "Read", '{"a":1}')
LIST = call(0, "c2", "List", '{"b":2}')


def at(index: int, finish: str | None = None, **fields: Any) -> Chunk:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def together(*chunks: Chunk) -> Chunk:
    return {"choices": [choice for chunk in chunks for choice in chunk["choices"]]}


def message(index: int, finish: str = "tool_calls", **fields: Any) -> Chunk:
    return {"index": index, "message": {"role": "assistant", **fields}, "finish_reason": finish}


def content(*choices: Chunk) -> Any:
    made, finish = translate_message(
        json.dumps({"choices": choices}).encode(), message_id="m", model="m", estimated_input=1
    )
    kinds = [(block["type"], block.get("text") or block.get("name")) for block in json.loads(made)["content"]]
    return kinds, finish.stop_reason


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [at(0, content="I read."), at(1, tool_calls=[READ]), at(0, "tool_calls"), at(1, "tool_calls")], id="apart"
        ),
        pytest.param(
            [together(at(0, content="I read."), at(1, tool_calls=[READ])), at(0, "tool_calls")], id="in one chunk"
        ),
        pytest.param(
            [at(0, "tool_calls", content="I read."), at(1, "tool_calls", tool_calls=[READ])], id="behind the reason"
        ),
    ],
)
def test_the_text_and_the_call_are_both_kept(chunks: list[Chunk]) -> None:
    assert answer(*chunks) == text(0, "I read.") + tool(1, "c1", "Read", '{"a":1}') + ended("tool_use")


def test_each_call_may_have_a_choice_of_its_own() -> None:
    chunks = [at(0, content="Hm."), at(1, tool_calls=[READ]), at(2, tool_calls=[LIST]), at(0, "tool_calls")]
    expected = text(0, "Hm.") + tool(1, "c1", "Read", '{"a":1}') + tool(2, "c2", "List", '{"b":2}')
    assert answer(*chunks) == expected + ended("tool_use")


def test_the_pieces_of_calls_in_two_choices_are_not_mixed() -> None:
    chunks = [
        at(0, content="Hm."),
        at(1, tool_calls=[call(0, "c1", "Read", '{"a":')]),
        at(2, tool_calls=[call(0, "c2", "List", '{"b":')]),
        at(1, tool_calls=[call(0, arguments="1}")]),
        at(2, tool_calls=[call(0, arguments="2}")]),
        at(0, "tool_calls"),
    ]
    expected = text(0, "Hm.") + tool(1, "c1", "Read", '{"a":', "1}") + tool(2, "c2", "List", '{"b":', "2}")
    assert answer(*chunks) == expected + ended("tool_use")


def test_a_whole_answer_in_choices_is_one() -> None:
    both = [message(0, content="I read."), message(1, tool_calls=[READ]), message(2, tool_calls=[LIST])]
    assert content(*both) == ([("text", "I read."), ("tool_use", "Read"), ("tool_use", "List")], "tool_use")


def test_the_text_may_be_the_second() -> None:
    kinds, stop_reason = content(message(0, tool_calls=[READ]), message(1, content="I read."))
    assert (sorted(kinds), stop_reason) == ([("text", "I read."), ("tool_use", "Read")], "tool_use")


def test_another_answer_is_not_mixed_in() -> None:
    assert content(message(0, "stop", content="A"), message(1, "stop", content="B")) == ([("text", "A")], "end_turn")
    twice = content(message(0, tool_calls=[READ]), message(1, tool_calls=[LIST]))
    assert twice == ([("tool_use", "Read")], "tool_use")


def test_a_call_that_is_cut_in_its_choice_is_told() -> None:
    chunks = [at(0, "stop", content="Hm."), at(1, "length", tool_calls=[call(0, "c1", "Read", '{"a":')])]
    assert answer(*chunks)[-2:] == ended("max_tokens")
    assert translate(sse(*chunks[:1], at(1, "abort", tool_calls=[READ]), "[DONE]")).fault is not None
