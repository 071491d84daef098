"""Pings for streams whose backend is silent, so that clients and proxies keep the connection alive.

Claude Code gives up a stream after 300 s without an event, and its version 2.1.197 does not count pings as events. One
task looks after all streams, once a second: a timer for each would have to be set again with every event.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)


class LivingStream(Protocol):
    """A stream that can be kept alive."""

    async def tick(self, now: float) -> None:
        """Write what is due at `now`, in seconds of `time.monotonic`. Must not wait for a slow client."""


class KeepAlive:
    """The streams that are open, and when they need what; all times are in seconds."""

    def __init__(
        self,
        *,
        open_after: float = 10.0,
        ping_after: float = 15.0,
        heartbeat_after: float = 100.0,
        cut_after: float = 600.0,
        tick: float = 1.0,
    ) -> None:
        """`open_after`: how long the backend may take to answer, or to refuse, before the stream is opened without
        it: once it is open, an error can no longer have its HTTP status, which clients handle better. `cut_after`:
        how long a client may take nothing of a stream.
        """
        self.open_after = open_after
        self.ping_after = ping_after
        self.heartbeat_after = heartbeat_after
        self.cut_after = cut_after
        self._streams: set[LivingStream] = set()
        self._tick = tick
        self._task: asyncio.Task[None] | None = None

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def start(self) -> None:
        """Begin to look after streams."""
        self._task = asyncio.create_task(self._run(), name="keep alive")

    async def stop(self) -> None:
        """End the background work."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def add(self, stream: LivingStream) -> Callable[[], None]:
        """Look after a stream until the function that comes back is called."""
        self._streams.add(stream)
        return lambda: self._streams.discard(stream)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._tick)
            for stream in list(self._streams):
                try:
                    await stream.tick(time.monotonic())
                except Exception:
                    # one stream's fault is not the others'
                    log.exception("stream not kept alive")
