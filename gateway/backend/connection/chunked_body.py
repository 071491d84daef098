"""The content of an answer in HTTP/1.1 chunks (RFC 9112, section 7.1), as it arrives.

It stands in for the chunk decoder within aiohttp's parser, which cannot be used on its own, and rests on asyncio's
transports only (`pause_reading`, `resume_reading`). Anything but the plainest framing goes back to aiohttp. Delete it
together with `StreamProtocol`.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final, Protocol

import aiohttp

from gateway.backend.connection.answer_limits import AT_ONCE_BYTES

_LINE_END: Final = b"\r\n"
# what follows the size of the last chunk if there are no trailers
_LAST: Final = _LINE_END * 2
# the whole last chunk
_END: Final = b"0" + _LAST
_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,8}")
# in one read of 256 KiB at most; one that holds events with a text has a few thousand
_MOST_CHUNKS: Final = 8192
# the most bytes of a chunk's size with its line end
_LONGEST_SIZE: Final = 10
# the most digits of sizes that are cached: there are few such sizes, and streams repeat them
_SHORT_SIZE: Final = 3
# bytes that may wait for a slow reader before reading pauses
_MOST_WAITING: Final = 128 * 1024

_sizes: dict[bytes, int] = {}

Receive = Callable[[bytes], None]


class Receiver(Protocol):
    """What comes before `ChunkedBody.receive` in a relay. `events` is how many reads it handled by itself."""

    events: int

    def receive(self, data: bytes) -> None:
        """Bytes arrived."""

    def end(self) -> None:
        """It gets no more bytes."""


MakeReceiver = Callable[["ChunkedBody"], Receiver]


class ChunkedBody:
    """Takes what is read from the connection, and passes the content to `read`, or through `relay` to a function.

    `give_back` gets what is not content: what follows the end, which should be nothing, or everything from a chunk on
    that is not framed in the plainest way, for example with an extension or trailers; `ended` and `given_back` tell
    which. `divert` gets the function that is to receive what is read next, while more content is expected.
    """

    def __init__(
        self, transport: asyncio.Transport, give_back: Receive, divert: Callable[[Receive], None] | None = None
    ) -> None:
        self.ended = False
        self.given_back = False
        self._reads = 0
        self._receiver: Receiver | None = None
        self._transport = transport
        self._give_back = give_back
        self._divert = divert
        self._rest = b""  # an incomplete chunk size or line end
        self._left = 0  # bytes of a chunk's content still to arrive
        self._expects_line_end = False
        self._waiting: list[bytes] = []
        self._size = 0
        self._paused = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None

    async def read(self) -> bytes:
        """The content that has arrived, at least one byte; empty at the end. Raises the error given to `fail`."""
        if not self._waiting and not self._over:
            await self._wait()
        if self._waiting:
            return self._all_waiting()
        if self._error is not None:
            raise self._error
        return b""

    @property
    def reads(self) -> int:
        """How often bytes arrived."""
        return self._reads + (self._receiver.events if self._receiver is not None else 0)

    @property
    def relaying(self) -> bool:
        """Whether the content is passed on as it arrives."""
        return self._take is not None

    @property
    def between(self) -> bool:
        """Whether the next byte is the first of a chunk."""
        return not (self._left or self._rest or self._expects_line_end or self._over)

    async def relay(self, take: Callable[[bytes], bool], make_receiver: MakeReceiver | None = None) -> None:
        """Pass the content to `take` as it arrives, until `take` returns False or the content ends.

        `make_receiver` makes the receiver of everything read from now on: while this is `relaying`, it may handle whole
        chunks, and it passes the rest on to `receive`. Raises what `take` raises. Content that was not passed to
        `take`, content of more than AT_ONCE_BYTES at once, and errors of the connection are left to `read`.
        """
        if self._size > AT_ONCE_BYTES or (self._waiting and not take(self._all_waiting())):
            return
        if self._over:
            return
        self._take = take
        if make_receiver is not None and self._divert is not None:
            self._receiver = make_receiver(self)
            self._divert(self._receiver.receive)
        try:
            await self._wait()
        finally:
            self._leave_receiver()
            self._take = None

    def _leave_receiver(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        self._reads += receiver.events
        receiver.end()
        if self._divert is not None and not self._over:
            self._divert(self.receive)

    def fail(self, error: BaseException) -> None:
        """Nothing more will arrive: `read` raises `error` after the rest of the content."""
        if not self._over:
            self._error = error
            self._wake()

    def receive(self, data: bytes) -> None:
        """Take what has been read from the connection."""
        self._reads += 1
        at = data.find(_LINE_END, 1, _LONGEST_SIZE)
        if (
            at > 0
            and not (self._left or self._rest or self._expects_line_end)
            and _size(data[:at]) == len(data) - at - 4
            and data.endswith(_LINE_END)
        ):
            # exactly one chunk, the most common case; only the last chunk is empty
            content = data[at + 2 : -2] or self._content_of(data)
        else:
            content = self._content_of(data)
        if content and (take := self._take) is not None and len(content) <= AT_ONCE_BYTES:
            try:
                if not take(content):
                    self._take = None
                    self._wake()
            except Exception as error:  # noqa: BLE001  # raised by `relay`
                self._take = None
                if self._waiter is not None and not self._waiter.done():
                    self._waiter.set_exception(error)
        elif content:
            self._take = None
            self._keep(content)
        if self._over:
            self._wake()

    @property
    def _over(self) -> bool:
        return self.ended or self.given_back or self._error is not None

    def _content_of(self, data: bytes) -> bytes:
        """The content of the chunks, and of the parts of chunks, in `data`."""
        data, self._rest = self._rest + data, b""
        pieces: list[bytes] = []
        at, length, looked, count = 0, len(data), False, 0
        while at < length and not self._over and count <= _MOST_CHUNKS:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._expects_line_end = not self._left
                continue
            if self._expects_line_end:
                at = self._pass_line_end(data, at)
                continue
            if not looked:
                whole, passed = _whole_chunks(data[at:])
                count = len(whole)
                pieces += whole
                at += passed
                looked = True
                if data[at:] == _END:
                    self.ended, at = True, length
                continue
            count += 1
            line_end = data.find(_LINE_END, at, at + _LONGEST_SIZE)
            size = _size(data[at:line_end]) if line_end > 0 else None
            if line_end < 0 and length - at < _LONGEST_SIZE:
                self._rest, at = data[at:], length
            elif size is None:
                self.given_back = True
            elif size:
                start, end = line_end + 2, line_end + 2 + size
                if data[end : end + 2] == _LINE_END:
                    pieces.append(data[start:end])
                    at = end + 2
                else:
                    at, self._left = start, size
            else:
                at = self._pass_last(data, at, line_end)
        if count > _MOST_CHUNKS and not self._over:
            self._refuse("its chunks are too small")
        if self.ended or self.given_back:
            self._resume()
            self._give_back(data[at:])
        return b"".join(pieces)

    def _pass_last(self, data: bytes, at: int, line_end: int) -> int:
        found = data[line_end : line_end + len(_LAST)]
        if found == _LAST:
            self.ended = True
            return line_end + len(_LAST)
        if _LAST.startswith(found):
            self._rest = data[at:]
            return len(data)
        # trailers
        self.given_back = True
        return at

    def _pass_line_end(self, data: bytes, at: int) -> int:
        found = data[at : at + 2]
        if found == _LINE_END:
            self._expects_line_end = False
        elif found == b"\r":
            self._rest = found
        else:
            self._refuse("a chunk is longer than its size says")
        return at + len(found)

    def _refuse(self, reason: str) -> None:
        self._error = aiohttp.ClientPayloadError(reason)
        self._transport.abort()

    def _keep(self, content: bytes) -> None:
        self._waiting.append(content)
        self._size += len(content)
        if self._size > _MOST_WAITING and not self._paused and not self._over:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def _all_waiting(self) -> bytes:
        content = b"".join(self._waiting)
        self._waiting, self._size = [], 0
        self._resume()
        return content

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _size(word: bytes) -> int | None:
    """A chunk's size; None if it is not written in the plainest way."""
    size = _sizes.get(word)
    if size is None and _SIZE.fullmatch(word) is not None:
        size = int(word, 16)
        if len(word) <= _SHORT_SIZE:
            _sizes[word] = size
    return size


def _whole_chunks(data: bytes) -> tuple[list[bytes], int]:
    """The contents of the whole chunks at the beginning of `data`, found by line ends alone, and where they end."""
    lines = data.split(_LINE_END)
    count = (len(lines) - 1) // 2
    sizes, contents = lines[0 : 2 * count : 2], lines[1 : 2 * count : 2]
    numbers = list(map(_sizes.get, sizes))
    if None in numbers:
        numbers = list(map(_size, sizes))
    if numbers != list(map(len, contents)):
        # a content contains a line end, or the lines are not sizes
        return [], 0
    if b"" in contents:
        # the last chunk is empty
        count = contents.index(b"")
        contents = contents[:count]
    return contents, len(data) - len(_LINE_END.join(lines[2 * count :]))
