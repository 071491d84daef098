"""A backend's answer, bytes in, bytes out: as a stream of Anthropic's events, or as one message."""

from collections.abc import Mapping, Sequence

from gateway.anthropic.message import MessageWriter
from gateway.anthropic.stream import StreamWriter
from gateway.anthropic.writer import Finish
from gateway.openai.chunk import MalformedChunk, decode_chunk
from gateway.openai.sse import ServerSentEvent, SSEDecoder
from gateway.translate.errors import fault_from_response, malformed
from gateway.translate.reducer import Reducer

_DONE = b"[DONE]"


class StreamTranslator:
    """One streamed answer. `writer` is shared with whoever writes the start, pings and errors around it."""

    __slots__ = ("_decoder", "_done", "_reducer", "writer")

    def __init__(self, *, names: Mapping[str, str] | None = None, stop_sequences: Sequence[str] = ()) -> None:
        self.writer = StreamWriter()
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
        for event in self._decoder.feed(data):
            self._event(event)

    def feed_json(self, body: bytes) -> None:
        """Translate a whole JSON answer, which some servers give to a request for a stream. Raises BackendFault."""
        self._chunk(body)
        self._done = True

    def end(self, *, estimated_input: int) -> Finish:
        """The backend's bytes have ended: write the end. Raises BackendFault if the answer is not whole."""
        if not self._done:
            for event in self._decoder.flush():
                self._event(event)
        return self._reducer.end(estimated_input=estimated_input, marked=self._done)

    def _event(self, event: ServerSentEvent) -> None:
        name, data = event
        if self._done or not data.strip():
            return
        if data == _DONE:
            self._done = True
        elif name == b"error":
            raise fault_from_response(500, {}, data)
        else:
            self._chunk(data)

    def _chunk(self, data: bytes) -> None:
        try:
            chunk = decode_chunk(data)
        except MalformedChunk as error:
            raise malformed(str(error)) from None
        self._reducer.chunk(chunk)


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
    try:
        chunk = decode_chunk(body)
    except MalformedChunk as error:
        raise malformed(str(error)) from None
    writer = MessageWriter()
    reducer = Reducer(writer, names=names, stop_sequences=stop_sequences)
    reducer.chunk(chunk)
    finish = reducer.end(estimated_input=estimated_input, marked=True)
    return writer.body(message_id, model), finish
