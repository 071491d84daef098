"""The response of one streamed answer: opened late, kept alive, written once for each read of the backend."""

import time
from collections.abc import Callable
from functools import partial

from aiohttp import web

from gateway.anthropic.errors import ApiError
from gateway.anthropic.stream import StreamWriter
from gateway.backend.connection.chunked_body import MakeReceiver
from gateway.record.request_record import RequestRecord
from gateway.relay.client_needs import needs_of
from gateway.relay.event_response import MOST_UNSENT, EventResponse, as_chunk
from gateway.relay.fast_path import FastPath
from gateway.relay.keep_alive import KeepAlive
from gateway.translate.from_backend.delta_copier import DeltaCopier


class EventStream:
    """Writes the frames of `writer` to the client.

    The response is opened with the first content, or after some silent seconds: until then an error can still be an
    HTTP status. `start` writes `message_start`; it is called once, before anything else is written.
    """

    def __init__(
        self,
        request: web.Request,
        record: RequestRecord,
        writer: StreamWriter,
        keep_alive: KeepAlive,
        start: Callable[[], None],
    ) -> None:
        self._request = request
        self._record = record
        self._keep_alive = keep_alive
        self.writer = writer
        self._start = start
        self._needs = needs_of(request.headers.get("User-Agent", ""))
        self._response: EventResponse | None = None
        # of the last write, and of the last event that every client counts
        self._wrote = self._counted = time.monotonic()
        # as far as `tick` knows of bytes that were sent without a look at the clock
        self._sent_seen = 0
        # how many bytes waited for the client at the last `tick` that found any
        self._unsent_seen = 0

    def start(self) -> None:
        """Write `message_start`, unless that was done; it stays here until there is more, or silence."""
        if not self.writer.started:
            self._start()

    @property
    def opened(self) -> bool:
        """Whether the client has the status already."""
        return self._response is not None

    async def flush(self) -> None:
        """Write what has gathered, if anything has. Waits for a slow client."""
        if frames := self.writer.take():
            self._counted = time.monotonic()
            await self._write(frames)

    @property
    def keeps_up(self) -> bool:
        """Whether the client has the response open and takes what it is sent; only then may `write_now` be called."""
        transport = self._request.transport
        return (
            self._response is not None
            and self._response.prepared
            and self._response.in_chunks
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() <= MOST_UNSENT
        )

    def write_now(self) -> bool:
        """Write what has gathered, if anything has, without waiting. Returns whether the client still keeps up."""
        transport = self._request.transport
        if transport is None:
            return False
        if frames := self.writer.take():
            self._record.counted += len(frames)
            transport.write(as_chunk(frames))
        return transport.get_write_buffer_size() <= MOST_UNSENT

    def fast_path(self, copier: DeltaCopier) -> MakeReceiver | None:
        """What may stand before the relay of an answer; to be asked for, too, only when `keeps_up`."""
        transport = self._request.transport
        return partial(FastPath, transport, self._record, copier, self.writer) if transport else None

    async def end(self) -> web.StreamResponse:
        """Write what is left and close the response properly, all in one."""
        frames = self.writer.take()
        response = self._open()
        self._wrote = time.monotonic()
        if frames:
            self._record.event_sent(len(frames))
        await response.write_eof(frames)
        return response

    async def fail(self, error: ApiError) -> web.StreamResponse:
        """Write an `error` event, and end the response there: an open block stays open, so that no client takes the
        answer for a whole one. Claude Code tries again only where the connection breaks.
        """
        self.writer.error(error.body(self._record.request_id))
        if not self._needs.drop:
            return await self.end()
        await self.flush()
        response = self._open()
        if self._request.transport is not None:
            self._request.transport.close()
        return response

    async def tick(self, now: float) -> None:
        """Open the response, or write a ping or a heartbeat, when the silence has been long enough."""
        if self._record.sent != self._sent_seen:
            self._sent_seen = self._record.sent
            self._wrote = self._counted = now
        silence = now - self._wrote
        if self._client_is_slow():
            self._cut_if_stuck(now)
            return
        if self.writer.closed:
            return
        if self._response is None:
            if silence < self._keep_alive.open_after:
                return
            self.start()
        elif self._needs.heartbeat and now - self._counted >= self._keep_alive.heartbeat_after:
            self.writer.heartbeat()
            self._counted = now
        elif silence >= self._keep_alive.ping_after:
            self.writer.ping()
        else:
            return
        try:
            await self._write(self.writer.take())
        except ConnectionError:
            # the client has left: the handler is being cancelled
            return

    def _client_is_slow(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing() or transport.get_write_buffer_size() > 0

    def _cut_if_stuck(self, now: float) -> None:
        """Drop the connection of a client that takes nothing: its answer holds the backend."""
        transport, limit = self._request.transport, self._keep_alive.cut_after
        if transport is None or transport.is_closing():
            return
        unsent, before = transport.get_write_buffer_size(), self._unsent_seen
        self._unsent_seen = unsent
        if unsent < before:
            # slowly, it reads
            self._wrote = now
        elif now - self._wrote >= limit:
            self._record.error = f"the client took nothing for {limit:g} s"
            transport.abort()

    def _open(self) -> EventResponse:
        if self._response is None:
            self.start()
            self._response = EventResponse(self._request, self._record.request_id)
        return self._response

    async def _write(self, frames: bytes) -> None:
        response = self._open()
        self._wrote = time.monotonic()
        self._record.event_sent(len(frames))
        self._sent_seen = self._record.sent
        await response.write(frames)
