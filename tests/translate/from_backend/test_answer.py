"""Whole answers, bytes in, bytes out: framing, errors inside, JSON in place of a stream, and what holds for all."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.anthropic.writer import Finish, Usage
from gateway.translate.from_backend.answer import StreamTranslator, translate_message
from gateway.translate.refusals.faults import BackendFault
from tests.translate.conftest import (
    ESTIMATED_INPUT,
    NEW_ID,
    START,
    USAGE,
    Chunk,
    Event,
    Outcome,
    accumulate,
    answer,
    call,
    calls,
    check_legal,
    delta,
    ended,
    essence,
    is_json,
    parse,
    sse,
    text,
    thinking,
    tool,
    translate,
    unfinished,
)

HI = delta(content="Hi")
STOP = delta("stop")
HELLO = text(0, "Hi") + ended("end_turn")


# framing


def framed(*lines: str) -> bytes:
    return "".join(lines).encode()


HI_DATA, STOP_DATA, USAGE_DATA = (json.dumps(chunk) for chunk in (HI, STOP, USAGE))


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(sse(HI, STOP, USAGE, "[DONE]"), id="plain"),
        pytest.param(sse(HI, STOP, USAGE, "[DONE]").replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(sse(HI, STOP, USAGE, "[DONE]").replace(b"\n", b"\r"), id="CR"),
        pytest.param(sse(HI, STOP, USAGE, "[DONE]").replace(b"data: ", b"data:"), id="no blank"),
        pytest.param(b"\xef\xbb\xbf" + sse(HI, STOP, USAGE, "[DONE]"), id="BOM"),
        pytest.param(sse(HI, STOP, USAGE, " [DONE] "), id="blanks around [DONE]"),
        pytest.param(sse(HI, STOP, USAGE), id="no [DONE]"),
        pytest.param(sse(HI, STOP, USAGE).removesuffix(b"\n\n"), id="no line end at the end"),
        pytest.param(sse("", HI, " ", STOP, "", USAGE, "[DONE]"), id="empty data"),
        pytest.param(
            b": ping\n\n: OPENROUTER PROCESSING\n\n" + sse(HI, STOP) + b"\n\n\n:\n\n" + sse(USAGE, "[DONE]"),
            id="comments",
        ),
        pytest.param(b"event: message\nid: 1\nretry: 5\n" + sse(HI, STOP, USAGE, "[DONE]"), id="other fields"),
        pytest.param(sse(HI, STOP, USAGE, "[DONE]", "garbage", delta(content="more")), id="data behind [DONE]"),
        pytest.param(
            sse(json.dumps(HI, indent=1).replace("\n", "\ndata: "), STOP, USAGE, "[DONE]"), id="several data lines"
        ),
        pytest.param(sse(HI, STOP, USAGE) + b'data: {"choices":[{"del', id="cut behind the finish reason"),
        pytest.param(sse(HI, STOP, USAGE) + b'event: ping\ndata: {"type":"ping"}\n\n', id="another event"),
    ],
)
@pytest.mark.parametrize("step", [0, 1, 7], ids=["whole", "byte by byte", "in sevens"])
def test_every_framing_gives_the_same_events(wire: bytes, step: int) -> None:
    assert translate(wire, step=step) == Outcome(HELLO)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("Grüße 🎉 日本", id="several bytes a character"),
        pytest.param("a\u2028b\u0085c\u2029d\x0b\x0c", id="line separators of Unicode"),
        pytest.param('"\\\u0000\n', id="escapes"),
    ],
)
def test_characters_survive_any_cut(said: str) -> None:
    chunk = json.dumps(delta(content=said), ensure_ascii=False)
    arguments = calls(call(0, "c1", "Write", json.dumps({"text": said}, ensure_ascii=False)))
    wire = sse(chunk, json.dumps(arguments, ensure_ascii=False), STOP, USAGE, "[DONE]")
    expected = (
        text(0, said) + tool(1, "c1", "Write", json.dumps({"text": said}, ensure_ascii=False)) + ended("tool_use")
    )
    assert translate(wire) == translate(wire, step=1) == Outcome(expected)


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert answer('{"choices":[{"delta":{"content":"a\\ud83d"},"finish_reason":"stop"}]}') == text(
        0, "a", "\ufffd"
    ) + ended("end_turn")


def test_a_piece_of_many_megabytes_is_kept() -> None:
    long = json.dumps({"data": "x" * 3_000_000})
    wire = sse(calls(call(0, "c1", "Write", long)), STOP, USAGE, "[DONE]")
    assert translate(wire, step=65536) == Outcome(tool(0, "c1", "Write", long) + ended("tool_use"))


def test_done_is_seen_with_the_mark() -> None:
    translator = StreamTranslator()
    translator.writer.message_start("msg_1", "model-1", 1)
    translator.feed(sse(HI, STOP))
    assert not translator.done
    translator.feed(sse("[DONE]"))
    assert translator.done


def test_the_finish_is_told_to_the_caller() -> None:
    translator = StreamTranslator()
    translator.writer.message_start("msg_1", "model-1", 1)
    translator.feed(sse(HI, STOP, USAGE))
    assert translator.end(estimated_input=1) == Finish("end_turn", None, Usage(input_tokens=30, output_tokens=4))


def test_another_answer_goes_on_where_one_failed_without_content() -> None:
    first = StreamTranslator()
    first.writer.message_start("msg_1", "model-1", ESTIMATED_INPUT)
    with pytest.raises(BackendFault):
        first.feed(sse(delta(role="assistant"), {"error": OVERLOADED}))
    second = StreamTranslator(first.writer)
    second.feed(sse(HI, STOP, USAGE, "[DONE]"))
    second.end(estimated_input=ESTIMATED_INPUT)
    assert parse(first.writer.take()) == [START, *HELLO]


# errors inside

OVERLOADED = {"message": "Overloaded, come back", "type": "overloaded_error", "code": None}


@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        pytest.param(
            {"error": {"message": "Engine died", "type": "InternalServerError", "param": None, "code": 500}},
            500,
            "api_error",
            "backend: Engine died",
            id="vllm",
        ),
        pytest.param(
            {"object": "error", "message": "Bad value", "type": "BadRequestError", "param": None, "code": 400},
            400,
            "invalid_request_error",
            "backend: Bad value",
            id="flat: sglang, older vllm",
        ),
        pytest.param(
            {"error": {"message": "Slow down", "code": "429"}},
            429,
            "rate_limit_error",
            "backend: Slow down (the backend's limit for this key: wait, or send less at a time)",
            id="code in text",
        ),
        pytest.param(
            {"error": {"message": "Slow down", "code": "rate_limit_exceeded"}},
            429,
            "rate_limit_error",
            "backend: Slow down (the backend's limit for this key: wait, or send less at a time)",
            id="code in words",
        ),
        pytest.param(
            {"error": OVERLOADED},
            529,
            "overloaded_error",
            "backend: Overloaded, come back (the backend has no capacity right now: try again)",
            id="type in words",
        ),
        pytest.param({"error": "It broke"}, 500, "api_error", "backend: It broke", id="a string"),
        pytest.param(
            {"error": {"message": "It broke", "code": 200}},
            500,
            "api_error",
            "backend: It broke",
            id="code is no error",
        ),
        pytest.param(
            {"error": {"message": "It broke", "code": "9" * 5000}},
            500,
            "api_error",
            "backend: It broke",
            id="huge code",
        ),
        pytest.param(
            {"error": True},
            500,
            "api_error",
            "the backend answered 500 without giving a reason: check its log",
            id="no words",
        ),
        pytest.param({"detail": "It broke"}, 500, "api_error", "backend: It broke", id="fastapi"),
        pytest.param(
            {
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
                "error": {
                    "message": "Provider returned error",
                    "code": 502,
                    "metadata": {"raw": '{"error":{"message":"upstream connect error"}}'},
                },
            },
            502,
            "api_error",
            "backend: Provider returned error: upstream connect error",
            id="openrouter",
        ),
        pytest.param(
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 429,
                    "metadata": {"raw": "temporarily rate-limited upstream"},
                }
            },
            529,
            "overloaded_error",
            "backend: Provider returned error: temporarily rate-limited upstream (the backend has no capacity right now: try again)",
            id="no capacity",
        ),
        pytest.param(
            {"error": {"code": 400, "message": "The input (70 tokens) is longer than the context length"}},
            400,
            "invalid_request_error",
            "prompt is too long (The input (70 tokens) is longer than the context length)",
            id="overflow",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["data: ", "event: error\ndata: "], ids=["data", "event: error"])
@pytest.mark.parametrize("done", [True, False], ids=["[DONE]", "no [DONE]"])
@pytest.mark.parametrize(
    ("before", "events"),
    [
        pytest.param([], [], id="first"),
        pytest.param([HI], unfinished(text(0, "Hi")), id="within text"),
        pytest.param(
            [HI, calls(call(0, "c1", "Read", "{"))],
            text(0, "Hi") + unfinished(tool(1, "c1", "Read", "{")),
            id="within a call",
        ),
    ],
)
def test_an_error_inside_ends_the_stream(
    error: Chunk,
    status: int,
    kind: str,
    message: str,
    prefix: str,
    *,
    done: bool,
    before: list[Chunk],
    events: list[Event],
) -> None:
    wire = sse(*before) + framed(prefix, json.dumps(error), "\n\n") + (sse("[DONE]") if done else b"")
    outcome = translate(wire)
    assert outcome.events == events
    assert outcome.fault is not None
    assert (outcome.fault.status, outcome.fault.type, outcome.fault.message) == (status, kind, message)
    again = translate(wire, step=1).fault
    assert again is not None
    assert again.message == message


def test_words_in_an_error_event_are_its_message() -> None:
    fault = translate(b"event: error\ndata: out of memory\n\n").fault
    assert fault is not None
    assert fault.message == "backend: out of memory"


def test_an_error_behind_the_finish_reason_is_an_error() -> None:
    outcome = translate(sse(HI, STOP, {"error": OVERLOADED}))
    assert outcome.events == unfinished(text(0, "Hi"))
    assert outcome.fault is not None


@pytest.mark.parametrize("error", [None, {}, "", False])
def test_an_error_that_says_nothing_is_none(error: Any) -> None:
    assert answer({**HI, "error": error}, STOP) == HELLO


@pytest.mark.parametrize(
    ("data", "excerpt"),
    [
        pytest.param("garbage", "'garbage'", id="words"),
        pytest.param("<html>", "'<html>'", id="a page"),
        pytest.param('{"choices":[', "'{\"choices\":['", id="cut JSON"),
        pytest.param("[]", "'[]'", id="a list"),
        pytest.param("null", "'null'", id="null"),
        pytest.param(
            '{"choices":[{"delta":{"content":' + "[" * 700 + "]" * 700 + "}}]}",
            "nested too deeply",
            id="deep",
        ),
    ],
)
def test_data_that_is_no_chunk_is_a_fault(data: str, excerpt: str) -> None:
    outcome = translate(sse(HI, data, STOP))
    assert outcome.events == unfinished(text(0, "Hi"))
    assert outcome.fault is not None
    assert outcome.fault.message.startswith(f"the backend sent something that is not a chat completion: {excerpt}")
    assert outcome.fault.status == 502
    assert outcome.fault.said.startswith(excerpt)


@pytest.mark.parametrize(
    "wire", [b"", b"\n", b'data: {"choices":[{"delta":{"content":"Hi"', b"<html>Bad gateway</html>"]
)
def test_an_event_that_the_end_cuts_counts_for_nothing(wire: bytes) -> None:
    outcome = translate(sse(HI) + wire)
    assert outcome.events == unfinished(text(0, "Hi"))
    assert outcome.fault is not None
    assert outcome.fault.message == "the backend's answer broke off before its end; try again"


# JSON: in place of a stream, and for a client that asked for no stream


def whole(message: dict[str, Any], finish: str | None = "stop", **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"object": "chat.completion", "choices": [choice], "usage": USAGE["usage"], **fields}


def as_stream(body: bytes) -> list[Event]:
    translator = StreamTranslator()
    translator.writer.message_start("msg_1", "model-1", ESTIMATED_INPUT)
    translator.feed_json(body)
    assert translator.done
    translator.end(estimated_input=ESTIMATED_INPUT)
    return parse(translator.writer.take())[1:]


def as_message(body: bytes, **options: Any) -> dict[str, Any]:
    written, finish = translate_message(
        body, message_id="msg_1", model="model-1", estimated_input=ESTIMATED_INPUT, **options
    )
    message: dict[str, Any] = json.loads(written)
    assert message["stop_reason"] == finish.stop_reason
    return message


def called(*items: tuple[str | None, str, Any], index: int | None = None) -> dict[str, Any]:
    pieces = [call(index, call_id, name, arguments, type="function") for call_id, name, arguments in items]
    return whole({"content": None, "tool_calls": pieces}, "tool_calls")


def test_a_whole_message() -> None:
    body = whole(
        {
            "content": "I read.",
            "reasoning_content": "Hm",
            "tool_calls": [call(None, "c1", "Read", '{"path": "a"}'), call(None, "c2", "List", "")],
        },
        "tool_calls",
    )
    assert as_message(json.dumps(body).encode()) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "model-1",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "claude-gateway"},
            {"type": "text", "text": "I read."},
            {"type": "tool_use", "id": "c1", "name": "Read", "input": {"path": "a"}},
            {"type": "tool_use", "id": "c2", "name": "List", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 30,
            "output_tokens": 4,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
        },
    }


def test_a_whole_message_in_place_of_a_stream() -> None:
    body = whole({"content": "<think>Hm</think>\n\nHi", "tool_calls": [call(None, "c1", "Read", {"a": 1})]})
    assert as_stream(json.dumps(body).encode()) == (
        thinking(0, "Hm") + text(1, "Hi") + tool(2, "c1", "Read", '{"a":1}') + ended("tool_use")
    )


@pytest.mark.parametrize("index", [None, 0], ids=["no index", "index always 0"])
@pytest.mark.parametrize(
    ("items", "blocks"),
    [
        pytest.param([("c1", "A", ""), ("c2", "A", "")], [("c1", "A"), ("c2", "A")], id="no arguments"),
        pytest.param([(None, "A", ""), (None, "B", None)], [(NEW_ID, "A"), (NEW_ID, "B")], id="no ids"),
        pytest.param([("c1", "A", "{}"), ("c1", "A", "{}")], [("c1", "A", "{}"), (NEW_ID, "A", "{}")], id="one id"),
        pytest.param([("c1", "A", "{"), ("c2", "B", "{")], [("c1", "A", "{"), ("c2", "B", "{")], id="broken arguments"),
    ],
)
def test_calls_of_a_whole_message_stay_apart(index: int | None, items: Any, blocks: Any) -> None:
    expected = [event for number, block in enumerate(blocks) for event in tool(number, *block)]
    assert as_stream(json.dumps(called(*items, index=index)).encode()) == expected + ended("tool_use")


def test_names_and_stop_sequences_in_a_whole_message() -> None:
    body = json.dumps(called(("c1", "short", "{}"))).encode()
    assert as_message(body, names={"short": "long_name"})["content"][0]["name"] == "long_name"
    body = (
        json.dumps(whole({"content": "Hi"}))
        .replace('"finish_reason"', '"stop_reason": "</b>", "finish_reason"')
        .encode()
    )
    message = as_message(body, stop_sequences=("</b>",))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "</b>")


@pytest.mark.parametrize("text", ["Hi", "", None])
def test_a_whole_message_without_a_finish_reason_is_whole_if_it_says_something(text: str | None) -> None:
    body = json.dumps(whole({"content": text}, None)).encode()
    if text:
        assert as_message(body)["stop_reason"] == "end_turn"
    else:
        with pytest.raises(BackendFault, match="broke off before its end"):
            as_message(body)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        pytest.param(b'{"error":{"message":"No","code":403}}', 403, "backend: No", id="error"),
        pytest.param(
            b'{"detail":"No infrastructure available to serve request"}',
            529,
            "backend: No infrastructure available to serve request",
            id="detail",
        ),
        pytest.param(
            b'{"choices":[]}', 502, "the backend's answer broke off before its end; try again", id="no choice"
        ),
        pytest.param(b"{}", 502, "the backend's answer broke off before its end; try again", id="empty object"),
        pytest.param(
            b"",
            502,
            "the backend sent something that is not a chat completion: '' (check BACKEND_URL and its log)",
            id="nothing",
        ),
        pytest.param(
            b"<html>",
            502,
            "the backend sent something that is not a chat completion: '<html>' (check BACKEND_URL and its log)",
            id="a page",
        ),
        pytest.param(
            b"[1]",
            502,
            "the backend sent something that is not a chat completion: '[1]' (check BACKEND_URL and its log)",
            id="a list",
        ),
        pytest.param(
            b'{"choices":[{"message":{"content":' + b"[" * 700 + b"]" * 700 + b"}}]}",
            502,
            "the backend sent something that is not a chat completion: nested too deeply (check BACKEND_URL and its log)",
            id="deep",
        ),
    ],
)
def test_a_body_that_is_no_answer_is_a_fault(body: bytes, status: int, message: str) -> None:
    for translated in (as_stream, as_message):
        with pytest.raises(BackendFault) as caught:
            translated(body)
        assert caught.value.status == status
        assert caught.value.message.startswith(message)


# what holds for all answers

SCRAPS = st.sampled_from(
    ["", "a", "\n", " ", "{", "}", "{}", '{"a":', "1}", '{"a":1}', "<think>", "</think>", "<th", "ü🎉", "null", '"']
)
ODD: st.SearchStrategy[Any] = st.sampled_from([None, 0, 1, -1, 1.5, True, [], {}, [[]], "x", 10**30])
ANY_TEXT = SCRAPS | st.text(max_size=4) | ODD
FUNCTIONS = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["Read", "Re", "ad", "Write", "", None, 5]), "arguments": ANY_TEXT}
)
PIECES = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, 0, 1, 2, None, "0", "x", 1.5]),
        "id": st.sampled_from(["c1", "c2", "functions.Read:0", "", None, 7]),
        "function": FUNCTIONS | st.none(),
    },
)
PARTS = st.lists(
    ANY_TEXT
    | st.fixed_dictionaries({"type": st.sampled_from(["text", "thinking"]), "text": ANY_TEXT, "thinking": ANY_TEXT}),
    max_size=2,
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": ANY_TEXT | PARTS,
        "reasoning": ANY_TEXT,
        "reasoning_content": ANY_TEXT,
        "reasoning_details": PARTS,
        "refusal": st.sampled_from([None, "", "no"]),
        "tool_calls": st.lists(PIECES, max_size=3) | ODD,
        "function_call": FUNCTIONS,
    },
)
USAGES = st.none() | st.fixed_dictionaries(
    {}, optional={"prompt_tokens": ODD, "completion_tokens": ODD, "cached_tokens": ODD, "prompt_tokens_details": ODD}
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, 0, 0, None, 1]),
        "delta": DELTAS | ODD,
        "message": DELTAS,
        "finish_reason": st.sampled_from([None, None, "", "stop", "length", "tool_calls", "error", 3]),
        "stop_reason": ANY_TEXT,
        "usage": USAGES,
    },
)
CHUNKS = st.fixed_dictionaries({"choices": st.lists(CHOICES, max_size=2) | ODD}, optional={"usage": USAGES}) | (
    st.sampled_from([STOP, STOP, {"error": {"message": "x"}}, {"error": ""}, {"detail": "x"}])
)
ITEMS = st.one_of(
    CHUNKS, CHUNKS, CHUNKS, CHUNKS, st.sampled_from(["[DONE]", "", "garbage", "[]", '{"choices":', "NaN"])
)
THOROUGH = settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def check(outcome: Outcome) -> None:
    check_legal(outcome.events)
    stopped = bool(outcome.events) and outcome.events[-1][0] == "message_stop"
    assert stopped == (outcome.fault is None)
    if all(text.startswith("{") and is_json(text) for text in inputs(outcome.events)):
        accumulate(outcome.events)


def inputs(events: list[Event]) -> list[str]:
    """The arguments of each call that has any."""
    found: dict[int, str] = {}
    for _, data in events:
        if (piece := data.get("delta", {}).get("partial_json")) is not None:
            found[data["index"]] = found.get(data["index"], "") + piece
    return list(found.values())


@THOROUGH
@given(st.lists(ITEMS, max_size=8), st.data())
def test_chunks_of_any_kind_give_a_legal_stream_or_a_fault(items: list[Chunk | str], data: st.DataObject) -> None:
    wire = sse(*items)
    outcome = translate(wire)
    check(outcome)
    step = data.draw(st.integers(1, max(1, len(wire))))
    assert essence(translate(wire, step=step)) == essence(outcome)


@THOROUGH
@given(
    st.lists(
        st.sampled_from(
            [
                b"data: ",
                b"event: error\n",
                b"\n",
                b"\r",
                b"{}",
                b"[DONE]",
                b'{"choices":[{"delta":{"content":"',
                b'"}}]}',
                b"\xff",
                b"\xef\xbb\xbf",
                b":",
            ]
        )
        | st.binary(max_size=4),
        max_size=12,
    ),
    st.data(),
)
def test_bytes_of_any_kind_give_a_legal_stream_or_a_fault(pieces: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(pieces)
    outcome = translate(wire)
    check(outcome)
    step = data.draw(st.integers(1, max(1, len(wire))))
    assert essence(translate(wire, step=step)) == essence(outcome)


@THOROUGH
@given(CHUNKS)
def test_bodies_of_any_kind_give_a_message_or_a_fault(body: Chunk) -> None:
    try:
        message = as_message(json.dumps(body).encode())
    except BackendFault:
        return
    for block in message["content"]:
        assert block["type"] in ("text", "thinking", "tool_use")


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "content_filter", None])
def test_half_a_command_does_not_become_a_whole_one(finish: str | None) -> None:
    cut = '{"command": "rm -rf /srv/build'
    body = {"choices": [{"message": {"tool_calls": [call(None, "c1", "Bash", cut)]}, "finish_reason": finish}]}
    assert as_message(json.dumps(body).encode())["content"][0]["input"] == {
        "__unparsedToolInput": {"raw": cut, "len": len(cut)}
    }


@pytest.mark.parametrize("finish", ["length", "max_tokens", "model_context_window_exceeded"])
def test_a_call_that_a_limit_cut_is_completed(finish: str) -> None:
    body = {
        "choices": [
            {"message": {"tool_calls": [call(None, "c1", "Write", '{"text": "abc')]}, "finish_reason": finish},
        ]
    }
    assert as_message(json.dumps(body).encode())["content"][0]["input"] == {"text": "abc"}


PROSE = st.text(alphabet="ab \n<>/ü🎉", min_size=1, max_size=12)
OBJECTS = st.dictionaries(PROSE, PROSE | st.integers() | st.none(), max_size=3)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "reasoning_content": PROSE,
        "content": PROSE | st.builds("<think>{}</think>{}".format, PROSE, PROSE),
        "tool_calls": st.lists(st.tuples(st.sampled_from(["Read", "Write"]), OBJECTS), min_size=1, max_size=3),
    },
)


def cut(said: str, data: st.DataObject) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=4)))
    return [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]


@THOROUGH
@given(MESSAGES, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]), st.booleans(), st.data())
def test_stream_and_message_agree(message: dict[str, Any], finish: str, counted: bool, data: st.DataObject) -> None:
    items = [
        (f"c{number}", name, json.dumps(given)) for number, (name, given) in enumerate(message.get("tool_calls", ()))
    ]
    chunks = [
        delta(**{key: part}) for key in ("reasoning_content", "content") for part in cut(message.get(key, ""), data)
    ]
    for number, (call_id, name, arguments) in enumerate(items):
        chunks.append(calls(call(number, call_id, name, "")))
        chunks.extend(calls(call(number, arguments=part)) for part in cut(arguments, data))
    usage = USAGE if counted else {}
    outcome = translate(sse(*chunks, delta(finish), usage, "[DONE]"))
    check(outcome)

    pieces = [call(None, call_id, name, arguments) for call_id, name, arguments in items]
    body = whole({**message, "tool_calls": pieces}, finish)
    body["usage"] = usage.get("usage")
    expected = as_message(json.dumps(body).encode())
    streamed = accumulate(outcome.events)
    for field in ("content", "stop_reason", "stop_sequence"):
        assert streamed[field] == expected[field]
    assert expected["usage"].items() <= streamed["usage"].items()
