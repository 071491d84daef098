"""Translates the bytes of a backend's answer to a stream of Anthropic's events, or to one message."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from gateway.anthropic.message import MessageWriter
from gateway.anthropic.stream import StreamWriter
from gateway.anthropic.writer import Finish
from gateway.openai.chunk import Chunk, MalformedChunk, decode_chunk
from gateway.openai.sse import ServerSentEvent, SSEDecoder
from gateway.translate.from_backend.answer_limits import MIB, too_large
from gateway.translate.from_backend.delta_copier import DeltaCopier
from gateway.translate.from_backend.reducer import Reducer
from gateway.translate.from_backend.stop_strings import StopStrings
from gateway.translate.from_backend.thinking_display import Display
from gateway.translate.refusals.faults import BackendFault, fault_in_answer, is_error_in_answer, malformed

_DONE: Final = b"[DONE]"
_EVENT_END: Final = b"\n\n"
# the size of some ten events: with more at once, learning from one pays off even if the answer is short
_MANY_BYTES: Final = 2048
# how often to try to copy all of a read at once
_MOST_TRIES: Final = 3
# how an event stream may begin, unlike JSON
_EVENTS: Final = (b"data:", b"event:", b":")
# What a stream may send without anything for the client, an incomplete event included. It also bounds what is kept of
# comments, blanks, and calls that wait for their turn.
_MOST_BARREN: Final = 16 * MIB
# The same in lines: with a comment each second, a day; a call of some 50,000 tokens that waits for another to end.
_MOST_BARREN_LINES: Final = 100_000
# after so many events of a read that cannot be copied, the rest of it takes the full path, which costs less for many
_MOST_PARTS: Final = 32
# how much of a whole answer in events is decoded at a time: each small event takes twenty times its size
_PART_BYTES: Final = 64 * 1024
# raised by decoding or reducing data that is not a chunk, or is nested too deeply
_UNREADABLE: Final = (MalformedChunk, RecursionError)


class StreamTranslator:
    """One streamed answer. The caller writes the start, pings and errors to the same `writer`. A writer without content
    may be reused after an answer that failed.
    """

    __slots__ = ("_barren", "_barren_lines", "_between", "_decoder", "_done", "_reducer", "_stops", "copier", "writer")

    def __init__(
        self,
        writer: StreamWriter | None = None,
        *,
        names: Mapping[str, str] | None = None,
        stop_sequences: Sequence[str] = (),
        display: Display = "shown",
        copies: bool = True,
        cuts: bool = False,
    ) -> None:
        """Without the copier, every event takes the full path; the output is the same. `cuts`: the backend does not
        know the stop sequences, so the answer is ended here.
        """
        self.writer = writer or StreamWriter()
        self._stops = StopStrings(self.writer, stop_sequences) if cuts else None
        self._reducer = Reducer(self._stops or self.writer, names=names, stop_sequences=stop_sequences, display=display)
        self.copier = DeltaCopier(self._reducer, self.writer, used=copies and not cuts)
        self._decoder = SSEDecoder()
        self._between = False  # whether the input so far ends at the end of an event
        self._done = False
        # bytes and lines since there was something for the client
        self._barren = self._barren_lines = 0

    @property
    def finished(self) -> bool:
        """Whether the backend has sent a finish reason: only usage may follow."""
        return self._reducer.finished or self._cut

    @property
    def done(self) -> bool:
        """Whether the backend has sent `[DONE]`: nothing relevant can follow."""
        return self._done or self._cut

    @property
    def _cut(self) -> bool:
        """Whether the answer ended at a stop string."""
        return self._stops is not None and self._stops.matched is not None

    def feed(self, data: bytes) -> None:
        """Translate the events that `data` completes; `writer.take()` returns the frames.

        Raises BackendFault; the writer still holds the frames from before the fault.
        """
        if self._done:
            return
        held, unseen = self.writer.held, self._reducer.unseen
        try:
            if self.copier.curious:
                self._feed_parts(data)
            else:
                self._feed_in_full(data)
        except _UNREADABLE as error:
            raise _malformed(error) from None
        if self.writer.held > held or self._reducer.unseen > unseen:
            self._barren = self._barren_lines = 0
            return
        self._barren += len(data)
        self._barren_lines += data.count(b"\n")
        if self._barren > _MOST_BARREN:
            raise too_large(f"more than {_MOST_BARREN // MIB} MiB in a row without anything for the client")
        if self._barren_lines > _MOST_BARREN_LINES:
            raise too_large(f"more than {_MOST_BARREN_LINES} lines in a row without anything for the client")

    def _feed_parts(self, data: bytes) -> None:
        """Copy runs of known events; what lies between them takes the full path."""
        if self.copier.new and len(data) < _MANY_BYTES:
            self._feed_in_full(data, alone=True)
            return
        start, length, tries, parts = 0, len(data), _MOST_TRIES, 0
        while start < length and not self._done:
            end = start
            if self._between:
                end = self.copier.copy(data, start, at_once=tries > 0)
                tries -= self.copier.pattern is not None
            if end == start:
                # the rest of an incomplete event, or the next event
                end = data.find(_EVENT_END, start) + len(_EVENT_END)
                parts += 1
                end = end if end >= len(_EVENT_END) and parts <= _MOST_PARTS else length
                self._feed_in_full(data[start:end], alone=end - start == length)
            start = end

    def _feed_in_full(self, data: bytes, *, alone: bool = False) -> None:
        self.copier.settle()
        was_between, unseen = self._between, self._reducer.unseen
        self._done = _reduce_events(self._reducer, self._decoder.feed(data))
        self._between = self._decoder.idle
        if self._reducer.unseen != unseen:
            # there will be other events to learn from
            return
        if was_between and self._between and not self._done and self.copier.curious:
            self.copier.learn(data, alone=alone)

    def feed_json(self, body: bytes) -> None:
        """Translate a complete JSON answer, which some servers send despite `stream: true`. Raises BackendFault."""
        self._done = _reduce_whole(self._reducer, body)

    def end(self, *, estimated_input: int) -> Finish:
        """Write the end, as the backend's bytes have ended. Raises BackendFault if the answer is incomplete."""
        self.copier.settle()
        # a truncated last event is ignored; the events before it show whether the answer is complete
        with suppress(*_UNREADABLE):
            self._done = self._done or _reduce_events(self._reducer, self._decoder.flush())
            _check_bare(self._reducer, self._decoder)
        finish = self._reducer.end(estimated_input=estimated_input, marked=self.done)
        return self._stops.finished(finish) if self._stops else finish


def translate_message(
    body: bytes,
    *,
    message_id: str,
    model: str,
    estimated_input: int,
    names: Mapping[str, str] | None = None,
    stop_sequences: Sequence[str] = (),
    display: Display = "shown",
    cuts: bool = False,
) -> tuple[bytes, Finish]:
    """A message's JSON for a complete answer, and how the answer ended. Raises BackendFault.

    `body` is JSON or a complete stream: some proxies always stream.
    """
    writer = MessageWriter()
    stops = StopStrings(writer, stop_sequences) if cuts else None
    reducer = Reducer(stops or writer, names=names, stop_sequences=stop_sequences, display=display)
    marked = _reduce_whole(reducer, body)
    finish = reducer.end(estimated_input=estimated_input, marked=marked)
    return writer.body(message_id, model), stops.finished(finish) if stops else finish


def _reduce_events(reducer: Reducer, events: Iterable[ServerSentEvent]) -> bool:
    """Reduce events up to `[DONE]`. Returns whether it occurred. Raises BackendFault or one of _UNREADABLE."""
    for name, text in events:
        data = text.strip()
        if data == _DONE:
            return True
        if data:
            if name == b"error":
                raise fault_in_answer(data)
            reducer.chunk(_read(data))
    return False


def _reduce_whole(reducer: Reducer, body: bytes) -> bool:
    """Reduce a complete body. Returns whether its end is marked, as it always is in JSON. Raises BackendFault."""
    try:
        if body.lstrip().startswith(_EVENTS):
            decoder = SSEDecoder()
            marked = _reduce_events(reducer, _events(decoder, body))
            _check_bare(reducer, decoder)
            return marked
        chunk = _read(body)
        _number_calls(chunk)
        reducer.chunk(chunk)
    except _UNREADABLE as error:
        raise _malformed(error) from None
    return True


def _check_bare(reducer: Reducer, decoder: SSEDecoder) -> None:
    """Raise BackendFault if the answer is incomplete because of an error that was written into the stream as it is."""
    if decoder.bare and not reducer.finished:
        _read(decoder.bare)


def _events(decoder: SSEDecoder, body: bytes) -> Iterator[ServerSentEvent]:
    """The events of a complete stream."""
    for start in range(0, len(body), _PART_BYTES):
        yield from decoder.feed(body[start : start + _PART_BYTES])
    yield from decoder.flush()


def _malformed(error: Exception) -> BackendFault:
    """The fault for one of _UNREADABLE."""
    return malformed("nested too deeply" if isinstance(error, RecursionError) else str(error))


def _read(data: bytes) -> Chunk:
    """Decode one chunk. Raises BackendFault if it is an error, MalformedChunk if it is not a chunk."""
    try:
        chunk = decode_chunk(data, halves=True)
    except MalformedChunk:
        if data[:8].lstrip(b"[").lower().startswith(b"error"):
            raise fault_in_answer(data) from None
        raise
    if chunk.choices and chunk.error is None and chunk.base_resp is None:
        return chunk
    if chunk.is_error or (not chunk.choices and chunk.usage is None and is_error_in_answer(data)):
        raise fault_in_answer(data)
    return chunk


def _number_calls(chunk: Chunk) -> None:
    """Number the calls of a complete message: each item is a separate call there, whatever its index and id."""
    for choice in chunk.choices or ():
        if choice.message is not None:
            for number, call in enumerate(choice.message.tool_calls or ()):
                call.index = number
