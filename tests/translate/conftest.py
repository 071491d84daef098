"""A backend's answer as chunks, and what a client gets of it as events, read by a parser that is not ours."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event

from gateway.translate.both_ways.tool_names import backend_id
from gateway.translate.from_backend.answer import StreamTranslator
from gateway.translate.refusals.faults import BackendFault

Chunk = dict[str, Any]
Event = tuple[str, dict[str, Any]]

ESTIMATED_INPUT = 7
SIGNATURE = "claude-gateway"
USAGE: Chunk = {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 4}}
START: Event = (
    "message_start",
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "model-1",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": ESTIMATED_INPUT,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 0,
            },
        },
    },
)


class _NewId:
    """Equal to every id that the gateway makes for a call."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch("toolu_[0-9a-f]{24}", other) is not None

    def __hash__(self) -> int:
        return hash(_NewId)


NEW_ID: Any = _NewId()


class _IdOf:
    """Equal to every id under which a client may get a backend's id."""

    def __init__(self, call_id: str) -> None:
        self._call_id = call_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._call_id in (other, backend_id(other))

    def __hash__(self) -> int:
        return hash(_IdOf)

    def __repr__(self) -> str:
        return f"id of {self._call_id}"


# what a backend sends


def delta(finish: str | None = None, /, **fields: Any) -> Chunk:
    """One chunk: `delta(content="Hi")`, `delta("stop")`."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def call(index: Any = None, call_id: Any = None, name: Any = None, arguments: Any = None, **fields: Any) -> Chunk:
    """One piece of a tool call, without the keys that are not given."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    piece = {"index": index, "id": call_id, "function": function or None, **fields}
    return {key: value for key, value in piece.items() if value is not None}


def calls(*pieces: Chunk) -> Chunk:
    """One chunk with pieces of tool calls."""
    return delta(tool_calls=list(pieces))


def sse(*items: Chunk | str) -> bytes:
    """ChunkedBody, and data that are none, as a stream."""
    lines = (item if isinstance(item, str) else json.dumps(item) for item in items)
    return "".join(f"data: {line}\n\n" for line in lines).encode()


# what a client gets


def text(index: int, *deltas: str) -> list[Event]:
    """The events of a text block."""
    return _block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in deltas))


def thinking(index: int, *deltas: str) -> list[Event]:
    """The events of a thinking block."""
    pieces: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": piece} for piece in deltas]
    signed = {"type": "signature_delta", "signature": SIGNATURE}
    return _block(index, {"type": "thinking", "thinking": "", "signature": ""}, *pieces, signed)


def tool(index: int, call_id: str, name: str, *deltas: str) -> list[Event]:
    """The events of a tool_use block."""
    own: Any = _IdOf(call_id) if isinstance(call_id, str) else call_id
    start = {"type": "tool_use", "id": own, "name": name, "input": {}}
    return _block(index, start, *({"type": "input_json_delta", "partial_json": piece} for piece in deltas))


def ended(stop_reason: str, stop_sequence: str | None = None, **usage: int) -> list[Event]:
    """The events at the end; the usage is that of USAGE where nothing else is said."""
    counts = {
        "input_tokens": 30,
        "output_tokens": 4,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
    }
    said = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
    return [
        ("message_delta", {"type": "message_delta", "delta": said, "usage": counts | usage}),
        ("message_stop", {"type": "message_stop"}),
    ]


def unfinished(events: list[Event]) -> list[Event]:
    """The events of a block that stays open."""
    assert events[-1][0] == "content_block_stop"
    last = -2 if events[-2][1].get("delta", {}).get("type") == "signature_delta" else -1
    return events[:last]


def _block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[Event]:
    return [
        ("content_block_start", {"type": "content_block_start", "index": index, "content_block": start}),
        *(("content_block_delta", {"type": "content_block_delta", "index": index, "delta": piece}) for piece in deltas),
        ("content_block_stop", {"type": "content_block_stop", "index": index}),
    ]


# from the one to the other


@dataclass(frozen=True)
class Outcome:
    """The events behind `message_start`, and the fault that broke them off."""

    events: list[Event]
    fault: BackendFault | None = None


def essence(outcome: Outcome) -> Any:
    """What two runs must have in common: all but the ids that the gateway makes."""
    shown = json.dumps(outcome.events)
    for _, data in outcome.events:
        block = data.get("content_block", {})
        if block.get("id") == NEW_ID:
            shown = shown.replace(block["id"], "new")
        elif block.get("id"):
            shown = shown.replace(block["id"], backend_id(block["id"]))
    return shown, outcome.fault and (outcome.fault.status, outcome.fault.message)


def translate(
    wire: bytes, *, step: int = 0, names: Mapping[str, str] | None = None, stops: Sequence[str] = ()
) -> Outcome:
    """A backend's bytes through the translator, `step` bytes at a time (0: all at once)."""
    translator = StreamTranslator(names=names, stop_sequences=stops)
    translator.writer.message_start("msg_1", "model-1", ESTIMATED_INPUT)
    fault = None
    try:
        step = step or len(wire) or 1
        for position in range(0, len(wire), step):
            translator.feed(wire[position : position + step])
        translator.end(estimated_input=ESTIMATED_INPUT)
    except BackendFault as error:
        fault = error
    start, *events = parse(translator.writer.take())
    assert start == START
    return Outcome(events, fault)


def answer(*chunks: Chunk | str, names: Mapping[str, str] | None = None, stops: Sequence[str] = ()) -> list[Event]:
    """The events that chunks become when nothing goes wrong; their usage and `[DONE]` are added."""
    outcome = translate(sse(*chunks, USAGE, "[DONE]"), names=names, stops=stops)
    assert outcome.fault is None, outcome.fault
    return outcome.events


def live(*chunks: Chunk) -> list[list[Event]]:
    """The events that each chunk brings, as it comes; nothing is said of the end."""
    translator = StreamTranslator()
    translator.writer.message_start("msg_1", "model-1", ESTIMATED_INPUT)
    translator.writer.take()
    steps = []
    for chunk in chunks:
        translator.feed(sse(chunk))
        steps.append(parse(translator.writer.take()))
    return steps


def parse(frames: bytes) -> list[Event]:
    """An event stream, read by its lines."""
    events = []
    for frame in frames.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        events.append((name[7:], json.loads(data[6:])))
    return events


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def check_legal(events: Sequence[Event]) -> None:
    """Whether a whole stream, or one that was cut (without `message_stop`), keeps the rules of the protocol."""
    deltas = {
        "text": {"text_delta"},
        "thinking": {"thinking_delta", "signature_delta"},
        "tool_use": {"input_json_delta"},
    }
    open_block: str | None = None
    count = 0
    closing: list[str] = []
    for name, data in events:
        assert data["type"] == name
        if name in ("message_delta", "message_stop"):
            assert open_block is None
            closing.append(name)
            continue
        assert not closing, "a block behind the end"
        if name == "content_block_start":
            assert open_block is None, "two open blocks"
            assert data["index"] == count
            open_block = data["content_block"]["type"]
            count += 1
            continue
        assert open_block is not None, f"{name} without a block"
        assert data["index"] == count - 1
        if name == "content_block_delta":
            assert data["delta"]["type"] in deltas[open_block]
            assert all(data["delta"].values()), "an empty delta"
        else:
            assert name == "content_block_stop"
            open_block = None
    assert closing in ([], ["message_delta", "message_stop"])


def accumulate(events: Sequence[Event]) -> dict[str, Any]:
    """The message that the official SDK makes of a stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for _, data in [START, *events]:
        snapshot = accumulate_event(event=json.loads(json.dumps(data)), current_snapshot=snapshot, json_bufs=buffers)
    message: dict[str, Any] = snapshot.to_dict()
    return message
