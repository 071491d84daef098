"""`GET /events`: what the gateway does, as server-sent events.

The first event is a `snapshot`: the whole state (`State` in `state.py`). Then, once a second, comes a `change` with
those fields of it that have changed, whole; a reader puts them in place of those it has. Each has an id. A reader that
comes back with `Last-Event-ID` gets the changes that it missed; where they are no longer kept, or are those of another
process, it gets a snapshot again, whose `reset` says so: "start", or "gap".

While nobody listens, nothing is computed and nothing kept. A reader that is slow holds up nobody: what it has not
taken is kept for all readers together, so long as there is room, and then it gets a snapshot.
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

_INTERVAL_SECONDS: Final = 1.0
# for readers whose connection broke
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
    """The events, for any number of readers."""

    def __init__(
        self,
        look: Callable[[bool], State],
        prepare: Callable[[], Awaitable[None]],
        *,
        interval: float = _INTERVAL_SECONDS,
        linger: float = _LINGER_SECONDS,
        silence: float = _SILENCE_SECONDS,
        stuck: float = _STUCK_SECONDS,
    ) -> None:
        """`look(first)` gives the state of now; `first` opens a series, before which nobody listened and before which
        `prepare` is called. A series ends `linger` seconds after its last listener;
        a reader hears something every `silence` seconds, and is left when it takes nothing for `stuck` seconds.
        """
        self._look = look
        self._prepare = prepare
        self._interval = interval
        self._linger = linger
        self.silence = silence
        self.stuck = stuck
        # ids of another process are no ids of this one
        self._series = secrets.token_hex(4)
        self._number = 0
        self._fields: dict[str, bytes] = {}
        # the changes that lead to the newest state, one number each
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._listeners = 0
        self._news = asyncio.Event()
        self._begun = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Inside, there is one more listener. Raises ApiError 529."""
        if self._closed:
            raise ApiError(529, "this gateway is being shut down", retry_after=1)
        if self._listeners >= _MOST_LISTENERS:
            raise ApiError(529, f"{_MOST_LISTENERS} readers follow the status already; close one", retry_after=5)
        self._listeners += 1
        try:
            if self._task is None or self._task.done():
                self._begun.clear()
                self._task = asyncio.create_task(self._run(), name="status feed")
                # a fault ends the feed for those that read it; they come again
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
        """End the feed: the readers get what there is."""
        self._closed = True
        self._tell()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def number_of(self, event_id: str) -> int | None:
        """The number of an event that a reader names; None if it is none of this series."""
        series, _, number = event_id.partition("-")
        known = series == self._series and number.isdecimal() and len(number) <= _MOST_DIGITS
        return int(number) if known else None

    def since(self, number: int | None, *, reset: str) -> tuple[bytes, int]:
        """The frames behind an event, and the number of the last of them. A snapshot where they are not all there."""
        missing = self._number - number if number is not None else -1
        if 0 <= missing <= len(self._kept):
            return b"".join(list(self._kept)[len(self._kept) - missing :]), self._number
        snapshot = {"reset": b'"%b"' % reset.encode()} | self._fields
        return self._frame("snapshot", snapshot), self._number

    async def wait(self, seconds: float) -> bool:
        """Return when there is news; False if there was none for so long."""
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
            # a series has no past, but its numbers go on
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
        return b"id: %b-%d\nevent: %b\ndata: {%b}\n\n" % (self._series.encode(), self._number, event.encode(), data)


FEED: Final = web.AppKey("feed", Feed)
ACCESS: Final = web.AppKey("status access", StatusAccess)


async def events(request: web.Request) -> web.StreamResponse:
    """The feed, until the reader leaves or the gateway ends. Raises ApiError."""
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
    """Write, and wait for a reader that is slow; one that takes nothing is left. Raises ConnectionError."""
    try:
        async with asyncio.timeout(request.app[FEED].stuck):
            await response.write(frames)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader took nothing") from None
