"""Translates events that differ only in a piece of text by copying that text.

Nearly all events of a stream are alike except for one JSON string: the delta of text, of thinking or of a call's
arguments. The copier learns the bytes before and after that string from one event on the full path. From then on, it
translates whole runs of such events by replacing these bytes. The output is byte for byte that of the full path:

- An event is learned only if it contains nothing else, and if replacing its string changes nothing else in the decoded
  chunk: so the surrounding bytes mean the same with any string.
- The copied content is limited to what the full path would write unchanged: no quotes, no control characters, and only
  short escapes. `\\u` escapes are rewritten as the full path would write them; invalid UTF-8 and empty strings take the
  full path.
- The reducer confirms that it would, in its current state, only pass such a delta on.
"""

import re
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from gateway.anthropic.stream import Event, StreamWriter
from gateway.openai.chunk import Choice, Chunk, Delta, Function, MalformedChunk, ToolCall, decode_chunk
from gateway.translate.from_backend.reducer import Reducer

Kind = Literal["text", "thinking", "arguments"]

_json = msgspec.json.encode
_decode_text = msgspec.json.Decoder(str).decode

_EVENTS: Final = {
    "text": Event.TEXT_DELTA,
    "thinking": Event.THINKING_DELTA,
    "arguments": Event.INPUT_JSON_DELTA,
}
# Of arguments, an escaped control character takes the full path: it may stand within a string of theirs, where it has
# to be escaped once more.
_SHORT_ESCAPES: Final = {kind: rb'\\["\\]' if kind == "arguments" else rb'\\["\\bfnrt]' for kind in _EVENTS}
# the contents of strings, separated by LF, which cannot occur in them
_COPIED: Final = {
    kind: re.compile(rb'[^"\\\x00-\x09\x0b-\x1f]*+(?:%b[^"\\\x00-\x09\x0b-\x1f]*+)*+' % escape)
    for kind, escape in _SHORT_ESCAPES.items()
}
_ONE: Final = {kind: re.compile(rb'(?:[^"\\\x00-\x1f]++|%b)++' % escape) for kind, escape in _SHORT_ESCAPES.items()}
# escapes that the encoder writes differently, with the escaped backslashes before them
_FOREIGN: Final = re.compile(rb"(?<!\\)((?:\\\\)*+)(\\/|(?:\\u[0-9a-fA-F]{4})++)")
# raised by decoding a string
_NO_TEXT: Final = (msgspec.DecodeError, UnicodeDecodeError)
_PROBE: Final = "probe"
_END: Final = b"\n\n"
# the copier gives up after so many events in a row on the full path
_MOST_MISSES: Final = 32
# an answer of fewer events, read at once, is not worth learning from
_FIRST_LOOK: Final = 4


class Pattern(NamedTuple):
    """What events of one kind have in common: the bytes before and after the content of the string. For arguments,
    `call` is the index of the tool call.
    """

    kind: Kind
    call: object
    head: bytes
    tail: bytes


class DeltaCopier:
    """Copies known events, and learns from events on the full path.

    The fast path (`relay/fast_path.py`) may copy events itself while `in_run` is true. It reports them with `note`, or
    by adding to `characters` before it passes anything on and when it ends.
    """

    __slots__ = ("_between", "_copied", "_misses", "_reducer", "_writer", "characters", "in_run", "pattern")

    def __init__(self, reducer: Reducer, writer: StreamWriter, *, used: bool = True) -> None:
        self._reducer = reducer
        self._writer = writer
        self.pattern: Pattern | None = None
        self._between = b""
        # whether the reducer would only pass on another event of the pattern
        self.in_run = False
        # not yet reported to the reducer: the arguments, or the number of characters of text
        self._copied: list[bytes] = []
        self.characters = 0
        self._misses = 0 if used else _MOST_MISSES

    @property
    def new(self) -> bool:
        """Whether the answer may be too short for learning to pay off."""
        return self.pattern is None and self._misses < _FIRST_LOOK

    @property
    def curious(self) -> bool:
        """Whether to try to learn from further events."""
        return self._misses < _MOST_MISSES

    def note(self, content: bytes) -> bytes:
        """Record an event of the pattern that the fast path is about to copy.

        Returns the content to write; empty if the event must take the full path.
        """
        kind = self.pattern.kind if self.pattern is not None else "text"
        try:
            written = _as_written(content)
            if _ONE[kind].fullmatch(written) is None:
                return b""
            text = _decode_text(b'"%b"' % written)
        except _NO_TEXT:
            return b""
        if kind == "arguments":
            self._copied.append(written)
        else:
            self.characters += len(text)
        return written

    def settle(self) -> None:
        """Report the copied deltas to the reducer. Call this before an event takes the full path, and at the end."""
        self.in_run = False
        if self.pattern is None:
            return
        if self._copied:
            text = _decode_text(b'"%b"' % b"".join(self._copied))
            self._copied.clear()
            self._reducer.copied(self.pattern.kind, len(text), text)
        elif self.characters:
            self._reducer.copied(self.pattern.kind, self.characters)
            self.characters = 0

    def copy(self, data: bytes, start: int, *, at_once: bool = True) -> int:
        """Translate the run of known events at `start`. Returns its end; `start` if there is none.

        `at_once`: first try to copy everything up to the last known event as one run. Limit these tries for each read:
        each takes time in proportion to the data.
        """
        self.settle()
        pattern = self.pattern
        if (
            pattern is None
            or not data.startswith(pattern.head, start)
            or not self._reducer.takes(pattern.kind, pattern.call)
        ):
            return start
        end = data.rfind(pattern.tail, start) + len(pattern.tail)
        alone = end <= start + len(pattern.head) + len(pattern.tail)
        if not at_once or alone or not self._copy(pattern, data[start:end]):
            end = self._copy_singly(pattern, data, start)
        if end > start:
            self.in_run = True
            self._misses = 0
        return end

    def _copy_singly(self, pattern: Pattern, data: bytes, start: int) -> int:
        _, _, head, tail = pattern
        while data.startswith(head, start):
            end = data.find(_END, start) + len(_END)
            if (
                end < len(_END)
                or not data.startswith(tail, end - len(tail))
                or not self._copy(pattern, data[start:end])
            ):
                break
            start = end
        return start

    def learn(self, event: bytes, *, alone: bool) -> None:
        """Learn the pattern of an event that has just taken the full path, if it has one.

        `alone`: the event was all of a read, and so the following ones probably will be.
        """
        self._misses += 1
        if self.new and not alone:
            return
        if not event.startswith(b"data:") or event.count(b"\n") != len(_END) or not event.endswith(_END):
            return
        chunk = _decode(event)
        found = _only_text(chunk) if chunk is not None else None
        if chunk is None or found is None:
            return
        kind, index, text = found
        quoted = _json(text)
        if event.count(quoted) != 1:
            return
        at = event.find(quoted)
        head, tail = event[: at + 1], event[at + len(quoted) - 1 :]
        if _decode(head + _PROBE.encode() + tail) == _with_text(chunk, kind, _PROBE):
            self.pattern = Pattern(kind, index, head, tail)
            self._between = tail + head

    def _copy(self, pattern: Pattern, run: bytes) -> bool:
        """Translate a run of events. Returns False, and writes nothing, if it is not a run of the pattern."""
        kind, _, head, tail = pattern
        before, behind = len(head), len(_END) - len(tail)
        if run.find(_END) == len(run) - len(_END):
            contents = [run[before : -len(tail)]]
        else:
            # splitting at single LFs is faster; every other line is empty in a run, which the comparison below checks
            contents = [line[before:behind] for line in run.split(b"\n")[: -len(_END) : len(_END)]]
            if self._between.join(contents) != run[before : -len(tail)]:
                return False
        parts = len(contents) - 1
        try:
            flat = _as_written(b"\n".join(contents))
            if flat.count(b"\n") != parts or b"" in contents or _COPIED[kind].fullmatch(flat) is None:
                return False
            text = _decode_text(b'"%b"' % flat.replace(b"\n", b""))
        except _NO_TEXT:
            return False
        self._reducer.copied(kind, len(text), text)
        self._writer.copy(_EVENTS[kind], flat)
        return True


def _decode(event: bytes) -> Chunk | None:
    try:
        return decode_chunk(event.removeprefix(b"data:").strip())
    except MalformedChunk:
        return None


def _only_text(chunk: Chunk) -> tuple[Kind, object, str] | None:
    """The kind, call index and text of a chunk that contains only one piece of text; otherwise None."""
    choices = chunk.choices or []
    if chunk.is_error or not _says(chunk) <= {"choices", "object"} or len(choices) != 1:
        return None
    choice = choices[0]
    delta = choice.delta
    if delta is None or not _says(choice) <= {"index", "delta"} or choice.index not in (0, None, "0"):
        return None
    match [(name, getattr(delta, name)) for name in _says(delta)]:
        case [("content", str(text))]:
            return "text", None, text
        case [("reasoning_content" | "reasoning", str(text))]:
            return "thinking", None, text
        case [("tool_calls", [ToolCall(index=int(index), function=Function(arguments=str(text)) as function) as call])]:
            if _says(call) <= {"index", "function"} and _says(function) == {"arguments"}:
                return "arguments", index, text
    return None


def _says(value: Struct) -> set[str]:
    """The fields that say something. All others, also those that are new to the schema, must be empty to be copied."""
    return {name for name in value.__struct_fields__ if getattr(value, name)}


def _with_text(chunk: Chunk, kind: Kind, text: str) -> Chunk:
    """The chunk, which `_only_text` accepts, with another text."""
    delta = (chunk.choices or [Choice()])[0].delta or Delta()
    if kind == "text":
        delta.content = text
    elif kind == "thinking":
        setattr(delta, "reasoning_content" if delta.reasoning_content else "reasoning", text)
    else:
        function = (delta.tool_calls or [ToolCall()])[0].function or Function()
        function.arguments = text
    return chunk


def _as_written(content: bytes) -> bytes:
    """A string's content with its escapes as the encoder writes them. Raises one of _NO_TEXT for a lone surrogate."""
    return _FOREIGN.sub(_rewritten, content) if b"\\u" in content or b"\\/" in content else content


def _rewritten(found: re.Match[bytes]) -> bytes:
    return found[1] + _json(_decode_text(b'"%b"' % found[2]))[1:-1]
