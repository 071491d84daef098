"""An answer as Anthropic's server-sent events.

Rules enforced here and nowhere else:
- TRANSITIONS is the whole grammar of a stream. What it does not list cannot be written: a delta without its start, two
  open blocks, a gap in the indexes, anything after `message_stop` or `error`.
- An illegal event is a bug in the gateway and raises StreamStateError. A backend fault is an ordinary event: `error`,
  which ends the stream without `message_stop`, so that no client takes a truncated answer for a complete one.
- Text, thinking and tool input go out in deltas only: Claude Code discards content in `content_block_start`. Clients
  need the `event:` lines; a blank line ends each frame.

Source: https://docs.claude.com/en/docs/build-with-claude/streaming
"""

from enum import Enum, auto
from typing import Any, Final

import msgspec

from gateway.anthropic.writer import Finish, Member, search_error

_json = msgspec.json.encode

PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
# keeps a stream alive where a ping does not: Claude Code 2.1.197 cuts a stream of pings alone after 300 s
HEARTBEAT: Final = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":null,"stop_sequence":null},'
    b'"usage":{"output_tokens":0}}\n\n'
)
# the end of a delta, including the quote that closes its string
DELTA_END: Final = b'"}}\n\n'
_MESSAGE_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class StreamStateError(Exception):
    """The event is illegal in the current state: a bug in the gateway, never a backend fault."""


class State(Enum):
    """The state of a stream."""

    # every event looks up a member; Enum's own hash is a slow Python function
    __hash__ = object.__hash__

    START = auto()
    BETWEEN_BLOCKS = auto()
    IN_TEXT = auto()
    IN_THINKING = auto()
    IN_REDACTED_THINKING = auto()
    IN_TOOL_USE = auto()
    IN_RESULT = auto()
    MESSAGE_ENDED = auto()
    CLOSED = auto()


class Event(Enum):
    """The events that can be written."""

    __hash__ = object.__hash__

    MESSAGE_START = auto()
    PING = auto()
    HEARTBEAT = auto()
    TEXT_START = auto()
    THINKING_START = auto()
    REDACTED_THINKING_START = auto()
    TOOL_USE_START = auto()
    RESULT_START = auto()
    TEXT_DELTA = auto()
    THINKING_DELTA = auto()
    SIGNATURE_DELTA = auto()
    INPUT_JSON_DELTA = auto()
    BLOCK_STOP = auto()
    MESSAGE_DELTA = auto()
    MESSAGE_STOP = auto()
    ERROR = auto()


TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.START: {
        Event.MESSAGE_START: State.BETWEEN_BLOCKS,
        Event.ERROR: State.CLOSED,
    },
    State.BETWEEN_BLOCKS: {
        Event.PING: State.BETWEEN_BLOCKS,
        Event.HEARTBEAT: State.BETWEEN_BLOCKS,
        Event.TEXT_START: State.IN_TEXT,
        Event.THINKING_START: State.IN_THINKING,
        Event.REDACTED_THINKING_START: State.IN_REDACTED_THINKING,
        Event.TOOL_USE_START: State.IN_TOOL_USE,
        Event.RESULT_START: State.IN_RESULT,
        Event.MESSAGE_DELTA: State.MESSAGE_ENDED,
        Event.ERROR: State.CLOSED,
    },
    State.IN_TEXT: {
        Event.PING: State.IN_TEXT,
        Event.HEARTBEAT: State.IN_TEXT,
        Event.TEXT_DELTA: State.IN_TEXT,
        Event.BLOCK_STOP: State.BETWEEN_BLOCKS,
        Event.ERROR: State.CLOSED,
    },
    State.IN_THINKING: {
        Event.PING: State.IN_THINKING,
        Event.HEARTBEAT: State.IN_THINKING,
        Event.THINKING_DELTA: State.IN_THINKING,
        Event.SIGNATURE_DELTA: State.IN_THINKING,
        Event.BLOCK_STOP: State.BETWEEN_BLOCKS,
        Event.ERROR: State.CLOSED,
    },
    State.IN_REDACTED_THINKING: {
        Event.BLOCK_STOP: State.BETWEEN_BLOCKS,
    },
    State.IN_TOOL_USE: {
        Event.PING: State.IN_TOOL_USE,
        Event.HEARTBEAT: State.IN_TOOL_USE,
        Event.INPUT_JSON_DELTA: State.IN_TOOL_USE,
        Event.BLOCK_STOP: State.BETWEEN_BLOCKS,
        Event.ERROR: State.CLOSED,
    },
    State.IN_RESULT: {
        Event.BLOCK_STOP: State.BETWEEN_BLOCKS,
    },
    State.MESSAGE_ENDED: {
        Event.MESSAGE_STOP: State.CLOSED,
    },
    State.CLOSED: {},
}


class StreamWriter:
    """Writes one answer as events; buffers the frames until `take`, called once for each read from the backend."""

    __slots__ = ("_delta_head", "_frames", "_index", "_state", "has_thought")

    def __init__(self) -> None:
        self._state = State.START
        self._index = -1
        self._frames: list[bytes] = []
        self._delta_head = b""
        # whether the answer has had a thinking block
        self.has_thought = False

    @property
    def state(self) -> State:
        """The current state."""
        return self._state

    @property
    def started(self) -> bool:
        """Whether `message_start` has been written."""
        return self._state is not State.START

    @property
    def has_content(self) -> bool:
        """Whether a block has been opened."""
        return self._index >= 0

    @property
    def held(self) -> int:
        """How many frames wait for `take`."""
        return len(self._frames)

    @property
    def closed(self) -> bool:
        """Whether the stream has ended, normally or with an error."""
        return self._state is State.CLOSED

    @property
    def delta_begin(self) -> bytes:
        """The beginning of a delta of the open block, up to and including the quote that opens its string."""
        return self._delta_head + b'"'

    def take(self) -> bytes:
        """The frames written since the last call, in one piece."""
        frames = b"".join(self._frames)
        self._frames.clear()
        return frames

    def message_start(self, message_id: str, model: str, input_tokens: int) -> None:
        """Open the message; `input_tokens` is an estimate that `finish` corrects."""
        self._to(Event.MESSAGE_START)
        message: dict[str, Any] = {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 0,
            },
        }
        self._frames.append(b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n' % _json(message))

    def ping(self) -> None:
        """Tell the client that the answer is still in progress."""
        self._to(Event.PING)
        self._frames.append(PING)

    def heartbeat(self) -> None:
        """The same for clients whose timeout ignores pings: an empty `message_delta`."""
        self._to(Event.HEARTBEAT)
        self._frames.append(HEARTBEAT)

    def begin_text(self) -> None:
        """Open a text block."""
        self._to(Event.TEXT_START)
        self._begin(b'{"type":"text","text":""}', b'{"type":"text_delta","text":')

    def begin_thinking(self) -> None:
        """Open a thinking block."""
        self._to(Event.THINKING_START)
        self.has_thought = True
        self._begin(b'{"type":"thinking","thinking":"","signature":""}', b'{"type":"thinking_delta","thinking":')

    def redacted_thinking(self, data: str) -> None:
        """Write a complete redacted_thinking block, whose data is all in its start."""
        self._to(Event.REDACTED_THINKING_START)
        self._begin(b'{"type":"redacted_thinking","data":%b}' % _json(data), b"")
        self.end_block()

    def begin_tool_use(self, tool_use_id: str, name: str) -> None:
        """Open a tool_use block."""
        self._to(Event.TOOL_USE_START)
        toolset = b',"toolset_name":%b' % _json(name.toolset) if isinstance(name, Member) else b""
        start = b'{"type":"tool_use","id":%b,"name":%b,"input":{}%b}' % (_json(tool_use_id), _json(str(name)), toolset)
        self._begin(start, b'{"type":"input_json_delta","partial_json":')

    def begin_server_tool_use(self, tool_use_id: str, name: str) -> None:
        """Open a server_tool_use block."""
        self._to(Event.TOOL_USE_START)
        start = b'{"type":"server_tool_use","id":%b,"name":%b,"input":{}}' % (_json(tool_use_id), _json(name))
        self._begin(start, b'{"type":"input_json_delta","partial_json":')

    def web_search_error(self, tool_use_id: str, code: str) -> None:
        """Write a complete web_search_tool_result block, which is all in its start."""
        self._to(Event.RESULT_START)
        self._begin(_json(search_error(tool_use_id, code)), b"")
        self.end_block()

    def text(self, text: str) -> None:
        """Add to the open text block."""
        self._to(Event.TEXT_DELTA)
        self._frames.append(self._delta_head + _json(text) + b"}}\n\n")

    def thinking(self, thinking: str) -> None:
        """Add to the open thinking block."""
        self._to(Event.THINKING_DELTA)
        self._frames.append(self._delta_head + _json(thinking) + b"}}\n\n")

    def signature(self, signature: str) -> None:
        """Sign the open thinking block."""
        self._to(Event.SIGNATURE_DELTA)
        self._frames.append(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"signature_delta","signature":%b}}\n\n' % (self._index, _json(signature))
        )

    def input_json(self, partial_json: str) -> None:
        """Add to the open tool_use block's input."""
        self._to(Event.INPUT_JSON_DELTA)
        self._frames.append(self._delta_head + _json(partial_json) + b"}}\n\n")

    def copy(self, event: Event, contents: bytes) -> None:
        """Write a delta of the open block for each line of `contents`; a line is a JSON string without its quotes."""
        self._to(event)
        begin = self.delta_begin
        if b"\n" in contents:
            contents = contents.replace(b"\n", DELTA_END + begin)
        self._frames.append(b"%b%b%b" % (begin, contents, DELTA_END))

    def end_block(self) -> None:
        """Close the open block."""
        self._to(Event.BLOCK_STOP)
        self._frames.append(
            b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index
        )

    def finish(self, finish: Finish) -> None:
        """End the message with its stop reason, its actual token counts and `message_stop`."""
        self._to(Event.MESSAGE_DELTA)
        self._frames.append(
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":%b,"stop_sequence":%b},'
            b'"usage":%b}\n\n' % (_json(finish.stop_reason), _json(finish.stop_sequence), _json(finish.usage))
        )
        self._to(Event.MESSAGE_STOP)
        self._frames.append(_MESSAGE_STOP)

    def error(self, body: bytes) -> None:
        """End the stream with an error's JSON envelope; an open block stays open."""
        self._to(Event.ERROR)
        self._frames.append(b"event: error\ndata: %b\n\n" % body)

    def _begin(self, block: bytes, delta: bytes) -> None:
        self._index += 1
        self._frames.append(
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
            % (self._index, block)
        )
        self._delta_head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b' % (
            self._index,
            delta,
        )

    def _to(self, event: Event) -> None:
        try:
            self._state = TRANSITIONS[self._state][event]
        except KeyError:
            raise StreamStateError(f"{event.name} is not legal in {self._state.name}") from None
