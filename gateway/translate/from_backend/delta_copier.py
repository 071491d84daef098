"""Events that differ only in a piece of text, translated by copying that text.

Nearly all events of a stream are alike but for one JSON string: the delta of text, of thinking or of a call's
arguments. From one of them, translated the long way, the bytes before and behind that string are learnt; from then on,
whole runs of such events become Anthropic's by exchanging these bytes. What comes out is what the long way would have
written, byte for byte, because

- an event is learnt only if it says nothing else, and if another string in its place decodes to the same chunk but for
  that string: so the bytes around it mean the same whatever stands in it;
- between them, only JSON string content is taken that the long way would write as it stands: no quote, no control
  character, no escape but the short ones; `\\u` escapes are written as the long way would write them, and a text that
  is no UTF-8, or empty, goes the long way;
- the reducer is asked whether such a delta would, at this point, do no more than go out.
"""

import re
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import structs

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
_SHORT_ESCAPE: Final = rb'\\["\\bfnrt]'
# strings' contents, parted by line ends, which cannot stand in them
_COPIED: Final = re.compile(rb'[^"\\\x00-\x09\x0b-\x1f]*+(?:%b[^"\\\x00-\x09\x0b-\x1f]*+)*+' % _SHORT_ESCAPE)
_ONE: Final = re.compile(rb'(?:[^"\\\x00-\x1f]++|%b)++' % _SHORT_ESCAPE)
# those that the encoder does not write so, with the backslashes in front of them that are text
_FOREIGN: Final = re.compile(rb"(?<!\\)((?:\\\\)*+)(\\/|(?:\\u[0-9a-fA-F]{4})++)")
# what decoding a string raises
_NO_TEXT: Final = (msgspec.DecodeError, UnicodeDecodeError)
_PROBE: Final = "probe"
_END: Final = b"\n\n"
# a backend whose events are never alike costs a look at this many
_MOST_MISSES: Final = 32
# answers of fewer events, all read at once, are not worth one
_FIRST_LOOK: Final = 4


class Pattern(NamedTuple):
    """What is alike in events of one kind: the bytes before and behind the string's content. `call` is the call's index
    among several, for arguments.
    """

    kind: Kind
    call: object
    head: bytes
    tail: bytes


class DeltaCopier:
    """Copies what it knows; the rest is for the long way, from which it learns.

    A lane (`relay/fast_path.py`) may copy events itself while `in_run` holds. It tells so by `note`, or by adding to
    `characters` before it passes anything on, and at its end.
    """

    __slots__ = ("_between", "_copied", "_misses", "_reducer", "_writer", "characters", "in_run", "pattern")

    def __init__(self, reducer: Reducer, writer: StreamWriter, *, used: bool = True) -> None:
        self._reducer = reducer
        self._writer = writer
        self.pattern: Pattern | None = None
        self._between = b""
        # whether another such event would do no more than go out
        self.in_run = False
        # what the reducer has not been told yet: arguments, or how much text
        self._copied: list[bytes] = []
        self.characters = 0
        self._misses = 0 if used else _MOST_MISSES

    @property
    def new(self) -> bool:
        """Whether there may be too few events to come for one to be worth a look."""
        return self.pattern is None and self._misses < _FIRST_LOOK

    @property
    def curious(self) -> bool:
        """Whether another event is worth a look."""
        return self._misses < _MOST_MISSES

    def note(self, content: bytes) -> bytes:
        """An event of the pattern with this content is to go out by the lane: the content as it is to be written; empty
        if it may not.
        """
        try:
            written = _as_written(content)
            if _ONE.fullmatch(written) is None:
                return b""
            text = _decode_text(b'"%b"' % written)
        except _NO_TEXT:
            return b""
        if self.pattern is not None and self.pattern.kind == "arguments":
            self._copied.append(written)
        else:
            self.characters += len(text)
        return written

    def settle(self) -> None:
        """Tell the reducer what has been copied; to be called before anything goes the long way, or ends."""
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
        """Translate the run of known events at `start`. Returns where it ends; `start` if there is none.

        `at_once`: first try whether all up to the last known event is one run. To be tried a few times only for what
        has been read: each takes as long as there is data.
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
        """Take an event that the long way has just translated as the pattern of others, if it is of that kind. `alone`:
        it is all that has been read, as others will be.
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
        """Write what a run of events says. Returns False, and writes nothing, if it is not that."""
        kind, _, head, tail = pattern
        before, behind = len(head), len(_END) - len(tail)
        if run.find(_END) == len(run) - len(_END):
            contents = [run[before : -len(tail)]]
        else:
            # lines are parted faster than events; each other one is empty, or what follows is not so
            contents = [line[before:behind] for line in run.split(b"\n")[: -len(_END) : len(_END)]]
            if self._between.join(contents) != run[before : -len(tail)]:
                return False
        parts = len(contents) - 1
        try:
            flat = _as_written(b"\n".join(contents))
            if flat.count(b"\n") != parts or b"" in contents or _COPIED.fullmatch(flat) is None:
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
    """The piece of text that is all a chunk says: its kind, the index of its call, and the text."""
    choices = chunk.choices or []
    if chunk.is_error or chunk.usage is not None or chunk.x_groq is not None or len(choices) != 1:
        return None
    choice = choices[0]
    delta = choice.delta
    if delta is None or choice.message is not None or choice.index not in (0, None, "0"):
        return None
    if choice.finish_reason or choice.usage is not None or choice.stop_reason or choice.matched_stop:
        return None
    match [(name, value) for name, value in structs.asdict(delta).items() if value]:
        case [("content", str(text))]:
            return "text", None, text
        case [("reasoning_content" | "reasoning", str(text))]:
            return "thinking", None, text
        case [
            (
                "tool_calls",
                [ToolCall(index=int(index), id=None | "", function=Function(name=None | "") as function) as call],
            )
        ]:
            if isinstance(text := function.arguments, str) and text and not call.extra_content:
                return "arguments", index, text
    return None


def _with_text(chunk: Chunk, kind: Kind, text: str) -> Chunk:
    """The chunk, which `_only_text` knows, with another text."""
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
    """A string's content with its escapes as the encoder writes them. Raises one of _NO_TEXT for half a pair."""
    return _FOREIGN.sub(_rewritten, content) if b"\\u" in content or b"\\/" in content else content


def _rewritten(found: re.Match[bytes]) -> bytes:
    return found[1] + _json(_decode_text(b'"%b"' % found[2]))[1:-1]
