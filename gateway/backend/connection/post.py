"""Requests to the backend, `POST` for completions and `GET` for lists, on the connections of the session's pool.

A session's own `post` is made for any request: redirects, cookies, proxies, traces, bodies of all kinds. Requests
here differ only in their token and body, and preparing each one anew would cost more than translating it. So the pool
provides a connection, the request goes out in one write, and `StreamProtocol` reads the head of a plain stream;
aiohttp's protocol parses any other answer.

It rests on `ClientSession.connector` and on `BaseConnector.connect`, which is public but takes a `ClientRequest`; the
answer's head comes from `ResponseHandler.read`. Delete it once `session.post` takes prepared headers and writes head
and body at once.
"""

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Struct
from yarl import URL

from gateway.backend.connection.answer_limits import AT_ONCE_BYTES
from gateway.backend.connection.chunked_body import ChunkedBody
from gateway.backend.connection.read_timeouts import ReadTimeouts
from gateway.backend.connection.stream_protocol import StreamProtocol, stream_protocol_of

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection

# up to this size, appending a body to the head takes less time than writing two pieces
_COPIED_BYTES: Final = 256 * 1024
# a larger body goes out in slices of this size: many megabytes must not go to the socket in one piece
_SLICE_BYTES: Final = 1024 * 1024
# what may be raised when there is no answer
FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError)


class Attempt(Struct, eq=False):
    """How far a request got: `queued` for one of a limited number of connections, sent on a `reused` connection, fully
    `written`, or `stuck` because the backend accepted no data. `undelivered`: the connection closed without an answer
    before the backend can have had the whole request.

    With `fresh`, only a new connection is used.
    """

    fresh: bool = False
    queued: bool = False
    reused: bool = False
    written: bool = False
    stuck: bool = False
    undelivered: bool = False


class Response:
    """An answer whose head has arrived. Close it, or read it to its end, which returns its connection to the pool.

    `chunks` is the body while it does not go through aiohttp; the `headers` of such an answer contain only its
    `Content-Type`.
    """

    __slots__ = ("_connection", "_content", "_front", "_protocol", "_rest", "_upload", "chunks", "headers", "status")

    def __init__(
        self,
        connection: "Connection",
        protocol: ResponseHandler,
        front: StreamProtocol,
        upload: asyncio.Task[None] | None,
    ) -> None:
        self._connection = connection
        self._protocol = protocol
        self._front = front
        self._upload = upload
        self._content: aiohttp.StreamReader | None = None
        self._rest = b""  # arrived, but not read yet
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self.chunks: ChunkedBody | None = None

    async def begin(self) -> None:
        """Wait for the head. Raises one of FAILURES."""
        streamed = await self._front.streamed()
        if streamed is None:
            await self._read_head()
        else:
            self.headers = {"Content-Type": streamed.content_type}
            self.chunks = streamed.chunks
            self._front.when_ended(self._ended)

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def ended(self) -> bool:
        """Whether the whole answer has arrived."""
        return self.chunks.ended if self.chunks is not None else self._content is None or self._content.is_eof()

    async def read(self) -> bytes:
        """The bytes of the body that have arrived, at least one, at most AT_ONCE_BYTES; empty at the end.

        Raises one of FAILURES.
        """
        data, self._rest = self._rest, b""
        if data:
            # give other tasks a turn between the parts of much content
            await asyncio.sleep(0)
        else:
            data = await self._read()
        if len(data) > AT_ONCE_BYTES:
            data, self._rest = data[:AT_ONCE_BYTES], data[AT_ONCE_BYTES:]
        return data

    async def _read(self) -> bytes:
        if self.chunks is not None:
            data = await self.chunks.read()
            if data or not self.chunks.given_back:
                return data
            self.chunks = None
            await self._read_head()
        return await self._content.readany() if self._content is not None else b""

    @property
    def relayed(self) -> ChunkedBody | None:
        """`chunks`, if the next content to be read is there."""
        return None if self._rest else self.chunks

    def fail(self, error: Exception) -> None:
        """Nothing more will arrive: make reads raise `error`."""
        if self.chunks is not None:
            self.chunks.fail(error)
        elif self._content is not None:
            self._content.set_exception(error)

    def close(self) -> None:
        """Drop the connection, unless the answer was read to its end."""
        if self._upload is not None and not self._upload.done():
            _abandon(self._connection, self._upload)
        self._connection.close()

    async def _read_head(self) -> None:
        while True:
            message, content = await self._protocol.read()
            if message.code >= 200:
                break
        self.status, self.headers, self._content = message.code, message.headers, content
        self._front.watch(content)
        content.on_eof(self._ended)

    def _ended(self) -> None:
        self._front.rest()
        if self._upload is None or self._upload.done():
            self._connection.release()
        else:
            # the backend answered without having taken the whole request
            self.close()


class _Address(aiohttp.ClientRequest):
    """The part of a request that the pool needs. Its key is cached, because the pool asks for it with each request."""

    @cached_property
    def connection_key(self) -> "ConnectionKey":
        """The key under which the pool keeps connections to this address."""
        return super().connection_key


class Post:
    """Sends requests to one address."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        watch: ReadTimeouts,
        *,
        connect: float,
        send: float,
        answer: float,
        method: str = "POST",
    ) -> None:
        """The times are those of `Timeouts`, in seconds."""
        request = _Address(method, url, loop=asyncio.get_running_loop())
        self._session = session
        self._watch = watch
        # for the pool, which looks only at the address
        self._request = request
        self._connect_timeout = aiohttp.ClientTimeout(total=None, connect=connect)
        self._send = send
        self._answer = answer
        self._open = 0
        self._head = (
            f"{method} {request.url.raw_path_qs} HTTP/1.1\r\n"
            f"Host: {request.headers['Host']}\r\n"
            f"User-Agent: {request.headers['User-Agent']}\r\n"
        ).encode()
        self._has_body = method == "POST"
        if self._has_body:
            self._head += b"Content-Type: application/json\r\n"

    async def __call__(self, body: bytes | bytearray, headers: bytes, attempt: Attempt, *, stream: bool) -> Response:
        """Send a request and wait for the head of its answer. `headers` are further header lines, with their line ends.

        Raises one of FAILURES: TimeoutError if there is no answer in time.
        """
        connection = await self._connect(attempt)
        upload: asyncio.Task[None] | None = None
        front: StreamProtocol | None = None
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                attempt.undelivered = True
                raise aiohttp.ServerDisconnectedError
            front, attempt.reused = stream_protocol_of(transport)
            unasked = protocol.should_close
            if unasked and attempt.reused:
                # bytes that have already arrived would be taken for the next answer
                attempt.undelivered = True
                raise aiohttp.ServerDisconnectedError
            front.begin(stream=stream, unasked=unasked)
            length = b"Content-Length: %d\r\n" % len(body) if self._has_body else b""
            head = b"%b%b%b\r\n" % (self._head, headers, length)
            if len(body) <= _COPIED_BYTES:
                transport.write(head + body)
                attempt.written = True
            elif len(body) <= _SLICE_BYTES:
                transport.writelines((head, body))
                attempt.written = True
            else:
                transport.write(head)
                upload = asyncio.create_task(self._upload(protocol, front, body, attempt), name="upload")
            wait = _Wait(protocol, front, self._answer)
            self._watch.add(wait)
            response = Response(connection, protocol, front, upload)
            try:
                await response.begin()
            finally:
                self._watch.discard(wait)
        except BaseException:
            if front is not None and front.closed_silently:
                attempt.undelivered = front.undelivered or not attempt.written
            _abandon(connection, upload)
            raise
        else:
            return response

    async def _connect(self, attempt: Attempt) -> "Connection":
        connector = self._session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        limited = connector.limit > 0
        attempt.queued = limited and self._open >= connector.limit
        try:
            connection = await connector.connect(self._request, [], self._connect_timeout)
            while attempt.fresh and _is_used(connection):
                connection.close()
                connection = await connector.connect(self._request, [], self._connect_timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        attempt.queued = False
        if limited:
            self._open += 1
            connection.add_callback(self._closed)
        return connection

    def _closed(self) -> None:
        self._open -= 1

    async def _upload(
        self, protocol: ResponseHandler, front: StreamProtocol, body: bytes | bytearray, attempt: Attempt
    ) -> None:
        """Write a body in slices. If the backend does not accept it, the wait for the answer fails."""
        writer = StreamWriter(protocol, asyncio.get_running_loop())
        view = memoryview(body)
        try:
            for start in range(0, len(view), _SLICE_BYTES):
                async with asyncio.timeout(self._send):
                    await writer.write(view[start : start + _SLICE_BYTES])
        except TimeoutError as error:
            attempt.stuck = True
            protocol.set_exception(error)
            front.give_up()
        except (aiohttp.ClientError, OSError):
            # the protocol reports it
            return
        attempt.written = not attempt.stuck


class _Wait:
    """The wait for an answer's head."""

    __slots__ = ("_front", "_protocol", "_since", "patience")

    def __init__(self, protocol: ResponseHandler, front: StreamProtocol, patience: float) -> None:
        self._protocol = protocol
        self._front = front
        self.patience = patience
        self._since: float | None = None

    def waited(self, now: float) -> float:
        """The seconds since the first call of this."""
        if self._since is None:
            self._since = now
        return now - self._since

    def give_up(self) -> None:
        """End the wait."""
        self._protocol.set_exception(TimeoutError())
        self._front.give_up()


def _is_used(connection: "Connection") -> bool:
    """Whether another request has been sent on this connection."""
    return connection.transport is not None and isinstance(connection.transport.get_protocol(), StreamProtocol)


def _abandon(connection: "Connection", upload: asyncio.Task[None] | None) -> None:
    """Drop a connection with the unsent rest of its request; just closing it would wait until that has been sent."""
    if upload is not None:
        upload.cancel()
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()
