"""A backend's answer, bytes in, bytes out: as a stream of Anthropic's events, or as one message."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from gateway.anthropic.message import MessageWriter
from gateway.anthropic.stream import StreamWriter
from gateway.anthropic.writer import Finish
from gateway.openai.chunk import Chunk, MalformedChunk, decode_chunk
from gateway.openai.sse import ServerSentEvent, SSEDecoder
from gateway.translate.from_backend.delta_copier import DeltaCopier
from gateway.translate.from_backend.reducer import Reducer
from gateway.translate.refusals.faults import BackendFault, fault_in_answer, malformed

_DONE: Final = b"[DONE]"
_EVENT_END: Final = b"\n\n"
# of some ten events: with more at once, one is worth a look, even in what may be a short answer
_MANY_BYTES: Final = 2048
# of copying all that has been read at once
_MOST_TRIES: Final = 3
# what a stream begins with, and JSON does not
_EVENTS: Final = (b"data:", b"event:", b":")
# what reading and reducing a chunk raise when the backend wrote no chunk, or one that is nested without end
_UNREADABLE: Final = (MalformedChunk, RecursionError)


class StreamTranslator:
    """One streamed answer. `writer` is shared with whoever writes the start, pings and errors around it; one that
    has no content yet may go on from an answer that failed.
    """

    __slots__ = ("_between", "_decoder", "_done", "_reducer", "copier", "writer")

    def __init__(
        self,
        writer: StreamWriter | None = None,
        *,
        names: Mapping[str, str] | None = None,
        stop_sequences: Sequence[str] = (),
        copier: bool = True,
    ) -> None:
        """Without the copier every event goes the long way; what comes out is the same."""
        self.writer = writer or StreamWriter()
        self._reducer = Reducer(self.writer, names=names, stop_sequences=stop_sequences)
        self.copier = DeltaCopier(self._reducer, self.writer, used=copier)
        self._decoder = SSEDecoder()
        self._between = False  # what came so far ended with an event's end
        self._done = False

    @property
    def finished(self) -> bool:
        """Whether the backend has said how the answer ends: only usage may be missing."""
        return self._reducer.finished

    @property
    def done(self) -> bool:
        """Whether the backend said `[DONE]`: nothing that matters can follow."""
        return self._done

    def feed(self, data: bytes) -> None:
        """Translate what `data` completes; `writer.take()` gives the frames.

        Raises BackendFault; the frames of what came before the fault are with the writer all the same.
        """
        if self._done:
            return
        try:
            if self.copier.curious:
                self._feed_parts(data)
            else:
                self._feed_long_way(data)
        except _UNREADABLE as error:
            raise _malformed(error) from None

    def _feed_parts(self, data: bytes) -> None:
        """Runs of known events by the copier, what is between them the long way."""
        if self.copier.new and len(data) < _MANY_BYTES:
            self._feed_long_way(data, alone=True)
            return
        start, length, tries = 0, len(data), _MOST_TRIES
        while start < length and not self._done:
            end = start
            if self._between:
                end = self.copier.copy(data, start, at_once=tries > 0)
                tries -= self.copier.pattern is not None
            if end == start:
                # the rest of an event that has begun, or the next one
                end = data.find(_EVENT_END, start) + len(_EVENT_END)
                end = end if end >= len(_EVENT_END) else length
                self._feed_long_way(data[start:end], alone=end - start == length)
            start = end

    def _feed_long_way(self, data: bytes, *, alone: bool = False) -> None:
        self.copier.settle()
        was_between = self._between
        self._done = _reduce_events(self._reducer, self._decoder.feed(data))
        self._between = self._decoder.idle
        if was_between and self._between and not self._done and self.copier.curious:
            self.copier.learn(data, alone=alone)

    def feed_json(self, body: bytes) -> None:
        """Translate a whole JSON answer, which some servers give to a request for a stream. Raises BackendFault."""
        self._done = _reduce_whole(self._reducer, body)

    def end(self, *, estimated_input: int) -> Finish:
        """The backend's bytes have ended: write the end. Raises BackendFault if the answer is not whole."""
        self.copier.settle()
        # an event that the end has cut counts for nothing; whether the answer is whole is told by what came before
        with suppress(*_UNREADABLE):
            self._done = self._done or _reduce_events(self._reducer, self._decoder.flush())
        return self._reducer.end(estimated_input=estimated_input, marked=self._done)


def translate_message(
    body: bytes,
    *,
    message_id: str,
    model: str,
    estimated_input: int,
    names: Mapping[str, str] | None = None,
    stop_sequences: Sequence[str] = (),
) -> tuple[bytes, Finish]:
    """A whole answer as a message's JSON, and how it ended. Raises BackendFault.

    It is JSON, or a stream that came to its end: some proxies stream whatever they are asked for.
    """
    writer = MessageWriter()
    reducer = Reducer(writer, names=names, stop_sequences=stop_sequences)
    marked = _reduce_whole(reducer, body)
    finish = reducer.end(estimated_input=estimated_input, marked=marked)
    return writer.body(message_id, model), finish


def _reduce_events(reducer: Reducer, events: Iterable[ServerSentEvent]) -> bool:
    """Reduce events up to `[DONE]`. Returns whether that came. Raises BackendFault, and what is _UNREADABLE."""
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
    """Reduce a whole body. Returns whether it says that it is whole, as JSON does. Raises BackendFault."""
    try:
        if body.lstrip().startswith(_EVENTS):
            decoder = SSEDecoder()
            return _reduce_events(reducer, [*decoder.feed(body), *decoder.flush()])
        chunk = _read(body)
        _number_calls(chunk)
        reducer.chunk(chunk)
    except _UNREADABLE as error:
        raise _malformed(error) from None
    return True


def _malformed(error: Exception) -> BackendFault:
    """The fault of what is _UNREADABLE."""
    return malformed("nested too deeply" if isinstance(error, RecursionError) else str(error))


def _read(data: bytes) -> Chunk:
    """One chunk. Raises BackendFault for one that tells of an error, MalformedChunk for what is none."""
    chunk = decode_chunk(data)
    if not (chunk.choices and chunk.error is None) and chunk.is_error:
        raise fault_in_answer(data)
    return chunk


def _number_calls(chunk: Chunk) -> None:
    """In a whole message, unlike in pieces of one, each item is a call of its own, whatever its index and id say."""
    for choice in chunk.choices or ():
        if choice.message is not None:
            for number, call in enumerate(choice.message.tool_calls or ()):
                call.index = number
