"""What the worker processes of one gateway know of each other: a small table in shared memory.

A row is written by its worker, and by the supervisor while it has none. Every process may read every row at any time:
cells are aligned 8-byte integers, which are never seen half written, and no two cells need to agree.
"""

import mmap
import time
from typing import Final

from gateway.backend.policy.breaker import BreakerStatus
from gateway.interprocess.sample_slots import SampleSlot, SampleSlots

# from best to worst
STATES: Final = ("disabled", "closed", "half-open", "open")
_CELL_BYTES: Final = 8
_PID, _RESTARTS, _STREAMS, _STATE, _FAILURES, _OPENED, _BEATS = range(7)
# a cache line per row: a worker's frequent writes must not touch another's line
_ROW_CELLS: Final = 8


class Row:
    """What one worker tells the others."""

    __slots__ = ("_cells", "board", "number", "slot")

    def __init__(self, board: "Scoreboard", number: int, cells: memoryview, slot: SampleSlot) -> None:
        self.board = board
        self.number = number
        self.slot = slot
        self._cells = cells

    def begin(self, *, pid: int, restarts: int) -> None:
        """Take the row for a worker that starts. `restarts`: how many workers had it before."""
        self.clear()
        self._cells[_RESTARTS] = restarts
        self._cells[_PID] = pid

    def clear(self) -> None:
        """Empty the row: its worker is gone."""
        self.slot.clear()
        for cell in range(_ROW_CELLS):
            self._cells[cell] = 0

    def beat(self) -> None:
        """Show that the worker's event loop runs. Call it every second."""
        self._cells[_BEATS] += 1

    def set_streams(self, streams: int) -> None:
        """Publish how many streams are open."""
        self._cells[_STREAMS] = streams

    def set_breaker(self, status: BreakerStatus) -> None:
        """Publish the circuit breaker's status."""
        self._cells[_STATE] = STATES.index(status.state)
        self._cells[_FAILURES] = status.failures
        self._cells[_OPENED] = status.opened

    @property
    def pid(self) -> int:
        """The worker's process id; 0 while there is none."""
        return int(self._cells[_PID])

    @property
    def restarts(self) -> int:
        """How many workers had this row before."""
        return int(self._cells[_RESTARTS])

    @property
    def beats(self) -> int:
        """A number that changes every second while the worker's event loop runs."""
        return int(self._cells[_BEATS])

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return int(self._cells[_STREAMS])

    @property
    def breaker(self) -> BreakerStatus:
        """The circuit breaker's status."""
        return BreakerStatus(STATES[self._cells[_STATE]], int(self._cells[_FAILURES]), int(self._cells[_OPENED]))


class Scoreboard:
    """The table. Create it before the workers are forked; they inherit it."""

    def __init__(self, workers: int) -> None:
        self.started = time.monotonic()
        cells = memoryview(mmap.mmap(-1, workers * _ROW_CELLS * _CELL_BYTES)).cast("q")
        slots = SampleSlots(workers).slots
        self._rows = [
            Row(self, number, cells[number * _ROW_CELLS : (number + 1) * _ROW_CELLS], slot)
            for number, slot in enumerate(slots)
        ]

    def row(self, number: int) -> Row:
        """The row of worker `number`, counted from 0."""
        return self._rows[number]

    @property
    def rows(self) -> list[Row]:
        """The rows that have a worker."""
        return [row for row in self._rows if row.pid]

    @property
    def streams(self) -> int:
        """How many streams are open in all workers."""
        return sum(row.streams for row in self._rows)

    @property
    def breaker(self) -> BreakerStatus:
        """The status of the worst of the workers' circuit breakers, and how often they have opened in total."""
        breakers = [row.breaker for row in self.rows]
        worst = max(
            breakers,
            key=lambda breaker: (STATES.index(breaker.state), breaker.failures),
            default=BreakerStatus(STATES[0], 0, 0),
        )
        return worst._replace(opened=sum(breaker.opened for breaker in breakers))
