"""The stream writer: its grammar, every event in every state, and its bytes."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.anthropic.stream import TRANSITIONS, Event, State, StreamStateError, StreamWriter
from gateway.anthropic.writer import Finish, Usage

fuzz = settings(max_examples=200, deadline=None, database=None)

END = Finish("end_turn", None, Usage(input_tokens=3, output_tokens=5))

Action = Callable[[StreamWriter], None]

ACTIONS: dict[str, Action] = {
    "message_start": lambda writer: writer.message_start("msg_1", "m", 7),
    "ping": StreamWriter.ping,
    "heartbeat": StreamWriter.heartbeat,
    "begin_text": StreamWriter.begin_text,
    "begin_thinking": StreamWriter.begin_thinking,
    "begin_tool_use": lambda writer: writer.begin_tool_use("toolu_1", "Bash"),
    "begin_server_tool_use": lambda writer: writer.begin_server_tool_use("srvtoolu_1", "web_search"),
    "web_search_error": lambda writer: writer.web_search_error("srvtoolu_1", "unavailable"),
    "text": lambda writer: writer.text("hi"),
    "thinking": lambda writer: writer.thinking("hm"),
    "signature": lambda writer: writer.signature("sig"),
    "input_json": lambda writer: writer.input_json('{"a":'),
    "end_block": StreamWriter.end_block,
    "finish": lambda writer: writer.finish(END),
    "error": lambda writer: writer.error(b'{"type":"error"}'),
}
# how to get to a state
WAYS: dict[str, list[str]] = {
    "start": [],
    "between blocks": ["message_start"],
    "between two blocks": ["message_start", "begin_text", "end_block", "ping", "heartbeat"],
    "in a text": ["message_start", "begin_text"],
    "in a text, after each of its events": ["message_start", "begin_text", "text", "ping", "heartbeat"],
    "in thinking": ["message_start", "begin_thinking"],
    "in thinking, after each of its events": [
        *("message_start", "begin_thinking", "thinking", "ping", "heartbeat", "signature"),
    ],
    "in a tool use": ["message_start", "begin_tool_use"],
    "in a tool use, after each of its events": ["message_start", "begin_tool_use", "input_json", "ping", "heartbeat"],
    "finished": ["message_start", "finish"],
    "ended with an error": ["message_start", "begin_text", "error"],
    "ended with an error before it began": ["error"],
}
_ALIVE = {"ping", "heartbeat", "error"}
_BETWEEN = _ALIVE | {
    "begin_text",
    "begin_thinking",
    "begin_tool_use",
    "begin_server_tool_use",
    "web_search_error",
    "finish",
}
_IN_TEXT = _ALIVE | {"text", "end_block"}
_IN_THINKING = _ALIVE | {"thinking", "signature", "end_block"}
_IN_TOOL_USE = _ALIVE | {"input_json", "end_block"}
LEGAL: dict[str, set[str]] = {
    "start": {"message_start", "error"},
    "between blocks": _BETWEEN,
    "between two blocks": _BETWEEN,
    "in a text": _IN_TEXT,
    "in a text, after each of its events": _IN_TEXT,
    "in thinking": _IN_THINKING,
    "in thinking, after each of its events": _IN_THINKING,
    "in a tool use": _IN_TOOL_USE,
    "in a tool use, after each of its events": _IN_TOOL_USE,
    "finished": set(),
    "ended with an error": set(),
    "ended with an error before it began": set(),
}


def writer_at(state: str) -> StreamWriter:
    writer = StreamWriter()
    for name in WAYS[state]:
        ACTIONS[name](writer)
    writer.take()
    return writer


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", WAYS)
def test_each_event_is_written_where_it_is_legal_and_nowhere_else(state: str, action: str) -> None:
    writer = writer_at(state)
    if action in LEGAL[state]:
        ACTIONS[action](writer)
        assert writer.take()
        return
    with pytest.raises(StreamStateError, match=r"^[A-Z_]+ is not legal in [A-Z_]+$"):
        ACTIONS[action](writer)
    assert writer.take() == b""
    # an illegal event changes nothing: what was legal still is
    for name in LEGAL[state]:
        again = writer_at(state)
        with pytest.raises(StreamStateError):
            ACTIONS[action](again)
        ACTIONS[name](again)


def test_the_fault_says_what_was_tried_and_where() -> None:
    with pytest.raises(StreamStateError, match=r"^TEXT_DELTA is not legal in IN_TOOL_USE$"):
        writer_at("in a tool use").text("hi")


def test_the_table_has_every_state_and_ends() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {event for events in TRANSITIONS.values() for event in events} == set(Event)
    assert TRANSITIONS[State.CLOSED] == {}
    assert TRANSITIONS[State.MESSAGE_ENDED] == {Event.MESSAGE_STOP: State.CLOSED}


FRAMES: dict[str, tuple[str, Action, str]] = {
    "message_start": (
        "start",
        lambda writer: writer.message_start("msg_1", "zai-org/GLM-4.5-Air", 7),
        (
            'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
            '"role":"assistant","model":"zai-org/GLM-4.5-Air","content":[],"stop_reason":null,"stop_sequence":null,'
            '"usage":{"input_tokens":7,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}\n\n'
        ),
    ),
    "ping": ("in a text", StreamWriter.ping, 'event: ping\ndata: {"type":"ping"}\n\n'),
    "heartbeat": (
        "in a text",
        StreamWriter.heartbeat,
        (
            'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":null,"stop_sequence":null},'
            '"usage":{"output_tokens":0}}\n\n'
        ),
    ),
    "text start": (
        "between blocks",
        StreamWriter.begin_text,
        (
            'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
            '"content_block":{"type":"text","text":""}}\n\n'
        ),
    ),
    "thinking start": (
        "between two blocks",
        StreamWriter.begin_thinking,
        (
            'event: content_block_start\ndata: {"type":"content_block_start","index":1,'
            '"content_block":{"type":"thinking","thinking":"","signature":""}}\n\n'
        ),
    ),
    "tool use start": (
        "between blocks",
        lambda writer: writer.begin_tool_use('toolu_"1', "Bash\n"),
        (
            'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
            '"content_block":{"type":"tool_use","id":"toolu_\\"1","name":"Bash\\n","input":{}}}\n\n'
        ),
    ),
    "text": (
        "in a text",
        lambda writer: writer.text('a"\n\\é😀\x00'),
        (
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            '"delta":{"type":"text_delta","text":"a\\"\\n\\\\é😀\\u0000"}}\n\n'
        ),
    ),
    "thinking": (
        "in thinking",
        lambda writer: writer.thinking("hm\r\n"),
        (
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            '"delta":{"type":"thinking_delta","thinking":"hm\\r\\n"}}\n\n'
        ),
    ),
    "signature": (
        "in thinking",
        lambda writer: writer.signature("sig"),
        (
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            '"delta":{"type":"signature_delta","signature":"sig"}}\n\n'
        ),
    ),
    "input": (
        "in a tool use",
        lambda writer: writer.input_json('{"a":'),
        (
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            '"delta":{"type":"input_json_delta","partial_json":"{\\"a\\":"}}\n\n'
        ),
    ),
    "stop": (
        "in a text",
        StreamWriter.end_block,
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    ),
    "end": (
        "between blocks",
        lambda writer: writer.finish(Finish("stop_sequence", 'S"', Usage(3, 5, cache_read_input_tokens=2))),
        (
            'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"stop_sequence",'
            '"stop_sequence":"S\\""},"usage":{"input_tokens":3,"output_tokens":5,"cache_read_input_tokens":2,'
            '"cache_creation_input_tokens":0}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
        ),
    ),
    "error": (
        "in a text",
        lambda writer: writer.error(b'{"type":"error","error":{"type":"api_error","message":"m"},"request_id":"r"}'),
        'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"m"},"request_id":"r"}\n\n',
    ),
}


@pytest.mark.parametrize(("state", "action", "frame"), FRAMES.values(), ids=FRAMES)
def test_the_bytes_of_a_frame(state: str, action: Action, frame: str) -> None:
    writer = writer_at(state)
    action(writer)
    assert writer.take() == frame.encode()


def events_in(frames: bytes) -> list[dict[str, Any]]:
    """The data of each frame; its `event:` line says the same type."""
    events = []
    assert frames.endswith(b"\n\n") or not frames
    for frame in frames.split(b"\n\n")[:-1]:
        name, data = frame.split(b"\n")
        event = msgspec.json.decode(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


@pytest.mark.parametrize(
    "stop_reason", ["end_turn", "max_tokens", "tool_use", "refusal", "model_context_window_exceeded"]
)
def test_the_sdk_knows_every_event(stop_reason: Any) -> None:
    writer = StreamWriter()
    for name in (
        *("message_start", "heartbeat", "begin_thinking", "thinking", "signature", "end_block"),
        *("begin_text", "text", "end_block", "begin_tool_use", "input_json", "end_block"),
    ):
        ACTIONS[name](writer)
    writer.finish(Finish(stop_reason, None, Usage(1, 2, 3, 4)))
    sdk: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    events = events_in(writer.take())
    assert [sdk.validate_python(event).type for event in events] == [event["type"] for event in events]
    assert len(events) == 14


def test_the_bytes_are_taken_once() -> None:
    writer = StreamWriter()
    assert writer.take() == b""
    ACTIONS["message_start"](writer)
    writer.ping()
    first = writer.take()
    assert [event["type"] for event in events_in(first)] == ["message_start", "ping"]
    assert writer.take() == b""
    writer.begin_text()
    assert [event["type"] for event in events_in(writer.take())] == ["content_block_start"]


def test_the_writer_tells_how_far_it_is() -> None:
    writer = StreamWriter()
    told = [(writer.started, writer.has_content, writer.closed)]
    for name in ("message_start", "begin_text", "end_block", "finish"):
        ACTIONS[name](writer)
        told.append((writer.started, writer.has_content, writer.closed))
    assert told == [
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, False),
        (True, True, True),
    ]
    assert writer_at("ended with an error").closed


@fuzz
@given(names=st.lists(st.sampled_from([*ACTIONS, "begin_text", "end_block", "begin_tool_use", "text"]), max_size=40))
def test_whatever_is_tried_the_stream_is_well_formed(names: list[str]) -> None:
    writer = StreamWriter()
    ACTIONS["message_start"](writer)
    for name in names:
        try:
            ACTIONS[name](writer)
        except StreamStateError:
            continue
    open_block: int | None = None
    blocks = 0
    ended = False
    for event in events_in(writer.take())[1:]:
        assert not ended
        kind = event["type"]
        if kind == "content_block_start":
            assert (open_block, event["index"]) == (None, blocks)
            open_block = blocks
            blocks += 1
        elif kind == "content_block_delta":
            assert event["index"] == open_block
        elif kind == "content_block_stop":
            assert event["index"] == open_block
            open_block = None
        elif kind == "message_delta" and event["delta"]["stop_reason"]:
            assert open_block is None
        ended = kind in ("message_stop", "error")
    assert ended == writer.closed
