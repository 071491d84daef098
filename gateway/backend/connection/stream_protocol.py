"""The protocol in front of aiohttp's on each connection to the backend: it takes streamed answers as they are read.

aiohttp splits an answer's body into pieces, keeps them in a reader, and wakes the task that waits for them. With many
streams of small events, that costs more than processing the events; for a short answer, so do parsing its head and
making its reader. `StreamProtocol` reads the heads of answers to streaming requests. If a head says only that a stream
in plain chunks follows, the chunks go to `ChunkedBody`, and aiohttp never sees the answer. Everything else is passed on
to aiohttp. If a later chunk is not framed in the plainest way, aiohttp gets the head and everything from that chunk on.

It also tells aiohttp's reader of an answer when the connection is gone: on broken framing, aiohttp closes the
connection, and the reader would wait forever.

It reads all heads and drops interim responses (RFC 9110, section 15.2), which aiohttp would queue without limit. It
closes the connection on a head that is too large and on bytes that belong to no answer.

It rests on asyncio's public `get_protocol` and `set_protocol`, and on three methods of aiohttp's `ResponseHandler`,
which is not public: `set_response_params`, `force_close`, `set_exception`; the tests of this module fail if one of them
changes. Delete it once aiohttp lets a caller have an answer's bytes in `data_received`, without a reader and a task.
"""

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler

from gateway.backend.connection.answer_limits import FRAMING_BYTES, HEAD_BYTES, HEADERS, INTERIM, BeyondLimit
from gateway.backend.connection.chunked_body import ChunkedBody, Receive
from gateway.backend.connection.delivery import may_have_arrived

_BEGIN: Final = b"HTTP/1."
# a head that says nothing else about the body's framing or the fate of the connection
_STREAMED: Final = re.compile(
    rb"(?-i:HTTP/1\.1 200)(?=[ \r])"
    rb"(?=.*\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n)"
    rb"(?!.*\r\n(?:content-encoding|content-length|upgrade):)"
    rb"(?!.*\r\nconnection:(?![ \t]*keep-alive[ \t]*\r\n))"
    rb"(?!.*\r\ntransfer-encoding:(?![ \t]*chunked[ \t]*\r\n))"
    rb"[^\r\n]*(?:\r\n[!#-'*+.0-9A-Z^-z|~-]+:[^\r\n\x00]*)*\r\n\r\n",
    re.IGNORECASE | re.DOTALL,
)
_CONTENT_TYPE: Final = re.compile(rb"\r\ncontent-type:[ \t]*([^\r\n]*)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
# the end of a head with other line ends, which aiohttp may know how to read
_OTHER_END: Final = re.compile(rb"\n\r?\n")
_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1[0-9][0-9][ \r]")
# heads that are cached: those of most servers differ only in their date
_MOST_HEADS: Final = 32
# how much of a body aiohttp may hold before it pauses reading
_BUFFER_BYTES: Final = 64 * 1024


class Streamed(NamedTuple):
    """An answer that aiohttp never sees: its `Content-Type` and its body."""

    content_type: str
    chunks: ChunkedBody


@lru_cache(maxsize=_MOST_HEADS)
def _streamed_type(head: bytes) -> str | None:
    """The `Content-Type` of an answer in plain chunks, empty if it has none; None for the head of any other answer."""
    if head.count(b"\n") > HEADERS or _STREAMED.fullmatch(head) is None:
        return None
    found = _CONTENT_TYPE.search(head)
    return found[1].decode("latin-1") if found else ""


def stream_protocol_of(transport: asyncio.Transport) -> tuple["StreamProtocol", bool]:
    """The protocol on a connection to the backend, and whether it was there before: then the connection is reused."""
    before = transport.get_protocol()
    return (before, True) if isinstance(before, StreamProtocol) else (StreamProtocol(transport), False)


class StreamProtocol(asyncio.Protocol):
    """Takes over `transport` for good. Call `begin` for each request."""

    def __init__(self, transport: asyncio.Transport) -> None:
        inner = transport.get_protocol()
        assert isinstance(inner, ResponseHandler)  # noqa: S101  # aiohttp's is one
        self._inner = inner
        self._transport = transport
        self._in_head = False
        self._head = b""
        self._wants_stream = False
        # interim responses dropped, and their bytes
        self._interim = 0
        self._interim_bytes = 0
        # whether no answer is expected
        self._idle = False
        # whether the connection closed before any byte of an answer, and if so, before all that was sent had arrived
        self.closed_silently = False
        self.undelivered = False
        self._streamed: Streamed | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: ChunkedBody | None = None
        # whether `ChunkedBody` has seen the end of the answer
        self._ended = False
        self._on_end: Callable[[], None] | None = None
        self._content: aiohttp.StreamReader | None = None
        # bytes that aiohttp got since there was content, and the bytes of content until then
        self._framing = 0
        self._seen = 0
        transport.set_protocol(self)

    def begin(self, *, stream: bool, unasked: bool = False) -> None:
        """A request is about to be sent; `stream`: it asks for a stream; `unasked`: bytes have already arrived."""
        self._in_head = not unasked
        self._wants_stream = stream
        self._head = b""
        self._interim = self._interim_bytes = self._framing = self._seen = 0
        self._idle = self._ended = False
        self._chunks = self._content = self._streamed = self._on_end = None
        self._divert_back()
        if unasked:
            self._leave_to_aiohttp()

    def rest(self) -> None:
        """The answer has been read to its end, and no byte is expected until the next request."""
        self._idle = True

    async def streamed(self) -> Streamed | None:
        """The answer, once its head has arrived; None if aiohttp has it, or will raise why there is none."""
        if self._in_head:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        streamed, self._streamed = self._streamed, None
        return streamed

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call `callback` once an answer that aiohttp never sees has been read to its end."""
        if self._ended:
            callback()
        else:
            self._on_end = callback

    def watch(self, content: aiohttp.StreamReader) -> None:
        """Watch the reader of an answer that aiohttp has."""
        if not content.is_eof():
            self._content = content

    def give_up(self) -> None:
        """Stop waiting for the head."""
        self._in_head = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._in_head:
            self._receive_head(data)
        elif self._chunks is not None:
            self._chunks.receive(data)
        elif self._idle:
            # aiohttp would keep all of it
            self._transport.abort()
        else:
            self._inner.data_received(data)
            self._count_framing(len(data))

    def eof_received(self) -> None:
        """The other side sends no more."""
        self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._in_head:
            self.closed_silently = not (self._head or self._interim)
            self.undelivered = self.closed_silently and not may_have_arrived(self._transport)
            self._leave_to_aiohttp(self._head)
        self._inner.connection_lost(exc)
        self.give_up()
        gone = aiohttp.ClientPayloadError("the connection is gone")
        content = self._content
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(gone)
        if self._chunks is not None:
            self._chunks.fail(gone)
        # these refer to each other
        self._chunks = self._on_end = None
        self.__dict__.pop("data_received", None)

    def pause_writing(self) -> None:
        """The other side reads too slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The other side has caught up."""
        self._inner.resume_writing()

    def _receive_head(self, data: bytes) -> None:
        head = self._head = self._head + data
        end = head.find(_HEAD_END) + len(_HEAD_END)
        content_type = _streamed_type(head[:end]) if self._wants_stream else None
        while content_type is None:
            complete = end >= len(_HEAD_END)
            if self._interim_bytes + (end if complete else len(head)) > HEAD_BYTES:
                self._refuse(BeyondLimit(f"a response head of more than {HEAD_BYTES // 1024} KiB"))
                return
            if not complete and head.startswith(_BEGIN[: len(head)]) and _OTHER_END.search(head) is None:
                return
            if not complete or _INTERIM.match(head) is None:
                break
            self._interim += 1
            self._interim_bytes += end
            if self._interim > INTERIM:
                self._refuse(BeyondLimit(f"more than {INTERIM} interim responses"))
                return
            head = self._head = head[end:]
            end = head.find(_HEAD_END) + len(_HEAD_END)
            content_type = _streamed_type(head[:end]) if self._wants_stream else None
        if content_type is None:
            if head[:end].count(b"\n") > HEADERS:
                self._refuse(BeyondLimit(f"more than {HEADERS} header lines"))
                return
            self._leave_to_aiohttp(head)
        else:
            self._in_head = False
            self._head = head[:end]
            self._chunks = chunks = ChunkedBody(self._transport, self._give_back, self._divert)
            self._streamed = Streamed(content_type, chunks)
            if end < len(head):
                chunks.receive(head[end:])
        self.give_up()

    def _leave_to_aiohttp(self, data: bytes = b"") -> None:
        self._in_head = False
        self._inner.set_response_params(
            read_until_eof=True,
            read_bufsize=_BUFFER_BYTES,
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
            max_headers=HEADERS,
        )
        if data:
            self._inner.data_received(data)

    def _count_framing(self, size: int) -> None:
        """Refuse an answer that goes through aiohttp and that never has content."""
        seen = self._content.total_bytes if self._content is not None else 0
        if seen != self._seen:
            self._seen, self._framing = seen, 0
            return
        self._framing += size
        if self._framing > FRAMING_BYTES:
            error = BeyondLimit(f"more than {FRAMING_BYTES // 1024} KiB without content")
            if self._content is not None:
                self._content.set_exception(error)
            self._refuse(error)

    def _refuse(self, error: BeyondLimit) -> None:
        """Make the wait for the answer fail, and close the connection."""
        self._in_head = False
        self._head = b""
        self._inner.set_exception(error)
        # before the connection is lost, which aiohttp would report in place of this
        self.give_up()
        self._transport.abort()

    def _give_back(self, data: bytes) -> None:
        """`ChunkedBody` is done with the answer; `data` is what it leaves."""
        chunks, self._chunks = self._chunks, None
        self._divert_back()
        if chunks is None or chunks.given_back:
            self._leave_to_aiohttp(self._head + data)
            return
        if data:
            # these bytes belong to no answer
            self._inner.force_close()
        self._ended = self._idle = True
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()

    def _divert(self, receive: Receive) -> None:
        """Pass what is read from now on to `receive`. A transport keeps the method that its protocol had when that was
        set; setting the protocol again costs two system calls.
        """
        if self._chunks is not None and not self._transport.is_closing():
            setattr(self, "data_received", receive)  # noqa: B010  # of this instance only, which mypy does not allow
            self._transport.set_protocol(self)

    def _divert_back(self) -> None:
        if "data_received" in self.__dict__:
            del self.data_received
            if not self._transport.is_closing():
                self._transport.set_protocol(self)
