"""The response that carries events: its head and its chunks are written straight to the connection.

aiohttp's own StreamResponse builds, checks and serialises a dictionary of headers for each response, and writes the
head and the first events apart; for an answer of a few events, that costs more than translating it.

It is a subclass of `web.StreamResponse` and overrides its public methods; it writes to `request.transport`. It sets
`request.writer.output_size`, as aiohttp's own writer does, so that aiohttp sends no error after it. Delete it once
`StreamResponse` writes its head together with the first piece of the body, from bytes that are made once
(`tests/bench` shows what that costs).
"""

import asyncio
import time
from email.utils import formatdate
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache, no-transform\r\n"
    # nginx and its kin would gather events otherwise
    b"X-Accel-Buffering: no\r\n"
    b"Server: claude-gateway\r\n"
    b"Date: %b\r\n"
    b"request-id: %b\r\n"
    b"%b\r\n"
)
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
# bytes that may wait for a client before it counts as slow
MOST_UNSENT: Final = 64 * 1024


class EventResponse(web.StreamResponse):
    """A 200 with a body of unknown length, in HTTP/1.1's chunks, or to the connection's end for older clients.

    Raises ConnectionResetError on each write after the client has left.
    """

    def __init__(self, request: web.Request, request_id: str) -> None:
        super().__init__()
        self._to = request
        self._chunks = request.version >= HttpVersion11
        self._stays = request.keep_alive and self._chunks
        framing = (_CHUNKED if self._chunks else b"") + (b"" if self._stays else _CLOSE)
        self._head = _HEAD % (_date(), request_id.encode(), framing)
        self._ended = False

    @property
    def in_chunks(self) -> bool:
        """Whether the body goes out in chunks, of which others may write some."""
        return self._chunks

    @property
    def keep_alive(self) -> bool:
        """Whether the connection can take another request after this response."""
        return self._stays

    def force_close(self) -> None:
        """Close the connection behind this response."""
        self._stays = False

    @property
    def prepared(self) -> bool:
        """Whether the head is out."""
        return not self._head

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Write the head, unless that was done."""
        if self._head:
            self._send(b"")
        return request.writer

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a piece of the body, with the head if that is not out. Waits for a slow client."""
        transport = self._send(self._framed(bytes(data)))
        if transport.get_write_buffer_size() > MOST_UNSENT:
            await self._to.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the last piece and the end, all in one. Waits for a slow client."""
        if not self._ended:
            transport = self._send(self._framed(data) + (_LAST_CHUNK if self._chunks else b""))
            self._ended = True
            if transport.get_write_buffer_size() > MOST_UNSENT:
                await self._to.writer.drain()

    def _framed(self, data: bytes) -> bytes:
        return as_chunk(data) if data and self._chunks else data

    def _send(self, data: bytes) -> asyncio.Transport:
        transport = self._to.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        if self._head:
            data, self._head = self._head + data, b""
            # what aiohttp asks before it would send an error in place of this
            self._to.writer.output_size += len(data)
        transport.write(data)
        return transport


def as_chunk(data: bytes) -> bytes:
    """A piece of a body in HTTP/1.1's framing; it must not be empty, which would be the end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


_dates: dict[int, bytes] = {}


def _date() -> bytes:
    """The time for the `Date` header (RFC 9110, section 6.6.1), put in words once a second."""
    now = int(time.time())
    date = _dates.get(now)
    if date is None:
        _dates.clear()
        date = _dates[now] = formatdate(now, usegmt=True).encode()
    return date
