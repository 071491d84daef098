"""The bytes of a streamed answer, taken from the connection as soon as they have been read.

aiohttp splits an answer's body into pieces, keeps them in a reader, and wakes the task that waits for them. With many
streams of small events, that costs more than what is done with them. A tap stands before aiohttp's protocol on each
connection to the backend. It passes on what comes, except for the chunks of a stream: these go to `Chunks`. Only the
last chunk, which holds nothing, goes to aiohttp again: to that, the answer had no content, and the connection can be
used for the next request. What is not framed in the plainest way stays with aiohttp from there on.

A tap also tells aiohttp's reader of an answer when its connection is gone: where the framing is broken, aiohttp closes
the connection, and the reader would wait for ever.
"""

import asyncio
import re
from typing import Final

import aiohttp

from gateway.backend.chunks import Chunks, Receive

_STREAMED: Final = re.compile(
    rb"HTTP/1\.1 200[ \r](?=.*\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n)(?!.*\r\ncontent-encoding:)",
    re.IGNORECASE | re.DOTALL,
)
_HEAD_END: Final = b"\r\n\r\n"
_LONGEST_HEAD: Final = 64 * 1024


def tap_of(transport: asyncio.Transport) -> tuple["Tap", bool]:
    """The tap on a connection to the backend, and whether it was there before: the connection is used again."""
    before = transport.get_protocol()
    return (before, True) if isinstance(before, Tap) else (Tap(transport), False)


class Tap(asyncio.Protocol):
    """Put on `transport` for good; `begin` for each request."""

    def __init__(self, transport: asyncio.Transport) -> None:
        inner = transport.get_protocol()
        assert isinstance(inner, asyncio.Protocol)  # noqa: S101  # aiohttp's is one
        self._inner = inner
        self._transport = transport
        self._in_head = False
        self._head = b""
        self._held: list[bytes] | None = None
        self._chunks: Chunks | None = None
        self._content: aiohttp.StreamReader | None = None
        self._gone: aiohttp.ClientPayloadError | None = None
        transport.set_protocol(self)

    def begin(self, *, stream: bool) -> None:
        """A request goes out; whether it is for a stream."""
        self._in_head = stream
        self._head = b""
        self._chunks = self._content = self._held = None
        self._pass_on()

    def answer(self, content: aiohttp.StreamReader) -> Chunks | None:
        """The chunks of the answer whose head has come; None if aiohttp has them, and `content` gives them."""
        if not content.is_eof():
            self._content = content
        if self._held is None:
            return None
        held, self._held = b"".join(self._held), None
        self._chunks = chunks = Chunks(self._transport, self._give_back, self._divert)
        if held:
            chunks.receive(held)
        if self._gone is not None:
            chunks.fail(self._gone)
        return chunks

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._in_head:
            self._receive_head(data)
        elif self._chunks is not None:
            self._chunks.receive(data)
        elif self._held is not None:
            self._held.append(data)
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The other side sends no more."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._inner.connection_lost(exc)
        self._gone = gone = aiohttp.ClientPayloadError("the connection is gone")
        content = self._content
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(gone)
        if self._chunks is not None:
            self._chunks.fail(gone)
        # these hold each other
        self._chunks = None
        self.__dict__.pop("data_received", None)

    def pause_writing(self) -> None:
        """The other side takes too little."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It takes more again."""
        self._inner.resume_writing()

    def _receive_head(self, data: bytes) -> None:
        before, head = len(self._head), self._head + data
        end = head.find(_HEAD_END) + len(_HEAD_END)
        if end < len(_HEAD_END):
            self._head = head
            self._in_head = len(head) < _LONGEST_HEAD
            self._inner.data_received(data)
            return
        self._in_head, self._head = False, b""
        if _STREAMED.match(head, 0, end) is None:
            self._inner.data_received(data)
            return
        # aiohttp must not see the answer's end, and give the connection to the next, before somebody has this one
        self._held = [head[end:]]
        self._inner.data_received(data[: end - before])

    def _give_back(self, data: bytes) -> None:
        """What follows, from a chunk's beginning on, is for aiohttp."""
        self._chunks = None
        self._pass_on()
        self._inner.data_received(data)

    def _divert(self, receive: Receive) -> None:
        """Let a function have what is read from now on. A transport keeps the method that its protocol had when that
        was set; to set it again costs two calls of the system.
        """
        if self._chunks is not None and not self._transport.is_closing():
            setattr(self, "data_received", receive)  # noqa: B010  # not for every tap, as mypy would have it
            self._transport.set_protocol(self)

    def _pass_on(self) -> None:
        if "data_received" in self.__dict__:
            del self.data_received
            if not self._transport.is_closing():
                self._transport.set_protocol(self)
