"""A backend's answer, bytes in, bytes out: as a stream of Anthropic's events, or as one message."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from gateway.anthropic.message import MessageWriter
from gateway.anthropic.stream import StreamWriter
from gateway.anthropic.writer import Finish
from gateway.openai.chunk import Chunk, MalformedChunk, decode_chunk
from gateway.openai.sse import ServerSentEvent, SSEDecoder
from gateway.translate.errors import fault_in_answer, malformed
from gateway.translate.reducer import Reducer

_DONE: Final = b"[DONE]"
# what reading and reducing a chunk raise when the backend wrote no chunk, or one that is nested without end
_UNREADABLE: Final = (MalformedChunk, RecursionError)


class StreamTranslator:
    """One streamed answer. `writer` is shared with whoever writes the start, pings and errors around it; one that
    has no content yet may go on from an answer that failed.
    """

    __slots__ = ("_decoder", "_done", "_reducer", "writer")

    def __init__(
        self,
        writer: StreamWriter | None = None,
        *,
        names: Mapping[str, str] | None = None,
        stop_sequences: Sequence[str] = (),
    ) -> None:
        self.writer = writer or StreamWriter()
        self._reducer = Reducer(self.writer, names=names, stop_sequences=stop_sequences)
        self._decoder = SSEDecoder()
        self._done = False

    @property
    def done(self) -> bool:
        """Whether the backend said `[DONE]`: nothing that matters can follow."""
        return self._done

    def feed(self, data: bytes) -> None:
        """Translate what `data` completes; `writer.take()` gives the frames.

        Raises BackendFault; the frames of what came before the fault are with the writer all the same.
        """
        try:
            for event in self._decoder.feed(data):
                self._event(event)
        except _UNREADABLE as error:
            raise malformed(str(error)) from None

    def feed_json(self, body: bytes) -> None:
        """Translate a whole JSON answer, which some servers give to a request for a stream. Raises BackendFault."""
        _reduce_whole(self._reducer, body)
        self._done = True

    def end(self, *, estimated_input: int) -> Finish:
        """The backend's bytes have ended: write the end. Raises BackendFault if the answer is not whole."""
        # an event that the end has cut counts for nothing; whether the answer is whole is told by what came before
        with suppress(*_UNREADABLE):
            for event in self._decoder.flush():
                self._event(event)
        return self._reducer.end(estimated_input=estimated_input, marked=self._done)

    def _event(self, event: ServerSentEvent) -> None:
        name, data = event[0], event[1].strip()
        if self._done or not data:
            return
        if data == _DONE:
            self._done = True
        elif name == b"error":
            raise fault_in_answer(data)
        else:
            self._reducer.chunk(_read(data))


def translate_message(
    body: bytes,
    *,
    message_id: str,
    model: str,
    estimated_input: int,
    names: Mapping[str, str] | None = None,
    stop_sequences: Sequence[str] = (),
) -> tuple[bytes, Finish]:
    """A whole JSON answer as a message's JSON, and how it ended. Raises BackendFault."""
    writer = MessageWriter()
    reducer = Reducer(writer, names=names, stop_sequences=stop_sequences)
    _reduce_whole(reducer, body)
    finish = reducer.end(estimated_input=estimated_input, marked=True)
    return writer.body(message_id, model), finish


def _reduce_whole(reducer: Reducer, body: bytes) -> None:
    """Reduce a JSON body. Raises BackendFault."""
    try:
        chunk = _read(body)
        _number_calls(chunk)
        reducer.chunk(chunk)
    except _UNREADABLE as error:
        raise malformed(str(error)) from None


def _read(data: bytes) -> Chunk:
    """One chunk. Raises BackendFault for one that tells of an error, MalformedChunk for what is none."""
    chunk = decode_chunk(data)
    if chunk.is_error:
        raise fault_in_answer(data)
    return chunk


def _number_calls(chunk: Chunk) -> None:
    """In a whole message, unlike in pieces of one, each item is a call of its own, whatever its index and id say."""
    for choice in chunk.choices or ():
        if choice.message is not None:
            for number, call in enumerate(choice.message.tool_calls or ()):
                call.index = number
