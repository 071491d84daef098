"""The fast path: an event that comes alone goes from one connection to the other in one function.

Backends send an event for each token. With many streams, nearly every read gives one chunk of HTTP/1.1 (RFC 9112,
section 7.1) with one event, which differs from the last one only in its text. What such an event costs is then mostly
the number of functions that it passes. The fast path checks whether a read is exactly that, and writes its translation
as one chunk; it passes everything else on to `ChunkedBody.receive`. Its test holds it to the full path: the same bytes
go out, whatever comes in.

It rests on asyncio's transports (`write`, `get_write_buffer_size`) and on a response in HTTP/1.1's chunks. Delete it
once the full path costs no more for a single event than twice what copying its bytes does (`crowd` in the bench).
"""

import asyncio
import re
from typing import Final

from gateway.anthropic.stream import DELTA_END, StreamWriter
from gateway.backend.connection.chunked_body import ChunkedBody
from gateway.record.request_record import RequestRecord
from gateway.relay.event_response import MOST_UNSENT
from gateway.translate.from_backend.delta_copier import DeltaCopier, Pattern

# of a text that is one token, or a few
_LONGEST: Final = 512
_LINE_END: Final = b"\r\n"
_is_plain: Final = re.compile(rb"[ !#-\[\]-~]+").fullmatch
# events until the client's unsent bytes are looked at again
_LOOKS: Final = 16


class FastPath:
    """Gets what is read from the backend while `chunks` relays an answer, and writes it to the client's `transport`.

    Use it only while the client's response is open in HTTP/1.1's chunks and `writer` holds nothing. It counts in slots
    of its own: with hundreds of streams, none of the objects that an event needs is in the processor's cache.
    """

    __slots__ = (
        "_chunks",
        "_copier",
        "_counts",
        "_frames",
        "_note",
        "_noted",
        "_record",
        "_settled",
        "_unsent",
        "_write",
        "_writer",
        "events",
        "sent",
    )

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        record: RequestRecord,
        copier: DeltaCopier,
        writer: StreamWriter,
        chunks: ChunkedBody,
    ) -> None:
        # events and bytes that it wrote
        self.events = 0
        self.sent = 0
        # how much of that the copier has been told, and the bytes of content that it was told of since
        self._settled = (0, 0)
        self._noted = 0
        self._frames = _NONE
        self._counts = False
        self._write = transport.write
        self._unsent = transport.get_write_buffer_size
        self._note = copier.note
        self._copier = copier
        self._writer = writer
        self._chunks = chunks
        self._record = record
        record.live = self

    def receive(self, data: bytes) -> None:
        """Bytes came."""
        frame = self._frames[len(data)]
        if frame is not None:
            head, tail, begin, end, out, around = frame
            if (
                data.startswith(head)
                and data.endswith(tail)
                and (self.events % _LOOKS or self._unsent() <= MOST_UNSENT)
            ):
                content = data[begin:end]
                if not self._counts or _is_plain(content) is None:
                    written = self._note(content)
                    if len(written) != len(content):
                        out = self._frames.begin(len(written))
                    content = written
                    self._noted += len(content)
                if content:
                    try:
                        self._write(b"".join((out, content, _CHUNK_END)))
                    except RuntimeError:
                        # closed: the client has left, and the handler is being cancelled
                        return
                    self.events += 1
                    self.sent += around + len(content)
                    return
        self._take_the_full_path(data)

    def end(self) -> None:
        """Nothing more is read for it."""
        self._settle()
        self._record.live = None
        self._record.counted += self.sent

    def _settle(self) -> None:
        """Tell the copier about the characters that it does not know of yet."""
        events, sent = self._settled
        if self.events != events:
            around = (self.events - events) * self._frames.around
            self._copier.characters += self.sent - sent - around - self._noted
            self._settled = self.events, self.sent
        self._noted = 0

    def _take_the_full_path(self, data: bytes) -> None:
        self._settle()
        chunks, copier = self._chunks, self._copier
        chunks.receive(data)
        learnt = chunks.relaying and chunks.between and copier.in_run
        self._frames = _frames(self._frames, copier, self._writer) if learnt else _NONE
        self._counts = self._frames.counts


# of an event: its first and last bytes, where its content begins and ends; of its translation: the first bytes, and how
# many bytes there are beside the content
_Frame = tuple[bytes, bytes, int, int, bytes, int]


class _Frames(dict[int, _Frame | None]):
    """Events of the pattern by the length of the read, which includes the chunk's framing."""

    def __init__(self, pattern: Pattern | None, delta: bytes) -> None:
        self.pattern = pattern
        self.delta = delta
        self.around = len(delta) + len(DELTA_END)
        # whether the number of characters is all that the copier needs to know of a plain text
        self.counts = pattern is not None and pattern.kind != "arguments"
        self._tail = pattern.tail + _LINE_END if pattern else b""

    def __missing__(self, length: int) -> _Frame | None:
        if self.pattern is None:
            return None
        # the chunk's size is the length less two line ends and its own digits
        digits = len(b"%x" % max(length - 6, 0))
        size = b"%x" % max(length - 4 - digits, 0)
        head = b"%b\r\n%b" % (size, self.pattern.head)
        content = length - len(head) - len(self._tail)
        if len(size) != digits or not 0 < content <= _LONGEST:
            # no chunk has this length, or none with one event
            return None
        frame = head, self._tail, len(head), len(head) + content, self.begin(content), self.around
        self[length] = frame
        return frame

    def begin(self, content: int) -> bytes:
        """The first bytes of a translation whose content takes so many bytes."""
        return b"%x\r\n%b" % (self.around + content, self.delta)


_NONE: Final = _Frames(None, b"")
_CHUNK_END: Final = DELTA_END + _LINE_END


def _frames(frames: _Frames, copier: DeltaCopier, writer: StreamWriter) -> _Frames:
    if frames.pattern is copier.pattern and frames.delta == writer.delta_begin:
        return frames
    return _Frames(copier.pattern, writer.delta_begin)
