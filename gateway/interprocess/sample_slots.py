"""Where the workers of one gateway write what they are doing, while somebody views the status of one of them.

Each worker has a slot in shared memory. No process waits for another, and nothing is written while nobody is viewing. A
slot is written in several steps, so its content carries its length and a checksum: a reader that comes in between sees
that they do not match, and keeps what it read before.
"""

import mmap
import struct
import time
import zlib
from typing import Final

# the system allocates pages when they are first written
_PLACE_BYTES: Final = 256 * 1024
_HEAD: Final = struct.Struct("=II")
# how long a look lasts; viewers repeat it more often than that
_LOOK_SECONDS: Final = 3.0


class SampleSlot:
    """One worker's slot."""

    __slots__ = ("_memory", "board")

    def __init__(self, board: "SampleSlots", memory: memoryview) -> None:
        self.board = board
        self._memory = memory

    def write(self, content: bytes) -> bool:
        """Write the content. Returns whether there was room."""
        if len(content) > _PLACE_BYTES - _HEAD.size:
            return False
        self._memory[_HEAD.size : _HEAD.size + len(content)] = content
        self._memory[: _HEAD.size] = _HEAD.pack(len(content), zlib.crc32(content))
        return True

    def clear(self) -> None:
        """Empty the slot: its worker is gone."""
        self._memory[: _HEAD.size] = bytes(_HEAD.size)

    def read(self) -> bytes | None:
        """The content; b"" if the slot is empty, None if it is being written."""
        length, checksum = _HEAD.unpack(self._memory[: _HEAD.size])
        content = bytes(self._memory[_HEAD.size : _HEAD.size + length])
        return content if zlib.crc32(content) == checksum else None


class SampleSlots:
    """All slots. Create it before the workers are forked; they inherit it."""

    def __init__(self, workers: int) -> None:
        self.memory = mmap.mmap(-1, workers * _PLACE_BYTES)
        memory = memoryview(self.memory)
        self.slots = [
            SampleSlot(self, memory[start : start + _PLACE_BYTES]) for start in range(0, len(memory), _PLACE_BYTES)
        ]
        # milliseconds of the monotonic clock, which is the same for all processes
        self._looked = memoryview(mmap.mmap(-1, 8)).cast("q")

    def look(self) -> None:
        """Ask the workers to write what they are doing, for the next few seconds."""
        self._looked[0] = int((time.monotonic() + _LOOK_SECONDS) * 1000)

    @property
    def looked_at(self) -> bool:
        """Whether somebody is viewing."""
        return self._looked[0] > time.monotonic() * 1000
