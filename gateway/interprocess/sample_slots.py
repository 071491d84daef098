"""Where the workers of one gateway lay out what they are doing, while somebody looks at one of them.

Each has a slot in memory that all share; nobody waits for anybody, and nothing is written unless it is looked at.
A slot is written in several steps, so its content carries its length and a checksum: a reader that comes in between
sees that they do not fit, and keeps what it had.
"""

import mmap
import struct
import time
import zlib
from typing import Final

# pages are taken from the system when they are first written
_PLACE_BYTES: Final = 256 * 1024
_HEAD: Final = struct.Struct("=II")
# a look holds so long; who looks on does so more often
_LOOK_SECONDS: Final = 3.0


class SampleSlot:
    """One worker's slot."""

    __slots__ = ("_memory", "board")

    def __init__(self, board: "SampleSlots", memory: memoryview) -> None:
        self.board = board
        self._memory = memory

    def write(self, content: bytes) -> bool:
        """Lay out; returns whether there was room."""
        if len(content) > _PLACE_BYTES - _HEAD.size:
            return False
        self._memory[_HEAD.size : _HEAD.size + len(content)] = content
        self._memory[: _HEAD.size] = _HEAD.pack(len(content), zlib.crc32(content))
        return True

    def clear(self) -> None:
        """Its worker is gone."""
        self._memory[: _HEAD.size] = bytes(_HEAD.size)

    def read(self) -> bytes | None:
        """What lies there; b"" if nothing does, None if it is just being written."""
        length, checksum = _HEAD.unpack(self._memory[: _HEAD.size])
        content = bytes(self._memory[_HEAD.size : _HEAD.size + length])
        return content if zlib.crc32(content) == checksum else None


class SampleSlots:
    """All slots. It is made before the workers are forked; they inherit it."""

    def __init__(self, workers: int) -> None:
        self.memory = mmap.mmap(-1, workers * _PLACE_BYTES)
        memory = memoryview(self.memory)
        self.slots = [
            SampleSlot(self, memory[start : start + _PLACE_BYTES]) for start in range(0, len(memory), _PLACE_BYTES)
        ]
        # milliseconds of the monotonic clock, which all processes have in common
        self._looked = memoryview(mmap.mmap(-1, 8)).cast("q")

    def look(self) -> None:
        """Somebody wants to see what the workers do, for some seconds from now on."""
        self._looked[0] = int((time.monotonic() + _LOOK_SECONDS) * 1000)

    @property
    def looked_at(self) -> bool:
        """Whether somebody wants to see."""
        return self._looked[0] > time.monotonic() * 1000
