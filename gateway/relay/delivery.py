"""The delivery of an answer that is whole: a client that does not read it is cut off, as is one that reads no stream.

aiohttp writes a response after its handler has returned, and then waits for the client without end. A large one is
written by its handler instead, which still holds its place among the requests in progress.
"""

import asyncio
import time

from aiohttp import web

from gateway.record.request_record import RECORD, RequestRecord
from gateway.relay.event_response import MOST_UNSENT
from gateway.relay.keep_alive import KeepAlive


async def deliver(request: web.Request, response: web.StreamResponse, keep_alive: KeepAlive) -> None:
    """Write a response, unless it is small or out already, and wait until the client has it, but for the last bytes.

    A client that takes nothing for `cut_after` seconds is disconnected, which cancels the handler.
    """
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or len(body) <= MOST_UNSENT or response.prepared or request.transport is None:
        return
    forget = keep_alive.add(_Delivery(request.transport, request[RECORD], keep_alive.cut_after))
    try:
        await response.prepare(request)
        await response.write_eof()
    finally:
        forget()


class _Delivery:
    """Looks at what the client has taken."""

    def __init__(self, transport: asyncio.Transport, record: RequestRecord, limit: float) -> None:
        self._transport = transport
        self._record = record
        self._limit = limit
        self._unsent = 0
        self._taken_at = time.monotonic()

    async def tick(self, now: float) -> None:
        """Disconnect a client that has taken nothing for too long."""
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._taken_at = unsent, now
        elif now - self._taken_at >= self._limit and not self._transport.is_closing():
            self._record.error = f"the client took nothing for {self._limit:g} s"
            self._transport.abort()
