"""Tool calls put together from the pieces that backends stream.

Clients take one block at a time, backends may send calls interleaved, and disagree on every detail of a piece
(peers.md, section 4.1): the index may be missing, always 0, or a text; the id late, repeated or empty; the name whole,
repeated, in fragments or late; the arguments text, an object, null, or `{}` before the real ones come. So:

- the first call that is not done is live: its arguments go out as they come;
- pieces of other calls are kept, and go out in order as the calls before them end;
- a call starts once its first arguments come (its name is then whole) and ends once its arguments are whole and
  something else follows, or with the answer.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.anthropic.writer import BlockWriter
from gateway.openai.chunk import Function, ToolCall
from gateway.translate.ids import new_tool_use_id
from gateway.translate.tools import client_id

# an argument piece that may be a placeholder for the real ones, or all there is
_EMPTY_OBJECT = "{}"


class _Call:
    """One call in the making."""

    __slots__ = ("arguments", "id", "name", "sent", "started")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.sent = 0  # pieces of the arguments that went out
        self.started = False

    def add_name(self, name: str) -> None:
        """A name comes whole, whole again with each piece, or in fragments."""
        if not self.started and name != self.name:
            self.name = name if name.startswith(self.name) else self.name + name

    def add_arguments(self, text: str) -> None:
        if self.arguments == [_EMPTY_OBJECT] and not self.started:
            self.arguments.clear()
        self.arguments.append(text)

    def is_whole(self) -> bool:
        """Whether the arguments are a complete JSON value."""
        text = "".join(self.arguments)
        if not text.rstrip().endswith("}"):
            return False
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False
        return True


class ToolCalls:
    """All calls of one answer, written to `writer` in order."""

    __slots__ = ("_by_index", "_done", "_ids", "_names", "_queue", "_writer")

    def __init__(self, writer: BlockWriter, names: Mapping[str, str]) -> None:
        """`names` maps shortened tool names back to the client's."""
        self._writer = writer
        self._names = names
        self._queue: list[_Call] = []  # calls that are not done; the first is the live one
        self._by_index: dict[int, _Call] = {}
        self._ids: set[str] = set()
        self._done = 0

    @property
    def open(self) -> bool:
        """Whether a call is not done yet."""
        return bool(self._queue)

    @property
    def any(self) -> bool:
        """Whether the answer holds a call."""
        return self._done > 0 or bool(self._queue)

    def add(self, piece: ToolCall) -> int:
        """Take one piece. Returns how many characters of arguments it held."""
        function = piece.function or Function()
        name = function.name if isinstance(function.name, str) else ""
        arguments = _as_text(function.arguments)
        call_id = piece.id if isinstance(piece.id, str) else ""
        call = self._find(_as_index(piece.index), call_id, name, arguments)
        call.id = call.id or call_id
        if name:
            call.add_name(name)
        if arguments:
            call.add_arguments(arguments)
        while self._queue and self._queue[0] is not call and self._queue[0].is_whole():
            self._end_live()
        if self._queue and self._queue[0] is call:
            self._send(call)
        return len(arguments)

    def settle(self) -> bool:
        """Something else than a call follows: end the live call if it is whole. Returns whether none is open."""
        while self._queue and self._queue[0].is_whole():
            self._end_live()
        return not self._queue

    def end(self) -> None:
        """The answer ends: write what is left, as far as it came."""
        while self._queue:
            self._end_live()

    def _find(self, index: int | None, call_id: str, name: str, arguments: str) -> _Call:
        """The call that a piece belongs to; a new one where it opens a call."""
        if index is not None:
            call = self._by_index.get(index)
            if call is None or _opens_another(call, call_id, name, arguments):
                call = self._by_index[index] = self._new()
            return call
        for call in reversed(self._queue):
            if call_id and call.id == call_id:
                return call
        last = self._queue[-1] if self._queue else None
        if last is None or _opens_another(last, call_id, name, arguments):
            return self._new()
        return last

    def _new(self) -> _Call:
        call = _Call()
        self._queue.append(call)
        return call

    def _send(self, call: _Call) -> None:
        """Write what came of the live call; a name without arguments, and a lone `{}`, wait for more."""
        if not call.name or not call.arguments:
            return
        if not call.started:
            if call.arguments == [_EMPTY_OBJECT]:
                return
            self._start(call)
        for text in call.arguments[call.sent :]:
            self._writer.input_json(text)
        call.sent = len(call.arguments)

    def _start(self, call: _Call) -> None:
        self._writer.begin_tool_use(self._unique_id(call.id), self._names.get(call.name, call.name))
        call.started = True

    def _end_live(self) -> None:
        call = self._queue.pop(0)
        if not call.name:
            # a call that names no tool can be no call; what the model wrote stays readable
            self._writer.begin_text()
            self._writer.text("".join(call.arguments) or _EMPTY_OBJECT)
            self._writer.end_block()
            return
        if not call.started:
            self._start(call)
        for text in call.arguments[call.sent :]:
            self._writer.input_json(text)
        self._writer.end_block()
        self._done += 1

    def _unique_id(self, call_id: str) -> str:
        """The backend's id, or a new one where it gave none or gave it twice: clients lose calls of equal ids."""
        chosen = client_id(call_id) if call_id and call_id not in self._ids else new_tool_use_id()
        self._ids.add(call_id)
        return chosen


def _opens_another(call: _Call, call_id: str, name: str, arguments: str) -> bool:
    """Whether a piece that could belong to `call` opens the next one: it has a new id, or a name after whole
    arguments. A name alone says nothing, since some backends repeat it with each piece.
    """
    if not name:
        return False
    if call_id and call.id:
        return call_id != call.id
    return bool(arguments) and call.is_whole()


def _as_index(value: Any) -> int | None:
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return None


def _as_text(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else msgspec.json.encode(arguments).decode()
