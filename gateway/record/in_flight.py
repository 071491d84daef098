"""The answers in progress: how many there may be, and how they end when the gateway shuts down.

A request takes its place once its body is in. Until then it does not count: clients that never send the rest would keep
others out. A shutdown waits for both.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from gateway.anthropic.errors import ApiError
from gateway.record.request_record import RECORD

# for the final error of answers that are cut off
_LAST_WORDS_SECONDS: Final = 1.0


class InFlight:
    """The requests for messages in progress."""

    def __init__(self, most: int) -> None:
        """`most`: how many there may be at a time, in all processes together.

        `on_change`, if set, is called with the number in this process; `others` returns the number in the others.
        """
        self.on_change: Callable[[int], None] | None = None
        self.others: Callable[[], int] = int
        self._most = most
        self._running: dict[asyncio.Task[None], web.Request] = {}
        self._arriving: dict[asyncio.Task[None], web.Request] = {}
        self._none = asyncio.Event()
        self._none.set()

    @property
    def count(self) -> int:
        """The number of requests in this process."""
        return len(self._running)

    @property
    def requests(self) -> tuple[web.Request, ...]:
        """The requests of this process, oldest first."""
        return tuple(self._running.values())

    @contextmanager
    def arriving(self, request: web.Request) -> Iterator[None]:
        """Keep a shutdown waiting while the body of this request arrives. Raises ApiError 529 if there is no place."""
        self._refuse_if_full()
        self._arriving[request.task] = request
        self._none.clear()
        try:
            yield
        finally:
            del self._arriving[request.task]
            self._tell_if_none()

    def admit(self, request: web.Request) -> "Place":
        """Admit a request and return its place. Raises ApiError 529."""
        self._refuse_if_full()
        self._running[request.task] = request
        self._changed()
        return Place(self, request.task)

    def leave(self, task: asyncio.Task[None]) -> None:
        """Remove the request of this task."""
        del self._running[task]
        self._changed()

    async def drain(self, seconds: float) -> None:
        """Wait until no request is left. After `seconds`, the rest end with an error that asks the client to try again;
        a client that does not read even that is disconnected.
        """
        if await self._ended(seconds):
            return
        for task, request in [*self._running.items(), *self._arriving.items()]:
            request[RECORD].cut = True
            task.cancel()
        if await self._ended(_LAST_WORDS_SECONDS):
            return
        for request in [*self._running.values(), *self._arriving.values()]:
            if request.transport is not None:
                request.transport.abort()
        await self._ended(_LAST_WORDS_SECONDS)

    async def _ended(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._none.wait()
        except TimeoutError:
            return False
        return True

    def _refuse_if_full(self) -> None:
        if self.count + self.others() >= self._most:
            raise ApiError(
                529,
                f"this gateway already has {self._most} requests in progress, the limit set by MAX_STREAMS: try again "
                "in a moment",
                retry_after=2,
            )

    def _changed(self) -> None:
        self._none.clear()
        self._tell_if_none()
        if self.on_change is not None:
            self.on_change(self.count)

    def _tell_if_none(self) -> None:
        if not self._running and not self._arriving:
            self._none.set()


class Place:
    """The place of an admitted request, held until the end of a `with` block."""

    __slots__ = ("_in_flight", "_task")

    def __init__(self, in_flight: InFlight, task: asyncio.Task[None]) -> None:
        self._in_flight = in_flight
        self._task = task

    def __enter__(self) -> None:
        """Do nothing: `admit` has already taken the place."""

    def __exit__(self, *_: object) -> None:
        self._in_flight.leave(self._task)
