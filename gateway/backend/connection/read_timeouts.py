"""Ends reads from backends that have been silent for too long.

One task checks all reads, a few times within the shortest timeout: a timer for each read would be set and cleared with
every event of every stream.
"""

import asyncio
import time
from typing import Final, Protocol

_LONGEST_TICK: Final = 1.0


class Reading(Protocol):
    """A read that may be waiting."""

    # how long it may wait, in seconds
    patience: float

    def waited(self, now: float) -> float:
        """How long it has waited at `now`, in seconds of `time.monotonic`; 0 while it does not wait."""

    def give_up(self) -> None:
        """End the read with TimeoutError."""


class ReadTimeouts:
    """Ends reads that wait for too long. `seconds` is the usual limit, `shortest` the lowest limit of any read."""

    def __init__(self, seconds: float, *, shortest: float) -> None:
        self.seconds = seconds
        self._tick = min(_LONGEST_TICK, shortest / 4)
        self._readings: set[Reading] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, reading: Reading) -> None:
        """Watch a read."""
        self._readings.add(reading)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="read timeouts")

    def discard(self, reading: Reading) -> None:
        """Stop watching a read."""
        self._readings.discard(reading)

    async def stop(self) -> None:
        """End the background work."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._tick)
            now = time.monotonic()
            for reading in list(self._readings):
                if reading.waited(now) >= reading.patience:
                    reading.give_up()
