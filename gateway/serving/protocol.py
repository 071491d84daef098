"""A client's HTTP connection: aiohttp's server protocol, with Anthropic's errors and a different shutdown."""

import asyncio
from typing import Final, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.anthropic.errors import ApiError
from gateway.anthropic.ids import new_request_id
from gateway.serving.descriptors import DescriptorLimit

# clients keep connections between the turns of a conversation
_KEEPALIVE_SECONDS: Final = 75.0
# how long a client that does not speak HTTP may take to read the error
_LINGER_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


class ServerProtocol(web.RequestHandler):
    """aiohttp's server protocol, but invalid HTTP also gets Anthropic's error. It is not logged: it may contain half a
    token.

    A connection without a complete request head is closed after `keepalive_timeout` seconds, even if a head is arriving
    slowly. Bodies stay compressed: aiohttp would decompress even those that nobody reads, and block the event loop.
    """

    __slots__ = ("_connection", "_connections", "_descriptors", "_is_last", "_refused")

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        connections: set["ServerProtocol"] | None = None,
        descriptors: DescriptorLimit | None = None,
        keepalive_timeout: float = _KEEPALIVE_SECONDS,
    ) -> None:
        """`connections` contains the protocol while the connection lasts. `descriptors` may refuse the connection."""
        super().__init__(manager, loop=loop, keepalive_timeout=keepalive_timeout, auto_decompress=False)
        self._connections = set() if connections is None else connections
        self._descriptors = descriptors
        self._connection: asyncio.Transport | None = None
        self._is_last = False
        self._refused = False

    @property
    def is_new(self) -> bool:
        """Whether no request has arrived yet."""
        return not self._request_count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        connection = cast(asyncio.Transport, transport)
        if self._descriptors is not None and self._descriptors.refuses(connection):
            return
        super().connection_made(transport)
        self._connection = connection
        self._connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client has disconnected."""
        self._connections.discard(self)
        super().connection_lost(exc)

    def finish(self) -> None:
        """Close the connection after the response to the request in progress, or at once if there is none."""
        self._is_last = True
        self.close()

    def close(self) -> None:
        """Close the connection, unless `finish` waits for a response.

        aiohttp's server calls this on every connection at shutdown; a body that is still arriving would be cut off.
        """
        if not self._is_last or (self._waiter is not None and not self._messages):
            super().close()

    def abort(self) -> None:
        """Drop the connection, with whatever the client has not read yet."""
        if self._connection is not None:
            self._connection.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection. A body whose framing turns out to be invalid ends there, with an error."""
        super().data_received(data)
        request = self._current_request
        if request is not None and self._messages and not request.content.is_eof():
            # no request can arrive before the end of this one's body: the new message is the parser's error
            request.content.set_exception(web.RequestPayloadError())
            request.content.feed_eof()
            super().close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response, and close the connection after `finish`. After a response to invalid HTTP, wait until the
        client closes.

        What it still sends is dropped: closing a connection with unread bytes resets it, and the response is lost.
        """
        if self._is_last:
            resp.force_close()
        result = await super().finish_response(request, resp, start_time)
        if self._refused and self.transport is not None:
            super().close()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            # ends early when the client disconnects
            await asyncio.sleep(_LINGER_SECONDS)
        return result

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that no handler has seen. It closes the connection."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self._refused = True
        request_id = new_request_id()
        # after the first colon, the parser quotes the offending bytes
        reason = exc.message.partition(":")[0].strip()
        error = ApiError(exc.code, f"the request is not valid HTTP: {reason}")
        log.info("not valid HTTP", request_id=request_id, status=error.status, reason=reason)
        response = web.Response(
            status=error.status,
            body=error.body(request_id),
            content_type="application/json",
            headers={**error.headers(), "request-id": request_id},
        )
        response.force_close()
        return response
