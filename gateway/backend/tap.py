"""A look at an answer's bytes as soon as they have been read, and at the end of its connection.

aiohttp hands an answer's bytes to the task that waits for them: with many streams of small events, waking tasks costs
more than what they do. And where an answer's framing is broken, aiohttp closes the connection and tells the answer's
reader nothing. A tap stands before aiohttp's protocol on the transport: that gets all it would have got; behind data, a
function can be called, and behind the connection's end, the reader knows of it.
"""

import asyncio
from collections.abc import Callable

import aiohttp


class Tap(asyncio.Protocol):
    """Put between `transport` and its protocol until the answer that `content` reads has come to its end, or until
    `remove` is called: before the connection can be used for more.

    `tell`, while it is set, is called whenever there may be something to read, or the answer has ended.
    """

    def __init__(self, transport: asyncio.Transport, content: aiohttp.StreamReader) -> None:
        inner = transport.get_protocol()
        assert isinstance(inner, asyncio.Protocol)  # noqa: S101  # aiohttp's is one
        self.tell: Callable[[], None] | None = None
        self._inner = inner
        self._content = content
        self._transport = transport
        transport.set_protocol(self)

    def remove(self) -> None:
        """Leave the transport to its protocol, as before."""
        if self._transport.get_protocol() is self:
            self._transport.set_protocol(self._inner)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._inner.data_received(data)
        if self._content.is_eof():
            self.remove()
        if self.tell is not None:
            self.tell()

    def eof_received(self) -> bool | None:
        """The other side sends no more."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._inner.connection_lost(exc)
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the connection is gone"))
        if self.tell is not None:
            self.tell()

    def pause_writing(self) -> None:
        """The other side takes too little."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It takes more again."""
        self._inner.resume_writing()
