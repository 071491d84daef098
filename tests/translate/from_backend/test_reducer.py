"""Text, thinking, finish reasons and usage: the chunks of a backend, then the events that a client gets."""

import json
from typing import Any

import pytest

from gateway.translate.refusals.faults import BackendFault
from tests.translate.conftest import (
    USAGE,
    Chunk,
    answer,
    call,
    calls,
    delta,
    ended,
    live,
    sse,
    text,
    thinking,
    tool,
    translate,
    unfinished,
)

ROLE = delta(role="assistant", content="")
STOP = delta("stop")
END = ended("end_turn")


def message(finish: str | None = "stop", **fields: Any) -> Chunk:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": finish}]}


# text


def test_text_goes_out_as_it_comes() -> None:
    block = text(0, "Hel", "lo", "\n", " there")
    assert live(ROLE, delta(content="Hel"), delta(content="lo"), delta(content="\n"), delta(content=" there")) == [
        [],
        block[:2],
        *([event] for event in block[2:-1]),
    ]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(delta(role="assistant"), id="role only"),
        pytest.param(delta(role="assistant", content=None), id="null content"),
        pytest.param(delta(role="assistant", content=""), id="empty content"),
        pytest.param({"choices": [], "prompt_filter_results": [{}]}, id="azure: no choices"),
        pytest.param({"choices": None}, id="null choices"),
        pytest.param({"choices": [{"index": 0}]}, id="no delta"),
        pytest.param({"choices": [{"index": 0, "delta": None}]}, id="null delta"),
        pytest.param({}, id="nothing"),
    ],
)
def test_chunks_without_content_write_nothing(first: Chunk) -> None:
    assert answer(first, delta(content="Hi"), STOP) == text(0, "Hi") + END


def test_content_in_the_first_and_in_the_last_chunk_counts() -> None:
    assert answer(delta(role="assistant", content="Hel"), delta("stop", content="lo")) == text(0, "Hel", "lo") + END


def test_leading_and_trailing_blanks_of_text_are_kept() -> None:
    chunks = [delta(content=" "), delta(content="\n Hi"), delta(content=" \n"), STOP]
    assert answer(*chunks) == text(0, " \n Hi", " \n") + END


def test_other_choices_are_ignored() -> None:
    other = {"index": 1, "delta": {"content": "other"}, "finish_reason": "length", "usage": {"prompt_tokens": 9}}
    mine: dict[str, Any] = {"index": 0, "delta": {"content": "mine"}}
    assert answer({"choices": [other, mine]}, {"choices": [other]}, STOP) == text(0, "mine") + END


@pytest.mark.parametrize("index", [0, None, "0"])
def test_the_choice_may_say_its_index_or_not(index: Any) -> None:
    assert answer({"choices": [{"index": index, "delta": {"content": "Hi"}}]}, STOP) == text(0, "Hi") + END


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}], id="list of texts"),
        pytest.param(["Hi", "!"], id="list of strings"),
        pytest.param([{"type": "text", "text": "Hi"}, {"type": "image_url"}, 5, None, {"text": "!"}], id="odd parts"),
    ],
)
def test_content_in_parts(content: list[Any]) -> None:
    assert answer(delta(content=content), STOP) == text(0, "Hi", "!") + END


def test_content_as_one_part() -> None:
    assert answer(delta(content={"type": "text", "text": "Hi"}), STOP) == text(0, "Hi") + END


def test_thinking_in_parts() -> None:  # Mistral
    chunks = [
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]),
        delta(
            content=[
                {"type": "thinking", "thinking": [{"type": "text", "text": " so"}]},
                {"type": "text", "text": "Hi"},
            ]
        ),
        delta(content=[{"type": "thinking", "thinking": "More"}]),
        STOP,
    ]
    assert answer(*chunks) == thinking(0, "Hm", " so") + text(1, "Hi") + thinking(2, "More") + END


# thinking


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(lambda said: {"reasoning_content": said}, id="reasoning_content"),
        pytest.param(lambda said: {"reasoning": said}, id="reasoning"),
        pytest.param(lambda said: {"reasoning_details": [{"type": "reasoning.text", "text": said}]}, id="details"),
        pytest.param(
            lambda said: {"reasoning_details": [{"type": "reasoning.summary", "summary": said}]}, id="summary"
        ),
        pytest.param(lambda said: {"reasoning": {"text": said}}, id="object"),
        pytest.param(lambda said: {"reasoning": said, "reasoning_content": said}, id="doubled"),
        pytest.param(lambda said: {"reasoning": said, "reasoning_content": ""}, id="one empty"),
        pytest.param(
            lambda said: {"reasoning": said, "reasoning_details": [{"type": "reasoning.text", "text": said}]},
            id="text and details",
        ),
    ],
)
def test_thinking_under_every_name(fields: Any) -> None:
    chunks = [ROLE, delta(**fields("Let")), delta(content="", **fields(" me")), delta(content="Hi"), STOP]
    assert answer(*chunks) == thinking(0, "Let", " me") + text(1, "Hi") + END


def redacted(index: int, **fields: Any) -> list[Any]:
    block = {"type": "redacted_thinking", "data": f"claude-gateway:{json.dumps(fields, separators=(',', ':'))}"}
    start = {"type": "content_block_start", "index": index, "content_block": block}
    return [
        ("content_block_start", start),
        ("content_block_stop", {"type": "content_block_stop", "index": index}),
    ]


def detail(kind: str, index: int | None = 0, **fields: Any) -> Any:
    return {"type": f"reasoning.{kind}", **fields, **({} if index is None else {"index": index})}


def test_reasoning_that_is_text_alone_needs_no_block_of_its_own() -> None:
    chunks = [
        delta(reasoning="Hm", reasoning_details=[detail("text", text="Hm", signature=None)]),
        delta(content="Hi"),
        STOP,
    ]
    assert answer(*chunks) == thinking(0, "Hm") + text(1, "Hi") + END


def test_signed_reasoning_is_kept_whole_behind_its_text() -> None:  # OpenRouter, Anthropic behind it
    chunks = [
        delta(reasoning="Hm", reasoning_details=[detail("text", text="Hm", format="anthropic-claude-v1")]),
        delta(reasoning=" so.", reasoning_details=[detail("text", text=" so.", format="anthropic-claude-v1")]),
        delta(reasoning_details=[detail("text", signature="EuYB", format="anthropic-claude-v1")]),
        delta(content="Hi"),
        STOP,
    ]
    whole = {"type": "reasoning.text", "text": "Hm so.", "format": "anthropic-claude-v1", "index": 0}
    kept = redacted(1, reasoning_details=[whole | {"signature": "EuYB"}])
    assert answer(*chunks) == thinking(0, "Hm", " so.") + kept + text(2, "Hi") + END


def test_encrypted_reasoning_stands_before_the_call_that_it_led_to() -> None:  # OpenRouter, OpenAI behind it
    chunks = [
        delta(reasoning="Sum", reasoning_details=[detail("summary", summary="Sum")]),
        delta(reasoning_details=[detail("encrypted", 1, data="gA", id="rs_1")]),
        delta(reasoning_details=[detail("encrypted", 1, data="AB", id="rs_1")]),
        calls(call(0, "c1", "Read", "{}")),
        STOP,
    ]
    details = [
        detail("summary", summary="Sum"),
        {"type": "reasoning.encrypted", "data": "gAAB", "id": "rs_1", "index": 1},
    ]
    kept = redacted(1, reasoning_details=details)
    assert answer(*chunks) == thinking(0, "Sum") + kept + tool(2, "c1", "Read", "{}") + ended("tool_use")


def test_items_without_an_index_are_each_their_own() -> None:
    chunks = [
        delta(reasoning_details=[detail("encrypted", None, data="a"), detail("encrypted", None, data="b"), 5]),
        STOP,
    ]
    details = [detail("encrypted", None, data="a"), detail("encrypted", None, data="b")]
    assert answer(*chunks) == redacted(0, reasoning_details=details) + END


def test_encrypted_reasoning_that_comes_last_is_kept_at_the_end() -> None:  # OpenRouter, Gemini behind it
    chunks = [
        calls(call(0, "c1", "Read", "{}")),
        delta(reasoning_details=[detail("encrypted", data="CiQB", id="c1")]),
        STOP,
    ]
    kept = redacted(1, reasoning_details=[{"type": "reasoning.encrypted", "data": "CiQB", "id": "c1", "index": 0}])
    assert answer(*chunks) == tool(0, "c1", "Read", "{}") + kept + ended("tool_use")


def test_thinking_and_text_in_one_chunk() -> None:
    assert answer(delta("stop", reasoning_content="Hm", content="Hi")) == thinking(0, "Hm") + text(1, "Hi") + END


def test_thinking_comes_and_goes() -> None:
    chunks = [delta(content="---"), delta(reasoning="Hm"), delta(content="Hi"), delta(reasoning="So"), STOP]
    assert answer(*chunks) == text(0, "---") + thinking(1, "Hm") + text(2, "Hi") + thinking(3, "So") + END


def test_thinking_alone_stays_thinking() -> None:
    chunks = [delta(reasoning_content="Hm", content=""), delta("length", content="")]
    assert answer(*chunks) == thinking(0, "Hm") + ended("max_tokens")


def test_blanks_between_blocks_are_no_blocks() -> None:
    chunks = [
        delta(content="\n"),
        delta(reasoning="\n"),
        delta(reasoning="Hm"),
        delta(content="\n\n"),
        delta(reasoning=" so"),
        delta(reasoning="\n"),
        delta(content="\n\n"),
        delta(content="Hi"),
        delta(reasoning="\n"),
        delta(content=" there"),
        delta("stop", reasoning="\n"),
    ]
    assert answer(*chunks) == thinking(0, "\nHm", " so", "\n") + text(1, "\n\nHi", " there") + END


def test_blank_thinking_is_no_block() -> None:
    assert answer(delta(reasoning="\n"), delta(reasoning="\n"), delta(content="Hi"), STOP) == text(0, "Hi") + END


def test_an_answer_of_blanks_keeps_them() -> None:
    assert answer(delta(content="\n"), delta(content=" "), STOP) == text(0, "\n ") + END


def test_an_answer_of_blank_thinking_is_empty() -> None:
    assert answer(delta(reasoning="\n"), STOP) == END


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_an_empty_answer_is_whole(finish: str) -> None:
    assert answer(ROLE, delta(finish)) == ended({"stop": "end_turn", "length": "max_tokens"}[finish])


# refusal


def test_a_refusal_is_text_and_a_reason() -> None:
    chunks = [delta(role="assistant", refusal=None), delta(refusal="I can"), delta(refusal="not."), STOP]
    assert answer(*chunks) == text(0, "I can", "not.") + ended("refusal")


@pytest.mark.parametrize("refusal", [None, "", {"text": "no"}])
def test_a_refusal_that_says_nothing_is_none(refusal: Any) -> None:
    assert answer(delta(content="Hi", refusal=refusal), STOP) == text(0, "Hi") + END


# how it ends


@pytest.mark.parametrize(
    ("finish", "stop_reason"),
    [
        ("stop", "end_turn"),
        ("eos", "end_turn"),
        ("eos_token", "end_turn"),
        ("end", "end_turn"),
        ("end_turn", "end_turn"),
        ("something_new", "end_turn"),
        pytest.param("tool_calls", "end_turn", id="tool_calls without calls"),
        pytest.param("function_call", "end_turn", id="function_call without calls"),
        ("length", "max_tokens"),
        ("max_tokens", "max_tokens"),
        pytest.param("content_filter", "refusal", id="content_filter"),
        ("sensitive", "refusal"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
        pytest.param(1, "end_turn", id="a number"),
    ],
)
def test_every_finish_reason_has_its_stop_reason(finish: Any, stop_reason: str) -> None:
    assert answer(delta(content="Hi"), delta(finish)) == text(0, "Hi") + ended(stop_reason)


@pytest.mark.parametrize("finish", ["error", "network_error", "insufficient_system_resource"])
@pytest.mark.parametrize("behind", [[], [STOP, "[DONE]"]], ids=["at the end", "before more"])
def test_a_finish_reason_that_tells_of_a_failure_is_a_fault(finish: str, behind: list[Chunk | str]) -> None:
    outcome = translate(sse(delta(content="Hi"), delta(finish, content="!"), *behind))
    assert outcome.events == unfinished(text(0, "Hi", "!"))
    assert outcome.fault is not None
    assert (outcome.fault.status, outcome.fault.type, outcome.fault.counts) == (502, "api_error", True)
    assert outcome.fault.message == f"the backend ended its answer with finish_reason '{finish}': try again"


@pytest.mark.parametrize(
    ("finishes", "stop_reason"),
    [
        pytest.param(["stop", "stop"], "end_turn", id="twice"),
        pytest.param(["stop", ""], "end_turn", id="then empty"),
        pytest.param(["", "length"], "max_tokens", id="empty first"),
        pytest.param(["length", None], "max_tokens", id="then null"),
        pytest.param(["length", "stop"], "max_tokens", id="a limit, then a plain end"),
        pytest.param(["stop", "length"], "max_tokens", id="a plain end, then a limit"),
    ],
)
def test_several_finish_reasons(finishes: list[str | None], stop_reason: str) -> None:
    chunks = [delta(content="Hi"), *(delta(finish) for finish in finishes)]
    assert answer(*chunks) == text(0, "Hi") + ended(stop_reason)


def test_content_behind_the_finish_reason_counts() -> None:
    assert answer(delta("stop", content="Hel"), USAGE, delta(content="lo")) == text(0, "Hel", "lo") + END


def test_done_without_a_finish_reason_is_a_normal_end() -> None:
    assert answer(delta(content="Hi")) == text(0, "Hi") + END
    assert answer(calls(call(0, "c1", "Read", '{"a":'))) == tool(0, "c1", "Read", '{"a":') + ended("tool_use")


def test_a_finish_reason_without_done_is_a_normal_end() -> None:
    outcome = translate(sse(delta(content="Hi"), STOP, USAGE))
    assert (outcome.events, outcome.fault) == (text(0, "Hi") + END, None)


@pytest.mark.parametrize(
    ("chunks", "events"),
    [
        pytest.param([], [], id="no byte"),
        pytest.param([ROLE], [], id="role only"),
        pytest.param([USAGE, "[DONE]"], [], id="done without an answer"),
        pytest.param([delta(content="Hi")], unfinished(text(0, "Hi")), id="in text"),
        pytest.param([delta(content="Hi"), USAGE], unfinished(text(0, "Hi")), id="behind the usage"),
        pytest.param([delta(content="Hi"), delta("")], unfinished(text(0, "Hi")), id="empty finish reason"),
        pytest.param([delta(reasoning="Hm")], unfinished(thinking(0, "Hm")), id="in thinking"),
        pytest.param([delta(content="<thi")], unfinished(text(0, "<thi")), id="in what may be a tag"),
        pytest.param(
            [calls(call(0, "c1", "Read", '{"a":'), call(1, "c2", "Read", "{}"))],
            unfinished(tool(0, "c1", "Read", '{"a":')),
            id="in a call",
        ),
    ],
)
def test_an_answer_that_breaks_off_is_a_fault_and_stays_open(chunks: list[Chunk | str], events: Any) -> None:
    outcome = translate(sse(*chunks))
    assert outcome.events == events
    assert isinstance(outcome.fault, BackendFault)
    assert outcome.fault.message == "the backend's answer broke off before its end; try again"
    assert (outcome.fault.status, outcome.fault.should_retry, outcome.fault.counts) == (502, True, True)


# stop sequences


def stopped(stop_reason: Any, finish: str = "stop") -> Chunk:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": finish, "stop_reason": stop_reason}]}


def test_a_stop_sequence_is_reported() -> None:
    events = answer(delta(content="Hi"), stopped("</b>"), stops=("</a>", "</b>"))
    assert events == text(0, "Hi") + ended("stop_sequence", "</b>")


@pytest.mark.parametrize(
    "reason",
    [
        pytest.param(151645, id="a token"),
        pytest.param(None, id="null"),
        pytest.param("<|im_end|>", id="the backend's own"),
        pytest.param(["</b>"], id="a list"),
    ],
)
def test_what_the_client_did_not_ask_for_is_no_stop_sequence(reason: Any) -> None:
    assert answer(delta(content="Hi"), stopped(reason), stops=("</b>",)) == text(0, "Hi") + END


def test_a_call_or_a_limit_outweighs_a_stop_sequence() -> None:
    events = answer(calls(call(0, "c1", "Read", "{}")), stopped("</b>"), stops=("</b>",))
    assert events == tool(0, "c1", "Read", "{}") + ended("tool_use")
    assert answer(delta(content="Hi"), stopped("</b>", "length"), stops=("</b>",)) == text(0, "Hi") + ended(
        "max_tokens"
    )


# usage

COUNTS = {"prompt_tokens": 50, "completion_tokens": 9}


def with_usage(chunk: Chunk, usage: Any) -> Chunk:
    return {**chunk, "usage": usage}


def with_choice_usage(chunk: Chunk, usage: Any) -> Chunk:
    return {**chunk, "choices": [{**chunk["choices"][0], "usage": usage}]}


HI = delta(content="Hi")
PARTIAL = {"prompt_tokens": 50, "completion_tokens": 1}


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([HI, STOP, {"choices": [], "usage": COUNTS}], id="chunk without choices"),
        pytest.param([HI, STOP, {"usage": COUNTS}], id="chunk with nothing else"),
        pytest.param([HI, with_usage(STOP, COUNTS)], id="finish chunk"),
        pytest.param([with_usage(HI, PARTIAL), with_usage(STOP, COUNTS)], id="every chunk"),
        pytest.param([with_usage(HI, COUNTS), STOP], id="every chunk but the last"),
        pytest.param([with_usage(HI, None), STOP, {"choices": [], "usage": COUNTS}], id="null until the last"),
        pytest.param([HI, with_choice_usage(STOP, COUNTS)], id="in the choice"),
        pytest.param([HI, {"choices": [], "usage": COUNTS}, STOP], id="before the finish chunk"),
        pytest.param([HI, with_usage(STOP, COUNTS), {"choices": [], "usage": {}}], id="then nothing"),
        pytest.param(
            [HI, with_usage(STOP, COUNTS), {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}], id="then zeros"
        ),
        pytest.param([HI, with_choice_usage(with_usage(STOP, PARTIAL), COUNTS)], id="in both places"),
    ],
)
def test_usage_is_found_wherever_it_is(chunks: list[Chunk]) -> None:
    outcome = translate(sse(*chunks, "[DONE]"))
    assert (outcome.events, outcome.fault) == (
        text(0, "Hi") + ended("end_turn", input_tokens=50, output_tokens=9),
        None,
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param({"prompt_tokens": 50}, {"input_tokens": 50, "output_tokens": 1}, id="prompt only"),
        pytest.param({"completion_tokens": 9}, {"input_tokens": 7, "output_tokens": 9}, id="completion only"),
    ],
)
def test_half_a_usage_is_used(usage: Chunk, expected: Any) -> None:
    assert translate(sse(HI, with_usage(STOP, usage))).events == text(0, "Hi") + ended("end_turn", **expected)


def test_without_usage_both_counts_are_estimated() -> None:
    chunks = [
        delta(reasoning="1234567"),
        delta(content="1"),
        delta(content="2345"),
        calls(call(0, "c1", "Read", '{"a": 1}')),
        STOP,
    ]
    events = translate(sse(*chunks, "[DONE]")).events
    assert events[-2:] == ended("tool_use", input_tokens=7, output_tokens=5)


# a whole message where a stream is expected


def test_a_message_in_place_of_a_delta() -> None:
    assert answer(message(content="Hi", reasoning_content="Hm")) == thinking(0, "Hm") + text(1, "Hi") + END


def test_a_message_beside_a_delta_says_nothing_new() -> None:
    both = {"choices": [{"delta": {}, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    assert answer(HI, both) == text(0, "Hi") + END


def test_sglang_names_the_stop_sequence_in_a_field_of_its_own() -> None:
    stopped = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "matched_stop": "</b>"}]}
    events = answer(delta(content="Hi"), stopped, stops=("</b>",))
    assert events == text(0, "Hi") + ended("stop_sequence", "</b>")


def test_groqs_usage_is_found() -> None:
    usage = {"x_groq": {"usage": {"prompt_tokens": 30, "completion_tokens": 4}}, **STOP}
    assert answer(delta(content="Hi"), usage) == text(0, "Hi") + ended("end_turn", input_tokens=30, output_tokens=4)
