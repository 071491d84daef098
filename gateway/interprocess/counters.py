"""Named counters in memory that the worker processes of one gateway share.

Each worker has a row that it alone writes: counting is a store into its own memory, without a lock, a file or a system
call. A worker's replacement takes over its row and goes on counting, so totals never fall. Every process may read every
row at any time: cells are aligned 8-byte floats, which are never seen half written.

A row consists of cells, followed by names. Each name is a header (its size, and how many cells it has) and the labels
as MessagePack. The header is written last: until then the name does not exist, even for the replacement of a worker
that died midway.
"""

import mmap
from collections.abc import Iterator
from typing import Any, Final

import msgspec

Name = tuple[str, ...]
"""What is counted, followed by the values of its labels."""

_CELLS: Final = 4096
_CELL_BYTES: Final = 8
_NAME_BYTES: Final = 96 * 1024
_ROW_BYTES: Final = _CELLS * _CELL_BYTES + _NAME_BYTES
# the size and alignment of a header, which is written in one store
_HEADER_BYTES: Final = 4
_SIZE_BITS: Final = 16
_SIZE_MASK: Final = (1 << _SIZE_BITS) - 1

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Name).decode


class Counters:
    """One worker's row. To count: `counters.cells[counters.find(name, width)] += 1`."""

    __slots__ = ("_at", "_bytes", "_headers", "_next_cell", "_next_name", "cells", "table")

    def __init__(self, table: "CounterTable", row: memoryview) -> None:
        self.table = table
        self.cells = row[: _CELLS * _CELL_BYTES].cast("d")
        self._bytes = row[_CELLS * _CELL_BYTES :]
        self._headers = self._bytes.cast("I")
        self._at: dict[Name, int] = {}
        self._next_cell = self._next_name = 0

    def find(self, name: Name, width: int) -> int:
        """The index of the first of a name's `width` cells, which are added if they do not exist.

        When the row is full, it is that of cells that nobody reads: a label with too many values must not stop the
        gateway.
        """
        at = self._at.get(name)
        if at is None:
            at = self._at[name] = self._add(name, width)
        return at

    def read(self) -> dict[Name, list[float]]:
        """All cells by name."""
        cells: Any = self.cells  # contains floats, which memoryview's type cannot express
        return {name: cells[at : at + width].tolist() for name, at, width, _ in self._names()}

    def _add(self, name: Name, width: int) -> int:
        # a predecessor may have left names
        for known, at, cells, end in self._names(self._next_name, self._next_cell):
            self._at[known] = at
            self._next_cell, self._next_name = at + cells, end
        if name in self._at:
            return self._at[name]
        packed = _encode(name)
        start, cell = self._next_name, self._next_cell
        end = _after(start, len(packed))
        # a header of zeros ends the names, and the last cells are those that nobody reads
        if end + _HEADER_BYTES > _NAME_BYTES or cell + 2 * width > _CELLS:
            return _CELLS - width
        self._bytes[start + _HEADER_BYTES : start + _HEADER_BYTES + len(packed)] = packed
        self._headers[start // _HEADER_BYTES] = width << _SIZE_BITS | len(packed)
        self._next_cell, self._next_name = cell + width, end
        return cell

    def _names(self, start: int = 0, cell: int = 0) -> Iterator[tuple[Name, int, int, int]]:
        """From `start` on: each name, its first cell, how many cells it has, and where the next name begins."""
        while header := self._headers[start // _HEADER_BYTES]:
            width, size = header >> _SIZE_BITS, header & _SIZE_MASK
            body, end = start + _HEADER_BYTES, _after(start, size)
            yield _decode(self._bytes[body : body + size]), cell, width, end
            start, cell = end, cell + width


class CounterTable:
    """The rows of all workers. Create it before the workers are forked; they inherit it."""

    def __init__(self, workers: int) -> None:
        # pages that are never written take no memory
        memory = memoryview(mmap.mmap(-1, workers * _ROW_BYTES))
        self._rows = [Counters(self, memory[at : at + _ROW_BYTES]) for at in range(0, len(memory), _ROW_BYTES)]

    def row(self, number: int) -> Counters:
        """The row of worker `number`, counted from 0."""
        return self._rows[number]

    def totals(self) -> dict[Name, list[float]]:
        """The sums over all workers, including those that have ended."""
        totals: dict[Name, list[float]] = {}
        for row in self._rows:
            for name, cells in row.read().items():
                totals[name] = (
                    [a + b for a, b in zip(known, cells, strict=True)] if (known := totals.get(name)) else cells
                )
        return totals


def _after(start: int, size: int) -> int:
    """Where the next header begins, after a name of `size` bytes whose header is at `start`."""
    return start + _HEADER_BYTES + -(-size // _HEADER_BYTES) * _HEADER_BYTES
