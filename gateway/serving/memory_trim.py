"""Gives back memory that large requests have left to the C library.

glibc keeps what is freed in its arenas, and gives back only the end of each. After six requests of 40 MiB that is
200 MiB, which nothing but `malloc_trim` returns, whatever `MALLOC_ARENA_MAX` and `MALLOC_TRIM_THRESHOLD_` say.
https://man7.org/linux/man-pages/man3/malloc_trim.3.html
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

# the kernel writes it anew for each reader: total size and resident set, in pages
_STATM: Final = Path("/proc/self/statm")
_MIB: Final = 1024 * 1024
# less is not worth the some 20 ms for which a trim holds up who allocates
_GROWN_MIB: Final = 16
_SECONDS: Final = 5.0
_LONGEST_SECONDS: Final = 60.0


@contextlib.asynccontextmanager
async def trimmed(*, seconds: float = _SECONDS) -> AsyncIterator[None]:
    """Trim memory inside the block, at most every `seconds`, when the process has grown since the last time."""
    trim = _find_trim()
    if trim is None:
        yield
        return
    task = asyncio.create_task(_keep_trimmed(trim, seconds), name="memory trim")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _find_trim() -> Callable[[int], object] | None:
    """glibc's function; None where there is none, such as on macOS and with musl."""
    # a late import, to keep start-up fast
    import ctypes

    try:
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim if _STATM.exists() else None


async def _keep_trimmed(trim: Callable[[int], object], seconds: float) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    floor = _resident() * page
    pause = seconds
    while True:
        await asyncio.sleep(pause)
        before = _resident() * page
        if before - floor <= _GROWN_MIB * _MIB:
            pause = seconds
            continue
        # ctypes releases the GIL
        await asyncio.to_thread(trim, 0)
        after = _resident() * page
        floor = min(floor, after)
        # what is in use now may be free soon: it is tried again, but less and less often
        pause = seconds if before - after > _GROWN_MIB * _MIB // 2 else min(2 * pause, _LONGEST_SECONDS)


def _resident() -> int:
    return int(_STATM.read_bytes().split()[1])
