"""The message writer: bodies, and what becomes of tool arguments of all kinds."""

from typing import Any

import msgspec
import pytest
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.anthropic.message import MessageWriter, tool_input
from gateway.anthropic.stream import StreamWriter
from gateway.anthropic.writer import BlockWriter, Finish, StopReason, Usage

END = Finish("end_turn", None, Usage(input_tokens=3, output_tokens=5))


def body_of(writer: MessageWriter, finish: Finish = END) -> Any:
    writer.finish(finish)
    body = writer.body("msg_1", "m")
    TypeAdapter(Message).validate_json(body)
    return msgspec.json.decode(body)


def test_an_answer_of_all_blocks() -> None:
    writer = MessageWriter()
    writer.begin_thinking()
    writer.thinking("h")
    writer.thinking("m")
    writer.signature("sig")
    writer.end_block()
    writer.begin_text()
    writer.text("a")
    writer.text("é\n")
    writer.end_block()
    writer.begin_tool_use("toolu_1", "Bash")
    writer.input_json('{"comm')
    writer.input_json('and":"ls"}')
    writer.end_block()
    writer.finish(Finish("tool_use", None, Usage(3, 5, cache_read_input_tokens=2, cache_creation_input_tokens=1)))
    body = writer.body("msg_1", "zai-org/GLM-4.5-Air")
    assert body.decode() == (
        '{"id":"msg_1","type":"message","role":"assistant","model":"zai-org/GLM-4.5-Air","content":['
        '{"type":"thinking","thinking":"hm","signature":"sig"},{"type":"text","text":"aé\\n"},'
        '{"type":"tool_use","id":"toolu_1","name":"Bash","input":{"command":"ls"}}],'
        '"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":5,'
        '"cache_read_input_tokens":2,"cache_creation_input_tokens":1}}'
    )
    assert [block.type for block in TypeAdapter(Message).validate_json(body).content] == [
        "thinking",
        "text",
        "tool_use",
    ]


def test_an_answer_without_content() -> None:
    assert body_of(MessageWriter(), Finish("stop_sequence", "STOP", Usage(3, 0))) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": "stop_sequence",
        "stop_sequence": "STOP",
        "usage": {
            "input_tokens": 3,
            "output_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
        },
    }


def test_thinking_without_a_signature_has_an_empty_one() -> None:
    writer = MessageWriter()
    writer.begin_thinking()
    writer.thinking("hm")
    writer.end_block()
    assert body_of(writer)["content"] == [{"type": "thinking", "thinking": "hm", "signature": ""}]


def test_two_calls_keep_their_own_names_and_inputs() -> None:
    writer = MessageWriter()
    for number in (1, 2):
        writer.begin_tool_use(f"toolu_{number}", f"tool{number}")
        writer.input_json(f'{{"n":{number}}}')
        writer.end_block()
    assert body_of(writer)["content"] == [
        {"type": "tool_use", "id": "toolu_1", "name": "tool1", "input": {"n": 1}},
        {"type": "tool_use", "id": "toolu_2", "name": "tool2", "input": {"n": 2}},
    ]


def test_there_is_no_body_before_the_end() -> None:
    with pytest.raises(RuntimeError, match="has not ended"):
        MessageWriter().body("msg_1", "m")


def test_a_block_that_is_not_open_cannot_end() -> None:
    writer = MessageWriter()
    writer.begin_text()
    writer.end_block()
    with pytest.raises(RuntimeError, match="no block is open"):
        writer.end_block()


def unparsed(raw: str) -> dict[str, Any]:
    return {"__unparsedToolInput": {"raw": raw, "len": len(raw)}}


INPUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "whole": ('{"a":1,"b":[true,null,{"c":"é"}]}', {"a": 1, "b": [True, None, {"c": "é"}]}),
    "with blanks": (' {"a": 1}\n', {"a": 1}),
    "nothing": ("", {}),
    "blanks": (" \n", {}),
    "an empty object": ("{}", {}),
    "a number of thirty digits": ('{"id":123456789012345678901234567890}', {"id": 123456789012345678901234567890}),
    "cut after the brace": ("{", {}),
    "cut in a key": ('{"a":1,"pa', {"a": 1}),
    "cut after a key": ('{"a":1,"path"', {"a": 1}),
    "cut after a colon": ('{"a":1,"path":', {"a": 1}),
    "cut in a text": ('{"path":"/srv/a', {"path": "/srv/a"}),
    "cut in an escape": ('{"path":"a\\', {"path": "a"}),
    "cut in a number": ('{"a":"x","n":12', {"a": "x"}),
    "cut in a word": ('{"a":"x","n":tru', {"a": "x"}),
    "cut in a list": ('{"edits":[{"old":"a"},{"old":"b', {"edits": [{"old": "a"}, {"old": "b"}]}),
    "broken": ("{a:1}", unparsed("{a:1}")),
    "broken and cut": ('{"a":x,"b', unparsed('{"a":x,"b')),
    "more after the object": ('{"a":1}{"b":2}', unparsed('{"a":1}{"b":2}')),
    "the wrong bracket": ('{"a":[1}', unparsed('{"a":[1}')),
    "text": ("ls -la", unparsed("ls -la")),
    "a list": ("[1]", unparsed("[1]")),
    "a JSON text": ('"ls"', unparsed('"ls"')),
    "a number": ("7", unparsed("7")),
    "null": ("null", unparsed("null")),
    "half of a surrogate pair": (r'{"a":"\ud83d"}', unparsed(r'{"a":"\ud83d"}')),
    "a number out of range": ('{"a":1e999}', unparsed('{"a":1e999}')),
    "nested too deeply": ('{"a":' + "[" * 100_000, unparsed('{"a":' + "[" * 100_000)),
}


@pytest.mark.parametrize(("arguments", "value"), INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("stop_reason", ["max_tokens", "model_context_window_exceeded"])
def test_arguments_become_an_object(arguments: str, value: dict[str, Any], stop_reason: StopReason) -> None:
    assert tool_input(arguments, cut_off=True) == value
    writer = MessageWriter()
    writer.begin_tool_use("toolu_1", "f")
    writer.input_json(arguments)
    writer.end_block()
    body = body_of(writer, Finish(stop_reason, None, END.usage))
    assert body["content"] == [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": value}]


@pytest.mark.parametrize("arguments", [text for name, (text, _) in INPUTS.items() if name.startswith("cut ")])
@pytest.mark.parametrize("stop_reason", ["tool_use", "end_turn", "stop_sequence", "refusal"])
def test_arguments_that_no_limit_cut_off_are_not_completed(arguments: str, stop_reason: StopReason) -> None:
    writer = MessageWriter()
    writer.begin_tool_use("toolu_1", "f")
    writer.input_json(arguments)
    writer.end_block()
    body = body_of(writer, Finish(stop_reason, None, END.usage))
    assert body["content"][0]["input"] == unparsed(arguments)


def test_a_limit_cuts_off_the_last_call_only() -> None:
    writer = MessageWriter()
    for arguments in ('{"command":"rm -rf /srv/build', '{"command":"ls'):
        writer.begin_tool_use("toolu_1", "f")
        writer.input_json(arguments)
        writer.end_block()
    body = body_of(writer, Finish("max_tokens", None, END.usage))
    assert [block["input"] for block in body["content"]] == [
        unparsed('{"command":"rm -rf /srv/build'),
        {"command": "ls"},
    ]


@settings(max_examples=150, deadline=None, database=None)
@given(arguments=st.text(max_size=30) | st.text(alphabet='{}[]",:\\ut1ea ', max_size=30))
def test_any_arguments_become_an_object(arguments: str) -> None:
    for cut_off in (True, False):
        value = tool_input(arguments, cut_off=cut_off)
        assert isinstance(value, dict)
        assert msgspec.json.decode(msgspec.json.encode(value)) == value


def _write_text(writer: BlockWriter, pieces: list[str]) -> None:
    writer.begin_text()
    for piece in pieces:
        writer.text(piece)


def _write_thinking(writer: BlockWriter, pieces: list[str]) -> None:
    writer.begin_thinking()
    for piece in pieces:
        writer.thinking(piece)
    writer.signature("sig")


def _write_tool_use(writer: BlockWriter, pieces: list[str]) -> None:
    writer.begin_tool_use("toolu_1", "f")
    # any text in pieces, as the value of one key
    for piece in ('{"a":"', *(msgspec.json.encode(piece).decode()[1:-1] for piece in pieces), '"}'):
        writer.input_json(piece)


_WRITE = {"text": _write_text, "thinking": _write_thinking, "tool_use": _write_tool_use}


def accumulated(frames: bytes) -> list[dict[str, Any]]:
    """The content that a client makes of the events."""
    content: list[dict[str, Any]] = []
    partial = ""
    for frame in frames.decode().split("\n\n")[:-1]:
        event = msgspec.json.decode(frame.split("data: ", 1)[1])
        if event["type"] == "content_block_start":
            content.append(event["content_block"])
            partial = ""
        elif event["type"] == "content_block_delta":
            match event["delta"]:
                case {"type": "text_delta", "text": text}:
                    content[-1]["text"] += text
                case {"type": "thinking_delta", "thinking": text}:
                    content[-1]["thinking"] += text
                case {"type": "signature_delta", "signature": text}:
                    content[-1]["signature"] = text
                case {"type": "input_json_delta", "partial_json": text}:
                    partial += text
        elif event["type"] == "content_block_stop" and partial:
            content[-1]["input"] = msgspec.json.decode(partial)
    return content


@settings(max_examples=100, deadline=None, database=None)
@given(
    blocks=st.lists(st.tuples(st.sampled_from(sorted(_WRITE)), st.lists(st.text(max_size=5), max_size=4)), max_size=5)
)
def test_both_writers_say_the_same(blocks: list[tuple[str, list[str]]]) -> None:
    message, stream = MessageWriter(), StreamWriter()
    stream.message_start("msg_1", "m", 3)
    for kind, pieces in blocks:
        for writer in (message, stream):
            _WRITE[kind](writer, pieces)
            writer.end_block()
    assert body_of(message)["content"] == accumulated(stream.take())
