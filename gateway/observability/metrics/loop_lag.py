"""Measures how late the event loop is: other work on the loop delays the streams by this much."""

import asyncio
from collections.abc import Callable
from typing import Final

_INTERVAL_SECONDS: Final = 0.1


async def watch_loop(observe: Callable[[float], None], *, interval: float = _INTERVAL_SECONDS) -> None:
    """Call `observe` every `interval` seconds with the number of seconds by which a timer was late. Runs until
    cancelled.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        # a loop may fire a timer slightly early
        observe(max(0.0, loop.time() - due))
