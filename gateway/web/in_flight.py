"""The answers in progress: how many there may be, and how they end when the gateway does."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from gateway.anthropic.errors import ApiError
from gateway.web.exchange import Exchange


class InFlight:
    """The requests for messages that are being answered."""

    def __init__(self, most: int) -> None:
        """`most`: how many there may be at a time. `on_change`, if set, is told how many there are."""
        self.on_change: Callable[[int], None] | None = None
        self._most = most
        self._running: dict[asyncio.Task[object], Exchange] = {}
        self._none = asyncio.Event()
        self._none.set()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._running)

    @contextmanager
    def admit(self, exchange: Exchange) -> Iterator[None]:
        """Inside, the current task's request is one of them. Raises ApiError 529, or 429 by the client's own limits."""
        if self.count >= self._most:
            raise ApiError(
                529, f"this gateway is giving {self._most} answers (MAX_STREAMS) already; try again", retry_after=2
            )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a handler runs in one
        with exchange.holder.request() if exchange.holder else nullcontext():
            self._running[task] = exchange
            self._changed()
            try:
                yield
            finally:
                del self._running[task]
                self._changed()

    async def drain(self, seconds: float) -> None:
        """Wait until there are none; cut those that take longer, so that their clients ask again."""
        try:
            async with asyncio.timeout(seconds):
                await self._none.wait()
        except TimeoutError:
            for task, exchange in self._running.items():
                exchange.cut = True
                task.cancel()
            # each has only its last words left to write
            async with asyncio.timeout(1):
                await self._none.wait()

    def _changed(self) -> None:
        if self._running:
            self._none.clear()
        else:
            self._none.set()
        if self.on_change is not None:
            self.on_change(self.count)
