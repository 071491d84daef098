"""`GET /events`: the gateway's state as server-sent events.

The first event is a `snapshot` of the whole state (`State` in `state.py`). After it, once a second at most, a `change`
carries the complete new value of each field that has changed; a reader replaces the fields it has. Every event has an
id. A reader that reconnects with `Last-Event-ID` gets the changes that it missed. If these are no longer kept, or the
id is another process's, it gets a snapshot whose `reset` is "gap"; that of a first connection is "start".

While nobody listens, nothing is computed or kept. A slow reader delays nobody: all readers share one buffer of changes,
and a reader that falls behind it gets a snapshot.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from gateway.anthropic.errors import ApiError
from gateway.observability.status.access import StatusAccess
from gateway.observability.status.state import State
from gateway.record.redaction import Redactor

_INTERVAL_SECONDS: Final = 1.0
# keep the series this long for readers whose connection broke
_LINGER_SECONDS: Final = 15.0
_MOST_LISTENERS: Final = 32
_MOST_KEPT_BYTES: Final = 256 * 1024
# a comment keeps proxies from closing a silent connection
_SILENCE_SECONDS: Final = 15.0
_STUCK_SECONDS: Final = 60.0
_MOST_DIGITS: Final = 15
_COMMENT: Final = b":\n\n"
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class Feed:
    """The events, for up to 32 readers."""

    def __init__(
        self,
        look: Callable[[bool], State],
        prepare: Callable[[], Awaitable[None]],
        *,
        redactor: Redactor | None = None,
        interval: float = _INTERVAL_SECONDS,
        linger: float = _LINGER_SECONDS,
        silence: float = _SILENCE_SECONDS,
        stuck: float = _STUCK_SECONDS,
    ) -> None:
        """`look(first)` returns the current state. `first` begins a series, after a time without listeners; `prepare`
        is awaited before it. A series ends `linger` seconds after its last listener left. A reader gets at least a
        comment every `silence` seconds, and is disconnected if it reads nothing for `stuck` seconds.
        """
        self._look = look
        self._prepare = prepare
        self._redactor = redactor or Redactor()
        self._interval = interval
        self._linger = linger
        self.silence = silence
        self.stuck = stuck
        # tells this process's ids from another's
        self._series = secrets.token_hex(4)
        self._number = 0
        self._fields: dict[str, bytes] = {}
        # the latest changes, with consecutive numbers
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._listeners = 0
        self._news = asyncio.Event()
        self._begun = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Count one more listener for the duration of the block. Raises ApiError 529 at shutdown, or if there are too
        many.
        """
        if self._closed:
            raise ApiError(529, "this gateway is shutting down", retry_after=1)
        if self._listeners >= _MOST_LISTENERS:
            raise ApiError(529, f"{_MOST_LISTENERS} readers already follow the status; close one", retry_after=5)
        self._listeners += 1
        try:
            if self._task is None or self._task.done():
                self._begun.clear()
                self._task = asyncio.create_task(self._run(), name="status feed")
                # an error ends the feed for its readers, which then reconnect
                self._task.add_done_callback(lambda _: self._tell())
            await self._begun.wait()
            yield
        finally:
            self._listeners -= 1

    @property
    def idle(self) -> bool:
        """Whether nobody listens."""
        return not self._listeners

    @property
    def closed(self) -> bool:
        """Whether there will be no more events."""
        return self._closed or (self._task is not None and self._task.done())

    async def close(self) -> None:
        """End the feed. Readers still get the events that are kept."""
        self._closed = True
        self._tell()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def number_of(self, event_id: str) -> int | None:
        """The number in an event's id; None if the id is not one of this process."""
        series, _, number = event_id.partition("-")
        known = series == self._series and number.isdecimal() and len(number) <= _MOST_DIGITS
        return int(number) if known else None

    def since(self, number: int | None, *, reset: str) -> tuple[bytes, int]:
        """The frames after event `number`, and the number of the last one. A snapshot if they are not all kept."""
        missing = self._number - number if number is not None else -1
        if 0 <= missing <= len(self._kept):
            return b"".join(list(self._kept)[len(self._kept) - missing :]), self._number
        snapshot = {"reset": b'"%b"' % reset.encode()} | self._fields
        return self._frame("snapshot", snapshot), self._number

    async def wait(self, seconds: float) -> bool:
        """Wait for news. Returns False if there was none for this many seconds."""
        news = self._news
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return False
        return True

    async def _run(self) -> None:
        try:
            await self._prepare()
            self._take(first=True)
        finally:
            self._begun.set()
        idle = 0.0
        while idle < self._linger:
            await asyncio.sleep(self._interval)
            idle = 0.0 if self._listeners else idle + self._interval
            self._take(first=False)
        self._fields = {}
        self._kept.clear()
        self._kept_bytes = 0
        self._task = None

    def _take(self, *, first: bool) -> None:
        state = self._look(first)
        fields = {name: msgspec.json.encode(getattr(state, name)) for name in state.__struct_fields__}
        changed = {name: value for name, value in fields.items() if self._fields.get(name) != value}
        self._fields = fields
        if first or not changed:
            # a new series keeps no earlier changes, but continues the numbering
            self._number += first
            return
        self._number += 1
        self._keep(self._frame("change", changed))
        self._tell()

    def _keep(self, frame: bytes) -> None:
        self._kept.append(frame)
        self._kept_bytes += len(frame)
        while self._kept_bytes > _MOST_KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft())

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _frame(self, event: str, fields: dict[str, bytes]) -> bytes:
        data = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in fields.items())
        data = self._redactor.cut(data.decode()).encode()
        return b"id: %b-%d\nevent: %b\ndata: {%b}\n\n" % (self._series.encode(), self._number, event.encode(), data)


FEED: Final = web.AppKey("feed", Feed)
ACCESS: Final = web.AppKey("status access", StatusAccess)


async def events(request: web.Request) -> web.StreamResponse:
    """Send the feed until the reader leaves or the gateway shuts down. Raises ApiError."""
    request.app[ACCESS].check(request)
    feed = request.app[FEED]
    async with feed.listening():
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        last = request.headers.get("Last-Event-ID", "")
        frames, number = feed.since(feed.number_of(last), reset="gap" if last else "start")
        while not feed.closed:
            if frames:
                await _write(request, response, frames)
            elif not await feed.wait(feed.silence):
                await _write(request, response, _COMMENT)
            frames, number = feed.since(number, reset="gap")
        if frames:
            await response.write(frames)
        await response.write_eof()
    return response


async def _write(request: web.Request, response: web.StreamResponse, frames: bytes) -> None:
    """Write, and wait for a slow reader. Raises ConnectionError for one that reads nothing."""
    try:
        async with asyncio.timeout(request.app[FEED].stuck):
            await response.write(frames)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader read nothing") from None
