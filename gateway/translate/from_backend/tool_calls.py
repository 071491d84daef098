"""Assembles tool calls from the pieces that backends stream.

Clients accept one block at a time. Backends may interleave calls, and they disagree on every detail of a piece: the
index may be missing, always 0 (ollama/ollama#15457) or a string; the id late, repeated, new in each piece or empty; the
name complete, repeated, in fragments or late; the arguments a string, an object, null, or `{}` before the actual ones.
So:

- The first unfinished call is live: its arguments are written as they arrive.
- Pieces of other calls are kept, and written in order as the calls before them end.
- A call starts with its first arguments, when its name is complete. It ends when its arguments are complete and
  something else follows, or with the answer. Later pieces for an ended call are ignored.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.anthropic.ids import new_tool_use_id
from gateway.anthropic.message import tool_input
from gateway.anthropic.writer import BlockWriter
from gateway.openai.chunk import Function, ToolCall
from gateway.translate.both_ways.signed_reasoning import pack_extra_content
from gateway.translate.both_ways.tool_names import client_name, new_client_id
from gateway.translate.from_backend.answer_limits import ARGUMENTS, CALLS, MIB, NAME, too_large

# arguments that may be a placeholder for the actual ones, or complete
_EMPTY_OBJECT = "{}"
_CONTROL: Final = re.compile("[\x00-\x1f]")
# what matters for where a string ends, and what may not occur in it
_MARK: Final = re.compile(r'\\(?:.|$)|["\x00-\x1f]', re.DOTALL)
# maximum digits of an index in a string; the limit of int() itself is far higher
_INDEX_DIGITS = 9


class _Piece(Struct, frozen=True, gc=False):
    """The contents of one delta of a call; absent fields are empty."""

    index: int | None
    id: str
    name: str
    arguments: str
    extra_content: dict[str, Any] | None


class _Call:
    """One call, possibly incomplete."""

    __slots__ = (
        "_broken",
        "_depth",
        "_escape",
        "_in_string",
        "_scanned",
        "_whole",
        "arguments",
        "client_id",
        "done",
        "extra_content",
        "id",
        "name",
        "next_name",
        "sent",
        "started",
    )

    def __init__(self, name: str) -> None:
        self.id = ""
        self.client_id = ""  # set when the call starts
        self.extra_content: dict[str, Any] | None = None  # data that the backend expects back with the call
        self.name = name
        self.next_name = ""  # a name that came after complete arguments
        self.arguments: list[str] = []
        self.sent = 0  # number of argument pieces already written
        self.started = False
        self.done = False
        self._whole: bool | None = None  # None: unknown since the last piece
        # of the arguments' pieces that `_is_balanced` has seen
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._escape = ""
        self._broken = False  # all is closed, but it is no object, and more cannot make it one

    def take(self, piece: _Piece) -> None:
        """Add a piece to this call."""
        self.id = self.id or piece.id
        self.extra_content = self.extra_content or piece.extra_content
        if piece.name:
            self._take_name(piece)
        if piece.arguments and not self.done:
            self._take_arguments(piece.arguments)

    def take_sent(self, text: str) -> None:
        """Add arguments that have already been written."""
        self.arguments.append(text)
        self.sent += 1
        self._whole = None

    def ends_before(self, piece: _Piece) -> bool:
        """Whether `piece`, which could belong to this call by its index, id or position, opens the next one.

        A new id with a name does, except within the arguments of the same tool at the same index: some backends give
        each piece a new id. Complete arguments end with the next id or name, or with more arguments after a name.
        """
        if not (piece.id or piece.name or self.next_name):
            return False
        other_id = bool(piece.id and self.id and piece.id != self.id)
        other_name = bool(piece.name and self.name and piece.name != self.name)
        if other_id and (other_name or (piece.name and piece.index is None)):
            return True
        if not self.is_whole():
            return False
        if other_name:
            return True
        if not piece.arguments.strip():
            return other_id and bool(piece.name)
        same_id = bool(piece.id) and piece.id == self.id
        return bool(other_id or piece.name or self.next_name) and not (same_id and self._holds_placeholder())

    def is_ready(self) -> bool:
        """Whether the call can start: it needs a name and the beginning of an object; a lone `{}` waits for more."""
        return self.started or bool(self.name and self.begins_object() and not self._holds_placeholder())

    def begins_object(self) -> bool:
        """Whether the arguments so far begin an object."""
        return bool(self.arguments) and self.arguments[0].startswith("{")

    def is_whole(self) -> bool:
        """Whether the arguments are a complete JSON object."""
        if self._whole is None:
            balanced = self._is_balanced()
            self._whole = balanced and _is_object(self.arguments)
            self._broken = self._broken or (balanced and not self._whole)
        return self._whole

    def _is_balanced(self) -> bool:
        """Whether all braces and brackets are closed. Each piece is looked at once, and so is the whole: JSON whose
        outermost object is closed stays what it is, whatever follows.
        """
        if self._broken:
            return False
        text = "".join(self.arguments[self._scanned :])
        if not text.strip():
            return self._scanned > 0 and self._depth == 0 and not self._in_string
        if self._scanned and self._depth == 0 and not self._in_string:
            self._broken = True
            return False
        self._scanned = len(self.arguments)
        # escapes that matter for where a string ends; one may be split
        text = (self._escape + text).replace("\\\\", "")
        self._escape = "\\" if text.endswith("\\") else ""
        parts = text.replace('\\"', "").split('"')
        outside = "".join(parts[self._in_string :: 2])
        self._in_string ^= len(parts) % 2 == 0
        self._depth += sum(map(outside.count, "{[")) - sum(map(outside.count, "}]"))
        return self._depth == 0 and not self._in_string

    def _take_name(self, piece: _Piece) -> None:
        """Add a name, which may come once, in every piece, or in fragments."""
        name = piece.name
        if not self.started and name != self.name:
            self.name = name if name.startswith(self.name) else self.name + name
            if len(self.name) > NAME:
                raise too_large(f"a tool's name of more than {NAME} characters")
        elif not piece.arguments and self.is_whole():
            # a repetition, or the name of the next call of the same tool: later arguments will show which
            self.next_name = name

    def _take_arguments(self, text: str) -> None:
        if not self.arguments or self._holds_placeholder():
            # SDKs cannot parse a blank first delta
            text = text.lstrip()
            if not text:
                return
            self.arguments.clear()
            self._scanned = 0
        if _CONTROL.search(text) is not None:
            text = self._escaped(text)
        self.arguments.append(text)
        self._whole = None

    def _escaped(self, text: str) -> str:
        """Arguments with raw control characters within their strings escaped: no client can read them, and they have
        one meaning only. Those between values are white space.
        """
        self._is_balanced()
        inside, behind_escape, parts, start = self._in_string, self._escape != "", list[str](), 0
        for found in _MARK.finditer(text):
            mark = found[0]
            if behind_escape and found.start() == 0:
                continue
            if mark == '"':
                inside = not inside
            elif inside and len(mark) == 1 and mark != "\\":
                parts += (text[start : found.start()], msgspec.json.encode(mark).decode()[1:-1])
                start = found.end()
        return "".join((*parts, text[start:]))

    def _holds_placeholder(self) -> bool:
        return not self.started and self.arguments == [_EMPTY_OBJECT]


class ToolCalls:
    """All calls of one answer, written to `writer` in order."""

    __slots__ = ("_calls", "_characters", "_ids", "_known", "_last", "_names", "_queue", "_writer", "_wrote")

    def __init__(self, writer: BlockWriter, names: Mapping[str, str]) -> None:
        """`names` maps tool names back to the client's (`client_name`)."""
        self._writer = writer
        self._names = names
        self._queue: list[_Call] = []  # unfinished calls; the first is live
        self._known: dict[int | str, _Call] = {}  # by index, or by id if there is no index
        self._last: _Call | None = None
        self._ids: set[str] = set()
        self._wrote = False
        self._calls = 0
        self._characters = 0  # of all arguments

    @property
    def open(self) -> bool:
        """Whether a call is unfinished."""
        return bool(self._queue)

    @property
    def any(self) -> bool:
        """Whether the answer contains a call."""
        return self._wrote or bool(self._queue)

    def add(self, delta: ToolCall) -> int:
        """Add one piece. Returns the number of characters of arguments in it. Raises BackendFault beyond a limit."""
        piece = _piece(delta)
        self._count(len(piece.arguments))
        call = self._find(piece)
        call.take(piece)
        self._advance(call)
        return len(piece.arguments)

    def takes(self, index: object) -> bool:
        """Whether more arguments for the call with this index would only be passed on."""
        if not self._queue or not isinstance(index, int):
            return False
        call = self._queue[0]
        return call.started and not call.next_name and call is self._last is self._known.get(index)

    def copied(self, text: str) -> None:
        """Record arguments, accepted by `takes`, that the copier wrote."""
        self._count(len(text))
        self._queue[0].take_sent(text)

    def _count(self, characters: int) -> None:
        self._characters += characters
        if self._characters > ARGUMENTS:
            raise too_large(f"more than {ARGUMENTS // MIB} MiB of tool calls' arguments")

    def settle(self) -> bool:
        """End the complete calls, as something other than a call follows. Returns whether none is left open."""
        self._advance(None)
        return not self._queue

    def end(self) -> None:
        """Write the remaining calls, even if incomplete, as the answer ends."""
        while self._queue:
            self._end_live()

    def _find(self, piece: _Piece) -> _Call:
        """The call that a piece belongs to; a new one if the piece opens a call."""
        key = piece.id if piece.index is None else piece.index
        call = self._known.get(key, self._last if piece.index is None else None)
        if call is None:
            call = self._new("")
        elif call.ends_before(piece):
            call = self._new("" if piece.name else call.next_name)
        if key != "":
            self._known[key] = call
        self._last = call
        return call

    def _new(self, name: str) -> _Call:
        self._calls += 1
        if self._calls > CALLS:
            raise too_large(f"more than {CALLS} tool calls")
        call = _Call(name)
        self._queue.append(call)
        return call

    def _advance(self, current: _Call | None) -> None:
        """End the complete calls before `current`; then write what has arrived of the live one."""
        while self._queue and self._queue[0] is not current and self._queue[0].is_whole():
            self._end_live()
        if self._queue and self._queue[0].is_ready():
            self._send(self._queue[0])

    def _send(self, call: _Call) -> None:
        if not call.started:
            call.client_id = self._unique_id(call.id)
            self._send_extra_content(call)
            self._writer.begin_tool_use(call.client_id, client_name(call.name, self._names))
            call.started = True
        for text in call.arguments[call.sent :]:
            self._writer.input_json(text)
        call.sent = len(call.arguments)

    def _send_extra_content(self, call: _Call) -> None:
        """Write the data before the call, or after it if they came late: blocks cannot be nested."""
        if call.extra_content:
            self._writer.redacted_thinking(pack_extra_content(call.client_id, call.extra_content))
            call.extra_content = None

    def _end_live(self) -> None:
        call = self._queue.pop(0)
        call.done = True
        if call.name:
            if not call.begins_object():
                call.arguments = _wrapped("".join(call.arguments))
            self._send(call)
            self._writer.end_block()
            self._send_extra_content(call)
            self._wrote = True
        elif call.arguments:
            # without a name, it cannot be a call; show the model's output as text
            self._writer.begin_text()
            self._writer.text("".join(call.arguments))
            self._writer.end_block()

    def _unique_id(self, call_id: str) -> str:
        """The backend's id, or a new one if it is missing or repeated: clients lose calls that share an id."""
        if not call_id or call_id in self._ids:
            return new_tool_use_id()
        self._ids.add(call_id)
        return new_client_id(call_id)


def says_nothing(delta: ToolCall) -> bool:
    """Whether a piece is padding."""
    function = delta.function or Function()
    return not (delta.id or delta.extra_content or function.name) and function.arguments in (None, "")


def _piece(delta: ToolCall) -> _Piece:
    function = delta.function or Function()
    index, call_id, name, arguments = delta.index, delta.id, function.name, function.arguments
    return _Piece(
        index if isinstance(index, int) else _as_index(index),
        call_id if isinstance(call_id, str) else "",
        name if isinstance(name, str) else "",
        arguments if isinstance(arguments, str) else _as_text(arguments),
        delta.extra_content if isinstance(delta.extra_content, dict) else None,
    )


def _as_index(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) <= _INDEX_DIGITS:
        return int(value)
    return None


def _as_text(arguments: Any) -> str:
    return "" if arguments is None else msgspec.json.encode(arguments).decode()


def _wrapped(arguments: str) -> list[str]:
    """Arguments that are not an object, wrapped in one: SDKs can parse only objects incrementally."""
    if arguments.strip() in ("", "null"):
        return []
    return [msgspec.json.encode(tool_input(arguments)).decode()]


def _is_object(pieces: list[str]) -> bool:
    """Whether the pieces form a complete JSON object; usually, the last character rules that out."""
    last = next((piece for piece in reversed(pieces) if piece.strip()), "")
    if not last.rstrip().endswith("}"):
        return False
    try:
        msgspec.json.decode("".join(pieces), type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
