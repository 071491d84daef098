"""The copier writes what the long way writes, byte for byte, whatever comes and however it is cut."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.anthropic.stream import StreamWriter
from gateway.openai.chunk import decode_chunk
from gateway.translate.from_backend.answer import StreamTranslator
from gateway.translate.from_backend.delta_copier import DeltaCopier
from gateway.translate.from_backend.reducer import Reducer
from gateway.translate.refusals.faults import BackendFault
from tests.translate.conftest import ESTIMATED_INPUT

Json = dict[str, Any]
_MADE_UP = re.compile(rb"toolu_[0-9a-f]{24}")
USAGE = {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 4}}


def chunk(finish: str | None = None, **delta: Any) -> Json:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1763796129, "model": "m"}
    return head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}


def arguments(text: Any, index: Any = 0, **call: Any) -> Json:
    function = {"arguments": text, **({"name": call.pop("name")} if "name" in call else {})}
    return chunk(tool_calls=[{"index": index, **call, "function": function}])


def written(reads: list[bytes], *, copier: bool) -> tuple[list[bytes], str]:
    """What went out for each read, and how it ended."""
    translator = StreamTranslator(stop_sequences=("STOP",), copies=copier)
    translator.writer.message_start("msg_1", "m", ESTIMATED_INPUT)
    out, ended = [], ""
    try:
        for data in reads:
            translator.feed(data)
            out.append(translator.writer.take())
        ended = repr(translator.end(estimated_input=ESTIMATED_INPUT))
    except BackendFault as fault:
        ended = f"{fault.status} {fault.message}"
    # ids that the gateway makes up
    return [_MADE_UP.sub(b"toolu_", data) for data in (*out, translator.writer.take())], ended


def agree(reads: list[bytes]) -> tuple[list[bytes], str]:
    short = written(reads, copier=True)
    assert short == written(reads, copier=False)
    return short


def line(event: Json | str, *, ascii_only: bool = True, compact: bool = True) -> bytes:
    if isinstance(event, str):
        return event.encode("utf-8", "surrogatepass")
    separators = (",", ":") if compact else (", ", ": ")
    return b"data: " + json.dumps(event, ensure_ascii=ascii_only, separators=separators).encode() + b"\n\n"


TEXTS = {
    "plain": ["Hel", "lo", " there", "."],
    "escapes": ['say "hi"', "a\\b", "\n\n", "\t", "\\", '\\"', "\\n", "\b\f\r"],
    "not ASCII": ["é", "懒", "😀", "a\u2028b", "\x7f"],
    "controls": ["\x00", "\x1b[0m", "\x1f"],
    "empty and blank": ["", " ", "", "\n", "a"],
    "like the frame": ['"}}]}', '"},"logprobs":null', "data: {", "[DONE]", "\\u0041", "\\\\u0041", '{"content":"x"}'],
    "the probe": ["probe", "probe", "text"],
}


@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "as UTF-8"])
@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize(
    "event",
    [
        lambda text: chunk(content=text),
        lambda text: chunk(content="", reasoning_content=text),
        lambda text: chunk(content=None, reasoning=text),
        lambda text: chunk(reasoning=text, reasoning_content=text),
        arguments,
        lambda text: arguments(text, index="0"),
        lambda text: arguments(text, index=None),
        lambda text: chunk(content=text, refusal=None, tool_calls=None, function_call=None, role="assistant"),
    ],
    ids=[
        "text",
        "thinking",
        "thinking, other name",
        "thinking twice",
        "arguments",
        "index as text",
        "no index",
        "with nulls",
    ],
)
def test_one_by_one_in_one_piece_and_cut_anywhere(event: Any, texts: list[str], ascii_only: bool) -> None:
    start = (
        [arguments('{"a":"', id="call_1a", name="Read")] if event("x")["choices"][0]["delta"].get("tool_calls") else []
    )
    events = [chunk(role="assistant", content=""), *start, event("Go"), *map(event, texts * 3), chunk("stop"), USAGE]
    lines = [*(line(item, ascii_only=ascii_only) for item in events), b"data: [DONE]\n\n"]
    whole = b"".join(lines)

    one_by_one = agree(lines)
    assert b"".join(one_by_one[0]) == b"".join(agree([whole])[0])
    for size in (1, 7, 64, 300, 1000):
        cut = agree([whole[at : at + size] for at in range(0, len(whole), size)])
        assert (b"".join(cut[0]), cut[1]) == (b"".join(one_by_one[0]), one_by_one[1])


ODD = {
    "another kind in between": [chunk(content="a"), chunk(content="b"), chunk(reasoning="hm"), chunk(content="c")],
    "usage on every chunk": [
        chunk(content="a") | {"usage": {"prompt_tokens": n, "completion_tokens": n}} for n in range(5)
    ],
    "another id on every chunk": [chunk(content="a") | {"id": f"c{n}"} for n in range(40)],
    "text twice": [chunk(content="id"), chunk(content="id"), chunk(content="m")],
    "two choices": [{"choices": [{"index": n, "delta": {"content": "a"}} for n in (0, 1)]}] * 4,
    "another choice": [{"choices": [{"index": 1, "delta": {"content": "a"}}]}] * 4,
    "an error": [chunk(content="a"), chunk(content="b"), {"error": {"message": "no", "code": 500}}],
    "a stop string": [
        chunk(content="a"),
        chunk(content="b"),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "STOP"}]},
    ],
    "text behind a finish reason": [chunk(content="a"), chunk("stop"), chunk(content="b"), chunk(content="c")],
    "think tags": [
        chunk(content="<think>"),
        chunk(content="hm"),
        chunk(content="</think>"),
        chunk(content="a"),
        chunk(content="<think>"),
    ],
    "blanks between thinking and text": [
        chunk(reasoning="hm"),
        chunk(content="\n"),
        chunk(reasoning="so"),
        chunk(content="\n"),
        chunk(content="a"),
    ],
    "two calls in turn": [
        arguments('{"a":', id="c1", name="Read"),
        *[arguments('"x"', 0), arguments(",", 0), arguments('"y":1}', 0)],
        arguments('{"b":', 1, id="c2", name="Edit"),
        *[arguments("1", 1), arguments("2", 0), arguments("3", 1), arguments("}", 1)],
    ],
    "text after a call": [
        arguments('{"a":', id="c1", name="Read"),
        arguments("1"),
        arguments("}"),
        chunk(content="a"),
        chunk(content="b"),
    ],
    "a name behind whole arguments": [
        arguments("{", id="c1", name="Read"),
        arguments('"a":1'),
        arguments("}"),
        arguments("", name="Read"),
        arguments('{"b"'),
        arguments(":2}"),
    ],
    "arguments that are an object": [arguments("{", id="c1", name="Read"), arguments("}"), arguments({"a": 1})],
}


@pytest.mark.parametrize("events", ODD.values(), ids=ODD)
def test_what_is_not_alike(events: list[Json]) -> None:
    lines = [line(item) for item in [chunk(role="assistant"), *events, *events, chunk("stop"), USAGE]]
    agree(lines)
    agree([b"".join(lines)])


RAW = {
    "CRLF": b"data: %b\r\n\r\n",
    "no blank": b"data:%b\n\n",
    "more blanks": b"data:   %b  \n\n",
    "a comment before": b": ping\n\ndata: %b\n\n",
    "an event's name": b"event: message\ndata: %b\n\n",
    "an error's name": b"event: error\ndata: %b\n\n",
    "an id": b"id: 1\ndata: %b\n\n",
    "blank lines": b"data: %b\n\n\n\n",
    "two lines of data": b"data:\ndata: %b\n\n",
}


@pytest.mark.parametrize("frame", RAW.values(), ids=RAW)
def test_every_framing(frame: bytes) -> None:
    lines = [frame % json.dumps(chunk(content=text)).encode() for text in ("a", "b", 'c"', "d", "e")]
    agree([b"data: {}\n\n", *lines])
    agree([b"data: {}\n\n" + b"".join(lines)])


BROKEN = {
    "no UTF-8": b'"content":"\xff"',
    "cut UTF-8": b'"content":"\xc3"',
    "half a pair": b'"content":"\\ud83d"',
    "an escape that is none": b'"content":"\\x"',
    "a quote too many": b'"content":"a"b"',
    "a raw tab": b'"content":"a\tb"',
    "a raw line end": b'"content":"a\nb"',
    "a slash": b'"content":"a\\/b"',
    "given twice": b'"content":"a","content":"b"',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_the_long_way_repairs_or_refuses(broken: bytes) -> None:
    good = [line(chunk(content=text)) for text in ("a", "b", "c")]
    bad = line(chunk(content="a")).replace(b'"content":"a"', broken)
    agree([*good, bad, *good])
    agree([b"".join([*good, bad, *good])])
    agree([*good, good[0] + bad, bad + good[0], *good])


pieces = st.text(st.sampled_from('ab"\\\n\t{}é懒😀\x00\x7f\u2028/u0041 '), max_size=6) | st.sampled_from(
    ["probe", "", "\\ud83d"]
)
events = st.one_of(
    st.builds(lambda text: chunk(content=text), pieces),
    st.builds(lambda text: chunk(reasoning_content=text), pieces),
    st.builds(arguments, pieces, st.sampled_from([0, 0, 0, 1])),
    st.builds(lambda text, name: arguments(text, id="c", name=name), pieces, st.sampled_from(["Read", "Edit"])),
    st.just(chunk("stop")),
    st.just(USAGE),
)


@given(
    st.lists(events, max_size=12),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, 400), max_size=8),
    st.integers(1, 4),
)
@settings(max_examples=300, deadline=None, database=None)
def test_any_stream_cut_anywhere(
    items: list[Json], ascii_only: bool, compact: bool, cuts: list[int], times: int
) -> None:
    lines = [line(item, ascii_only=ascii_only, compact=compact) for item in items for _ in range(times)]
    data = b"".join(lines)
    reads, at = [], 0
    for size in cuts:
        reads.append(data[at : at + size])
        at += size
    agree(lines)
    agree([*reads, data[at:]])
    agree([data])


def test_what_has_been_learnt_is_copied() -> None:
    reducer = Reducer(writer := StreamWriter())
    writer.message_start("msg_1", "m", 1)
    reducer.chunk(decode_chunk(json.dumps(chunk(content="Hel")).encode()))
    writer.take()
    copier = DeltaCopier(reducer, writer)
    lo, quoted, foreign = (line(chunk(content=text)) for text in ("lo", '"wow"', "é"))
    run = lo + quoted + foreign + line(chunk("stop"))

    assert copier.copy(lo, 0) == 0
    for _ in range(4):
        copier.learn(line(chunk(content="Hel")), alone=False)

    assert copier.copy(lo, 0) == len(lo)
    assert copier.copy(run, 0) == len(lo + quoted + foreign)
    head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":'
    deltas = [b'"lo"', b'"lo"', rb'"\"wow\""', '"é"'.encode()]
    assert writer.take() == b"".join(head + delta + b"}}\n\n" for delta in deltas)


@pytest.mark.parametrize(("alone", "looks"), [(True, 1), (False, 4)], ids=["alone in its read", "among others"])
def test_how_many_events_it_takes_to_learn(*, alone: bool, looks: int) -> None:
    reducer = Reducer(writer := StreamWriter())
    writer.message_start("msg_1", "m", 1)
    reducer.chunk(decode_chunk(json.dumps(chunk(content="Hel")).encode()))
    copier = DeltaCopier(reducer, writer)
    lo = line(chunk(content="lo"))
    seen = 0
    while not copier.copy(lo, 0):
        copier.learn(lo, alone=alone)
        seen += 1
    assert seen == looks


def test_a_backend_whose_events_are_never_alike_is_not_looked_at_for_ever() -> None:
    reducer = Reducer(writer := StreamWriter())
    copier = DeltaCopier(reducer, writer)
    looks = 0
    while copier.curious:
        copier.learn(line(chunk(content="a", role="assistant") | {"usage": {"prompt_tokens": 1}}), alone=True)
        looks += 1
    assert looks == 32
